"""What a call asks of the model in one step, and what it gets back.

A call is a generator function: it yields a Feed, and is sent the Rows for it. The engine puts the
feeds of several calls into one batch, and knows nothing of what they are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Logits(Protocol):
    """Where the logits of a batch are read, as ``LlamaContext`` has it."""

    def logits(self, index: int) -> NDArray[np.float32]: ...


@dataclass(slots=True)
class Feed:
    """Tokens to decode, in order; all that want logits are decoded in one batch.

    ``sequences``: for each token the sequences that it belongs to. ``meanwhile`` runs in another
    thread while the model does.
    """

    tokens: Sequence[int]
    positions: Sequence[int]
    sequences: Sequence[Sequence[int]]
    outputs: Sequence[bool]
    meanwhile: Callable[[], None] | None = None
    done: int = 0

    @property
    def left(self) -> int:
        return len(self.tokens) - self.done

    @property
    def tail(self) -> int:
        """Tokens from the first that wants logits on."""
        return len(self.tokens) - self.outputs.index(True)


@dataclass(frozen=True, slots=True)
class Rows:
    """Logits for the tokens of a Feed, valid until the next batch."""

    source: Logits
    offset: int
    """Index in the batch of the feed's first token."""

    def row(self, index: int) -> NDArray[np.float32]:
        """Logits after the feed's token ``index``, shape ``[vocab_size]``."""
        return self.source.logits(self.offset + index)


@dataclass(slots=True)
class Clock:
    """Milliseconds by phase, and the batches taken part in."""

    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    mask_ms: float = 0.0
    model_calls: int = 0


@dataclass(slots=True)
class Progress:
    """How far a call is: what the engine and the call tell each other."""

    clock: Clock = field(default_factory=Clock)
    cached: int = 0
    """Tokens of the prompt that did not need to be decoded."""
    prefilled: bool = False
    written: int = 0
    """Tokens of the answer so far."""
