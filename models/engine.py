"""Continuous batching on one llama.cpp context: the engine's thread.

Calls are generator functions that yield what they need decoded (``models/feed.py``). Each step
takes the next tokens of every running call with the same adapter into one batch. Calls that write
go first, and prompts are decoded in pieces between them, so that nobody waits for a long prompt.
Calls start in the order they came in. A call that is dropped, late or wrong leaves the others as
they are, and leaves nothing behind.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from models.adapters import Adapter
from models.counters import Counters
from models.errors import AidecampError, ContextOverflow, DeadlineMissed, Overloaded, ToolFailed
from models.feed import Feed, Progress, Rows
from models.llama_context import BATCH_TOKENS, SEQUENCES, CacheFull, LlamaContext
from models.prefix_cache import Entry, PrefixCache

PREFILL_TOKENS = 128
"""Tokens of prompts in one batch: a dropped call waits for one such batch at most."""
SHARED_PREFILL_TOKENS = 64
"""The same while other calls are writing their answers."""
SHORT_FEED = 48
"""A feed of at most so many tokens is a writing call's, and goes first."""
ADAPTER_TURNS = 8
"""Batches for one adapter while calls with another one wait."""
RESIDENT_TOKENS = 1024
"""Idle tokens in the KV cache under ggml's own kernels, to which every cell in use is a cost."""

