"""LoRA adapters in GGUF files, held against the base model before llama.cpp sees them.

llama.cpp trusts an adapter: one with the wrong number type, an integer matrix, or a third
dimension too many aborts the whole process, at loading or at the next decode, and weights that it
cannot apply it passes over in silence. So whatever its loader (``src/llama-adapter.cpp``) and its
graph (``build_lora_mm``) ask for is asked for here first. Written by llama.cpp's
``convert_lora_to_gguf.py``: matrices NAME.lora_a and NAME.lora_b for the base's tensor NAME.
Control vectors and activated LoRA (which counts from certain tokens on) are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.digest import file_digest
from models.errors import ModelCorrupt, ModelMissing, UsageError
from models.gguf import Header, Tensor, read_header

WEIGHT_TYPES: Final = ("f32", "f16", "bf16", "q8_0")
"""The types that ``convert_lora_to_gguf.py`` writes."""
_EMBEDDING: Final = "token_embd.weight"
_OUTPUT: Final = "output.weight"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that fits its base. Its weights count ``alpha / rank`` times."""

    path: Path
    digest: str
    """``sha256:…`` of the file."""
    rank: int
    """The largest rank among its matrices."""
    alpha: float
    """0 where the file states none: the weights then count once."""
    name: str
    """The file's own ``general.name``, else the file name without its ending."""
    bytes: int
    """Of its weights: the memory that it takes beside the base."""


def read_adapter(path: Path, base: Header) -> Adapter:
    """The adapter in ``path``, checked against the header of the model that it is to change.

    Raises ModelMissing; ModelCorrupt for what is no GGUF, no LoRA adapter or a damaged one; and
    UsageError for a sound adapter that this base, or llama.cpp, cannot take.
    """
    try:
        header = read_header(path)
    except ModelMissing:
        raise ModelMissing(
            f"no adapter file at {path}", hint="give the path of a LoRA adapter in GGUF"
        ) from None
    _check_kind(header)
    alpha = _alpha(header)
    if header.architecture != base.architecture:
        raise _other_base(
            header,
            base,
            f"it is for the architecture {header.architecture!r}, and not {base.architecture!r}",
        )
    pairs = _pairs(header)
    tensors = {tensor.name: tensor for tensor in base.tensors}
    for name, (a, b) in pairs.items():
        if name not in tensors:
            raise _other_base(header, base, f"it changes {name!r}, which {base.path.name} lacks")
        _check_applies(header, base, tensors[name])
        _check_shapes(header, base, tensors[name], a, b)
    stated = header.metadata.get("general.name")
    return Adapter(
        path,
        file_digest(path),
        rank=max(b.shape[0] for _, b in pairs.values()),
        alpha=alpha,
        name=stated if isinstance(stated, str) and stated else path.stem,
        bytes=sum(a.bytes + b.bytes for a, b in pairs.values()),
    )


def _check_kind(header: Header) -> None:
    kind = header.metadata.get("general.type")
    if kind != "adapter":
        what = f"{kind!r}" if isinstance(kind, str) else "a model or unnamed"
        raise _damaged(header, f"its general.type is {what}, and not 'adapter'")
    kind = header.metadata.get("adapter.type")
    if kind != "lora":
        raise _damaged(header, f"its adapter.type is {kind!r}, and not 'lora'")
    if "adapter.alora.invocation_tokens" in header.metadata:
        raise UsageError(
            f"the adapter {header.path.name} is an activated LoRA (aLoRA), whose weights count "
            "only from certain tokens on; adapters are attached for whole calls here",
            hint="train it as a plain LoRA",
        )


def _alpha(header: Header) -> float:
    key = "adapter.lora.alpha"
    alpha = header.metadata.get(key)
    if alpha is None:
        return 0.0
    # llama.cpp reads it as a 32-bit float unasked, and aborts where it is anything else.
    if not isinstance(alpha, float) or header.types[key] != "float32":
        raise _damaged(header, f"{key} is a {header.types[key]}, and not a float32")
    if not math.isfinite(alpha) or alpha < 0:
        raise _damaged(header, f"{key} is {alpha}")
    return alpha


def _pairs(header: Header) -> dict[str, tuple[Tensor, Tensor]]:
    """Matrices A and B by the name of the tensor that they change."""
    halves: dict[str, dict[str, Tensor]] = {}
    for tensor in header.tensors:
        name, _, half = tensor.name.rpartition(".lora_")
        if half not in ("a", "b") or not name:
            if tensor.name.endswith("_norm.weight"):
                raise UsageError(
                    f"the adapter {header.path.name} also replaces {tensor.name!r}, which "
                    "llama.cpp would pass over in silence",
                    hint="train it without norm layers (PEFT: modules_to_save)",
                )
            raise _damaged(header, f"{tensor.name!r} is neither a lora_a nor a lora_b")
        if tensor.type.name not in WEIGHT_TYPES:
            raise _damaged(
                header,
                f"{tensor.name!r} is stored as {tensor.type.name}; "
                f"{', '.join(WEIGHT_TYPES)} are read",
            )
        halves.setdefault(name, {})[half] = tensor
    if not halves:
        raise _damaged(header, "it holds no LoRA weights")
    for name, found in halves.items():
        if len(found) < 2:
            raise _damaged(header, f"{name!r} has a lora_{next(iter(found))} alone")
    return {name: (found["a"], found["b"]) for name, found in halves.items()}


def _check_applies(header: Header, base: Header, tensor: Tensor) -> None:
    """llama.cpp multiplies by A and B where it multiplies by a matrix of the base."""
    if len(tensor.shape) < 2 or not tensor.name.endswith(".weight"):
        raise UsageError(
            f"the adapter {header.path.name} changes {tensor.name!r}, which is no matrix: "
            "llama.cpp would pass over it in silence",
            hint="train it on the linear layers alone",
        )
    if tensor.name == _EMBEDDING and all(t.name != _OUTPUT for t in base.tensors):
        # The same tensor is then the output layer, where A and B would have to be swapped.
        raise UsageError(
            f"the adapter {header.path.name} changes the token embedding, which is also the "
            f"output layer of {base.path.name}: llama.cpp cannot run that",
            hint="train it on the linear layers alone",
        )


def _check_shapes(header: Header, base: Header, tensor: Tensor, a: Tensor, b: Tensor) -> None:
    """Shapes in ggml's order: A is [in, rank], B [rank, out]; flipped for the embedding."""
    width, height, *experts = tensor.shape
    rank = b.shape[0]
    if tensor.name == _EMBEDDING:
        fits = a.shape == (rank, height) and b.shape == (rank, width)
    else:
        fits = a.shape == (width, rank, *experts) and b.shape == (rank, height, *experts)
    if not fits:
        raise _other_base(
            header,
            base,
            f"it changes {tensor.name!r} by {list(a.shape)} and {list(b.shape)}, and "
            f"{base.path.name} has {list(tensor.shape)} there",
        )


def _other_base(header: Header, base: Header, why: str) -> UsageError:
    made_for = header.metadata.get("general.base_model.0.name")
    named = f" ({made_for})" if isinstance(made_for, str) else ""
    return UsageError(
        f"the adapter {header.path.name} was made for another base{named} than "
        f"{base.path.name}: {why}",
        hint="give the adapter that was trained on this model, or load the model it was trained on",
    )


def _damaged(header: Header, what: str) -> ModelCorrupt:
    return ModelCorrupt(
        f"{header.path} is no sound LoRA adapter: {what}",
        hint="convert it again with llama.cpp's convert_lora_to_gguf.py",
    )
