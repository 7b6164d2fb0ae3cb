"""The shipped examples: enough of each kind, and nothing of one split in another."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.errors import StorageFailed
from models.pool import Pool
from runtime.core import KINDS
from runtime.router import HEAD
from runtime.router_data import (
    FOLDER,
    NEAR,
    OUT_OF_SCOPE,
    SPLITS,
    Row,
    drop_near,
    load,
    split,
    written_rows,
)
from runtime.router_features import features
from runtime.router_head import EVIDENCE, Head

KINDS_OF_A_TEXT = {*KINDS, OUT_OF_SCOPE} - {"refine", "embed"}


@pytest.fixture(scope="module")
def parts() -> dict[str, list[Row]]:
    return {name: load(name) for name in SPLITS}


def test_every_kind_has_a_few_hundred_examples_and_some_in_each_split(
    parts: dict[str, list[Row]],
) -> None:
    counts = {name: Counter(r.kind for r in rows) for name, rows in parts.items()}
    for kind in KINDS_OF_A_TEXT:
        assert sum(c[kind] for c in counts.values()) >= 300, kind
        assert counts["calibration"][kind] >= 40, kind
        assert counts["test"][kind] >= 40, kind
    assert set(counts["train"]) == KINDS_OF_A_TEXT


def test_no_template_and_no_text_stands_on_two_sides(parts: dict[str, list[Row]]) -> None:
    for a, b in (("train", "calibration"), ("train", "test"), ("calibration", "test")):
        assert not {r.template for r in parts[a]} & {r.template for r in parts[b]}
        assert not {r.text.casefold() for r in parts[a]} & {r.text.casefold() for r in parts[b]}


def test_no_test_row_has_a_near_neighbour_in_what_the_head_learned_from(
    parts: dict[str, list[Row]], pool: Pool
) -> None:
    encoder = pool.encoder()
    head = Head.load(HEAD, encoder=encoder.model)
    texts = [r.text for r in parts["test"] if r.kind != OUT_OF_SCOPE][::4]
    _, evidence = head.evidence(features(encoder, texts))
    # The head keeps its training texts in int8: good to the second decimal.
    assert evidence[:, EVIDENCE.index("nearest")].max() < NEAR + 0.01


def test_each_kind_has_many_lines_that_no_template_made(parts: dict[str, list[Row]]) -> None:
    written = Counter(r.kind for rows in parts.values() for r in rows if r.source == "written")
    assert sum(written.values()) >= 1000
    assert all(written[kind] >= 50 for kind in KINDS_OF_A_TEXT), written


def test_shipped_rows_are_those_that_the_sources_give(parts: dict[str, list[Row]]) -> None:
    again = split(written_rows())
    for name in SPLITS:
        made = set(again[name])
        assert set(parts[name]) <= made
    assert set(parts["train"]) == set(again["train"])


def test_no_placeholder_is_left_unfilled(parts: dict[str, list[Row]]) -> None:
    assert not [r.text for rows in parts.values() for r in rows if "[[" in r.text]


def test_filling_is_the_same_each_time() -> None:
    assert written_rows() == written_rows()


def test_near_neighbours_are_dropped_and_others_kept() -> None:
    rows = [Row("near", "shell", "shell/a", "written"), Row("far", "shell", "shell/b", "written")]
    vectors = np.array([[1.0, 0.1], [0.0, 1.0]], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kept, kept_vectors = drop_near(np.array([[1.0, 0.0]], np.float32), rows, vectors)
    assert [r.text for r in kept] == ["far"]
    assert kept_vectors.shape == (1, 2)


def test_missing_examples_say_how_to_write_them(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed) as caught:
        load("train", tmp_path)
    assert "runtime.router_data" in caught.value.hint


def test_examples_lie_beside_the_head() -> None:
    assert (FOLDER / "head.npz").is_file()
    assert (FOLDER / "card.md").is_file()