T = TypeVar("T")
Start = Callable[[Entry, Progress], Generator[Feed, Rows, T]]


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One call: ``start`` makes its generator once its prompt has a sequence.

    ``more``: tokens behind the prompt that it may need. ``deadline``: on the monotonic clock.
    ``head``: tokens of the prompt that others of its kind begin with too.
    """

    prompt: Sequence[int]
    more: int
    start: Start[T]
    adapter: Adapter | None = None
    deadline: float | None = None
    head: int = 0
    future: Future[T] = field(default_factory=Future)
    dropped: threading.Event = field(default_factory=threading.Event)
    queued: float = field(default_factory=time.monotonic)
    progress: Progress = field(default_factory=Progress)

    @property
    def adapter_digest(self) -> str | None:
        return self.adapter.digest if self.adapter else None


@dataclass(slots=True, eq=False)
class Running:
    """A job that has a sequence, and what it wants decoded next: nothing until it is started."""

    job: Job[Any]
    entry: Entry
    steps: Generator[Feed, Rows, Any]
    feed: Feed = field(default_factory=lambda: Feed((), (), (), ()))


class Engine:
    """One context and its calls. ``limit``: tokens of one call; ``name`` is for messages.

    ``submit`` is for any thread; everything else happens in the thread that calls ``serve``.
    """

    def __init__(
        self,
        context: LlamaContext,
        *,
        name: str,
        limit: int,
        parallel: int,
        queue_cap: int,
        cache_bytes: int,
    ) -> None:
        self.context = context
        resident = RESIDENT_TOKENS if context.kernels else context.cells
        self.cache = PrefixCache(context, list(range(SEQUENCES)), resident, cache_bytes)
        self._name = name
        self._limit = limit
        self._parallel = parallel
        self._queue_cap = queue_cap
        self._lock = threading.Condition()
        self._incoming: deque[Job[Any]] = deque()
        self._waiting: deque[Job[Any]] = deque()
        self._running: list[Running] = []
        self._closing = False
        self._adapters: dict[str, Any] = {}
        self._attached: str | None = None
        self._turns = 0
        self._batches = 0
        self._totals = Counters()
        self._beside = ThreadPoolExecutor(1, thread_name_prefix=f"masks {name}")
        self.opened: Callable[[str | None], None] = lambda adapter: None
        """Called before the first prompt of an adapter is looked up in the cache."""

    @property
    def running(self) -> int:
        """Calls that have a sequence."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        with self._lock:
            return len(self._incoming) + len(self._waiting)

    @property
    def busy(self) -> int:
        """Calls that run or wait."""
        with self._lock:
            return len(self._incoming) + len(self._waiting) + len(self._running)

    @property
    def counters(self) -> Counters:
        """What was done so far, and what is being done. For any thread."""
        with self._lock:
            waiting = len(self._incoming) + len(self._waiting)
            return replace(
                self._totals, running=len(self._running), waiting=waiting, batches=self._batches
            )

    def submit(self, job: Job[Any]) -> None:
        """Queue a call. Raises ContextOverflow, Overloaded, ToolFailed (closed)."""
        self.check_fits(len(job.prompt), 1)
        with self._lock:
            if self._closing:
                raise ToolFailed(f"the model {self._name} was closed")
            queued = len(self._incoming) + len(self._waiting)
            if queued >= self._queue_cap:
                raise Overloaded(
                    f"{queued} calls wait for the model {self._name}, and its queue takes no more",
                    hint="try again in a moment, or send fewer calls at a time",
                )
            self._incoming.append(job)
            self._lock.notify()

    def check_fits(self, prompt: int, more: int) -> None:
        """Raises ContextOverflow where a prompt leaves no room for ``more`` tokens."""
        if prompt + more > self._limit:
            raise ContextOverflow(
                f"the prompt has {prompt} tokens, and the context holds {self._limit} "
                f"with at least {more} for the answer",
                hint="send less, or choose a model with a larger context",
            )

    def close(self) -> None:
        """End ``serve``: what runs and waits fails."""
        with self._lock:
            self._closing = True
            self._lock.notify()

    def serve(self) -> None:
        """Run calls until ``close``."""
        while self._take():
            self._sweep()
            self._admit()
            if self._running:
                self._step()
        closed = ToolFailed(f"the call was dropped: the model {self._name} was closed")
        for run in [*self._running]:
            self._give_up(run, closed)
        for job in [*self._waiting, *self._incoming]:
            _fail(job, closed)
        self._beside.shutdown()

    def _take(self) -> bool:
        """New calls into the line; waits where there is nothing to do. False at the end."""
        with self._lock:
            while not (self._closing or self._incoming or self._waiting or self._running):
                self._lock.wait()
            self._waiting += self._incoming
            self._incoming.clear()
            return not self._closing

    def _sweep(self) -> None:
        """Let go of calls whose caller is gone, or will not wait any longer."""
        now = time.monotonic()
        for job in [*self._waiting]:
            if error := _overdue(job, now, "in the queue", self._name):
                self._waiting.remove(job)
                _fail(job, error)
        for run in [*self._running]:
            if error := _overdue(run.job, now, "while it was running", self._name):
                self._give_up(run, error)

    def _admit(self) -> None:
        """Start calls in the order they came in, as long as the KV cache has room for them."""
        while self._waiting and len(self._running) < self._parallel:
            job = self._waiting[0]
            needs = sum(len(j.prompt) + j.more for j in (job, *(r.job for r in self._running)))
            if self._running and needs > self.context.cells:
                return
            try:
                self._load(job.adapter)
                entry = self.cache.begin(job.prompt, job.adapter_digest, job.head)
            except Exception as error:
                self._waiting.popleft()
                _fail(job, error)
                continue
            if entry is None:
                return
            with self._lock:
                self._waiting.popleft()
                begins = job.future.set_running_or_notify_cancel()
                if begins:
                    self._running.append(Running(job, entry, _steps(job, entry)))
            if begins:
                self._start(self._running[-1])
            else:
                self.cache.end(entry, keep=False)

    def _start(self, run: Running) -> None:
        """What a call wants decoded first; or its result, where that is nothing at all."""
        progress = run.job.progress
        progress.cached = run.entry.length
        progress.clock.queue_ms = (time.monotonic() - run.job.queued) * 1000
        begun = time.perf_counter()
        try:
            run.feed = next(run.steps)
        except StopIteration as end:
            # The grammar left the model nothing to say.
            self._end(run)
            run.job.future.set_result(end.value)
        except Exception as error:
            self._give_up(run, error)
        else:
            progress.clock.prefill_ms += _ms(begun)

    def _load(self, adapter: Adapter | None) -> None:
        if adapter is not None and adapter.digest not in self._adapters:
            self._adapters[adapter.digest] = self.context.load_adapter(adapter.path)
            self.opened(adapter.digest)

    def _step(self) -> None:
        """One batch: the next tokens of every call that uses the attached adapter."""
        self._attach()
        runs = [run for run in self._running if run.job.adapter_digest == self._attached]
        parts = _plan([run.feed for run in runs])
        shares = [(run, take) for run, take in zip(runs, parts, strict=True) if take]
        begun = time.perf_counter()
        beside = {
            run: self._beside.submit(run.feed.meanwhile)
            for run, take in shares
            if run.feed.meanwhile and take == run.feed.left
        }
        error = self._decode(shares)
        took = _ms(begun)
        wait(beside.values())
        late = _ms(begun) - took

        offset = 0
        for run, take in shares:
            clock = run.job.progress.clock
            if run.job.progress.prefilled:
                clock.decode_ms += took
            else:
                clock.prefill_ms += took
            clock.mask_ms += late
            clock.model_calls += 1
            wrong = error or (beside[run].exception() if run in beside else None)
            if wrong is not None:
                self._give_up(run, wrong)
                continue
            rows = Rows(self.context, offset - run.feed.done)
            offset += take
            run.feed.done += take
            reached = run.feed.positions[run.feed.done - 1] + 1
            run.entry.length = max(run.entry.length, min(len(run.entry.tokens), reached))
            if not run.feed.left:
                self._advance(run, rows)

    def _decode(self, shares: Sequence[tuple[Running, int]]) -> AidecampError | None:
        tokens: list[int] = []
        positions: list[int] = []
        sequences: list[Sequence[int]] = []
        outputs: list[bool] = []
        for run, take in shares:
            piece = slice(run.feed.done, run.feed.done + take)
            tokens += run.feed.tokens[piece]
            positions += run.feed.positions[piece]
            sequences += run.feed.sequences[piece]
            outputs += run.feed.outputs[piece]
        self._batches += 1
        while True:
            try:
                self.context.decode(tokens, positions, sequences, outputs)
            except CacheFull:
                if self.cache.make_room():
                    continue
                return ContextOverflow(
                    f"the KV cache of {self.context.cells} tokens has no room for "
                    f"{len(tokens)} more",
                    hint="send less, or choose fewer or shorter options",
                )
            except AidecampError as error:
                return error
            return None

    def _attach(self) -> None:
        """The adapter of the next batch: they take turns where calls with several of them run."""
        digests = [run.job.adapter_digest for run in self._running]
        others = [digest for digest in digests if digest != self._attached]
        self._turns += 1
        if not others or (self._attached in digests and self._turns <= ADAPTER_TURNS):
            return
        self._attached, self._turns = others[0], 1
        self.context.attach(None if others[0] is None else self._adapters[others[0]])

    def _advance(self, run: Running, rows: Rows) -> None:
        """Give a call its logits, and take what it wants decoded next, or its result."""
        begun = time.perf_counter()
        try:
            run.feed = run.steps.send(rows)
        except StopIteration as end:
            self._end(run)
            run.job.future.set_result(end.value)
        except Exception as error:
            self._give_up(run, error)
        else:
            run.job.progress.clock.decode_ms += _ms(begun)

    def _give_up(self, run: Running, error: BaseException) -> None:
        """End a call without an answer."""
        self._end(run, failed=1)
        _fail(run.job, error)

    def _end(self, run: Running, *, failed: int = 0) -> None:
        """A call is over: its sequence goes to the cache, or back."""
        self._running.remove(run)
        run.steps.close()
        self.cache.end(run.entry, keep=run.job.progress.prefilled)
        self._count(run.job, failed)

    def _count(self, job: Job[Any], failed: int) -> None:
        so_far = self._totals
        self._totals = replace(
            so_far,
            calls=so_far.calls + 1,
            failed=so_far.failed + failed,
            tokens_in=so_far.tokens_in + len(job.prompt),
            tokens_cached=so_far.tokens_cached + job.progress.cached,
            tokens_out=so_far.tokens_out + job.progress.written,
        )


