"""Adapters: what a call costs right after another adapter was in use.

``adapter_switch_ms``: the median extra wall time of a call whose adapter differs from that of the
call before it, against the same call asked again at once. One prompt, decoded before for the base
and for each adapter, so their caches differ in the adapter alone (``answers_of_another_cache``
counts answers that are not the adapter's own). Both are random, rank 16, on every linear layer.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.base import Generation, Message
from tests.bench.engine_run import Run, difference, ms, note, prompt_of
from tests.models.adapter_files import write_adapter

RANK = 16
TOKENS = 8


async def measure(run: Run) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="aidecamp-bench-") as name:
        return await _switch(run, Path(name))


async def _switch(run: Run, folder: Path) -> dict[str, Any]:
    header = run.generator.header
    layers = range(header.integer(f"{header.architecture}.block_count") or 0)
    files: list[Path | None] = [None]
    for seed in (1, 2):
        path = folder / f"adapter-{seed}.gguf"
        write_adapter(path, header, layers=layers, rank=RANK, alpha=16.0, size=0.02, seed=seed)
        files.append(path)
    prompt = prompt_of(run, 200, 30_000, "Go on.")
    first = {file: await _timed(run, prompt, file) for file in files}
    expected = {file: (await _timed(run, prompt, file))[1] for file in files}
    extra, again = [], []
    mixed = 0
    order = random.Random(3)
    last = files[-1]
    for _ in range(run.times(60, 12)):
        file = order.choice([f for f in files if f != last])
        switched, got = await _timed(run, prompt, file)
        repeated, _ = await _timed(run, prompt, file)
        assert got.usage.tokens_cached == got.usage.tokens_in - 1
        # A cache that another adapter could reach would change the text.
        found = difference(got, expected[file])
        mixed += found is not None and not found.flip
        extra.append(switched - repeated)
        again.append(repeated)
        last = file
    note(f"  a switch adds {ms(extra)} ms to {ms(again)} ms")
    loads = [took - statistics.median(again) for file, (took, _) in first.items() if file]
    return {
        "adapter_switch_ms": ms(extra),
        "adapters": {
            "switches": len(extra),
            "p95_ms": round(sorted(extra)[int(0.95 * len(extra))], 1),
            "call_ms": ms(again),
            "tokens_per_call": TOKENS,
            "rank": RANK,
            "answers_of_another_cache": mixed,
            "different_answers": len({got.text for got in expected.values()}),
            "first_use_ms": ms(loads),
        },
    }


async def _timed(
    run: Run, prompt: Sequence[Message], file: Path | None
) -> tuple[float, Generation]:
    begun = time.perf_counter()
    got = await run.generator.generate(prompt, max_tokens=TOKENS, adapter=file)
    return (time.perf_counter() - begun) * 1000, got
