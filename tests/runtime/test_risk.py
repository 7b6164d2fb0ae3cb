"""Certified thresholds keep their promise, and say so where they cannot make one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import UsageError
from runtime.risk import (
    binomial_p,
    certify,
    hoeffding_bentkus_p,
    risk_bound,
    rows_needed,
)


def drawn(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores in [0, 1], each row right with exactly its score: selective risk is known."""
    scores = rng.random(n) ** 0.25
    return scores, rng.random(n) < scores


def true_risk(threshold: float) -> float:
    """E[1 - s | s >= t] for s = u ** 0.25: density 4 s^3 on [t, 1]."""
    kept = 1 - threshold**4
    return float(1 - 0.8 * (1 - threshold**5) / kept)


def test_binomial_p_is_the_sum_of_the_binomial() -> None:
    for wrong, n, alpha in [(0, 10, 0.1), (3, 40, 0.05), (17, 60, 0.5)]:
        exact = sum(math.comb(n, k) * alpha**k * (1 - alpha) ** (n - k) for k in range(wrong + 1))
        assert binomial_p(wrong, n, alpha) == pytest.approx(exact, rel=1e-9)


def test_binomial_p_of_many_rows_neither_underflows_nor_exceeds_one() -> None:
    assert 0.0 < binomial_p(900, 100_000, 0.01) < 0.01
    assert binomial_p(99_999, 100_000, 0.5) == pytest.approx(1.0)
    assert binomial_p(0, 0, 0.1) == 1.0


def test_hoeffding_bentkus_is_never_below_the_exact_p_value() -> None:
    for wrong in range(0, 30, 3):
        assert hoeffding_bentkus_p(wrong / 300, 300, 0.1) >= binomial_p(wrong, 300, 0.1) * (
            1 - 1e-9
        )


def test_rows_needed_is_the_least_number_that_rejects() -> None:
    for wrong in (0, 2, 8):
        n = rows_needed(0.05, 0.02, wrong)
        assert binomial_p(wrong, n, 0.05) <= 0.02 < binomial_p(wrong, n - 1, 0.05)


def test_one_percent_takes_about_three_hundred_rows_without_a_fault_at_five_percent_doubt() -> None:
    assert rows_needed(0.01, 0.05) == 299


def test_bound_is_where_the_p_value_meets_delta() -> None:
    bound = risk_bound(4, 200, 0.02)
    assert binomial_p(4, 200, bound) == pytest.approx(0.02, rel=1e-6)
    assert risk_bound(5, 5, 0.02) == 1.0


@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_certificates_are_wrong_no_more_often_than_delta(alpha: float) -> None:
    rng = np.random.default_rng(11)
    broken = given = 0
    for _ in range(400):
        certified = certify(*drawn(rng, 2000), alpha, delta=0.1)
        if certified.threshold is not None:
            given += 1
            broken += true_risk(certified.threshold) > alpha
    assert given > 300
    # 400 draws at 0.1: four standard deviations above is 0.16.
    assert broken / 400 < 0.16


def test_thresholds_given_beforehand_hold_too_where_risk_is_not_monotone() -> None:
    rng = np.random.default_rng(12)
    broken = 0
    for _ in range(300):
        scores = rng.random(800)
        # The surest tenth is the worst, as with a model that is sure of what it never saw.
        right = rng.random(800) < np.where(scores > 0.9, 0.8, 0.97)
        certified = certify(scores, right, 0.05, delta=0.1, thresholds=[0.9, 0.7, 0.5, 0.3, 0.0])
        if certified.threshold is not None:
            risk = (0.1 * 0.2 + (0.9 - certified.threshold) * 0.03) / (1 - certified.threshold)
            broken += risk > 0.05
    assert broken / 300 < 0.16


def test_more_rows_keep_more_and_come_near_the_best_threshold() -> None:
    rng = np.random.default_rng(13)
    few = [certify(*drawn(rng, 300), 0.1).coverage for _ in range(20)]
    many = [certify(*drawn(rng, 20_000), 0.1).coverage for _ in range(5)]
    grid = np.linspace(0, 0.999, 1000)
    best = max(1 - t**4 for t in grid if true_risk(t) <= 0.1)
    assert np.mean(few) < np.mean(many) <= best + 0.02
    assert np.mean(many) > best - 0.05


def test_rows_that_cannot_certify_say_what_they_can() -> None:
    scores = np.linspace(0, 1, 120)
    certified = certify(scores, np.ones(120, bool), 0.01)
    assert certified.threshold is None and not certified.holds
    assert certified.smallest_alpha is not None
    assert 0.01 < certified.smallest_alpha < 0.1
    again = certify(scores, np.ones(120, bool), certified.smallest_alpha)
    assert again.holds
    assert f"{certified.smallest_alpha:.1%}" in certified.reason


def test_nothing_is_certified_on_no_rows_or_on_wrong_ones_alone() -> None:
    none = certify(np.zeros(0), np.zeros(0, bool), 0.1)
    assert none.threshold is None and none.smallest_alpha is None and none.n == 0
    wrong = certify(np.linspace(0, 1, 500), np.zeros(500, bool), 0.1)
    assert wrong.threshold is None and wrong.smallest_alpha is None
    assert "no alpha" in wrong.reason


def test_one_wrong_row_at_the_top_does_not_end_the_sequence() -> None:
    scores = np.linspace(1, 0, 2000)
    right = np.ones(2000, bool)
    right[0] = False
    certified = certify(scores, right, 0.05)
    assert certified.coverage == 1.0


def test_rows_of_one_score_are_kept_together_or_not_at_all() -> None:
    scores = np.repeat([0.9, 0.5], 500)
    right = np.concatenate([np.ones(500, bool), np.arange(500) % 2 == 0])
    certified = certify(scores, right, 0.05)
    assert (certified.threshold, certified.kept, certified.wrong) == (0.9, 500, 0)
    assert certified.bound < 0.05


def test_fractional_losses_are_certified_with_hoeffding_bentkus() -> None:
    scores = np.linspace(0, 1, 4000)
    right = np.where(scores > 0.4, 0.98, 0.3)
    certified = certify(scores, right, 0.05)
    assert certified.threshold is not None and 0.35 < certified.threshold < 0.5
    assert 0.02 < certified.bound <= 0.05


@pytest.mark.parametrize(
    ("scores", "right", "alpha"),
    [
        (np.zeros(3), np.ones(2, bool), 0.1),
        (np.zeros(2), np.ones(2, bool), 5.0),
        (np.array([np.nan, 0.0]), np.ones(2, bool), 0.1),
        (np.zeros(2), np.array([2.0, 0.0]), 0.1),
    ],
)
def test_what_makes_no_sense_is_refused(
    scores: NDArray[np.float64], right: NDArray[np.float64], alpha: float
) -> None:
    with pytest.raises(UsageError):
        certify(scores, right, alpha)
