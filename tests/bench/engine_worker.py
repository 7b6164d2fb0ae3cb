"""One peer, serving JSON lines on stdin and stdout: started by ``tests/bench/peers.py`` alone.

It runs in the peer's own interpreter, so it imports nothing of this project. Arguments: kind
(``xllamacpp`` or ``llama_cpp``), model file, threads, context tokens, ``flash`` or ``no-flash``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Handler = Callable[[dict[str, Any]], dict[str, Any]]


def llama_server(model: str, threads: int, n_ctx: int, flash: bool) -> tuple[Handler, str]:
    """llama.cpp's server in this process, everything else as it comes."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = n_ctx
    params.n_gpu_layers = 0
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = 0
    if not flash:
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        body = {
            "messages": request["messages"],
            "max_tokens": request["max_tokens"],
            "temperature": 0,
            "cache_prompt": True,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": request["schema"]},
            },
        }
        reply = server.handle_chat_completions(body)
        if "choices" not in reply:
            raise RuntimeError(json.dumps(reply)[:500])
        return dict(reply)

    return handle, xllamacpp.get_system_info()


def llama_cpp_python(model: str, threads: int, n_ctx: int, flash: bool) -> tuple[Handler, str]:
    """llama-cpp-python's high-level API. It keeps the last prompt's KV cache by itself."""
    import llama_cpp

    llama = llama_cpp.Llama(
        model,
        n_ctx=n_ctx,
        n_threads=threads,
        n_threads_batch=threads,
        n_gpu_layers=0,
        flash_attn=flash,
        verbose=False,
    )

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        reply: dict[str, Any] = llama.create_chat_completion(
            messages=request["messages"],
            max_tokens=request["max_tokens"],
            temperature=0.0,
            response_format={"type": "json_object", "schema": request["schema"]},
        )
        return reply

    return handle, llama_cpp.llama_print_system_info().decode()


def main() -> None:
    kind, model, threads, n_ctx, flash = sys.argv[1:]
    # Whatever the libraries print goes to stderr: stdout carries answers alone.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(body: dict[str, Any]) -> None:
        out.write(json.dumps(body) + "\n")
        out.flush()

    make = llama_server if kind == "xllamacpp" else llama_cpp_python
    try:
        handle, about = make(model, int(threads), int(n_ctx), flash == "flash")
        say({"system": about})
        for line in sys.stdin:
            request = json.loads(line)
            begun = time.perf_counter()
            reply = handle(request)
            ms = (time.perf_counter() - begun) * 1000
            choice, usage = reply["choices"][0], reply["usage"]
            say(
                {
                    "ms": ms,
                    "text": choice["message"]["content"],
                    "finish": choice["finish_reason"],
                    "tokens_in": usage["prompt_tokens"],
                    "tokens_cached": usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
                    "tokens_out": usage["completion_tokens"],
                    "timings": reply.get("timings", {}),
                }
            )
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        raise


if __name__ == "__main__":
    main()
