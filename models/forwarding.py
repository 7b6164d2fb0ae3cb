"""A request that somebody else wrote, handed on to a remote LLM: what passes, and what it cost.

Covers which headers go which way, which statuses are the client's own affair, and the record of
one forwarded call. The connection itself is ``remote``'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

RecordSent = Literal["body", "digest"]

TO_THE_GENERAL = frozenset(("accept", "idempotency-key", "openai-beta", "x-client-request-id"))
"""Headers of a client that are handed on. They change what is answered, or name the request. All
others stay here: ``Authorization`` and cookies are meant for us; ``openai-organization`` and
``openai-project`` belong to another key than ours; the rest tells who the client is."""

TO_THE_CLIENT = frozenset(
    (
        *("x-request-id", "retry-after", "retry-after-ms"),
        *("openai-model", "openai-processing-ms", "openai-version"),
    )
)
"""Headers of an answer that are handed on, with those that begin with ``x-ratelimit-``.
``openai-organization`` and ``openai-project`` name the account of the key, which is the user's
and no client's."""

OURS = frozenset((401, 402, 403, 407, 408, 429))
"""Statuses below 500 that speak of our key, our account or our speed, not of the request."""


@dataclass
class Sent:
    """What left this machine in one call, all attempts together."""

    body: bytes = b""
    total: int = 0
    """Bytes of the bodies of all attempts."""
    attempts: int = 0

    def recorded(self, how: RecordSent) -> str:
        """The last body, or ``sha256:<hex>`` of it; empty where nothing left."""
        if not self.total:
            return ""
        if how == "body":
            return self.body.decode("utf-8", "replace")
        return f"sha256:{hashlib.sha256(self.body).hexdigest()}"


@dataclass
class Forwarded:
    """An answer on its way: its head, and its body as it comes.

    Read ``chunks`` to the end, or call ``aclose``: that ends the connection at once.
    """

    status: int
    content_type: str
    headers: Mapping[str, str]
    """Those that are worth handing on to the client."""
    chunks: AsyncGenerator[bytes, None] = field(repr=False)
    """The body's bytes as they came, none empty. Raises Unanswered where it breaks off."""
    bytes_sent: int
    sent: str = field(repr=False)
    """As in ``Reply``."""
    attempts: int
    first_byte_ms: float
    """From the start of the call to the first byte of the body."""
    release: Callable[[], Awaitable[None]] = field(repr=False)
    """Lets go of the connection; more than once is once."""
    ms: float | None = None
    """From the start of the call to its end; None until then."""

    async def aclose(self) -> None:
        """The rest of the body is not wanted."""
        try:
            await self.chunks.aclose()
        finally:
            await self.release()


def is_the_clients(status: int) -> bool:
    """An error that the request itself caused: the client must see it as it is."""
    return 400 <= status < 500 and status not in OURS


def handed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a client's request that may leave."""
    return {k.lower(): v for k, v in headers.items() if k.lower() in TO_THE_GENERAL}


def handed_back(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that the client gets."""
    lowered = ((k.lower(), v) for k, v in headers.items())
    return {k: v for k, v in lowered if k in TO_THE_CLIENT or k.startswith("x-ratelimit-")}
