"""Which type should the store repack its default model to, on this machine?

``python -m tests.bench.repack``: the same prompts on each type in turn, so that a busy moment
hits them alike. Progress on standard error, one JSON line last on standard output.

Measures prefill and decode in tokens/s, a structured call with its head cached in ms (medians),
and agreement with the source's own greedy answers: the share of calls that are the same, and
how far free answers of 32 tokens run alike. Speed on one thread count only; no task quality.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from models.base import Generation, Message
from models.llama import LlamaGenerator
from models.llama_quantize import quantize
from models.prefix_cache import common_prefix
from models.store import Store

TYPES = ("Q8_0", "Q4_0")
ROUNDS = 5
FREE_TOKENS = 32

HEAD: Message = {
    "role": "system",
    "content": (
        "You fill in the arguments of one call from the request. Copy names, paths and numbers "
        "as they are written. Leave out what the request does not say. Answer with JSON only.\n"
    )
    * 3,
}

REQUESTS = (
    "show the ten largest files in /var/log",
    "remind me on Friday at noon to water the plants",
    "what is 17 percent of 2400",
    "compress the folder photos into backup.tar.gz",
    "set the thermostat in the bedroom to 19 degrees",
    "find every PDF that was changed in the last two days",
    "translate good morning into Spanish",
    "book a table for four at the Blue Door tonight at eight",
    "how many lines has main.py",
    "play the album Kind of Blue in the kitchen",
    "convert 30 miles to kilometres",
    "send Maria a message that I am ten minutes late",
    "list the processes that use the most memory",
    "add milk, eggs and bread to the shopping list",
    "what is the weather in Lisbon tomorrow",
    "rename report.txt to report-final.txt",
    "turn off all the lights downstairs",
    "count the words in notes.md",
    "navigate to the nearest petrol station",
    "wake me at half past six",
)


def _schema(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_TEXT = {"type": "string", "maxLength": 32}
SCHEMAS = (
    _schema(path=_TEXT, limit={"type": "integer", "minimum": 1, "maximum": 1000}),
    _schema(action={"enum": ["show", "set", "send", "find", "change"]}, object=_TEXT),
    _schema(title=_TEXT, urgent={"type": "boolean"}, number={"type": "integer", "maximum": 9999}),
)


def _ask(text: str) -> list[Message]:
    return [HEAD, {"role": "user", "content": text}]


async def _measure(models: dict[str, LlamaGenerator]) -> dict[str, dict[str, Any]]:
    speeds: dict[str, dict[str, list[float]]] = {
        name: {"prefill": [], "decode": [], "call_ms": []} for name in models
    }
    calls: dict[str, list[str]] = {name: [] for name in models}
    free: dict[str, list[Sequence[int]]] = {name: [] for name in models}
    for number in range(ROUNDS):
        # A round's own first words: nothing of it is in the prefix cache.
        long = f"Round {number}. " + " ".join(REQUESTS)
        for name, model in models.items():
            answer = await model.generate([{"role": "user", "content": long}], max_tokens=48)
            usage = answer.usage
            new = usage.tokens_in - usage.tokens_cached
            speeds[name]["prefill"].append(1000 * new / usage.prefill_ms)
            speeds[name]["decode"].append(1000 * usage.tokens_out / usage.decode_ms)
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
    for number, request in enumerate(REQUESTS):
        schema = SCHEMAS[number % len(SCHEMAS)]
        for name, model in models.items():
            call = await model.generate(_ask(request), schema=schema)
            calls[name].append(call.text)
            if number >= len(SCHEMAS):  # head cached and grammar compiled by then
                speeds[name]["call_ms"].append(call.usage.total_ms)
            said: Generation = await model.generate(_ask(request), max_tokens=FREE_TOKENS)
            free[name].append([token.id for token in said.tokens])
        print(f"request {number + 1} of {len(REQUESTS)}", file=sys.stderr, flush=True)

    reference = next(iter(models))
    return {
        name: {
            "prefill_tokens_per_s": round(median(speeds[name]["prefill"]), 1),
            "decode_tokens_per_s": round(median(speeds[name]["decode"]), 1),
            "structured_call_ms": round(median(speeds[name]["call_ms"]), 1),
            "bytes": model.header.bytes,
            "calls_equal": round(
                mean(a == b for a, b in zip(calls[name], calls[reference], strict=True)), 3
            ),
            "free_equal": round(
                mean(a == b for a, b in zip(free[name], free[reference], strict=True)), 3
            ),
            "free_common_share": round(
                mean(
                    common_prefix(np.array(a, np.int32), np.array(b, np.int32))
                    / max(len(a), len(b), 1)
                    for a, b in zip(free[name], free[reference], strict=True)
                ),
                3,
            ),
        }
        for name, model in models.items()
    }


def _source() -> Path:
    store = Store()
    store.pull("smollm2-135m")
    (installed,) = (i for i in store.installed("smollm2-135m") if i.file.role == "model")
    if installed.pulled is None:
        raise SystemExit("the default model was not pulled: aidecamp models pull")
    return store.root / "smollm2-135m" / installed.pulled.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, help="a GGUF file; the default model's as pulled")
    parser.add_argument("--threads", type=int, help="by default one for each core")
    arguments = parser.parse_args()
    source = arguments.model or _source()
    with tempfile.TemporaryDirectory() as folder:
        paths = {"source": source}
        for type_ in TYPES:
            paths[type_] = Path(folder) / f"{type_}.gguf"
            made = quantize(source, paths[type_], type_, allow_requantize=True)
            print(f"{type_}: {made.bytes:,} bytes in {made.seconds} s", file=sys.stderr)
        models = {
            name: LlamaGenerator(path, n_threads=arguments.threads, n_gpu_layers=0)
            for name, path in paths.items()
        }
        try:
            result = asyncio.run(_measure(models))
        finally:
            for model in models.values():
                model.close()
    first = next(iter(models.values()))
    result[f"{first.header.file_type} (source)"] = result.pop("source")
    print(json.dumps({"bench": "repack", "threads": first.threads, "types": result}))


if __name__ == "__main__":
    main()
