"""Several callers at once, and many calls in a row.

``concurrency_gain``: tokens/s of four callers together by those of the same calls one at a time;
``max_wait_ratio``: the slowest of the four callers' calls by their median. ``rss_growth``: how
much the resident memory grew from the 500th of 5,000 short calls to the last, as a share; every
tenth is cancelled somewhere on its way, and every fiftieth fails (its prompt is too long).
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.base import Generation, Message
from models.errors import ContextOverflow
from runtime.roles.functions import from_functions, schema_of
from tests.bench.engine_run import Run, is_valid, ms, note, words

CALLERS = 4
WARM = 3
TOOLS = json.loads(
    (Path(__file__).parents[2] / "runtime" / "tools" / "assistant.json").read_text("utf-8")
)
TOOL = "add_to_list"
LISTS = ("shopping", "todo", "packing")
ITEMS = ("milk", "olive oil", "red apples", "paper towels", "soap", "batteries", "rice", "tea")
WARM_UP = 500
CALLS = 5000


def _requests(count: int, first: int) -> list[str]:
    """Distinct requests of one kind, so that calls are of about the same length: ``count`` of
    them from number ``first`` on, in an order that mixes them well."""
    numbers = random.Random(5).sample(range(2, 1000), 998)
    every = [
        f"{number} {item} to my {name}" for number in numbers for item in ITEMS for name in LISTS
    ]
    return [f"add {text} list" for text in random.Random(6).sample(every, first + count)[first:]]


class Calls:
    """Short structured calls of one tool behind one head."""

    def __init__(self, run: Run) -> None:
        [self._recipe] = [r for r in from_functions(TOOLS) if r.id == TOOL]
        self.schema: Mapping[str, Any] = schema_of(self._recipe)
        self._generator = run.generator

    def messages(self, request: str) -> tuple[Message, ...]:
        from runtime.roles.filling import prompt

        return prompt(self._recipe, request)

    async def ask(self, request: str) -> tuple[float, Generation]:
        begun = time.perf_counter()
        got = await self._generator.generate(
            self.messages(request), schema=self.schema, max_tokens=64
        )
        return (time.perf_counter() - begun) * 1000, got


async def measure_callers(run: Run) -> dict[str, Any]:
    calls = Calls(run)
    for request in _requests(WARM, 0):
        await calls.ask(request)
    alone_s = together_s = 0.0
    tokens = {"alone": 0, "together": 0}
    latencies: list[float] = []
    alone_ms: list[float] = []
    waits: list[float] = []
    valid = 0
    for turn in range(run.times(6, 2)):
        each = run.times(10, 5)
        first = WARM + 2 * turn * CALLERS * each
        # New requests in every pass: only the head is decoded before, on both sides.
        begun = time.perf_counter()
        for request in _requests(CALLERS * each, first):
            took, got = await calls.ask(request)
            alone_ms.append(took)
            tokens["alone"] += got.usage.tokens_out
        alone_s += time.perf_counter() - begun
        requests = _requests(CALLERS * each, first + CALLERS * each)
        begun = time.perf_counter()
        rows = await asyncio.gather(
            *(_one_after_another(calls, requests[i::CALLERS]) for i in range(CALLERS))
        )
        together_s += time.perf_counter() - begun
        answers = [row for caller in rows for row in caller]
        latencies += [took for took, _ in answers]
        waits.append(max(t for t, _ in answers) / statistics.median(t for t, _ in answers))
        tokens["together"] += sum(got.usage.tokens_out for _, got in answers)
        valid += sum(is_valid(calls.schema, got.text, got.finish) for _, got in answers)
    alone, together = tokens["alone"] / alone_s, tokens["together"] / together_s
    note(f"  {alone:.1f} tokens/s one at a time, {together:.1f} by {CALLERS} callers")
    return {
        "concurrency_gain": round(together / alone, 3),
        "max_wait_ratio": round(max(latencies) / statistics.median(latencies), 3),
        "callers": {
            "callers": CALLERS,
            "calls": len(latencies),
            "valid": valid,
            "tokens_per_s_alone": round(alone, 1),
            "tokens_per_s_together": round(together, 1),
            "tokens": tokens,
            "call_ms_alone": ms(alone_ms),
            "call_ms_together": ms(latencies),
            "slowest_ms": round(max(latencies), 1),
            "max_wait_ratio_of_each_pass": [round(w, 2) for w in waits],
        },
    }


async def _one_after_another(
    calls: Calls, requests: Sequence[str]
) -> list[tuple[float, Generation]]:
    return [await calls.ask(request) for request in requests]


async def measure_memory(run: Run) -> dict[str, Any]:
    import psutil

    calls = Calls(run)
    process = psutil.Process()
    count, warm_up = run.times(CALLS, 600), run.times(WARM_UP, 100)
    requests = _requests(count, CALLS)
    source = random.Random(7)
    took = 0.0
    ended = {"answered": 0, "cancelled": 0, "failed": 0}
    samples: list[float] = []
    before = 0.0
    for number, request in enumerate(requests):
        if number == warm_up:
            before = _resident(process)
        if number % 10 == 9:
            ended["cancelled"] += await _cancelled(
                calls, request, 0.8 * took * source.random() / 1000
            )
        elif number % 50 == 25:
            ended["failed"] += await _failed(run)
        else:
            took, _ = await calls.ask(request)
            ended["answered"] += 1
        if number % 250 == 249:
            samples.append(round(_resident(process) / 2**20, 1))
            note(f"  {number + 1} calls: {samples[-1]} MiB")
    await _idle(run)
    after = _resident(process)
    return {
        "rss_growth": round(after / before - 1, 4),
        "memory": {
            "calls": count,
            **ended,
            "ended_before_cancel": count - sum(ended.values()),
            "mib_after_warm_up": round(before / 2**20, 1),
            "mib_at_end": round(after / 2**20, 1),
            "mib_every_250_calls": samples,
            "engine_mib": round(run.generator.memory_bytes / 2**20, 1),
            "calls_left": run.generator.busy,
        },
    }


async def _cancelled(calls: Calls, request: str, after_s: float) -> bool:
    task = asyncio.ensure_future(calls.ask(request))
    await asyncio.wait([task], timeout=after_s)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


async def _failed(run: Run) -> bool:
    message: Message = {"role": "user", "content": words(run.generator.n_ctx, 5)}
    try:
        await run.generator.generate([message], max_tokens=4)
    except ContextOverflow:
        return True
    return False


async def _idle(run: Run) -> None:
    """Until the engine let go of the last cancelled call."""
    for _ in range(500):
        if run.generator.busy == 0:
            return
        await asyncio.sleep(0.01)
    raise RuntimeError(f"{run.generator.busy} calls are left, 5 s after the last one ended")


def _resident(process: Any) -> float:
    gc.collect()
    return float(process.memory_info().rss)
