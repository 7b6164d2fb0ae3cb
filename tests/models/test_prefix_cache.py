"""Which decoded prompts are kept and built upon."""

from __future__ import annotations

from models.prefix_cache import PrefixCache, common_prefix

HEAD = list(range(100, 140))


def add(cache: PrefixCache, tokens: list[int]) -> int:
    sequence = cache.acquire()
    assert sequence is not None
    cache.add(sequence, tokens)
    return sequence


def test_common_prefix_counts_leading_equals() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_prefix([], [1]) == 0
    assert common_prefix([1, 2], [1, 2, 3]) == 2


def test_the_longest_shared_head_matches() -> None:
    cache = PrefixCache(range(4))
    add(cache, [*HEAD[:20], 1, 2, 3])
    longest = add(cache, [*HEAD, 4, 5])
    match = cache.match([*HEAD, 9])
    assert match is not None
    assert (match.entry.sequence, match.length) == (longest, len(HEAD))


def test_of_equal_heads_the_shortest_entry_matches() -> None:
    cache = PrefixCache(range(4))
    add(cache, [*HEAD, 1, 2])
    bare = add(cache, HEAD)
    match = cache.match([*HEAD, 9])
    assert match is not None
    assert match.entry.sequence == bare


def test_the_last_token_of_a_prompt_is_always_left_to_decode() -> None:
    cache = PrefixCache(range(2))
    add(cache, HEAD)
    match = cache.match(HEAD)
    assert match is not None
    assert match.length == len(HEAD) - 1


def test_a_short_shared_head_is_no_match() -> None:
    cache = PrefixCache(range(2))
    add(cache, HEAD)
    assert cache.match([*HEAD[:8], 1, 2, 3]) is None
    assert cache.match([5, *HEAD]) is None


def test_the_least_recently_used_goes_first_and_the_kept_one_stays() -> None:
    cache = PrefixCache(range(2))
    first = add(cache, HEAD)
    second = add(cache, [1, *HEAD])
    match = cache.match([*HEAD, 7])
    assert match is not None
    assert match.entry.sequence == first  # used last now
    assert cache.acquire() is None
    gone = cache.evict(keep=match.entry)
    assert gone is not None
    assert gone.sequence == second
    assert cache.evict(keep=match.entry) is None
    assert cache.acquire() == second
