"""Where a GGUF model goes in the memory that this machine has free now.

``models/fit.py`` decides; this measures what it decides from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from models import native
from models.fit import Fit, fit
from models.footprint import KvType
from models.gguf import Header
from models.llama_context import SEQUENCES
from models.machine import free_gpu_memory, free_memory


def place(
    header: Header,
    *,
    cells: int,
    kv_types: Sequence[KvType],
    cache_bytes: int,
    gpu_layers: int | Literal["auto"] = "auto",
    free_ram: int | None = None,
) -> Fit:
    """How a model with ``cells`` KV cells is loaded on this machine.

    ``cache_bytes``: RAM for decoded prompts besides. ``free_ram``: bytes that it may use; what is
    free where None. Raises StorageFailed and UsageError, as ``fit`` does.
    """
    import llama_cpp

    return fit(
        header,
        n_ctx=cells,
        free_ram=free_memory() if free_ram is None else free_ram,
        free_gpu=free_gpu_memory(),
        gpu_offload=bool(llama_cpp.llama_supports_gpu_offload()),
        gpu_layers=gpu_layers,
        kv_types=kv_types,
        sequences=SEQUENCES,
        extra_bytes=cache_bytes,
        own_kernels=not native.use(),
    )
