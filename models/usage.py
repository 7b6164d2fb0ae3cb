"""What one call used, from its clock and its tokens."""

from __future__ import annotations

from collections.abc import Sequence

from models.base import Token, Usage
from models.feed import Clock


def usage(
    clock: Clock, *, prompt: int, cached: int, tokens: Sequence[Token] = (), drafted: int = 0
) -> Usage:
    """``prompt`` tokens, ``cached`` of them decoded before; ``tokens`` that were written, of which
    ``drafted`` were copied."""
    return Usage(
        tokens_in=prompt,
        tokens_cached=cached,
        tokens_out=len(tokens),
        tokens_forced=sum(token.forced for token in tokens),
        tokens_drafted=drafted,
        model_calls=clock.model_calls,
        queue_ms=clock.queue_ms,
        prefill_ms=clock.prefill_ms,
        decode_ms=clock.decode_ms,
        mask_ms=clock.mask_ms,
    )
