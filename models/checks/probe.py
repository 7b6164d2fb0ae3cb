"""Run as a process of its own: ``python -m models.checks.probe MODEL.gguf``.

Loads llama.cpp and decodes a few tokens, one JSON line for each stage reached. A build that does
not fit this CPU dies here, by a signal, and takes no one with it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

_PROMPT = "The quick brown fox jumps over the lazy dog, and then it does so again. " * 3
"""Long enough that the batched matrix multiplication runs, which is where AMX builds crash."""
_TOKENS = 8


def main(path: str | None) -> None:
    import llama_cpp

    _say(
        "import",
        version=llama_cpp.__version__,
        system=llama_cpp.llama_print_system_info().decode(errors="replace"),
        gpu_offload=bool(llama_cpp.llama_supports_gpu_offload()),
    )
    if path is None:
        return
    start = time.perf_counter()
    model = llama_cpp.Llama(path, n_ctx=256, n_gpu_layers=-1, verbose=False)
    _say("load", ms=round((time.perf_counter() - start) * 1000, 1))
    prompt = model.tokenize(_PROMPT.encode())
    start = time.perf_counter()
    model.eval(prompt)
    prefill_ms = (time.perf_counter() - start) * 1000
    start = time.perf_counter()
    for _ in range(_TOKENS):
        model.eval([model.sample(temp=0.0)])
    decode_ms = (time.perf_counter() - start) * 1000
    _say(
        "decode",
        prefill_tokens_per_s=round(len(prompt) / prefill_ms * 1000, 1),
        decode_tokens_per_s=round(_TOKENS / decode_ms * 1000, 1),
    )


def _say(stage: str, **values: Any) -> None:
    print(json.dumps({"stage": stage, **values}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
