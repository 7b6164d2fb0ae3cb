"""Decoding on one llama.cpp context: prefill behind cached prefixes, generate, choose.

Synchronous, and owned by one thread; ``models/llama.py`` is the way in. Greedy decoding only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from models.base import Choice, Generation, Token, Usage
from models.errors import ContextOverflow
from models.grammar import Constraint, Grammars
from models.llama_context import BATCH_TOKENS, CacheFull, LlamaContext
from models.prefix_cache import Entry, PrefixCache
from models.sampling import log_probability, log_softmax, pick

KEPT_PROMPTS = 16
PARALLEL_OPTIONS = 32
SEQUENCES = KEPT_PROMPTS + PARALLEL_OPTIONS


class Dropped(Exception):
    """The caller is gone: stop at once and leave nothing behind. Internal."""


@dataclass(slots=True)
class Clock:
    """Milliseconds by phase."""

    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    mask_ms: float = 0.0


@dataclass(slots=True)
class Call:
    """What one call needs from its caller: whether it still waits, and since when it did."""

    dropped: Callable[[], bool] = lambda: False
    clock: Clock = field(default_factory=Clock)


class Engine:
    """One context, its prefix cache and its grammars. ``limit``: tokens of one call."""

    def __init__(self, context: LlamaContext, *, limit: int, model: str) -> None:
        self._context = context
        self._limit = limit
        self._model = model
        self._cache = PrefixCache(range(KEPT_PROMPTS))
        self._options = range(KEPT_PROMPTS, SEQUENCES)
        self._ends = frozenset(context.end_tokens())
        self._grammars: Grammars | None = None

    @property
    def grammars(self) -> Grammars:
        if self._grammars is None:
            self._grammars = Grammars(self._context)
        return self._grammars

    def generate(
        self,
        prompt: Sequence[int],
        call: Call,
        *,
        grammar: str | None,
        max_tokens: int,
        stop: Sequence[str],
    ) -> Generation:
        """Greedy decoding after ``prompt``. Raises ContextOverflow, SchemaRefused."""
        self._check_fits(len(prompt), 1)
        clock = call.clock
        begun = time.perf_counter()
        constraint = self.grammars.start(grammar) if grammar is not None else None
        clock.mask_ms += _since(begun)

        run = self._prefill(prompt, call)
        try:
            tokens, finish = self._continue(
                run, call, constraint, min(max_tokens, self._limit - len(prompt)), stop
            )
        finally:
            self._context.truncate(run.entry.sequence, len(prompt))
        text = b"".join(self._context.piece(t.id) for t in tokens).decode("utf-8", "replace")
        cuts = [at for at in (text.find(s) for s in stop) if at >= 0]
        if cuts:
            text, finish = text[: min(cuts)], "stop"
        usage = Usage(
            tokens_in=len(prompt),
            tokens_cached=run.cached,
            tokens_out=len(tokens),
            tokens_forced=sum(t.forced for t in tokens),
            queue_ms=clock.queue_ms,
            prefill_ms=clock.prefill_ms,
            decode_ms=clock.decode_ms,
            mask_ms=clock.mask_ms,
        )
        return Generation(text, tuple(tokens), finish, self._model, usage)

    def choose(
        self,
        prompt: Sequence[int],
        options: Sequence[Sequence[int]],
        texts: Sequence[str],
        call: Call,
    ) -> Choice:
        """A probability for each option: softmax of its length-normalized log-probability."""
        import numpy as np

        longest = max(map(len, options))
        self._check_fits(len(prompt), longest)
        clock = call.clock
        run = self._prefill(prompt, call)
        begun = time.perf_counter()
        first = log_softmax(self._context.logits(run.last))
        scores = [[float(first[tokens[0]])] for tokens in options]
        for start in range(0, len(options), PARALLEL_OPTIONS):
            self._score(run, options, scores, start=start, call=call)
        means = np.array([sum(s) / len(s) for s in scores])
        probabilities = np.exp(log_softmax(means))
        clock.decode_ms += _since(begun)
        usage = Usage(
            tokens_in=len(prompt),
            tokens_cached=run.cached,
            queue_ms=clock.queue_ms,
            prefill_ms=clock.prefill_ms,
            decode_ms=clock.decode_ms,
        )
        return Choice(
            tuple(texts),
            tuple(map(float, probabilities)),
            int(probabilities.argmax()),
            self._model,
            usage,
        )

    def _check_fits(self, prompt: int, more: int) -> None:
        if prompt + more > self._limit:
            raise ContextOverflow(
                f"the prompt has {prompt} tokens, and the context holds {self._limit} "
                f"with at least {more} for the answer",
                hint="send less, or choose a model with a larger context",
            )

    def _prefill(self, prompt: Sequence[int], call: Call) -> _Run:
        """The prompt in the KV cache, in an entry of its own, with its last token's logits."""
        begun = time.perf_counter()
        match = self._cache.match(prompt)
        if match is not None and match.entry.tokens == tuple(prompt):
            # The very same prompt again: its own entry goes on, one token shorter.
            entry, cached = match.entry, match.length
            self._context.truncate(entry.sequence, cached)
        else:
            entry, cached = self._new_entry(
                prompt, match.entry if match else None, match.length if match else 0
            )
        try:
            last = self._decode(entry, prompt[cached:], cached, call)
        except BaseException:
            self._cache.remove(entry)
            self._context.truncate(entry.sequence, 0)
            raise
        call.clock.prefill_ms += _since(begun)
        return _Run(entry, cached, last)

    def _new_entry(
        self, prompt: Sequence[int], source: Entry | None, shared: int
    ) -> tuple[Entry, int]:
        while (sequence := self._cache.acquire()) is None:
            self._evict(keep=source)
        if source is not None:
            self._context.fork(source.sequence, sequence, shared)
            if shared < len(source.tokens):
                self._cache.shorten(source, shared)
                self._context.truncate(source.sequence, shared)
        return self._cache.add(sequence, prompt), shared

    def _evict(self, keep: Entry | None) -> bool:
        gone = self._cache.evict(keep)
        if gone is not None:
            self._context.truncate(gone.sequence, 0)
        return gone is not None

    def _decode(self, entry: Entry, tokens: Sequence[int], position: int, call: Call) -> int:
        """Decode ``tokens`` of one sequence; index of the last one, whose logits are kept."""
        last = 0
        for start in range(0, len(tokens), BATCH_TOKENS):
            batch = [
                (token, position + i, entry.sequence, i == len(tokens) - 1)
                for i, token in enumerate(tokens[start : start + BATCH_TOKENS], start)
            ]
            self._decode_batch(batch, keep=entry, call=call)
            last = len(batch) - 1
        return last

    def _decode_batch(
        self,
        batch: Sequence[tuple[int, int, int, bool]],
        *,
        keep: Entry,
        call: Call,
    ) -> None:
        """Decode (token, position, sequence, wants logits); others make room for it."""
        tokens, positions, sequences, outputs = zip(*batch, strict=True)
        if call.dropped():
            raise Dropped
        while True:
            try:
                return self._context.decode(tokens, positions, sequences, outputs)
            except CacheFull:
                if not self._evict(keep):
                    raise ContextOverflow(
                        f"the KV cache of {self._context.cells} tokens has no room for "
                        f"{len(tokens)} more behind {positions[0]}",
                        hint="send less, or choose fewer or shorter options",
                    ) from None

    def _continue(
        self,
        run: _Run,
        call: Call,
        constraint: Constraint | None,
        max_tokens: int,
        stop: Sequence[str],
    ) -> tuple[list[Token], str]:
        """Tokens after a prefilled prompt, and why they ended.

        Tokens that the grammar forces wait in ``pending``, and go through the model in one
        batch with the next free token's predecessor.
        """
        out: list[Token] = []
        pending: list[int] = []
        position = len(run.entry.tokens)
        last = run.last
        tail = ""
        while True:
            allowed = None
            if constraint is not None:
                room = max_tokens - len(out)
                begun = time.perf_counter()
                forced, allowed = constraint.advance(room)
                call.clock.mask_ms += _since(begun)
                out += [self._token(token, forced=True) for token in forced[:room]]
                pending += forced[:room]
                if len(forced) > room:
                    return out, "length"
                if allowed is None:
                    return out, "stop"
            if len(out) >= max_tokens:
                return out, "length"
            begun = time.perf_counter()
            if pending:
                last = self._decode(run.entry, pending, position, call)
                position += len(pending)
            elif call.dropped():
                raise Dropped
            best = pick(self._context.logits(last), allowed)
            call.clock.decode_ms += _since(begun)
            if best.token in self._ends:
                return out, "stop"
            out.append(self._token(*best, forced=False))
            pending = [best.token]
            if constraint is not None:
                constraint.consume(best.token)
            if stop:
                tail = (tail + out[-1].text)[-2 * max(map(len, stop)) - 64 :]
                if any(text in tail for text in stop):
                    return out, "stop"

    def _score(
        self,
        run: _Run,
        options: Sequence[Sequence[int]],
        scores: list[list[float]],
        *,
        start: int,
        call: Call,
    ) -> None:
        """Add the log-probabilities of the later tokens of up to PARALLEL_OPTIONS options."""
        position = len(run.entry.tokens)
        group = range(start, min(start + PARALLEL_OPTIONS, len(options)))
        items: list[tuple[int, int, int, int]] = []
        for index in group:
            sequence = self._options[index - start]
            tokens = options[index]
            if len(tokens) > 1:
                self._context.fork(run.entry.sequence, sequence, position)
            items += [(token, position + i, sequence, index) for i, token in enumerate(tokens[:-1])]
        try:
            for at in range(0, len(items), BATCH_TOKENS):
                batch = items[at : at + BATCH_TOKENS]
                self._decode_batch(
                    [(token, where, sequence, True) for token, where, sequence, _ in batch],
                    keep=run.entry,
                    call=call,
                )
                for row, (_, _, _, owner) in enumerate(batch):
                    target = options[owner][len(scores[owner])]
                    scores[owner].append(log_probability(self._context.logits(row), target))
        finally:
            for sequence in {item[2] for item in items}:
                self._context.truncate(sequence, 0)

    def _token(self, id_: int, logprob: float = 0.0, margin: float = 1.0, *, forced: bool) -> Token:
        text = self._context.piece(id_).decode("utf-8", "replace")
        return Token(id_, text, logprob, margin, forced)


@dataclass(slots=True)
class _Run:
    """A prefilled prompt: its entry, how much of it was cached, where its logits are."""

    entry: Entry
    cached: int
    last: int


def _since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000
