"""An embeddings request is read, and its vectors come back as the SDK reads them."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from openai.types import CreateEmbeddingResponse

from runtime.daemon.errors import BadRequest
from runtime.daemon.proxy.embeddings import EmbeddingsRequest, answer, read_embeddings

VECTORS = np.array([[0.6, 0.8], [1.0, -0.0]], np.float32)


def read(**changes: Any) -> EmbeddingsRequest:
    return read_embeddings(json.dumps({"model": "local/minilm", "input": "a"} | changes).encode())


def test_a_text_and_a_list_of_texts_are_read() -> None:
    assert read().inputs == ("a",)
    assert read(input=["a", "b"], encoding_format="base64", user="u").inputs == ("a", "b")
    assert read(input=["a"], dimensions=2).unserved(2) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"dimensions": 256}, "dimensions"),
        ({"input_type": "query"}, "input_type"),
    ],
)
def test_what_a_local_encoder_cannot_honour_is_named(changes: dict[str, Any], named: str) -> None:
    assert [one.partition(": ")[0] for one in read(**changes).unserved(2)] == [named]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": {}}, "input"),
        ({"input": ""}, "input[0]"),
        ({"input": ["a", 3]}, "input[1]"),
        ({"input": ["a", None]}, "input[1]"),
        ({"input": [[1], "a"]}, "input[0]"),
        ({"input": [True]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 2.0}, "dimensions"),
    ],
)
def test_a_fault_names_its_parameter(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**changes)
    assert caught.value.param == named


def test_vectors_come_as_numbers() -> None:
    made = answer(VECTORS, "local/minilm", 5)
    parsed = CreateEmbeddingResponse.model_validate(made, strict=True)
    assert np.array_equal(np.array([one.embedding for one in parsed.data], np.float32), VECTORS)
    assert [one.index for one in parsed.data] == [0, 1]
    assert parsed.usage.total_tokens == 5
    json.dumps(made, allow_nan=False)


def test_vectors_come_as_base64_of_little_endian_floats() -> None:
    made = answer(VECTORS.astype(">f4"), "local/minilm", 5, "base64")
    rows = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in made["data"]]
    assert np.array_equal(np.array(rows), VECTORS)
