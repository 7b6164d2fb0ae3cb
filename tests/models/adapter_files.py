"""LoRA adapters in GGUF, written as llama.cpp's ``convert_lora_to_gguf.py`` writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from models.gguf import Header

LINEAR = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def write_adapter(
    path: Path,
    base: Header,
    *,
    layers: Sequence[int] = (0, 1),
    targets: Sequence[str] = LINEAR,
    rank: int = 4,
    alpha: float | None = 8.0,
    size: float = 0.1,
    seed: int = 0,
    dtype: Any = np.float32,
    architecture: str | None = None,
    general_type: str = gguf.GGUFType.ADAPTER,
    kind: str = "lora",
    more: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
) -> Path:
    """Random matrices for ``targets`` in ``layers``; ``more`` adds to the file what it likes.

    ``size``: standard deviation of the weights; 0 makes an adapter that changes nothing.
    """
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture or base.architecture)
    writer.add_type(general_type)
    writer.add_string(gguf.Keys.Adapter.TYPE, kind)
    if alpha is not None:
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    shapes = {tensor.name: tensor.shape for tensor in base.tensors}
    for layer in layers:
        for target in targets:
            name = f"blk.{layer}.{target}.weight"
            width, height = shapes[name]
            a = random.standard_normal((rank, width)) * size
            b = random.standard_normal((height, rank)) * size
            writer.add_tensor(f"{name}.lora_a", a.astype(dtype))
            writer.add_tensor(f"{name}.lora_b", b.astype(dtype))
    more(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
