"""Classification heads and cross-encoders: logits against the same sums in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from models.errors import ModelCorrupt, UsageError
from models.onnx import OnnxEncoder, OnnxScorer
from models.store import Store
from tests.models.onnx_graphs import LABELS, Classifier, add_head, save_encoder

CLS, SEP = 101, 102
CAT, DOG = 4937, 3899
"""``cat`` and ``dog`` in BERT's uncased vocabulary."""


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture(scope="module")
def tokenizer(store: Store) -> Path:
    return store.file("minilm-l6", "tokenizer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scorers")


@pytest.fixture(scope="module")
def scorer(classifier: Classifier, tokenizer: Path, folder: Path) -> Iterator[OnnxScorer]:
    scorer = OnnxScorer(classifier.save(folder / "head.onnx"), tokenizer, max_tokens=16)
    yield scorer
    scorer.close()


def test_texts_get_the_heads_logits(scorer: OnnxScorer, classifier: Classifier) -> None:
    rows = scorer.score(["cat", "dog dog cat", ""])
    assert rows.shape == (3, LABELS) == (3, scorer.labels)
    assert rows.dtype == np.float32
    expected = [[CLS, CAT, SEP], [CLS, DOG, DOG, CAT, SEP], [CLS, SEP]]
    for row, ids in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row, classifier.logits(ids, [0] * len(ids)), atol=1e-5)


def test_the_second_text_of_a_pair_has_its_own_token_type(
    scorer: OnnxScorer, classifier: Classifier
) -> None:
    (row,) = scorer.score([("cat", "dog dog")])
    ids, types = [CLS, CAT, SEP, DOG, DOG, SEP], [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(row, classifier.logits(ids, types), atol=1e-5)
    assert not np.allclose(row, classifier.logits(ids, [0] * len(ids)), atol=1e-3)


def test_texts_and_pairs_may_be_mixed(scorer: OnnxScorer) -> None:
    mixed = scorer.score(["cat", ("cat", "dog"), "dog"])
    alone = [scorer.score([item])[0] for item in ("cat", ("cat", "dog"), "dog")]
    np.testing.assert_allclose(mixed, alone, atol=1e-6)


def test_of_a_long_pair_the_longer_text_is_cut_and_it_is_said(
    scorer: OnnxScorer, classifier: Classifier
) -> None:
    long = ("cat cat", "dog " * 40)
    ids = [CLS, CAT, CAT, SEP, *[DOG] * 11, SEP]
    types = [0] * 4 + [1] * 12
    np.testing.assert_allclose(scorer.score([long])[0], classifier.logits(ids, types), atol=1e-5)
    assert scorer.was_cut(long)
    assert not scorer.was_cut(("cat cat", "dog " * 11))
    assert scorer.was_cut("cat " * 15)
    assert not scorer.was_cut("cat " * 14)


def test_no_text_gives_no_row(scorer: OnnxScorer) -> None:
    assert scorer.score([]).shape == (0, LABELS)


@pytest.mark.parametrize("item", [7, None, b"cat", ("cat",), ("a", "b", "c"), ("cat", 7), []])
def test_what_is_neither_a_text_nor_a_pair_is_refused(scorer: OnnxScorer, item: object) -> None:
    with pytest.raises(UsageError, match="item 1 is neither a text nor a pair"):
        scorer.score(["cat", item])  # type: ignore[list-item]
    assert scorer.score(["cat"]).shape == (1, LABELS)


def test_one_text_without_its_list_is_refused(scorer: OnnxScorer) -> None:
    with pytest.raises(UsageError, match="a list of texts"):
        scorer.score("cat")


def test_a_head_on_the_real_encoder_in_one_graph(
    store: Store, tokenizer: Path, folder: Path
) -> None:
    weight = np.random.default_rng(2).normal(size=(384, 5)).astype(np.float32)
    model = store.file("minilm-l6", "model")
    scorer = OnnxScorer(add_head(model, folder / "fused.onnx", weight), tokenizer, max_tokens=128)
    encoder = OnnxEncoder(model, tokenizer)
    texts = ["find the largest files", "what is the weather in Lisbon tomorrow", "é 中 ✓ <"]
    logits = scorer.score(texts)
    assert logits.shape == (3, 5)
    # An embedding is the pooled row at unit length: its logits point the same way.
    expected = encoder.embed(texts) @ weight
    unit = logits / np.linalg.norm(logits, axis=1, keepdims=True)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, expected, atol=1e-4)
    encoder.close()
    scorer.close()


def test_a_graph_that_takes_one_row_of_one_length(
    classifier: Classifier, tokenizer: Path, tmp_path: Path
) -> None:
    path = classifier.save(tmp_path / "fixed.onnx", shape=(1, 8), integers=TensorProto.INT32)
    scorer = OnnxScorer(path, tokenizer)
    assert "one row" in scorer.batches_reason
    rows = scorer.score(["cat", "dog " * 20])
    for row, ids in zip(rows, [[CLS, CAT, SEP], [CLS, *[DOG] * 6, SEP]], strict=True):
        np.testing.assert_allclose(row, classifier.logits(ids, [0] * len(ids)), atol=1e-5)
    assert scorer.was_cut("dog " * 20)


def test_an_encoder_is_no_scorer_and_a_scorer_no_encoder(
    store: Store, classifier: Classifier, tokenizer: Path, folder: Path
) -> None:
    with pytest.raises(ModelCorrupt, match="not a classifier"):
        OnnxScorer(store.file("minilm-l6", "model"), tokenizer)
    with pytest.raises(ModelCorrupt, match="not a sentence encoder"):
        OnnxEncoder(classifier.save(folder / "other.onnx"), tokenizer)


def test_graphs_with_other_inputs_are_named(
    tokenizer: Path, classifier: Classifier, tmp_path: Path
) -> None:
    two = classifier.save(tmp_path / "two.onnx", shape=(2, "sequence"))
    with pytest.raises(ModelCorrupt, match="one row or any number"):
        OnnxScorer(two, tokenizer)
    pixels = save_encoder(tmp_path / "pixels.onnx", quantized=False, ids="pixels")
    with pytest.raises(ModelCorrupt, match=r"not an encoder of token ids: inputs \[\('pixels'"):
        OnnxEncoder(pixels, tokenizer)


def test_a_token_beyond_the_models_table_fails_its_caller_alone(
    tokenizer: Path, tmp_path: Path
) -> None:
    small = Classifier(vocabulary=DOG + 1)
    scorer = OnnxScorer(small.save(tmp_path / "small.onnx"), tokenizer)
    with pytest.raises(ModelCorrupt, match="ONNX Runtime fails"):
        scorer.score(["dog", "cat"])
    ids = [CLS, DOG, SEP]
    np.testing.assert_allclose(scorer.score(["dog"])[0], small.logits(ids, [0] * 3), atol=1e-5)
