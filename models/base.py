"""The protocols that every model back end meets, and the records they return.

Nothing heavy is imported here, so that records can be read without a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Message = Mapping[str, str]
"""One chat message: ``{"role": "system" | "user" | "assistant", "content": str}``."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model call cost: tokens, and milliseconds by phase."""

    tokens_in: int = 0
    tokens_cached: int = 0
    """Of ``tokens_in``, how many were already decoded in the prefix cache."""
    tokens_out: int = 0
    tokens_forced: int = 0
    """Of ``tokens_out``, how many the grammar left no choice about."""
    tokens_drafted: int = 0
    """Of ``tokens_out``, how many were copied from the prompt as drafts and then verified."""
    model_calls: int = 0
    """How many batches of the model this call took part in."""
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    mask_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        return self.queue_ms + self.prefill_ms + self.decode_ms + self.mask_ms


class Alternative(NamedTuple):
    """A token that might have stood in the place of another."""

    id: int
    piece: bytes
    """What it would have added to the text; empty for a token that ends the answer."""
    logprob: float
    """Natural log of its probability among all tokens that the grammar allowed."""


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token with the evidence that it carries."""

    id: int
    piece: bytes
    """What it added to the text: UTF-8, which may begin or end in the middle of a character."""
    logprob: float
    """Natural log of its probability among all tokens that the grammar allowed, as the model gave
    it: before temperature and penalties."""
    margin: float
    """Probability of the best allowed token minus that of the second best, in [0, 1]; 0 where
    another one than the best was taken."""
    forced: bool
    """True where the grammar allowed nothing else: it carries no evidence."""
    top: tuple[Alternative, ...] = ()
    """The likeliest tokens that the grammar allowed, best first, where they were asked for; the
    token itself is mostly one of them. None where it was forced."""

    @property
    def text(self) -> str:
        """``piece`` as text of its own: U+FFFD where it holds half a character."""
        return self.piece.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Generation:
    """A generated text. ``finish`` is ``stop``, or ``length`` when ``max_tokens`` ran out."""

    text: str
    tokens: tuple[Token, ...]
    finish: str
    model: str
    """Digest (``sha256:…``) of the model file that answered."""
    usage: Usage
    adapter: str | None = None
    """Digest of the LoRA adapter that was attached; None for the base model alone."""

    @property
    def margin(self) -> float:
        """The smallest margin among the free tokens; 1.0 where none was free."""
        return min((t.margin for t in self.tokens if not t.forced), default=1.0)

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities of the free tokens; 1.0 where none was free."""
        import math

        free = [t.logprob for t in self.tokens if not t.forced]
        return math.exp(sum(free) / len(free)) if free else 1.0


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several options. ``probabilities`` sum to 1, in the order of ``options``."""

    options: tuple[str, ...]
    probabilities: tuple[float, ...]
    index: int
    model: str
    usage: Usage
    scores: tuple[float, ...] = ()
    """Mean log-probability of each option's tokens: what the probabilities were made from."""
    temperature: float = 1.0
    """``probabilities`` are the softmax of ``scores / temperature``."""
    adapter: str | None = None

    @property
    def option(self) -> str:
        return self.options[self.index]

    @property
    def probability(self) -> float:
        return self.probabilities[self.index]


class Generator(Protocol):
    """A language model that generates text, freely or under a grammar.

    ``model`` is the digest of its file (``sha256:…``) or the remote model's name.
    ``name`` is what a user calls it, such as ``smollm2-135m-q8_0``.
    """

    model: str
    name: str

    async def generate(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        grammar: str | None = None,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
    ) -> Generation:
        """Greedy decoding of an answer to ``messages``.

        ``schema``: a JSON Schema that the answer is forced to meet, as compact JSON.
        ``grammar``: a Lark grammar in llguidance's dialect (instead of ``schema``).
        Raises SchemaRefused, ContextOverflow.
        """
        ...

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """Which option continues ``messages`` best: one probability for each option.

        Raises UsageError on no options, ContextOverflow.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """Number of tokens of ``text`` in this model's tokenizer."""
        ...


class Encoder(Protocol):
    """A sentence encoder."""

    model: str
    name: str
    dimension: int

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings, shape ``[len(texts), dimension]``, each row of unit length."""
        ...

    def was_cut(self, text: str) -> bool:
        """True where ``text`` has more tokens than the encoder reads (128)."""
        ...
