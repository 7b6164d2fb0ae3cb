"""Many clients at once for a long time: is anything lost, wrong, left over, or unfairly shared?

64 clients with names of their own call one after another, streamed and not: JSON by a schema,
tool calls, words. Some go away at a random moment. For the second half a greedy client joins with
8 connections, so that more calls come than the queue takes: a 429 is obeyed, and the call asked
again. ``lost``: calls with neither an answer nor a refusal, answers whose decision is not on
record, tasks without a result. ``wrong``: answers that do not meet their schema, or carry another
call's nonce. ``duplicated``: decisions, calls and results that are on record twice.
``leaked_slots``: calls that the daemon or an engine still runs when no client is left.
``rss_growth``: the median resident memory of the last quarter by that of the second, less 1.
``fair_min``: answers of the client that got fewest by the median of all; ``greedy_effect``:
answers that the others got in the second half by those of the first; ``greedy_share``: answers of
the greedy client by the others' median in the same half.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from runtime.core import Call, Decision, Result, Task
from runtime.ledger import records
from tests.bench.daemon_calls import Ask, Nonces, Told, json_ask, put, tool_ask, words_ask
from tests.bench.daemon_home import Home, home
from tests.bench.daemon_latency import quantile
from tests.bench.engine_run import note

CLIENTS = 64
GREEDY = 8
GREEDY_NAME = "greedy"
QUEUE = 60
"""Places in the queue: with all slots, enough for one call of each client, not for the greedy
one's eight as well."""
CONFIG = f"[daemon]\nqueue = {QUEUE}\n"
SECONDS = 60.0
SAMPLE_S = 0.5
TIMEOUT_S = 120.0
DRAIN_S = 15.0
MOST_WHYS = 10


@dataclass(slots=True)
class Tally:
    """What all clients were told."""

    begun: float
    seconds: float
    ends: Counter[str] = field(default_factory=Counter)
    busy: Counter[str] = field(default_factory=Counter)
    """429s by client."""
    whys: Counter[str] = field(default_factory=Counter)
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)
    answered: dict[str, str] = field(default_factory=dict)
    """Nonces by the decision under which they were answered."""
    repeated: list[str] = field(default_factory=list)
    """Decisions that two answers name."""
    halves: tuple[Counter[str], Counter[str]] = field(
        default_factory=lambda: (Counter(), Counter())
    )
    """Answers by client."""

    def add(self, client: str, ask: Ask, told: Told) -> None:
        self.ends[told.end] += 1
        if told.end in ("wrong", "lost", "refused"):
            self.whys[f"{ask.form}{' stream' if ask.stream else ''}: {told.why}"] += 1
        if told.end != "answered":
            return
        self.latencies_ms.setdefault(ask.form, []).append(told.ms)
        at_s = time.perf_counter() - self.begun
        if at_s < self.seconds:  # Whoever has several connections has more under way at the end.
            self.halves[at_s > self.seconds / 2][client] += 1
        if not told.decision_id or told.decision_id in self.answered:
            self.repeated.append(told.decision_id)
        self.answered[told.decision_id] = ask.nonce


