"""What a call to ``/v1/embeddings`` asks for, and the answer to it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from runtime.daemon.errors import BadRequest
from runtime.daemon.proxy.fields import Fields, read_object, wrong
from runtime.daemon.proxy.requests import OURS, options_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_INPUTS = 2048
MAX_DIMENSIONS = 2**16
_TOKENS = "token numbers belong to another tokenizer"
_READ = ("model", "input", "encoding_format", "dimensions", "user", OURS)


@dataclass(frozen=True)
class EmbeddingsRequest:
    """Texts to embed. ``dimensions``: None where the model's own are wanted."""

    model: str
    inputs: tuple[str, ...]
    """Empty where the input is token numbers, which only the General can read."""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str = ""
    tokens: bool = False
    """The input is token numbers."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes = b""

    def unserved(self, dimension: int) -> list[str]:
        """What a local encoder with ``dimension`` dimensions cannot honour: ``"name: reason"``."""
        found = [f"{name}: a local model does not know it" for name in self.extra]
        if self.tokens:
            found.append(f"input: {_TOKENS}")
        if self.dimensions not in (None, dimension):
            found.append(f"dimensions: the local model has {dimension}, and is never cut")
        return found


def read_embeddings(raw: bytes) -> EmbeddingsRequest:
    """The request in ``raw``. Raises BadRequest, which names the parameter at fault."""
    body = read_object(raw)
    fields = Fields(body)
    inputs = _inputs(fields.need("input"))
    options_of(fields)  # Its one option, explain, is met by the headers: a list has no room for it.
    base = fields.word("encoding_format", ("float", "base64"), "float") == "base64"
    return EmbeddingsRequest(
        model=fields.need_text("model"),
        inputs=inputs or (),
        encoding_format="base64" if base else "float",
        dimensions=fields.whole("dimensions", 1, MAX_DIMENSIONS),
        user=fields.text("user"),
        tokens=inputs is None,
        extra={n: value for n, value in body.items() if n not in _READ and value is not None},
        body=body,
        raw=raw,
    )


def _inputs(value: Any) -> tuple[str, ...] | None:
    """The texts; None where they are token numbers. Raises BadRequest."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value:
        raise wrong("input", "a string or an array that is not empty", value)
    if _numbers(value):
        return None
    if len(value) > MAX_INPUTS:
        raise BadRequest(f"input has more than {MAX_INPUTS} texts.", param="input")
    if all(isinstance(one, list) and one and _numbers(one) for one in value):
        return None
    for index, one in enumerate(value):
        if not isinstance(one, str) or not one:
            raise wrong(f"input[{index}]", "a string that is not empty", one)
    return tuple(value)


def _numbers(value: list[Any]) -> bool:
    return all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in value)


def answer(
    vectors: NDArray[np.float32],
    model: str,
    prompt_tokens: int,
    encoding_format: Literal["float", "base64"] = "float",
) -> dict[str, Any]:
    """``vectors``, shape ``[n, d]``. base64: of little-endian float32, as OpenAI's API has it."""
    if encoding_format == "base64":
        written: list[Any] = [
            base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors
        ]
    else:
        written = vectors.tolist()
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": one}
            for index, one in enumerate(written)
        ],
        "model": model,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }
