"""Decoding of one answer: forced tokens and copied drafts go through the model in batches.

The output is that of choosing one token at a time under the same grammar. What differs is how
many batches it takes: tokens that the grammar forces are appended unasked, and drafts copied from
the prompt are verified together. Batch shape moves logits a little, so where the two best tokens
are nearly equal another one of them may win. Where tokens are drawn and not simply the likeliest,
a drafted token counts only if it is the one that was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

from models.base import Alternative, Generation, Token
from models.drafts import Drafter, Vocabulary
from models.errors import ToolFailed
from models.feed import Feed, Progress, Rows
from models.loops import LoopBreaker
from models.sampling import Pick, Sampler, likeliest, pick
from models.usage import usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.grammar import Constraint

_FIRST_DRAFT = 12
"""Tokens of a first draft; right drafts make the next one longer, wrong ones shorter."""
_RECENT = 24
"""Tokens in which a run of punctuation is looked for, as they come."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How an answer is decoded; what it says does not depend on it.

    ``fast_forward``: append what the grammar forces without asking the model.
    ``draft_tokens``: tokens copied from the prompt and verified in one batch, at most.
    """

    fast_forward: bool = True
    draft_tokens: int = 15


class Context(Vocabulary, Protocol):
    """The model's vocabulary and KV cache, as ``LlamaContext`` has them."""

    ends: frozenset[int]

    def truncate(self, sequence: int, length: int) -> None: ...


