"""The sentence encoder on the real default model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import ModelCorrupt, ModelMissing
from models.onnx import OnnxEncoder
from models.pool import Pool
from models.store import Store


@pytest.fixture(scope="module")
def encoder(pool: Pool) -> OnnxEncoder:
    return pool.encoder()


def test_rows_have_unit_length_and_the_models_width(encoder: OnnxEncoder) -> None:
    rows = encoder.embed(["find the largest files", "é 中 ✓ <", ""])
    assert rows.shape == (3, encoder.dimension) == (3, 384)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)


def test_like_sentences_lie_closer_than_unlike_ones(encoder: OnnxEncoder) -> None:
    cat, kitten, physics = encoder.embed(
        [
            "The cat sat on the mat.",
            "A kitten was sitting on the rug.",
            "Quarks carry colour charge.",
        ]
    )
    assert cat @ kitten > cat @ physics + 0.3


def test_a_batch_gives_each_text_what_it_gets_alone_in_the_order_asked(
    encoder: OnnxEncoder,
) -> None:
    texts = [f"{'list the files ' * (n % 7)}number {n}" for n in range(40)]
    together = encoder.embed(texts)
    alone = np.concatenate([encoder.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=2e-3)


def test_no_text_gives_no_row(encoder: OnnxEncoder) -> None:
    assert encoder.embed([]).shape == (0, 384)


def test_a_long_text_is_read_to_128_tokens_and_said_to_be_cut(encoder: OnnxEncoder) -> None:
    fits, beyond = "word " * 126, "word " * 127
    assert not encoder.was_cut(fits)
    assert encoder.was_cut(beyond)
    rows = encoder.embed([fits, beyond, "word " * 30_000])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-4)
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-4)


def test_what_is_behind_much_white_space_is_still_read(encoder: OnnxEncoder) -> None:
    plain, padded = encoder.embed(["delete it", " " * 20_000 + "delete it"])
    np.testing.assert_allclose(plain, padded, atol=1e-4)


def test_a_lone_surrogate_does_not_stop_it(encoder: OnnxEncoder) -> None:
    assert np.isfinite(encoder.embed(["file \udcff name"])).all()


def test_it_says_where_it_runs_and_why(encoder: OnnxEncoder) -> None:
    assert encoder.provider in ("cpu", "cuda")
    assert encoder.provider_reason
    assert encoder.model.startswith("sha256:")


def test_a_missing_file_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="nowhere"):
        OnnxEncoder(tmp_path / "nowhere.onnx", store.file("minilm-l6", "tokenizer"))
    with pytest.raises(ModelMissing, match=r"no\.json"):
        OnnxEncoder(store.file("minilm-l6", "model"), tmp_path / "no.json")


def test_a_damaged_file_is_refused(store: Store, tmp_path: Path) -> None:
    damaged = tmp_path / "cut.onnx"
    damaged.write_bytes(store.file("minilm-l6", "model").read_bytes()[:100_000])
    with pytest.raises(ModelCorrupt, match="ONNX Runtime refuses"):
        OnnxEncoder(damaged, store.file("minilm-l6", "tokenizer"))
    broken = tmp_path / "tokenizer.json"
    broken.write_text('{"version": "1.0", "model": 7}')
    with pytest.raises(ModelCorrupt, match=r"no tokenizer\.json"):
        OnnxEncoder(store.file("minilm-l6", "model"), broken)
