"""Whether a GGUF model fits the free memory, and how: layers on the GPU, KV cache, context.

Pure: decides from the file's header (``models/footprint.py``) and from measured free bytes. The
GPU takes the output layer first, then the last layers of the stack, as llama.cpp does
(``llama_model::load_tensors``). Several GPUs are not covered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.errors import StorageFailed, UsageError
from models.footprint import CONTEXT_STEP, KV_TYPES, KvType, Sizes, divides, sizes
from models.gguf import Header
from models.llama_context import Placement


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model is to be loaded, and why so."""

    gpu_layers: int
    """Layers on the GPU, the output layer counted as one."""
    layers: int
    """Layers that could be offloaded: the stack's, and the output."""
    kv_type: KvType
    n_ctx: int
    ram_bytes: int
    gpu_bytes: int
    free_ram: int
    free_gpu: int
    reason: str

    @property
    def device(self) -> str:
        return "gpu" if self.gpu_layers else "cpu"

    @property
    def placement(self) -> Placement:
        return Placement(self.device, self.gpu_layers, self.reason)


def fit(
    header: Header,
    *,
    n_ctx: int,
    free_ram: int,
    free_gpu: int = 0,
    gpu_offload: bool = False,
    gpu_layers: int | Literal["auto"] = "auto",
    kv_types: Sequence[KvType] = ("f16",),
    least_ctx: int | None = None,
    sequences: int = 1,
    extra_bytes: int = 0,
    own_kernels: bool = False,
) -> Fit:
    """The placement of a model with ``n_ctx`` KV cells in the bytes that are free.

    ``kv_types``: what the caller accepts, in its order of preference; the next is taken only
    where the one before fits nowhere. ``least_ctx``: accept a context as short as this one;
    None: ``n_ctx`` or an error. ``gpu_offload``: llama.cpp was built for the GPU; ``gpu_layers``
    -1: all. ``extra_bytes``: RAM that the caller will use besides, such as for kept prefixes.
    ``own_kernels``: those of ``models.native`` serve on the CPU.

    Raises StorageFailed, which names what is needed and what is free, and UsageError.
    """
    if n_ctx < 1 or not kv_types:
        raise UsageError(f"a context of {n_ctx} tokens with {len(kv_types)} KV types is none")
    kinds = [kind for kind in kv_types if divides(header, kind)]
    if not kinds:
        raise UsageError(
            f"the attention heads of {header.path.name} do not divide into {kv_types[0]} blocks",
            hint="use an f16 KV cache",
        )
    wanted = _Wanted(
        header, free_ram, free_gpu, gpu_offload, gpu_layers, sequences, extra_bytes, own_kernels
    )
    for kind in kinds:
        if found := wanted.at(n_ctx, kind):
            return found
    for kind in kinds if least_ctx is not None else ():
        shorter = wanted.longest(kind, least_ctx or 1, n_ctx)
        if shorter and (found := wanted.at(shorter, kind)):
            why = f"; {shorter:,} tokens of context and not {n_ctx:,}, for lack of memory"
            return dataclasses.replace(found, reason=found.reason + why)
    raise wanted.refusal(n_ctx, kinds[-1])


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One model, and the room that there is for it."""

    header: Header
    free_ram: int
    free_gpu: int
    gpu_offload: bool
    gpu_layers: int | Literal["auto"]
    sequences: int
    extra_bytes: int
    own_kernels: bool

    def at(self, n_ctx: int, kv_type: KvType) -> Fit | None:
        """How it fits with this context and KV type; None where it does not."""
        tried, gpu_layers, why = self._placed(n_ctx, kv_type)
        ram = tried.ram(gpu_layers) + self.extra_bytes
        if ram > self.free_ram:
            return None
        reason = f"{why}; {_mib(ram)} of RAM needed, {_mib(self.free_ram)} free"
        if kv_type != "f16":
            reason += f"; KV cache as {kv_type}"
        return Fit(
            gpu_layers=gpu_layers,
            layers=len(tried.layers) + 1,
            kv_type=kv_type,
            n_ctx=n_ctx,
            ram_bytes=ram,
            gpu_bytes=tried.gpu(gpu_layers),
            free_ram=self.free_ram,
            free_gpu=self.free_gpu,
            reason=reason,
        )

    def longest(self, kv_type: KvType, least: int, most: int) -> int | None:
        """The longest context from ``least`` to ``most`` that fits, in whole steps."""
        low, high = -(-least // CONTEXT_STEP), most // CONTEXT_STEP
        if low > high or not self.at(low * CONTEXT_STEP, kv_type):
            return None
        while low < high:
            middle = (low + high + 1) // 2
            if self.at(middle * CONTEXT_STEP, kv_type):
                low = middle
            else:
                high = middle - 1
        return low * CONTEXT_STEP

    def refusal(self, n_ctx: int, kv_type: KvType) -> StorageFailed:
        """Both numbers, what the memory is for, and what would fit instead."""
        tried, gpu_layers, why = self._placed(n_ctx, kv_type)
        need = tried.ram(gpu_layers) + self.extra_bytes
        kv = sum(tried.kv[: len(tried.layers) + 1 - gpu_layers])
        hints = [
            f"a KV cache as {kind}"
            for kind in KV_TYPES
            if kind != kv_type and divides(self.header, kind) and self.at(n_ctx, kind)
        ][:1]
        if shorter := self.longest(kv_type, CONTEXT_STEP, n_ctx):
            hints.append(f"a context of {shorter:,} tokens")
        hint = "close other programs, or choose a smaller model"
        if hints:
            hint = f"{' or '.join(hints)} would fit; or close other programs"
        return StorageFailed(
            f"{self.header.path.name} needs {_mib(need)} of RAM, and {_mib(self.free_ram)} are "
            f"free: {_mib(need - kv)} for weights and buffers, {_mib(kv)} for a KV cache of "
            f"{n_ctx:,} tokens as {kv_type} ({why})",
            hint=hint,
        )

    def _placed(self, n_ctx: int, kv_type: KvType) -> tuple[Sizes, int, str]:
        """What it asks for, how many layers go to the GPU, and why that many."""
        tried = sizes(
            self.header,
            n_ctx=n_ctx,
            kv_type=kv_type,
            sequences=self.sequences,
            own_kernels=self.own_kernels,
        )
        every = len(tried.layers) + 1
        if self.gpu_layers == 0:
            return tried, 0, "asked for the CPU"
        if not self.gpu_offload:
            return tried, 0, "this llama.cpp was built without GPU support"
        if self.free_gpu <= 0:
            return tried, 0, "no GPU answers"
        if self.gpu_layers != "auto":
            count = every if self.gpu_layers < 0 else min(self.gpu_layers, every)
            return tried, count, f"asked for {count} of {every} layers on the GPU"
        count = next((n for n in range(every, 0, -1) if tried.gpu(n) <= self.free_gpu), 0)
        free = f"and {_mib(self.free_gpu)} free"
        whole = f"{_mib(tried.gpu(every))} needed {free}"
        if count == every:
            return tried, count, f"all {every} layers fit the GPU: {whole}"
        if count > 1:
            return tried, count, f"{count} of {every} layers fit the GPU: {whole} for all"
        # The output layer alone would only move rows to and fro.
        return tried, 0, f"the GPU holds no layer: {_mib(tried.gpu(2))} needed for one {free}"


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
