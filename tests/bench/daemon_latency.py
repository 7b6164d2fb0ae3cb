"""What the daemon adds to a local call: the same short call over HTTP and on the engine itself.

Each pair is one prompt with a nonce of its own, asked of both in an order that alternates: by a
kept connection of the daemon's, and by ``LlamaGenerator.generate`` in this process, which loads
the same file with the same settings. ``added_p50_ms`` and ``added_p95_ms`` are of the paired
differences of wall time, the client's own share included. The noise of generating is in them;
the ``overhead`` of each side is free of it: wall time without what the engine says that it took.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from models.base import Message
from models.llama import LlamaGenerator
from models.pool import GENERATOR
from models.store import Store
from runtime.core import Call
from runtime.ledger import records
from tests.bench.daemon_home import LOCAL, Home, home
from tests.bench.engine_run import is_valid, note

PAIRS = 400
WARM = 10
MAX_TOKENS = 16
TIMEOUT_S = 60.0
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
}


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds of one pair."""

    daemon_ms: float
    direct_ms: float
    direct_engine_ms: float
    decision_id: str


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def messages_of(nonce: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": "You name the colour of an order."},
        {"role": "user", "content": f"Order {nonce} is blue. Its colour?"},
    ]


def measure(pairs: int = PAIRS) -> dict[str, Any]:
    return asyncio.run(_measure(pairs))


async def _measure(pairs: int) -> dict[str, Any]:
    generator = LlamaGenerator(Store().file(GENERATOR, "model"))
    try:
        with home() as daemon:
            async with httpx.AsyncClient(
                headers=daemon.headers, timeout=TIMEOUT_S, trust_env=False
            ) as http:
                took = await _pairs(daemon, http, generator, pairs)
            engine_ms = _engine_ms(daemon)
    finally:
        generator.close()
    added = [one.daemon_ms - one.direct_ms for one in took]
    over = [one.daemon_ms - engine_ms[one.decision_id] for one in took]
    direct = [one.direct_ms - one.direct_engine_ms for one in took]
    return {
        "added_p50_ms": round(statistics.median(added), 2),
        "added_p95_ms": round(quantile(added, 0.95), 2),
        "latency": {
            "pairs": pairs,
            "daemon_p50_ms": round(statistics.median(t.daemon_ms for t in took), 2),
            "direct_p50_ms": round(statistics.median(t.direct_ms for t in took), 2),
            "daemon_overhead_p50_ms": round(statistics.median(over), 2),
            "daemon_overhead_p95_ms": round(quantile(over, 0.95), 2),
            "direct_overhead_p50_ms": round(statistics.median(direct), 2),
            "direct_overhead_p95_ms": round(quantile(direct, 0.95), 2),
        },
    }


async def _pairs(
    daemon: Home, http: httpx.AsyncClient, generator: LlamaGenerator, pairs: int
) -> list[Took]:
    source = random.Random(11)
    took: list[Took] = []
    for number in range(-WARM, pairs):
        messages = messages_of(f"q{source.randrange(10**7):07d}")
        if number % 2:
            daemon_ms, decision = await _over_http(daemon, http, messages)
            direct_ms, engine_ms = await _in_process(generator, messages)
        else:
            direct_ms, engine_ms = await _in_process(generator, messages)
            daemon_ms, decision = await _over_http(daemon, http, messages)
        if number >= 0:
            took.append(Took(daemon_ms, direct_ms, engine_ms, decision))
        if took and number % 100 == 99:
            added = statistics.median(t.daemon_ms - t.direct_ms for t in took)
            note(f"  {number + 1} pairs: {added:.1f} ms added")
    return took


async def _over_http(
    daemon: Home, http: httpx.AsyncClient, messages: list[dict[str, str]]
) -> tuple[float, str]:
    body = {
        "model": LOCAL,
        "messages": messages,
        "response_format": FORMAT,
        "max_tokens": MAX_TOKENS,
    }
    begun = time.perf_counter()
    answer = await http.post(f"{daemon.url}/chat/completions", json=body)
    choice = answer.json()["choices"][0]
    took = (time.perf_counter() - begun) * 1000
    _check(choice["message"]["content"], choice["finish_reason"])
    return took, answer.headers["x-aidecamp-decision"]


async def _in_process(
    generator: LlamaGenerator, messages: Sequence[Mapping[str, str]]
) -> tuple[float, float]:
    said: list[Message] = [{"role": m["role"], "content": m["content"]} for m in messages]
    begun = time.perf_counter()
    made = await generator.generate(said, schema=SCHEMA, max_tokens=MAX_TOKENS)
    json.loads(made.text)
    took = (time.perf_counter() - begun) * 1000
    _check(made.text, made.finish)
    usage = made.usage
    engine_ms = usage.queue_ms + usage.prefill_ms + usage.decode_ms + usage.mask_ms
    return took, engine_ms


def _check(text: str, finish: str) -> None:
    if not is_valid(SCHEMA, text, finish):
        raise RuntimeError(f"the answer {text!r} ({finish}) does not meet the schema")


def _engine_ms(daemon: Home) -> dict[str, float]:
    """What the engine took for each call, by decision, as the daemon's record has it."""
    with daemon.ledger() as ledger:
        calls = records(list(ledger.events(types=("call",))), Call)
    return {call.decision_id: call.ms for call in calls}
