"""What one loaded model has done, and what it is doing now: numbers for metrics and leak tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the model was loaded, but for ``running`` and ``waiting``, which are now.

    The totals are of calls that had begun and are over, however they ended; ``batches`` is of all.
    """

    running: int = 0
    """Calls with a place in the KV cache."""
    waiting: int = 0
    """Calls in the queue."""
    calls: int = 0
    failed: int = 0
    """Of ``calls``, how many ended without an answer: dropped, late, or met with an error."""
    tokens_in: int = 0
    tokens_cached: int = 0
    """Of ``tokens_in``, how many were already decoded in the prefix cache."""
    tokens_out: int = 0
    batches: int = 0
    """Batches that the model was asked to decode."""