def _steps(job: Job[T], entry: Entry) -> Generator[Feed, Rows, T]:
    """The call's generator, which begins when it is first asked."""
    return (yield from job.start(entry, job.progress))


def _overdue(job: Job[Any], now: float, where: str, name: str) -> AidecampError | None:
    """Why a call is not worth going on with; None where it is."""
    if job.dropped.is_set():
        return ToolFailed("the call was dropped by its caller")
    if job.deadline is None or now < job.deadline:
        return None
    return DeadlineMissed(
        f"the model {name} did not answer within {now - job.queued:.1f} s: "
        f"the time ran out {where}",
        hint="allow more time, or send fewer calls at a time",
    )


def _fail(job: Job[Any], error: BaseException) -> None:
    if job.future.running() or job.future.set_running_or_notify_cancel():
        job.future.set_exception(error)


def _ms(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000


def _plan(feeds: Sequence[Feed]) -> list[int]:
    """How many tokens of each feed go into the next batch.

    Those that want logits go in together. Short feeds go in whole; long ones share what is left,
    the oldest first.
    """
    short = [feed.left <= SHORT_FEED or feed.left == feed.tail for feed in feeds]
    room = BATCH_TOKENS
    parts = [0] * len(feeds)
    for index, feed in enumerate(feeds):
        if short[index] and feed.left <= room:
            parts[index] = feed.left
            room -= feed.left
    room = min(room, SHARED_PREFILL_TOKENS if any(parts) else PREFILL_TOKENS)
    for index, feed in enumerate(feeds):
        if not short[index]:
            parts[index] = min(room, feed.left - feed.tail)
            room -= parts[index]
    return parts
