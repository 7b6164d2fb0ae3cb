"""The sentence encoder on the real default model."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from models.errors import ModelCorrupt, ModelMissing, ToolFailed, UsageError
from models.onnx import OnnxEncoder
from models.onnx_session import OnnxSession
from models.onnx_tokens import TextTokenizer, padded
from models.store import Store
from tests.models.onnx_graphs import save_encoder


@pytest.fixture(scope="module")
def encoder(store: Store) -> Iterator[OnnxEncoder]:
    encoder = OnnxEncoder(
        store.file("minilm-l6", "model"), store.file("minilm-l6", "tokenizer"), name="minilm-l6"
    )
    yield encoder
    encoder.close()


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


def test_lone_surrogates_and_nul_bytes_do_not_stop_it(encoder: OnnxEncoder) -> None:
    surrogate, mark, nul, plain = encoder.embed(
        ["file \udcff name", "file ? name", "file\0 name", "file name"]
    )
    np.testing.assert_allclose(surrogate, mark, atol=1e-5)
    np.testing.assert_allclose(nul, plain, atol=1e-5)


@pytest.mark.parametrize("item", [7, None, b"text", ("a", "b"), ["a"]])
def test_what_is_no_text_is_refused(encoder: OnnxEncoder, item: object) -> None:
    with pytest.raises(UsageError, match="item 1 is "):
        encoder.embed(["text", item])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="a list of texts"):
        encoder.embed("text")


async def test_callers_from_many_threads_get_what_they_get_alone(encoder: OnnxEncoder) -> None:
    texts = [[f"{'list the files ' * ((n + k) % 5)}number {n}" for k in range(5)] for n in range(8)]
    alone = [np.concatenate([encoder.embed([text]) for text in own]) for own in texts]
    together = await asyncio.gather(*(asyncio.to_thread(encoder.embed, own) for own in texts))
    for rows, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_rows_of_a_batch_scaled_int8_graph_do_not_shift_each_other(
    store: Store, tmp_path: Path
) -> None:
    tokenizer = store.file("minilm-l6", "tokenizer")
    path = save_encoder(tmp_path / "int8.onnx", quantized=True)
    int8 = OnnxEncoder(path, tokenizer)
    assert "share one scale" in int8.batches_reason
    texts = ["cat", "the ##ゆ zebra yacht", "dog"]
    alone = np.concatenate([int8.embed([text]) for text in texts])
    np.testing.assert_array_equal(int8.embed(texts), alone)

    # That it matters: the same rows in one run of the same graph do differ.
    ids = TextTokenizer(tokenizer, 128).rows(texts)
    merged = OnnxSession(path).run(padded(ids, max(map(len, ids)), 0), "hidden")
    cat = merged[0, : len(ids[0])].mean(0)
    assert np.abs(cat / np.linalg.norm(cat) - alone[0]).max() > 1e-4


def test_the_default_graph_shares_batches(encoder: OnnxEncoder) -> None:
    assert encoder.batches_reason == "rows do not depend on each other"


def test_a_text_without_a_token_gives_zeros(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"cat": 7, "[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = OnnxEncoder(
        save_encoder(tmp_path / "plain.onnx", quantized=False), tmp_path / "tokenizer.json"
    )
    for rows in (encoder.embed(["", "cat"]), np.concatenate([encoder.embed([""])] * 2)):
        assert not rows[0].any()
        assert np.isfinite(rows).all()


def test_a_closed_encoder_says_so(store: Store) -> None:
    closed = OnnxEncoder(
        store.file("minilm-l6", "model"), store.file("minilm-l6", "tokenizer"), name="gone"
    )
    closed.close()
    closed.close()
    with pytest.raises(ToolFailed, match="the model gone was closed"):
        closed.embed(["text"])


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
    with pytest.raises(ModelCorrupt, match="no whole ONNX file"):
        OnnxEncoder(damaged, store.file("minilm-l6", "tokenizer"))
    broken = tmp_path / "tokenizer.json"
    broken.write_text('{"version": "1.0", "model": 7}')
    with pytest.raises(ModelCorrupt, match=r"no tokenizer\.json"):
        OnnxEncoder(store.file("minilm-l6", "model"), broken)


def test_onnx_runtime_is_told_to_report_nothing_before_it_is_loaded() -> None:
    code = "import os, runtime.screen.perception; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    env = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
