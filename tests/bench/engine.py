"""The local engine, measured: ``python -m tests.bench.engine [--model FILE] [--only PART,…]``.

All of it runs on one GGUF in one run; ``python -m tests.bench.peers`` installs the peers first.
Progress goes to stderr; the last line on stdout is one JSON object. ``structured_ratio`` is the
time of a structured call here by that of llama.cpp's own server, each as its median, whole
prompt cached; the other figures are described in the part that measures them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from models.llama import LlamaGenerator
from models.pool import GENERATOR
from tests.bench import (
    engine_adapters,
    engine_copy,
    engine_load,
    engine_prefix,
    engine_structured,
    engine_validity,
    peers,
)
from tests.bench.engine_run import Run, note

PARTS: dict[str, Callable[[Run], Awaitable[dict[str, Any]]]] = {
    "structured": engine_structured.measure,
    "validity": engine_validity.measure,
    "prefix": engine_prefix.measure,
    "copy": engine_copy.measure,
    "callers": engine_load.measure_callers,
    "adapters": engine_adapters.measure,
    "memory": engine_load.measure_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.engine", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--model", type=Path, help="a GGUF file (default: the default pack's)")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--only", help=f"some of the parts: {','.join(PARTS)}")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)} (there are {', '.join(PARTS)})")
    if not peers.installed():
        sys.exit("The peers are not installed: python -m tests.bench.peers")
    print(json.dumps(asyncio.run(measure(options.model, names, quick=options.quick))))


async def measure(model: Path | None, names: Sequence[str], *, quick: bool) -> dict[str, Any]:
    path = (model or _default_model()).resolve()
    begun = time.perf_counter()
    generator = LlamaGenerator(path)
    try:
        run = Run(path, generator, quick)
        result: dict[str, Any] = {
            "model": generator.model,
            "file": path.name,
            "device": generator.placement.device,
            "threads": generator.threads,
            "quick": quick,
            "load_before": _load(),
        }
        for name in names:
            note(f"{name} ({time.perf_counter() - begun:.0f} s)")
            result |= await PARTS[name](run)
    finally:
        generator.close()
    seconds = round(time.perf_counter() - begun, 1)
    return {**result, "load_after": _load(), "seconds": seconds}


def _default_model() -> Path:
    from models.store import Store

    return Store().file(GENERATOR, "model")


def _load() -> float:
    """Processes that wanted a core over the last minute: above the cores, times are inflated."""
    return round(os.getloadavg()[0], 2)


if __name__ == "__main__":
    main()
