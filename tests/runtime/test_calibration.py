"""Scores and thresholds come back as they were written, for the files they were fitted on alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import StorageFailed
from runtime.calibration import (
    Calibrated,
    Calibration,
    Key,
    Row,
    certified,
    fitted,
    kept_scores,
)
from runtime.cascade import Signals

Q8, Q4 = "sha256:" + "8" * 64, "sha256:" + "4" * 64


def rows(
    n: int, seed: int, *, kind: str = "shell", model: str = Q8, bend: float = 0.0
) -> list[Row]:
    """Answers that are right as often as their confidence says; ``bend`` makes them worse."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        confidence = float(rng.uniform(0.02, 0.999))
        signals = Signals(0.9, confidence=confidence, pick=0.9, problems=0)
        right = bool(rng.random() < confidence ** (0.5 + bend))
        found.append(Row(kind, model, signals, right))
    return found


def calibrated(
    fitting: list[Row], certifying: list[Row], *, source: str
) -> tuple[Calibration, dict[Key, str]]:
    scores, refused = fitted(fitting)
    return certified(scores, certifying, source=source), refused


def one() -> Calibration:
    found, refused = calibrated(rows(800, 1), rows(3000, 2), source="a test")
    assert not refused
    return found


def entry(calibration: Calibration, kind: str = "shell", model: str = Q8) -> Calibrated:
    found = calibration.get(kind, model)
    assert found is not None
    return found


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "calibration.json"
    one().save(path)
    again = Calibration.load(path)
    before, after = entry(one()), entry(again)
    assert after.certified == before.certified
    assert (after.rows, after.right, after.source) == (before.rows, before.right, "a test")
    signals = [row.signals for row in rows(20, 3)]
    assert (
        after.cascade.probability(signals).tolist() == before.cascade.probability(signals).tolist()
    )
    assert [p.name for p in path.parent.iterdir()] == ["calibration.json"]


def test_a_certified_threshold_holds_its_promise_on_new_answers() -> None:
    found = entry(one())
    held = found.certified[0.1]
    assert held.threshold is not None and held.coverage > 0.05
    new = rows(4000, 4)
    kept = kept_scores(found.cascade, [r.signals for r in new]) >= held.threshold
    wrong = np.array([not r.right for r in new])
    assert wrong[kept].mean() <= 0.1


def test_a_threshold_is_not_lent_to_another_quantization() -> None:
    assert one().get("shell", Q4) is None


def test_each_kind_and_set_of_files_is_calibrated_on_its_own_rows() -> None:
    fitting = rows(600, 5) + rows(600, 6, model=Q4, bend=2.0)
    certifying = rows(3000, 7) + rows(3000, 8, model=Q4, bend=2.0)
    found, _ = calibrated(fitting, certifying, source="a test")
    better, worse = entry(found).certified[0.2], entry(found, model=Q4).certified[0.2]
    assert better.threshold is not None and worse.threshold is not None
    assert better.coverage > worse.coverage + 0.1


def test_an_answer_with_a_problem_is_never_kept() -> None:
    found = entry(one())
    good = Signals(0.9, confidence=0.99, pick=0.9, problems=0)
    scores = kept_scores(found.cascade, [good, replace(good, problems=1)])
    assert scores[0] > 0.9 and scores[1] == 0.0


def test_an_alpha_between_two_is_held_by_the_smaller() -> None:
    found = entry(one())
    assert found.holds(0.15) is found.certified[0.1]
    assert found.holds(0.001) is None


def test_what_cannot_be_certified_is_remembered_with_what_can_be() -> None:
    found, _ = calibrated(rows(300, 9), rows(60, 10), source="a test")
    held = entry(found).holds(0.01)
    assert held is not None and not held.holds
    assert "cannot certify" in held.reason
    assert entry(found).thresholds["0.01"] is None


def test_too_few_outcomes_give_no_score_and_say_why() -> None:
    found, refused = calibrated(rows(6, 11), rows(100, 12), source="a test")
    assert not found.entries
    assert "too few" in refused["shell", Q8]


def test_ones_own_calibration_stands_before_the_shipped_one() -> None:
    shipped, own = one(), calibrated(rows(800, 13), rows(500, 14), source="mine")[0]
    both = own.over(shipped)
    assert entry(both).source == "mine"
    assert entry(Calibration().over(shipped)).source == "a test"


def test_no_file_is_an_empty_calibration(tmp_path: Path) -> None:
    assert Calibration.load(tmp_path / "none.json") == Calibration()


def test_a_score_on_an_earlier_release_s_signals_is_not_calibrated(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    one().save(path)
    body = json.loads(path.read_text("utf-8"))
    body["calibrated"][0]["cascade"]["after"]["columns"][0] = "another"
    path.write_text(json.dumps(body), "utf-8")
    assert Calibration.load(path).entries == {}


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"format": 1}', '{"format": 2, "calibrated": [3]}']
)
def test_a_file_that_is_no_calibration_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content, "utf-8")
    with pytest.raises(StorageFailed):
        Calibration.load(path)
    assert path.read_text("utf-8") == content


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(StorageFailed):
        one().save(tmp_path / "file" / "calibration.json")
