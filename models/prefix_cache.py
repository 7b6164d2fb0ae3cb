"""Which decoded prompts are kept, and what a new prompt can build on.

Prompts of one role share a head (instructions, examples, tool lists) and differ in their tail. A
prompt is decoded behind the longest head that is known for its adapter. Kept are: some prompts in
the KV cache itself; others parked in ordinary memory; and heads on disk, so that a restart is
warm. The least recently used go first.
Belongs to the engine's thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.kv_files import SavedPrefixes

WORTH_KEEPING = 16
"""A head of fewer tokens costs less to decode again than it is worth."""
KEPT_PROMPTS = 16
"""Idle prompts in the KV cache, at most."""


class Memory(Protocol):
    """The KV cache, as ``LlamaContext`` has it."""

    def fork(self, source: int, target: int, length: int) -> None: ...
    def truncate(self, sequence: int, length: int) -> None: ...
    def state(self, sequence: int) -> bytes: ...
    def restore(self, sequence: int, state: bytes) -> bool: ...


@dataclass(slots=True, eq=False)
class Entry:
    """A prompt, of which the first ``length`` tokens are decoded under ``adapter``.

    In the KV cache where it has a ``sequence``, else parked in ``state``, else on disk.
    """

    adapter: str | None
    tokens: NDArray[np.int32]
    length: int
    sequence: int | None
    state: bytes | None = None
    load: Callable[[], bytes | None] | None = None
    """Reads the state from disk; None where it is not there."""
    active: bool = False
    head: int = 0
    """Tokens that other prompts of its kind will begin with too."""
    hits: int = 0
    """Other prompts that were decoded behind it."""
    used: int = 0

    @property
    def cells(self) -> int:
        """Its sequence in the KV cache, where it has one."""
        if self.sequence is None:
            raise RuntimeError("this prompt is not in the KV cache")
        return self.sequence


@dataclass(slots=True)
class PrefixCache:
    """``resident_tokens``: idle tokens in the KV cache; ``max_bytes``: parked in memory."""

    memory: Memory
    free: list[int]
    resident_tokens: int
    max_bytes: int
    entries: list[Entry] = field(default_factory=list)
    _clock: int = 0

    def begin(self, prompt: Sequence[int], adapter: str | None, head: int = 0) -> Entry | None:
        """A sequence of its own for a prompt, forked from the longest head that is decoded.

        At least one token is left to decode: its logits are needed. None where a call that is
        running is about to decode more of the same head: wait for it, rather than do it twice.
        """
        import numpy as np

        tokens = np.asarray(prompt, np.int32)
        source, shared = self._match(tokens, adapter)
        for other in self.entries:
            if other.active and other.adapter == adapter and other.length < len(other.tokens):
                coming = min(common_prefix(other.tokens, tokens), len(other.tokens) - 1)
                if coming >= shared + WORTH_KEEPING:
                    return None
        sequence = self.acquire()
        entry = Entry(adapter, tokens, 0, sequence, active=True, head=head)
        if source is not None and self._resident(source):
            self.memory.fork(source.cells, sequence, shared)
            entry.length = shared
            source.hits += 1
            self._touch(source)
            common = common_prefix(source.tokens, tokens)
            if not source.active and common < source.length:
                self._shorten(source, common)
        self.entries.append(entry)
        self._touch(entry)
        return entry

    def end(self, entry: Entry, *, keep: bool) -> None:
        """The call of ``entry`` is over: keep its prompt, or free what it held."""
        entry.active = False
        entry.length = min(entry.length, len(entry.tokens))
        self.memory.truncate(entry.cells, entry.length)
        if not keep or entry.length < WORTH_KEEPING or self._covered(entry, slack=0):
            self._remove(entry)
        self._trim()

    def acquire(self) -> int:
        """A free sequence."""
        while not self.free:
            if not self.make_room():
                raise RuntimeError("more sequences are in use than the context has")
        return self.free.pop()

    def release(self, sequence: int) -> None:
        """Give back a sequence that ``acquire`` gave, and forget what it held."""
        self.memory.truncate(sequence, 0)
        self.free.append(sequence)

    def make_room(self) -> bool:
        """Take the least recently used idle prompt out of the KV cache; False where none is."""
        idle = [e for e in self.entries if not e.active and e.sequence is not None]
        if not idle:
            return False
        self._park(min(idle, key=lambda e: e.used))
        return True

    def remember(self, files: SavedPrefixes, adapter: str | None) -> None:
        """Prompts whose decoded state lies on disk."""
        import numpy as np

        for item in files.index():
            tokens = np.asarray(item.tokens, np.int32)
            load = partial(files.load, item)
            self.entries.append(Entry(adapter, tokens, len(tokens), None, load=load))

    def save(self, files: SavedPrefixes, adapter: str | None) -> None:
        """Write heads to disk: what several prompts shared, or a single one will. For the end:
        prompts in the KV cache are cut down to their heads."""
        for entry in self.entries:
            length = entry.length if entry.hits else min(entry.head, entry.length)
            if entry.adapter != adapter or entry.load or length < 2 * WORTH_KEEPING:
                continue
            if entry.sequence is not None:
                self.memory.truncate(entry.sequence, length)
                files.save(tuple(entry.tokens[:length].tolist()), self.memory.state(entry.sequence))
            elif entry.state is not None and length == entry.length:
                files.save(tuple(entry.tokens[:length].tolist()), entry.state)

    @property
    def parked_bytes(self) -> int:
        return sum(len(e.state) for e in self.entries if e.state is not None)

    def _match(self, tokens: NDArray[np.int32], adapter: str | None) -> tuple[Entry | None, int]:
        """The entry with the longest head of ``tokens``; of equals, one in the KV cache."""
        best, shared = None, 0
        for entry in self.entries:
            if entry.adapter != adapter:
                continue
            length = min(common_prefix(entry.tokens, tokens), entry.length, len(tokens) - 1)
            if length < WORTH_KEEPING or length < shared:
                continue
            if best is None or length > shared or _nearer(entry, best):
                best, shared = entry, length
        return best, shared

    def _resident(self, entry: Entry) -> bool:
        """Bring an entry into the KV cache. False where its state turns out to be damaged."""
        if entry.sequence is not None:
            return True
        state = entry.state
        if state is None and entry.load is not None:
            state = entry.load()
        if state is not None:
            entry.active = True  # Not to be evicted to make room for itself.
            try:
                sequence = self.acquire()
                while not (restored := self.memory.restore(sequence, state)) and self.make_room():
                    pass
            finally:
                entry.active = False
            if restored:
                entry.sequence, entry.state = sequence, None
                return True
            self.release(sequence)
        self._remove(entry)
        return False

    def _shorten(self, entry: Entry, length: int) -> None:
        """Cut an idle entry down to the head that others share: its tail was for one call."""
        self.memory.truncate(entry.cells, length)
        entry.tokens, entry.length, entry.load = entry.tokens[:length], length, None

    def _covered(self, entry: Entry, slack: int) -> bool:
        """True where another kept entry begins with all of it, but for ``slack`` tokens."""
        return any(
            other is not entry
            and other.adapter == entry.adapter
            and not other.active
            and min(common_prefix(other.tokens, entry.tokens), other.length) >= entry.length - slack
            for other in self.entries
        )

    def _trim(self) -> None:
        """Park what the KV cache should not hold, and drop what memory should not."""
        while True:
            idle = [e for e in self.entries if not e.active and e.sequence is not None]
            few = len(idle) <= KEPT_PROMPTS
            if len(idle) < 2 or (few and _cells(idle) <= self.resident_tokens):
                break
            self._park(min(idle, key=lambda e: e.used))
        while self.parked_bytes > self.max_bytes:
            parked = [e for e in self.entries if e.state is not None]
            self._remove(min(parked, key=lambda e: e.used))

    def _park(self, entry: Entry) -> None:
        """Out of the KV cache, into memory; dropped where little beyond other heads is lost."""
        if self._covered(entry, slack=2 * WORTH_KEEPING):
            self._remove(entry)
            return
        entry.state = self.memory.state(entry.cells)
        self.release(entry.cells)
        entry.sequence = None

    def _remove(self, entry: Entry) -> None:
        self.entries.remove(entry)
        if entry.sequence is not None:
            self.release(entry.sequence)
            entry.sequence = None
        entry.state = None

    def _touch(self, entry: Entry) -> None:
        self._clock += 1
        entry.used = self._clock


def common_prefix(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """How many leading tokens ``a`` and ``b`` share."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    first = int(differs.argmax()) if length else 0
    return first if length and differs[first] else length


def _nearer(a: Entry, b: Entry) -> bool:
    """True where ``a`` is cheaper to build on than ``b``: in the KV cache, and shorter."""
    places = [(e.sequence is None, e.state is None, e.length) for e in (a, b)]
    return places[0] < places[1]


def _cells(entries: Sequence[Entry]) -> int:
    """KV cells of several entries: shared heads count once."""
    kept = sorted(entries, key=lambda e: e.tokens[: e.length].tolist())
    total = sum(e.length for e in kept)
    for before, after in itertools.pairwise(kept):
        shared = common_prefix(before.tokens, after.tokens)
        total -= min(shared, before.length, after.length)
    return total
