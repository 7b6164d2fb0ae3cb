"""Calibration recovers what was put in, and its measures tell good probabilities from bad."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.calibrate import (
    expected_calibration_error,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    log_loss,
    sigmoid,
    softmax,
    threshold_at_recall,
)


def drawn(temperature: float, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(7)
    logits = rng.normal(scale=3.0, size=(rows, 4))
    cumulative = softmax(logits, temperature).cumsum(axis=1)
    return logits, (rng.random((rows, 1)) > cumulative).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_that_labels_were_drawn_at_is_found(temperature: float) -> None:
    logits, labels = drawn(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.06)


def test_fitted_temperature_has_the_least_log_loss() -> None:
    logits, labels = drawn(2.0)
    best = fit_temperature(logits, labels)
    for other in (best * 0.8, best * 1.25):
        assert log_loss(logits, labels, best) < log_loss(logits, labels, other)


def test_platt_finds_slope_and_offset() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(scale=2.0, size=20_000)
    positive = rng.random(20_000) < sigmoid(1.5 * scores - 0.7)
    slope, offset = fit_platt(scores, positive)
    assert slope == pytest.approx(1.5, rel=0.08)
    assert offset == pytest.approx(-0.7, abs=0.1)


def test_platt_stays_finite_on_scores_that_separate() -> None:
    scores = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    slope, offset = fit_platt(scores, scores > 0)
    probabilities = sigmoid(slope * scores + offset)
    assert np.isfinite([slope, offset]).all()
    assert 0.0 < probabilities[0] < 0.5 < probabilities[-1] < 1.0


def test_calibrated_probabilities_have_small_error_and_overconfident_ones_a_large_one() -> None:
    rng = np.random.default_rng(5)
    probabilities = rng.uniform(0.5, 1.0, 20_000)
    right = rng.random(20_000) < probabilities
    assert expected_calibration_error(probabilities, right) < 0.02
    assert expected_calibration_error(np.full(20_000, 0.99), right) > 0.2


def test_calibration_error_of_certain_and_right_is_zero() -> None:
    assert expected_calibration_error(np.ones(10), np.ones(10, dtype=bool)) == 0.0


@pytest.mark.parametrize("recall", [0.5, 0.85, 1.0])
def test_threshold_rejects_just_the_share_asked_for(recall: float) -> None:
    scores = np.random.default_rng(1).random(100)
    threshold = threshold_at_recall(scores, recall)
    assert (scores < threshold).mean() == pytest.approx(recall)


def test_softmax_and_sigmoid_do_not_overflow() -> None:
    assert softmax(np.array([[1e4, 0.0]]))[0].tolist() == [1.0, 0.0]
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


def test_isotonic_recovers_rising_steps_and_pools_what_falls() -> None:
    rng = np.random.default_rng(9)
    scores = rng.uniform(0.0, 1.0, 20_000)
    chance = np.clip(scores**2, 0.05, 0.9)
    knots, values = fit_isotonic(scores, (rng.random(20_000) < chance).astype(float))
    at = np.array([0.1, 0.5, 0.8])
    assert np.interp(at, knots, values) == pytest.approx([0.05, 0.25, 0.64], abs=0.05)
    assert (np.diff(values) >= 0).all() and (np.diff(knots) > 0).all()


def test_isotonic_of_falling_outcomes_is_their_mean() -> None:
    knots, values = fit_isotonic(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.0, 0.0, 0.0]))
    assert values.tolist() == [0.5]
    assert knots.tolist() == [1.5]
