"""How long a remote call may take, when it may be made again, and after how long.

A retry is safe where the server did not take the request, or said that it failed before any of
an answer: connection refused, 429, 500, 502, 503, 504. Anything after the first byte of an
answer, or a connection lost while waiting for it, may have been served, and billed, already.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

RETRIED = frozenset((429, 500, 502, 503, 504))
"""HTTP statuses after which the same request may be sent again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The bounds of one remote call."""

    timeout_s: float = 60.0
    """From the first attempt to the last byte, pauses between attempts included."""
    connect_timeout_s: float = 10.0
    first_token_timeout_s: float = 30.0
    """While streaming: from the start of an attempt to the first event of the answer."""
    attempts: int = 3
    backoff_s: float = 0.5
    most_backoff_s: float = 8.0
    most_answer_bytes: int = 8 * 1024 * 1024
    most_forwarded_bytes: int = 256 * 1024 * 1024
    """Of an answer that is handed on as it comes: embeddings are long, and it is kept nowhere."""
    most_error_bytes: int = 16 * 1024
    """An error's body is read as far as this; the rest of it is left on the wire."""


def backoff_s(attempt: int, patience: Patience, random: Callable[[], float]) -> float:
    """Seconds to pause after failed attempt number ``attempt``, from 1.

    Exponential with full jitter: uniform between 0 and the exponential bound (M. Brooker,
    *Exponential Backoff and Jitter*, AWS Architecture Blog, 2015). ``random`` is in [0, 1).
    """
    bound = min(patience.most_backoff_s, patience.backoff_s * 2.0 ** (attempt - 1))
    return random() * bound


def retry_after_s(header: str | None, now: float) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait (RFC 9110, section 10.2.3).

    It holds seconds or an HTTP date, which is taken against ``now`` (Unix time in seconds).
    None where there is none, or it is neither.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = date.timestamp() - now
    return max(0.0, seconds) if math.isfinite(seconds) else None
