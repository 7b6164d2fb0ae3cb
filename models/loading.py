"""How each kind of model is weighed and opened, for the pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ModelCorrupt, StorageFailed
from models.footprint import KvType
from models.residency import Plan, Slot

if TYPE_CHECKING:
    from models.llama import LlamaGenerator
    from models.onnx import OnnxEncoder

ENCODER_BYTES_PER_FILE_BYTE = 5
ENCODER_BYTES = 64 * 2**20
"""Measured: MiniLM-L6 int8, a file of 22 MiB, took 160 MiB when loaded and up to 200 at work; a
second session of it took 105, so the rest is ONNX Runtime's own."""


def generator_slot(
    name: str,
    file: Callable[[], Path],
    kv_types: Sequence[KvType],
    cache_folder: Path | None,
) -> Slot[LlamaGenerator]:
    """A slot for a GGUF model on llama.cpp."""

    def plan(files: Sequence[Path], free_ram: int) -> Plan:
        from models.gguf import read_header
        from models.llama import CACHE_BYTES, CACHE_TOKENS, CONTEXT_TOKENS
        from models.placement import place

        header = read_header(files[0])
        found = place(
            header,
            cells=min(CONTEXT_TOKENS, header.context_length or CONTEXT_TOKENS) + CACHE_TOKENS,
            kv_types=kv_types,
            cache_bytes=CACHE_BYTES,
            free_ram=free_ram,
        )
        return Plan(found.ram_bytes, found.reason, found.kv_type, found.placement)

    def load(files: Sequence[Path], plan: Plan) -> LlamaGenerator:
        from models.llama import LlamaGenerator

        options: dict[str, Any] = {"placement": plan.placement}
        if plan.kv_type != "f16":
            options["kv_type"] = plan.kv_type
        if cache_folder is not None:
            options["cache_folder"] = cache_folder
        return LlamaGenerator(files[0], **options)

    return Slot(name, lambda: (file(),), plan, load, reloads=True)


def encoder_slot(name: str, files: Callable[[], tuple[Path, Path]]) -> Slot[OnnxEncoder]:
    """A slot for a sentence encoder on ONNX Runtime.

    ONNX Runtime keeps what it read, so a changed file is met at the next load only; and heads
    and thresholds were fitted on the encoder that they were given, so another one is refused.
    """
    first: list[str] = []

    def plan(files: Sequence[Path], free_ram: int) -> Plan:
        need = ENCODER_BYTES + ENCODER_BYTES_PER_FILE_BYTE * sum(f.stat().st_size for f in files)
        if need > free_ram:
            raise StorageFailed(
                f"{name} needs {need >> 20:,} MiB of RAM, and {free_ram >> 20:,} MiB are free",
                hint="close other programs",
            )
        return Plan(need, f"{need >> 20:,} MiB of RAM needed, {free_ram >> 20:,} MiB free")

    def load(files: Sequence[Path], plan: Plan) -> OnnxEncoder:
        from models.onnx import OnnxEncoder

        encoder = OnnxEncoder(files[0], files[1], name=name)
        if first and encoder.model != first[0]:
            encoder.close()
            raise ModelCorrupt(
                f"{files[0]} changed on disk: what was fitted on the encoder {first[0][:19]} "
                f"does not fit {encoder.model[:19]}",
                hint="start again, or put the former file back: aidecamp models pull",
            )
        first[:] = [encoder.model]
        return encoder

    return Slot(name, files, plan, load, reloads=False)