@dataclass(slots=True)
class Answer:
    """One answer as it grows. ``cached``: tokens of ``prompt`` that are decoded in ``sequence``.

    ``sampler``: draws its tokens; without one, each is the likeliest. ``on_tokens`` is given what
    was written since its last call, before the model goes on.
    """

    context: Context
    model: str
    adapter: str | None
    prompt: Sequence[int]
    sequence: int
    cached: int
    max_tokens: int
    stop: Sequence[str]
    constraint: Constraint | None
    drafter: Drafter | None
    decoding: Decoding
    progress: Progress
    breaker: LoopBreaker | None = None
    sampler: Sampler | None = None
    top_logprobs: int = 0
    on_tokens: Callable[[Sequence[Token]], None] | None = None
    tokens: list[Token] = field(default_factory=list)
    written: bytearray = field(default_factory=bytearray)
    drafted: int = 0
    _draft_limit: int = _FIRST_DRAFT
    _misses: int = 0
    _told: int = 0
    """Tokens that ``on_tokens`` was given."""
    _cut: bool = False
    """The grammar was forced further than there was room to write."""

    def decode(self) -> Generator[Feed, Rows, Generation]:
        """Yields what the model has to decode, and returns the finished answer."""
        pending = list(self.prompt[self.cached :])
        position = self.cached
        while True:
            pending += self._forced()
            self._tell()
            if self._over or (self.constraint is not None and self.constraint.complete):
                return self._finish()
            draft = self._draft()
            masks: list[NDArray[np.intp] | None] = []
            beside = None if self.constraint is None else partial(self._masks, masks, draft)
            first = len(pending) - 1
            rows = yield Feed(
                tokens=[*pending, *draft],
                positions=range(position, position + len(pending) + len(draft)),
                sequences=[(self.sequence,)] * (len(pending) + len(draft)),
                outputs=[False] * first + [True] * (1 + len(draft)),
                meanwhile=beside,
            )
            self.progress.prefilled = True
            position += len(pending)
            taken = 0
            pending = []
            while not pending:
                allowed = masks[taken] if masks else None
                if self.constraint is not None and allowed is None:
                    return self._finish()
                logits = rows.row(first + taken)
                best = self._pick(logits, allowed)
                if best.token in self.context.ends:
                    return self._finish()
                if self.constraint is not None:
                    self.constraint.consume(best.token)
                only = allowed is not None and len(allowed) == 1
                top = () if only else self._top(logits, allowed, best)
                self._write(best.token, best.logprob, best.margin, forced=only, top=top)
                if self._over:
                    return self._finish()
                if taken < len(draft) and draft[taken] == best.token:
                    taken += 1
                else:
                    pending = [best.token]
            if taken < len(draft):
                self.context.truncate(self.sequence, position + taken)
            position += taken
            self._learn(len(draft), taken)

    def _pick(self, logits: NDArray[np.float32], allowed: NDArray[np.intp] | None) -> Pick:
        """The next allowed token; in a loop, one that leads out of it."""
        choose = pick if self.sampler is None else self.sampler.pick
        best = choose(logits, allowed)
        if self.breaker is None or allowed is None or len(allowed) == 1:
            return best
        ends = self.breaker.narrow(self.tokens, allowed, self.written)
        if ends is None or best.token in ends:
            return best
        token = choose(logits, ends).token
        lost = float(logits[token] - logits[best.token])
        return Pick(token, best.logprob + lost, 0.0)

    def _top(
        self, logits: NDArray[np.float32], allowed: NDArray[np.intp] | None, known: Pick
    ) -> tuple[Alternative, ...]:
        if not self.top_logprobs:
            return ()
        found = likeliest(logits, allowed, self.top_logprobs, known)
        return tuple(Alternative(t, self.context.piece(t), logprob) for t, logprob in found)

    def _tell(self) -> None:
        """What was written since the last time goes to the caller."""
        self.progress.written = len(self.tokens)
        if self.on_tokens is None or self._told == len(self.tokens):
            return
        news = tuple(self.tokens[self._told :])
        self._told = len(self.tokens)
        try:
            self.on_tokens(news)
        except Exception:
            raise
        except BaseException as error:
            # It would end the engine's thread, and every other call with it.
            raise ToolFailed(f"what takes the tokens of an answer raised {error!r}") from error

    @property
    def text(self) -> str:
        return self.written.decode("utf-8", "replace")

    @property
    def _over(self) -> bool:
        return len(self.tokens) >= self.max_tokens or self._stopped

    @property
    def _stopped(self) -> bool:
        if not self.stop or not self.tokens:
            return False
        # A stop text may begin in an earlier token and end in this one.
        longest = 4 * max(map(len, self.stop)) + len(self.context.piece(self.tokens[-1].id))
        tail = self.written[-longest:].decode("utf-8", "replace")
        return any(stop in tail for stop in self.stop)

    def _forced(self) -> list[int]:
        """Tokens that the grammar leaves no choice about, written and consumed."""
        if self.constraint is None or not self.decoding.fast_forward:
            return []
        room = self.max_tokens - len(self.tokens)
        forced = self.constraint.forced(room)
        self._cut = len(forced) > room
        for token in forced[:room]:
            self._write(token, forced=True)
        return forced[:room]

    def _masks(self, masks: list[NDArray[np.intp] | None], draft: Sequence[int]) -> None:
        """What the grammar allows now, and after each token of the draft. Runs beside the model."""
        if self.constraint is None:
            return
        masks.append(self.constraint.allowed())
        for token in draft:
            self.constraint.consume(token)
            masks.append(self.constraint.allowed())
        self.constraint.rollback(len(draft))

    def _write(
        self,
        token: int,
        logprob: float = 0.0,
        margin: float = 1.0,
        *,
        forced: bool,
        top: tuple[Alternative, ...] = (),
    ) -> None:
        piece = self.context.piece(token)
        self.written += piece
        self.tokens.append(Token(token, piece, logprob, margin, forced, top))
        if self.sampler is not None:
            self.sampler.wrote(token)

    def _finish(self) -> Generation:
        self._tell()
        text, finish = self.text, "stop"
        cuts = [at for at in (text.find(stop) for stop in self.stop) if at >= 0]
        if cuts:
            text = text[: min(cuts)]
        elif len(self.tokens) >= self.max_tokens:
            whole = self.constraint is not None and self.constraint.complete and not self._cut
            finish = "stop" if whole else "length"
        used = usage(
            self.progress.clock,
            prompt=len(self.prompt),
            cached=self.cached,
            tokens=self.tokens,
            drafted=self.drafted,
        )
        return Generation(text, tuple(self.tokens), finish, self.model, used, self.adapter)

    def _draft(self) -> list[int]:
        """A guess of the next tokens; the grammar allows it, and the model has yet to agree."""
        room = self.max_tokens - len(self.tokens) - 1
        limit = min(self.decoding.draft_tokens, self._draft_limit, room)
        if self.drafter is None or limit < 1:
            return []
        # A text that is no copy: look again now and then.
        if self._misses >= 2 and len(self.tokens) % 4:
            return []
        return self.drafter.draft(self.text, self.constraint, limit)

    def _learn(self, drafted: int, taken: int) -> None:
        self.drafted += taken
        # Others learn how the model likes to spell: not from what was drawn by chance.
        if self.drafter is not None and self.sampler is None:
            self.drafter.learn(self.tokens[-_RECENT:])
        if not drafted:
            return
        self._misses = 0 if taken else self._misses + 1
        if taken == drafted:
            self._draft_limit *= 2
        elif not taken:
            self._draft_limit = max(4, self._draft_limit // 2)
