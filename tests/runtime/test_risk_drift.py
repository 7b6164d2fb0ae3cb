"""Drift is seen when answers get worse, and rarely where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import UsageError
from runtime.risk_drift import Drift, watch_each


def test_answers_within_alpha_raise_no_alarm() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(20):
        alarms += Drift.watch(0.05).after_all(map(bool, rng.random(2000) < 0.05)).recalibrate
    # 40,000 outcomes at the very edge, one alarm in 10,000 at most on average, once a watch.
    assert alarms <= 8


def test_a_worse_rate_is_seen_soon_after_a_long_good_time() -> None:
    rng = np.random.default_rng(2)
    good = rng.random(3000) < 0.02
    bad = rng.random(1000) < 0.2
    state = Drift.watch(0.05).after_all(map(bool, good))
    assert not state.recalibrate
    state = state.after_all(map(bool, bad))
    assert state.alarm_at is not None
    assert 3000 < state.alarm_at < 3200
    assert "calibrate again" in state.reason


def test_alarm_stays_and_names_the_outcome_that_raised_it() -> None:
    state = Drift.watch(0.01).after_all([True] * 10)
    first = state.alarm_at
    assert first is not None and first < 10
    assert state.after_all([False] * 500).alarm_at == first


def test_the_leading_bet_starts_anew_after_good_answers() -> None:
    state = Drift.watch(0.1).after_all([False] * 50 + [True] * 3)
    assert state.since <= 4
    assert (state.outcomes, state.wrong) == (53, 3)


def test_no_outcomes_are_no_evidence() -> None:
    state = Drift.watch(0.05)
    assert not state.recalibrate
    assert "0 of 0" in state.reason


@pytest.mark.parametrize(("alpha", "run_length"), [(0.0, 100.0), (1.0, 100.0), (0.1, 1.0)])
def test_numbers_out_of_range_are_refused(alpha: float, run_length: float) -> None:
    with pytest.raises(UsageError):
        Drift.watch(alpha, run_length)


def test_each_kind_and_model_is_watched_on_its_own() -> None:
    outcomes = [("shell", "a", False), ("gui", "a", True), ("shell", "b", True)] * 40
    found = watch_each(outcomes, 0.05)
    assert {key for key, drift in found.items() if drift.recalibrate} == {
        ("gui", "a"),
        ("shell", "b"),
    }
    assert found["shell", "a"].outcomes == 40
