"""The choice of a token and its evidence, on logits whose probabilities are known."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import UsageError
from models.sampling import Sampler, Sampling, draw, likeliest, log_softmax, nucleus, pick

ODDS = [0.1, 0.4, 0.2, 0.3]
LOGITS = np.log(np.array(ODDS, np.float32))


def test_all_tokens_are_allowed_by_default() -> None:
    best = pick(LOGITS, None)
    assert best.token == 1
    assert best.logprob == pytest.approx(math.log(0.4), abs=1e-6)
    assert best.margin == pytest.approx(0.1, abs=1e-6)


def test_a_probability_is_among_the_allowed_tokens_only() -> None:
    best = pick(LOGITS, np.array([0, 3]))
    assert best.token == 3
    assert best.logprob == pytest.approx(math.log(0.75), abs=1e-6)
    assert best.margin == pytest.approx(0.5, abs=1e-6)


def test_a_single_allowed_token_is_certain() -> None:
    assert pick(LOGITS, np.array([2])) == (2, 0.0, 1.0)


def test_a_tie_has_no_margin() -> None:
    assert pick(np.zeros(4, np.float32), None).margin == 0


def test_large_logits_do_not_overflow() -> None:
    even = log_softmax(np.array([1e4, 1e4], np.float32))
    assert even[0] == pytest.approx(math.log(0.5))
    assert np.exp(log_softmax(LOGITS + 1e4)).sum() == pytest.approx(1, abs=1e-3)


def shares(**options: Any) -> list[float]:
    """How much of [0, 1) draws each token."""
    sampling = Sampling(**{"temperature": 1.0, **options})
    values = LOGITS.astype(np.float64)
    steps = 10_000
    drawn = Counter(draw(values, sampling, (n + 0.5) / steps) for n in range(steps))
    return [drawn[index] / steps for index in range(len(ODDS))]


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    assert shares() == pytest.approx(ODDS, abs=1e-3)


def test_temperature_divides_the_logits() -> None:
    squared = [p**2 for p in ODDS]
    assert shares(temperature=0.5) == pytest.approx([p / sum(squared) for p in squared], abs=1e-3)
    assert shares(temperature=0) == [0, 1, 0, 0]
    assert shares(temperature=1e-320) == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.0, [1]), (0.39, [1]), (0.6, [1, 3]), (0.71, [1, 2, 3])]
)
def test_top_p_draws_from_the_fewest_likeliest(top_p: float, kept: list[int]) -> None:
    total = sum(ODDS[index] for index in kept)
    expected = [p / total if index in kept else 0 for index, p in enumerate(ODDS)]
    assert shares(top_p=top_p) == pytest.approx(expected, abs=1e-3)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=60), st.floats(0, 0.999))
def test_a_nucleus_is_as_if_all_were_sorted(weights: list[float], top_p: float) -> None:
    odds = np.array(weights) / sum(weights)
    kept = nucleus(odds, top_p)
    assert [*kept] == sorted(kept)
    left = np.delete(odds, kept)
    assert not len(left) or odds[kept].min() >= left.max()
    assert odds[kept].sum() >= top_p - 1e-9
    assert len(kept) == 1 or odds[kept].sum() - odds[kept].min() < top_p + 1e-9


def test_a_nucleus_of_equals_is_no_larger_than_it_has_to_be() -> None:
    assert [*nucleus(np.full(8, 0.125), 0.5)] == [0, 1, 2, 3]
    assert [*nucleus(np.array([0.1, 0.4, 0.1, 0.4]), 0.85)] == [0, 1, 3]


def test_no_random_number_draws_a_token_that_cannot_be() -> None:
    values = np.array([-np.inf, 0.0, -np.inf])
    for at in (0.0, 0.5, math.nextafter(1, 0)):
        assert draw(values, Sampling(temperature=1), at) == 1


def test_a_drawn_token_has_the_probability_that_the_model_gave_it() -> None:
    sampler = Sampler(Sampling(temperature=2, seed=1))
    picks = {found.token: found for found in (sampler.pick(LOGITS, None) for _ in range(200))}
    for token, probability in enumerate(ODDS):
        assert picks[token].logprob == pytest.approx(math.log(probability), abs=1e-6)
        assert picks[token].margin == (pytest.approx(0.1, abs=1e-6) if token == 1 else 0)


def test_only_allowed_tokens_are_drawn() -> None:
    sampler = Sampler(Sampling(temperature=2, seed=2))
    picks = [sampler.pick(LOGITS, np.array([0, 2])) for _ in range(100)]
    assert {found.token for found in picks} == {0, 2}
    logprobs = {found.token: found.logprob for found in picks}
    assert logprobs[0] == pytest.approx(math.log(1 / 3), abs=1e-6)


def test_the_frequency_penalty_grows_with_each_time_and_the_presence_penalty_does_not() -> None:
    """ln 0.4 - ln 0.3 is 0.29, and ln 0.4 - ln 0.2 is 0.69."""
    often = Sampler(Sampling(frequency_penalty=0.2))
    once = Sampler(Sampling(presence_penalty=0.2))
    for sampler, expected in ((often, [1, 1, 3, 1]), (once, [1, 1, 1, 1])):
        found = []
        for _ in range(4):
            token = sampler.pick(LOGITS, None).token
            sampler.wrote(token)
            found.append(token)
        assert found == expected
    once = Sampler(Sampling(presence_penalty=0.3))
    once.wrote(1)
    assert once.pick(LOGITS, None).token == 3
    liked = Sampler(Sampling(presence_penalty=-2))
    liked.wrote(0)
    assert liked.pick(LOGITS, np.array([0, 1, 3])).token == 0


@pytest.mark.parametrize("seed", [0, 7, -7, 2**63, -(2**63)])
def test_a_seed_draws_the_same_again(seed: int) -> None:
    def drawn(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(temperature=1, seed=seed))
        return [sampler.pick(LOGITS, None).token for _ in range(60)]

    assert drawn(seed) == drawn(seed)
    assert drawn(seed) != drawn(seed + 1)
    assert drawn(None) != drawn(None)


def test_a_forced_choice_takes_no_random_number() -> None:
    plain, forced = (Sampler(Sampling(temperature=1, seed=3)) for _ in range(2))
    expected = [plain.pick(LOGITS, None).token for _ in range(30)]
    found = []
    for _ in range(30):
        assert forced.pick(LOGITS, np.array([2])) == (2, 0.0, 1.0)
        found.append(forced.pick(LOGITS, None).token)
    assert found == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": 2.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": -0.1},
        {"top_p": 1.1},
        {"presence_penalty": 2.5},
        {"frequency_penalty": -2.5},
        {"frequency_penalty": math.nan},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_greedy_is_what_changes_nothing() -> None:
    assert Sampling().greedy
    assert Sampling(top_p=0.5, seed=3).greedy
    assert not Sampling(temperature=0.1).greedy
    assert not Sampling(presence_penalty=-1).greedy
    assert not Sampling(frequency_penalty=1).greedy


def test_alternatives_are_the_likeliest_of_the_allowed_with_their_probabilities() -> None:
    found = likeliest(LOGITS, None, 3, pick(LOGITS, None))
    assert [token for token, _ in found] == [1, 3, 2]
    assert [math.exp(logprob) for _, logprob in found] == pytest.approx([0.4, 0.3, 0.2], abs=1e-6)
    allowed = np.array([0, 2, 3])
    among = likeliest(LOGITS, allowed, 20, pick(LOGITS, allowed))
    assert [token for token, _ in among] == [3, 2, 0]
    assert sum(math.exp(logprob) for _, logprob in among) == pytest.approx(1, abs=1e-6)
