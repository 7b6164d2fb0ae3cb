"""Certified thresholds come back as they were written, for the file they were fitted on alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import StorageFailed
from runtime.risk import certify
from runtime.risk_store import RiskStore

Q8, Q4 = "sha256:" + "8" * 64, "sha256:" + "4" * 64


def certified(alpha: float, right_above: float = 0.3) -> RiskStore:
    scores = np.linspace(0, 1, 2000)
    return RiskStore().put("shell", Q8, certify(scores, scores > right_above, alpha))


def test_round_trip(tmp_path: Path) -> None:
    store = certified(0.05).put("tool", Q4, certify(np.ones(5), np.ones(5, bool), 0.01))
    path = tmp_path / "new" / "thresholds.json"
    store.save(path)
    assert RiskStore.load(path) == store
    assert [p.name for p in path.parent.iterdir()] == ["thresholds.json"]


def test_a_threshold_is_not_lent_to_another_quantization() -> None:
    store = certified(0.05)
    assert "shell" in store.thresholds(Q8, 0.05)
    assert store.thresholds(Q4, 0.05) == {}


def test_a_stricter_certificate_serves_a_looser_alpha_and_not_the_other_way() -> None:
    store = certified(0.05)
    assert store.thresholds(Q8, 0.1) == store.thresholds(Q8, 0.05)
    assert store.thresholds(Q8, 0.01) == {}


def test_what_could_not_be_certified_is_remembered_but_gives_no_threshold() -> None:
    store = RiskStore().put("gui", Q8, certify(np.ones(5), np.ones(5, bool), 0.01))
    entry = store.get("gui", Q8, 0.01)
    assert entry is not None and not entry.holds
    assert store.thresholds(Q8, 0.01) == {}


def test_no_file_is_an_empty_store(tmp_path: Path) -> None:
    assert RiskStore.load(tmp_path / "none.json") == RiskStore()


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 9}', '{"format": 1, "certified": [3]}'])
def test_a_file_that_is_no_store_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(content, "utf-8")
    with pytest.raises(StorageFailed):
        RiskStore.load(path)
    assert path.read_text("utf-8") == content


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(StorageFailed):
        certified(0.05).save(tmp_path / "file" / "thresholds.json")


def test_each_kind_and_digest_is_certified_on_its_own_rows() -> None:
    rows = [("shell", Q8, i / 1000, i > 200) for i in range(1000)]
    rows += [("shell", Q4, i / 1000, i > 700) for i in range(1000)]
    rows += [("gui", Q8, 0.9, True)] * 20
    store = RiskStore.calibrated(rows, [0.05, 0.01])
    assert 0.15 < store.thresholds(Q8, 0.05)["shell"] < 0.25
    assert 0.65 < store.thresholds(Q4, 0.05)["shell"] < 0.75
    few = store.get("gui", Q8, 0.01)
    assert few is not None and not few.holds and few.n == 20