class Client:
    """One program that calls, call after call, over a connection of its own."""

    def __init__(
        self, number: int, name: str, daemon: Home, nonces: Nonces, tally: Tally, until: float
    ) -> None:
        self.name = name
        self._daemon, self._nonces, self._tally, self._until = daemon, nonces, tally, until
        self._random = random.Random(1_000 + number)
        self._usual_s = 2.0

    async def run(self, after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        headers = {**self._daemon.headers, "x-aidecamp-client": self.name}
        async with httpx.AsyncClient(
            headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=False
        ) as http:
            for ask, cancel in self._asks():
                if time.perf_counter() >= self._until:
                    return
                await self._one(http, ask, cancel)

    def _asks(self) -> Iterator[tuple[Ask, bool]]:
        """Calls without end, in an order of this client's own, every form as often as for the
        others; and whether the client goes away."""
        while True:
            new = self._nonces.new
            deck = [
                *(json_ask(new(), stream=stream) for stream in (False, False, False, True, True)),
                *(tool_ask(new(), stream=stream) for stream in (False, True)),
                *(words_ask(new()) for _ in range(3)),
            ]
            self._random.shuffle(deck)
            gone = self._random.randrange(len(deck))
            yield from ((ask, number == gone) for number, ask in enumerate(deck))

    async def _one(self, http: httpx.AsyncClient, ask: Ask, cancel: bool) -> None:
        while True:
            told = await self._told(http, ask, cancel)
            if told.end != "busy":
                break
            self._tally.busy[self.name] += 1
            await asyncio.sleep(told.retry_after_s)
        if told.end == "answered":
            self._usual_s = 0.8 * self._usual_s + 0.2 * told.ms / 1000
        self._tally.add(self.name, ask, told)

    async def _told(self, http: httpx.AsyncClient, ask: Ask, cancel: bool) -> Told:
        put_ = put(http, self._daemon.url, ask, self._nonces.given)
        if not cancel:
            return await put_
        try:
            async with asyncio.timeout(self._random.uniform(0.0, 1.2 * self._usual_s)):
                return await put_
        except TimeoutError:
            return Told("cancelled")


def measure(seconds: float = SECONDS) -> dict[str, Any]:
    with home(CONFIG) as daemon:
        nonces = Nonces(23)
        warm = Tally(time.perf_counter(), 0.0)
        # The models are loaded, and every form was asked once, before the clock starts.
        asyncio.run(_warm(daemon, nonces, warm))
        tally, rss, left = asyncio.run(_soak(daemon, nonces, seconds))
        daemon.stop()
        kept = _on_record(daemon, tally)
    answers = tally.ends["answered"]
    one, two = ([half[name] for name in _names()] for half in tally.halves)
    both = [a + b for a, b in zip(one, two, strict=True)]
    bad = {f"{count} x {why}"[:300]: count for why, count in tally.whys.most_common(MOST_WHYS)}
    return {
        "lost": tally.ends["lost"] + kept["unrecorded"] + kept["without_result"],
        "wrong": tally.ends["wrong"],
        "duplicated": kept["twice"] + len(tally.repeated),
        "leaked_slots": left["slots"],
        "soak": {
            "seconds": seconds,
            "clients": CLIENTS,
            "answered": answers,
            "cancelled": tally.ends["cancelled"],
            "refused": tally.ends["refused"],
            "asked_again_after_429": tally.busy.total(),
            "of_them_greedy": tally.busy[GREEDY_NAME],
            "why": list(bad),
            "answers_per_s": round(sum(h.total() for h in tally.halves) / seconds, 2),
            "p50_ms": {f: round(statistics.median(v)) for f, v in tally.latencies_ms.items()},
            "p95_ms": {f: round(quantile(v, 0.95)) for f, v in tally.latencies_ms.items()},
            "fair_min": round(min(both) / statistics.median(both), 3),
            "greedy_effect": round(sum(two) / max(1, sum(one)), 3),
            "greedy_share": round(
                tally.halves[1][GREEDY_NAME] / max(1.0, statistics.median(two)), 3
            ),
            "rss_growth": _growth(rss),
            "rss_mib": [round(value / 2**20) for value in _shown(rss)],
            "record": kept,
            "left": left,
        },
    }


def _names() -> list[str]:
    return [f"client-{number}" for number in range(CLIENTS)]


async def _warm(daemon: Home, nonces: Nonces, tally: Tally) -> None:
    client = Client(-1, "warm", daemon, nonces, tally, 0.0)
    async with httpx.AsyncClient(
        headers=daemon.headers, timeout=TIMEOUT_S, trust_env=False
    ) as http:
        for ask in (json_ask(nonces.new()), tool_ask(nonces.new()), words_ask(nonces.new())):
            told = await put(http, daemon.url, ask, nonces.given)
            if told.end != "answered":
                raise RuntimeError(f"{client.name}: {ask.form} was {told.end}: {told.why}")


async def _soak(
    daemon: Home, nonces: Nonces, seconds: float
) -> tuple[Tally, list[float], dict[str, Any]]:
    begun = time.perf_counter()
    until = begun + seconds
    tally = Tally(begun, seconds)
    clients = [
        Client(number, name, daemon, nonces, tally, until) for number, name in enumerate(_names())
    ]
    greedy = [
        Client(CLIENTS + number, GREEDY_NAME, daemon, nonces, tally, until)
        for number in range(GREEDY)
    ]
    rss: list[float] = []
    sampler = asyncio.create_task(_sample(daemon, tally, rss))
    try:
        await asyncio.gather(
            *(client.run() for client in clients), *(one.run(seconds / 2) for one in greedy)
        )
    finally:
        sampler.cancel()
        await asyncio.gather(sampler, return_exceptions=True)
    return tally, rss, await _left(daemon)


async def _sample(daemon: Home, tally: Tally, rss: list[float]) -> None:
    process = psutil.Process(daemon.pid)
    told = time.perf_counter()
    while True:
        rss.append(float(process.memory_info().rss))
        if time.perf_counter() - told > 10:
            told = time.perf_counter()
            note(f"  {told - tally.begun:.0f} s: {dict(tally.ends)}, {rss[-1] / 2**20:.0f} MiB")
        await asyncio.sleep(SAMPLE_S)


async def _left(daemon: Home) -> dict[str, Any]:
    """What still runs, once there was time for it to end."""
    async with httpx.AsyncClient(
        headers=daemon.headers, timeout=TIMEOUT_S, trust_env=False
    ) as http:
        end = time.perf_counter() + DRAIN_S
        while True:
            health = (await http.get(f"{daemon.url}/health")).json()
            pool = (await http.get(f"{daemon.url}/pool")).json()
            queue = health["queue"]
            engines = [c["running"] + c["waiting"] for c in pool["counters"].values()]
            busy = sum(model["busy"] for model in pool["models"])
            slots = queue["running"] + queue["waiting"] + len(health["running"])
            slots += sum(engines) + busy
            if not slots or time.perf_counter() > end:
                return {"slots": slots, "queue": queue, "engines": sum(engines), "models": busy}
            await asyncio.sleep(0.05)


def _on_record(daemon: Home, tally: Tally) -> dict[str, int]:
    """What the ledger has of the answers that clients got."""
    with daemon.ledger() as ledger:
        ledger.check()
        events = list(ledger.events())
    decisions = records(events, Decision)
    seen = Counter(decision.id for decision in decisions)
    text = {task.id: task.text for task in records(events, Task)}
    text_of = {decision.id: text[decision.task_id] for decision in decisions}
    results = Counter(result.task_id for result in records(events, Result))
    calls = Counter(call.id for call in records(events, Call))
    return {
        "tasks": len(text),
        "unrecorded": sum(
            nonce not in text_of.get(decision_id, "")
            for decision_id, nonce in tally.answered.items()
        ),
        "without_result": sum(task_id not in results for task_id in text),
        "twice": sum(count - 1 for counts in (seen, results, calls) for count in counts.values()),
    }


def _growth(rss: list[float]) -> float:
    quarter = max(1, len(rss) // 4)
    return round(
        statistics.median(rss[-quarter:]) / statistics.median(rss[quarter : 2 * quarter]) - 1, 4
    )


def _shown(rss: list[float]) -> list[float]:
    """Twenty samples, evenly spread."""
    return [rss[int(i * (len(rss) - 1) / 19)] for i in range(20)] if rss else []
