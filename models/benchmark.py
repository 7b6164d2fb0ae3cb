"""This machine's own figures for a local model: ``aidecamp doctor --bench``.

Run as a process of its own (``python -m models.benchmark --generator GGUF --encoder ONNX
TOKENIZER``), so that memory is counted from nothing and a crash takes no one with it; one JSON
line for each stage. Medians of a few calls on whatever else the machine is doing: a look, not a
comparison (``tests/bench`` compares).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

PROMPTS = 3
ANSWERS = 3
CALLS = 20
CHOICES = 10
TEXTS = 20
STAGE_S = 3.0
"""A stage that took so long is not repeated further: the machine is slow, or busy."""
_WORDS = "many words " * 150
_ANSWER_TOKENS = 48

TOOL = {
    "type": "object",
    "properties": {
        "name": {"const": "create_reminder"},
        "arguments": {
            "type": "object",
            "properties": {
                "title": {"type": "string", "maxLength": 60},
                "day": {
                    "enum": ["monday", "tuesday", "wednesday", "thursday", "friday", "weekend"]
                },
                "hour": {"type": "integer", "minimum": 0, "maximum": 23},
                "urgent": {"type": "boolean"},
            },
            "required": ["title", "day", "hour", "urgent"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "arguments"],
    "additionalProperties": False,
}
"""What a tool call is forced to look like: a string, a choice, a number, a yes or no."""
_SYSTEM = (
    "You turn a request into one call of the function create_reminder. It takes a title (a few "
    "words), a day (monday to friday, or weekend), an hour from 0 to 23, and whether it is "
    'urgent. Example: "dentist on friday at 3 pm" becomes '
    '{"name":"create_reminder","arguments":{"title":"dentist","day":"friday","hour":15,'
    '"urgent":false}}'
)
_THINGS = ("call the bank", "water the plants", "pay the rent", "send the report", "buy a ticket")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")
_OPTIONS = ("shell", "calendar", "mail", "browser", "editor", "music", "maps", "settings")
_TEXT = "remind me to send the quarterly report to the finance team before the meeting on friday"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, nargs=2)
    options = parser.parse_args(arguments)
    asyncio.run(_generator(options.generator))
    if options.encoder:
        _encoder(*options.encoder)
    _say("machine", load=round(os.getloadavg()[0], 1), cores=os.cpu_count() or 1)


async def _generator(path: Path) -> None:
    from models.footprint import KV_TYPES, kv_bytes_per_token
    from models.llama import LlamaGenerator

    # Only now, since the engine says how its threads are to wait; and before memory is counted.
    import llama_cpp  # noqa: F401  # isort: skip

    before, begun = _rss(), time.perf_counter()
    generator = LlamaGenerator(path)
    _say(
        "load",
        model=generator.name,
        digest=generator.model,
        file_mb=round(generator.header.bytes / 2**20, 1),
        seconds=round(time.perf_counter() - begun, 2),
        device=generator.placement.device,
        reason=generator.placement.reason,
        threads=generator.threads,
        n_ctx=generator.n_ctx,
        kv_bytes_per_token={k: kv_bytes_per_token(generator.header, k) for k in KV_TYPES},
    )

    async def prompt(n: int) -> Any:
        # Each begins otherwise, so nothing of it is cached.
        return await generator.generate(_ask(f"{n} {_WORDS}"), max_tokens=1)

    answers, _ = await _repeat(prompt, PROMPTS)
    new = [a.usage.tokens_in - a.usage.tokens_cached for a in answers]
    speeds = [1000 * n / a.usage.prefill_ms for n, a in zip(new, answers, strict=True)]
    _say("prefill", tokens_per_s=_median(speeds), tokens=new[0], runs=len(speeds))

    async def story(n: int) -> Any:
        asked = _ask(f"Tell a long story about {_THINGS[n % len(_THINGS)]}.")
        return await generator.generate(asked, max_tokens=_ANSWER_TOKENS)

    answers, _ = await _repeat(story, ANSWERS)
    speeds = [1000 * a.usage.tokens_out / a.usage.decode_ms for a in answers]
    _say("decode", tokens_per_s=_median(speeds), tokens=_ANSWER_TOKENS, runs=len(speeds))

    async def call(n: int) -> Any:
        thing, day = _THINGS[n % len(_THINGS)], _DAYS[n // len(_THINGS) % len(_DAYS)]
        request = _ask(f"{thing} on {day} at {8 + n % 12}", _SYSTEM)
        return await generator.generate(request, schema=TOOL, max_tokens=128)

    answers, times = await _repeat(call, CALLS)
    for answer in answers:
        json.loads(answer.text)
    _say(
        "structured_call",
        ms=_median(times),
        p95_ms=_p95(times),
        tokens=round(statistics.median(a.usage.tokens_out for a in answers)),
        runs=len(times),
    )

    async def choose(n: int) -> Any:
        return await generator.choose(_ask(f"Which program serves this: {_TEXT}?"), _OPTIONS)

    _, times = await _repeat(choose, CHOICES)
    _say("choose", ms=_median(times), options=len(_OPTIONS), runs=len(times))
    _say("memory", model_mb=round((_rss() - before) / 2**20), process_mb=round(_rss() / 2**20))
    generator.close()


def _encoder(model: Path, tokenizer: Path) -> None:
    from models.onnx import OnnxEncoder

    encoder = OnnxEncoder(model, tokenizer)
    encoder.embed([_TEXT])
    times = []
    for _ in range(TEXTS):
        begun = time.perf_counter()
        encoder.embed([_TEXT])
        times.append(1000 * (time.perf_counter() - begun))
    _say(
        "encoder",
        model=encoder.name,
        ms=_median(times),
        p95_ms=_p95(times),
        device=encoder.provider,
        reason=encoder.provider_reason,
        runs=TEXTS,
    )
    encoder.close()


def _ask(text: str, system: str = "") -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": text}]


async def _repeat(
    call: Callable[[int], Awaitable[Any]], most: int
) -> tuple[list[Any], list[float]]:
    """Results and milliseconds of up to ``most`` calls, one after another, as their caller waits
    for them: fewer where STAGE_S is over, and at least one. One goes before, uncounted."""
    await call(most)
    results, times = [], []
    begun = time.perf_counter()
    for n in range(most):
        started = time.perf_counter()
        results.append(await call(n))
        times.append(1000 * (time.perf_counter() - started))
        if time.perf_counter() - begun > STAGE_S:
            break
    return results, times


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 1)


def _p95(values: Sequence[float]) -> float:
    """The value that 19 of 20 do not exceed (nearest rank)."""
    return round(sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)], 1)


def _rss() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _say(stage: str, **values: Any) -> None:
    print(json.dumps({"stage": stage, **values}), flush=True)


if __name__ == "__main__":
    main()
