"""Which decoded prompts stay in the KV cache, and which of them a new prompt can build on.

Bookkeeping alone: it names sequences, and ``models/llama.py`` moves them. Prompts of one role
share a head (instructions, examples) and differ in their tail, so an entry that a second prompt
shares only in part is cut down to that shared head, which then stays while it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WORTH_KEEPING = 16
"""A shared head of fewer tokens costs less to decode again than it is worth."""


@dataclass(slots=True)
class Entry:
    """A decoded run of tokens: positions 0 to ``len(tokens)`` of ``sequence``."""

    sequence: int
    tokens: tuple[int, ...]
    used: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """An entry whose first ``length`` tokens begin the prompt."""

    entry: Entry
    length: int


class PrefixCache:
    """At most ``len(sequences)`` decoded prompts, least recently used out first."""

    def __init__(self, sequences: Sequence[int]) -> None:
        self._free = list(sequences)
        self._entries: list[Entry] = []
        self._clock = 0

    def __len__(self) -> int:
        return len(self._entries)

    def match(self, prompt: Sequence[int]) -> Match | None:
        """The entry that shares the longest head with ``prompt``; of equals, the shortest.

        At least one token of the prompt is left to decode: its logits are needed.
        """
        best: Match | None = None
        for entry in self._entries:
            length = min(common_prefix(entry.tokens, prompt), len(prompt) - 1)
            if length < WORTH_KEEPING:
                continue
            if (
                best is None
                or length > best.length
                or (length == best.length and len(entry.tokens) < len(best.entry.tokens))
            ):
                best = Match(entry, length)
        if best is not None:
            self.touch(best.entry)
        return best

    def touch(self, entry: Entry) -> None:
        self._clock += 1
        entry.used = self._clock

    def shorten(self, entry: Entry, length: int) -> None:
        """The entry keeps only its first ``length`` tokens."""
        entry.tokens = entry.tokens[:length]

    def acquire(self) -> int | None:
        """A free sequence for a new entry; None where an entry has to go first."""
        return self._free.pop() if self._free else None

    def remove(self, entry: Entry) -> None:
        """Drop an entry, and give back its sequence."""
        self._entries.remove(entry)
        self._free.append(entry.sequence)

    def add(self, sequence: int, tokens: Sequence[int]) -> Entry:
        """A new entry in a sequence that ``acquire`` gave."""
        entry = Entry(sequence, tuple(tokens))
        self._entries.append(entry)
        self.touch(entry)
        return entry

    def evict(self, keep: Entry | None = None) -> Entry | None:
        """Drop the least recently used entry but ``keep``; None where there is no other."""
        others = [entry for entry in self._entries if entry is not keep]
        if not others:
            return None
        entry = min(others, key=lambda e: e.used)
        self.remove(entry)
        return entry


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading tokens ``a`` and ``b`` share."""
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length
