"""Run as a process of its own: ``python -m models.checks.probe [--generator GGUF]`` or
``--encoder [ONNX TOKENIZER]``.

Loads the engines as Aidecamp does and lets each work for a moment, one JSON line for each stage
reached. A build that does not fit this CPU dies here, by a signal, and takes no one with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PROMPT = "The quick brown fox jumps over the lazy dog, and then it does so again. " * 3
"""Long enough that the batched matrix multiplication runs, which is where AMX builds crash."""
_TOKENS = 8


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--generator", type=Path)
    parser.add_argument("--encoder", type=Path, nargs="*")
    options = parser.parse_args(arguments)
    if options.encoder is not None:
        _encode(*options.encoder)
    else:
        _decode(options.generator)


def _decode(path: Path | None) -> None:
    import models.llama_context  # noqa: F401  (says how llama.cpp's threads wait: before it loads)

    import llama_cpp  # isort: skip

    _say(
        "import",
        version=llama_cpp.__version__,
        system=llama_cpp.llama_print_system_info().decode(errors="replace"),
        gpu_offload=bool(llama_cpp.llama_supports_gpu_offload()),
    )
    if path is None:
        return
    from models import native
    from models.llama import LlamaGenerator

    generator = LlamaGenerator(path)
    place, header = generator.placement, generator.header
    layers = (header.integer(f"{header.architecture}.block_count") or 0) + 1
    _say(
        "load",
        device=place.device,
        layers=layers,
        offloaded=layers if place.gpu_layers < 0 else place.gpu_layers,
        reason=place.reason,
        kernels=native.use(),
    )
    message = {"role": "user", "content": _PROMPT}
    usage = asyncio.run(generator.generate([message], max_tokens=_TOKENS)).usage
    prefilled = usage.tokens_in - usage.tokens_cached
    _say(
        "decode",
        prefill_tokens_per_s=round(prefilled / usage.prefill_ms * 1000, 1),
        decode_tokens_per_s=round(usage.tokens_out / usage.decode_ms * 1000, 1),
    )
    generator.close()


def _encode(model: Path | None = None, tokenizer: Path | None = None) -> None:
    import onnxruntime

    _say("import", version=onnxruntime.__version__, providers=onnxruntime.get_available_providers())
    if model is None or tokenizer is None:
        return
    from models.onnx import OnnxEncoder

    encoder = OnnxEncoder(model, tokenizer)
    _say("load", provider=encoder.provider, reason=encoder.provider_reason)
    encoder.embed([_PROMPT])
    start = time.perf_counter()
    encoder.embed([_PROMPT])
    _say("embed", ms=round((time.perf_counter() - start) * 1000, 1))


def _say(stage: str, **values: Any) -> None:
    print(json.dumps({"stage": stage, **values}), flush=True)


if __name__ == "__main__":
    main()
