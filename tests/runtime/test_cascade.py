"""The cascade's score is calibrated, learns from what came after, and names what moved it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import UsageError
from runtime.benefit import ASSUMED_RATE, fit_benefit, general_rate
from runtime.calibrate import expected_calibration_error, sigmoid
from runtime.cascade import COLUMNS, Cascade, Signals, fit_cascade
from runtime.logistic import fit_layer

DIGEST = "sha256:" + "5" * 64


def steps(
    n: int, seed: int, *, after: bool = True
) -> tuple[list[Signals], NDArray[np.bool_], NDArray[np.float64]]:
    """Steps whose chance of being right depends on the Router and on the answer's confidence."""
    rng = np.random.default_rng(seed)
    router, sure = rng.normal(size=n), rng.normal(size=n)
    chance = sigmoid(1.0 * router + 1.5 * sure + 0.5)
    rows = [
        Signals(
            probability=float(sigmoid(np.array(r))),
            chars=int(rng.integers(5, 200)),
            confidence=float(sigmoid(np.array(s))) if after else None,
        )
        for r, s in zip(router, sure, strict=True)
    ]
    return rows, rng.random(n) < chance, chance


def test_probabilities_are_calibrated_on_new_steps() -> None:
    rows, right, _ = steps(3000, 1)
    cascade = fit_cascade(rows, right.tolist(), model=DIGEST)
    new, outcome, chance = steps(3000, 2)
    found = cascade.probability(new)
    assert expected_calibration_error(found, outcome) < 0.04
    assert np.abs(found - chance).mean() < 0.05


def test_what_comes_after_the_answer_makes_the_score_sharper() -> None:
    def brier(after: bool) -> float:
        rows, right, _ = steps(2000, 3, after=after)
        cascade = fit_cascade(rows, right.tolist(), model=DIGEST)
        new, outcome, _ = steps(2000, 4, after=after)
        return float(((cascade.probability(new) - outcome) ** 2).mean())

    assert brier(after=True) < brier(after=False) - 0.03


def test_isotonic_straightens_what_the_layer_bends() -> None:
    rng = np.random.default_rng(5)
    odds = rng.uniform(-4, 4, 6000)
    # A plateau that no logistic function follows.
    chance = np.where(odds < 0, 0.3, 0.9)
    right = rng.random(6000) < chance
    rows = [Signals(probability=float(p)) for p in sigmoid(odds)]
    cascade = fit_cascade(rows, right.tolist(), model=DIGEST)
    at = cascade.probability(
        [Signals(probability=float(p)) for p in sigmoid(np.array([-3.0, -1.0, 1.0, 3.0]))]
    )
    assert at == pytest.approx([0.3, 0.3, 0.9, 0.9], abs=0.06)


def test_probability_never_falls_as_the_score_rises() -> None:
    rows, right, _ = steps(1500, 6)
    cascade = fit_cascade(rows, right.tolist(), model=DIGEST)
    side = cascade.after
    odds = np.argsort(side.layer.log_odds(side.table(rows)))
    assert (np.diff(cascade.probability(rows)[odds]) >= -1e-12).all()


def test_effects_add_up_to_the_score_and_unknown_signals_move_nothing() -> None:
    rows, right, _ = steps(400, 7)
    cascade = fit_cascade(rows, right.tolist(), model=DIGEST)
    assert not len(cascade.after.knots)
    row = Signals(probability=0.9, chars=20, confidence=0.7)
    effects = cascade.effects(row)
    assert "confidence" in effects and "problems" not in effects
    total = sum(effects.values()) + cascade.after.layer.offset
    assert sigmoid(np.array([total])) == pytest.approx(cascade.probability([row]))
    assert set(effects) <= set(COLUMNS)


def test_what_is_not_known_yet_is_no_average_answer() -> None:
    rng = np.random.default_rng(13)
    rows, right = [], []
    for _ in range(1500):
        router = float(rng.uniform(0.05, 0.95))
        # The answer's confidence says all that the Router's probability says, and more.
        chance = min(max(router + float(rng.normal() * 0.3), 0.02), 0.98)
        rows.append(Signals(router, confidence=chance))
        right.append(bool(rng.random() < chance))
    cascade = fit_cascade(rows, right, model=DIGEST)
    low, high = cascade.probability([Signals(0.1), Signals(0.9)])
    assert low < 0.3 and high > 0.7


def test_more_problems_and_less_agreement_lower_the_score() -> None:
    rng = np.random.default_rng(8)
    rows, right = [], []
    for _ in range(800):
        problems, agreement = int(rng.integers(0, 3)), float(rng.integers(0, 2))
        rows.append(Signals(0.8, agreement=agreement, problems=problems))
        right.append(bool(rng.random() < sigmoid(np.array(0.5 - problems + 2.0 * agreement))))
    cascade = fit_cascade(rows, right, model=DIGEST)

    def at(problems: int, agreement: float) -> float:
        row = Signals(0.8, agreement=agreement, problems=problems)
        return float(cascade.probability([row])[0])

    assert at(0, 1.0) > at(2, 1.0) + 0.1
    assert at(0, 1.0) > at(0, 0.0) + 0.1


def test_json_round_trip() -> None:
    rows, right, _ = steps(900, 9)
    cascade = fit_cascade(rows, right.tolist(), model=DIGEST)
    again = Cascade.from_dict(json.loads(json.dumps(cascade.as_dict())))
    assert again.model == DIGEST
    assert again.probability(rows).tolist() == cascade.probability(rows).tolist()


def test_a_score_on_other_signals_is_refused() -> None:
    rows, right, _ = steps(100, 10)
    content = fit_cascade(rows, right.tolist(), model=DIGEST).as_dict()
    with pytest.raises(UsageError):
        Cascade.from_dict({**content, "after": {**content["after"], "columns": ["other"]}})
    with pytest.raises(UsageError):
        Cascade.from_dict({"model": DIGEST})


def test_too_few_outcomes_are_refused_with_what_is_needed() -> None:
    rows, _, _ = steps(50, 11)
    with pytest.raises(UsageError) as caught:
        fit_cascade(rows, [True] * 45 + [False] * 5, model=DIGEST)
    assert "10" in caught.value.hint


def test_layer_stays_finite_where_a_signal_separates_or_is_never_known() -> None:
    table = np.stack([np.linspace(-1, 1, 40), np.full(40, np.nan)], axis=1)
    layer = fit_layer(table, (table[:, 0] > 0).astype(float))
    assert np.isfinite(layer.log_odds(table)).all()
    assert layer.weights[1] == pytest.approx(0.0)


def test_the_generals_rate_starts_from_an_assumption_that_outcomes_outweigh() -> None:
    assert general_rate(0, 0) == pytest.approx(ASSUMED_RATE)
    assert general_rate(0, 30) < 0.3
    assert general_rate(30, 0) > ASSUMED_RATE


def test_benefit_ranks_by_the_gain_and_not_by_the_doubt() -> None:
    rng = np.random.default_rng(12)
    group = np.repeat([0, 1, 2], 300)
    # Easy: both right. Hard: neither. Between: the General alone.
    local = rng.random(900) < np.array([0.95, 0.1, 0.4])[group]
    general = rng.random(900) < np.array([0.95, 0.1, 0.9])[group]
    kernel = (group[:, None] == group).astype(float)
    gain = fit_benefit(kernel, local, general, ridge=3.0).gain(kernel[[0, 300, 600]])
    assert gain[2] > 0.4
    assert abs(gain[0]) < 0.1 and abs(gain[1]) < 0.1
