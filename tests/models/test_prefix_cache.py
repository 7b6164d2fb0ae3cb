"""Which decoded prompts are kept and built upon, on a KV cache of plain lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.kv_files import SavedPrefixes
from models.prefix_cache import WORTH_KEEPING, Entry, PrefixCache, common_prefix

HEAD = list(range(100, 140))


class FakeMemory:
    """Holds how many tokens each sequence has; a state is that number as text."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.refuses = False

    def fork(self, source: int, target: int, length: int) -> None:
        assert self.held[source] >= length
        assert not self.held.get(target)
        self.held[target] = length

    def truncate(self, sequence: int, length: int) -> None:
        self.held[sequence] = min(self.held.get(sequence, 0), length)

    def state(self, sequence: int) -> bytes:
        return b"%d" % self.held[sequence]

    def restore(self, sequence: int, state: bytes) -> bool:
        if not self.refuses:
            self.held[sequence] = int(state)
        return not self.refuses


class Cache(PrefixCache):
    """A cache whose calls decode at once what they are given."""

    def __init__(self, sequences: int = 8, resident: int = 1000, max_bytes: int = 1000) -> None:
        self.fake = FakeMemory()
        super().__init__(self.fake, list(range(sequences)), resident, max_bytes)

    def start(self, prompt: list[int], adapter: str | None = None, head: int = 0) -> Entry:
        entry = self.begin(prompt, adapter, head)
        assert entry is not None
        return entry

    def decode(self, entry: Entry, length: int | None = None) -> None:
        entry.length = len(entry.tokens) if length is None else length
        self.fake.held[entry.cells] = entry.length

    def call(self, prompt: list[int], adapter: str | None = None, head: int = 0) -> int:
        """One whole call; how many tokens it found decoded."""
        entry = self.start(prompt, adapter, head)
        shared = entry.length
        assert self.fake.held.get(entry.cells, 0) == shared
        self.decode(entry)
        self.end(entry, keep=True)
        return shared


def test_common_prefix_counts_leading_equals() -> None:
    def shared(a: list[int], b: list[int]) -> int:
        return common_prefix(np.array(a, np.int32), np.array(b, np.int32))

    assert shared([1, 2, 3], [1, 2, 4, 5]) == 2
    assert shared([], [1]) == 0
    assert shared([1, 2], [1, 2, 3]) == 2
    assert shared([1, 2], [3]) == 0


def test_a_prompt_is_decoded_behind_the_longest_head_that_is_known() -> None:
    cache = Cache()
    assert cache.call([*HEAD[:20], 1, 2]) == 0
    assert cache.call([*HEAD, 3, 4]) == 20
    assert cache.call([*HEAD, 5]) == 40


def test_the_same_prompt_again_has_one_token_left_to_decode() -> None:
    cache = Cache()
    cache.call(HEAD)
    assert cache.call(HEAD) == len(HEAD) - 1
    assert len(cache.entries) == 1


def test_a_short_head_is_not_worth_a_fork() -> None:
    cache = Cache()
    cache.call([*HEAD[: WORTH_KEEPING - 1], 1, 2])
    assert cache.call(HEAD) == 0


def test_adapters_share_nothing() -> None:
    cache = Cache()
    cache.call(HEAD)
    assert cache.call(HEAD, adapter="sha256:a") == 0
    assert cache.call(HEAD, adapter="sha256:b") == 0
    assert cache.call(HEAD, adapter="sha256:a") == len(HEAD) - 1


def test_a_call_waits_for_another_that_is_decoding_the_same_head() -> None:
    cache = Cache()
    first = cache.start([*HEAD, 1])
    assert cache.begin([*HEAD, 2], None) is None
    assert cache.begin([*HEAD, 2], "sha256:a") is not None
    cache.decode(first)
    second = cache.start([*HEAD, 2])
    assert second.length == len(HEAD)
    # The first call is still running, so its prompt was not cut.
    assert first.length == len(HEAD) + 1


def test_prompts_beyond_what_stays_are_parked_and_come_back() -> None:
    cache = Cache(resident=90)
    heads = [list(range(start, start + 40)) for start in (1000, 2000, 3000)]
    for head in heads:
        cache.call(head)
    parked = [e for e in cache.entries if e.state is not None]
    assert [e.tokens[0] for e in parked] == [1000]
    assert sum(cache.fake.held.values()) == 80
    assert cache.call([*heads[0], 7]) == 40


def test_parked_prompts_are_dropped_by_bytes_the_least_recently_used_first() -> None:
    cache = Cache(resident=0, max_bytes=4)
    heads = [list(range(start, start + 40)) for start in (1000, 2000, 3000, 4000)]
    for head in heads:
        cache.call(head)
    assert cache.parked_bytes <= 4
    assert cache.call([*heads[0], 7]) == 0
    assert cache.call([*heads[3], 7]) == 40


def test_a_state_that_cannot_be_restored_is_decoded_anew() -> None:
    cache = Cache(resident=0)
    cache.call(HEAD)
    cache.call([*range(40)])
    cache.fake.refuses = True
    assert cache.call([*HEAD, 7]) == 0
    assert len(cache.free) + sum(e.sequence is not None for e in cache.entries) == 8


def test_failed_calls_leave_nothing_behind() -> None:
    cache = Cache()
    for n in range(20):
        entry = cache.start([n, *HEAD])
        cache.decode(entry, 10)
        cache.end(entry, keep=False)
    assert not cache.entries
    assert len(cache.free) == 8
    assert not any(cache.fake.held.values())


def test_sequences_that_run_out_are_taken_from_idle_prompts() -> None:
    cache = Cache(sequences=3)
    for start in (1000, 2000, 3000):
        cache.call(list(range(start, start + 40)))
    assert cache.call(list(range(4000, 4040))) == 0
    with pytest.raises(RuntimeError, match="sequences"):
        for _ in range(4):
            cache.acquire()


def test_shared_heads_are_saved_and_known_after_a_restart(tmp_path: Path) -> None:
    cache = Cache()
    cache.call([*HEAD, 1])
    cache.call([*HEAD, 2])
    cache.call([*range(40)])
    files = SavedPrefixes(tmp_path / "kv", "key", max_bytes=10**6)
    cache.save(files, None)
    assert [saved.tokens for saved in files.index()] == [tuple(HEAD)]

    again = Cache()
    again.remember(files, None)
    assert again.call([*HEAD, 3]) == len(HEAD)
    files.index()[0].path.write_bytes(b"damaged")
    third = Cache()
    third.remember(files, None)
    assert third.call([*HEAD, 3]) == 0


def test_the_head_of_a_single_prompt_is_saved_without_its_tail(tmp_path: Path) -> None:
    cache = Cache()
    cache.call([*HEAD, 1, 2, 3], head=len(HEAD))
    cache.call([*range(40)])
    files = SavedPrefixes(tmp_path / "kv", "key", max_bytes=10**6)
    cache.save(files, None)
    (saved,) = files.index()
    assert saved.tokens == tuple(HEAD)
    assert files.load(saved) == b"%d" % len(HEAD)
