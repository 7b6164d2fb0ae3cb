"""kill -9 at random moments under load, restart at once: what was acknowledged, and what is there?

Six clients call without a pause (JSON, tool calls and words of the local model, embeddings, a
General on loopback), one starts tasks, and a reader follows the event stream and resumes it with
``Last-Event-ID``. One moment in four is drawn from the start of a process on, so that it falls
into loading, and the others from the first decision that a client was told of. ``kill_lost``:
decisions that a client had in a header of its answer, and tasks that were accepted, which the
record does not have, and events that the reader never got. ``kill_duplicated``: events that the
reader got twice, and ids that are none of the record's.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from runtime.core import Decision, Event, Task
from runtime.ledger import records
from tests.bench.daemon_calls import Ask, Nonces, json_ask, put, tool_ask, words_ask
from tests.bench.daemon_forward import MODEL, config_for, general
from tests.bench.daemon_home import Home, home
from tests.bench.engine_run import note

KILLS = 100
LOADING_S = 2.0
WORKING_S = 1.5
"""From the start of a process, and from the first decision, to the kill, at most."""
FIRST_S = 30.0
"""How long the first decision of a process may take."""
CATCH_UP_S = 30.0
TIMEOUT_S = 30.0
PAUSE_S = 0.02
"""Where a process is just gone, and nobody has noticed yet."""
ENCODER_MODEL = "auto"


@dataclass(slots=True)
class Seen:
    """What clients were told. ``ids``: of events, as the reader got them."""

    decisions: set[str] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)
    ids: list[int] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    whys: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    resumed: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client is told of a decision."""

    def decided(self, decision_id: str) -> None:
        self.decisions.add(decision_id)
        self.news.set()


class Load:
    """Clients that go on whatever happens to the daemon."""

    def __init__(self, daemon: Home, seen: Seen) -> None:
        self._daemon, self._seen = daemon, seen
        self._nonces = Nonces(41)
        self.up = asyncio.Event()
        self.over = False

    async def run(self) -> None:
        new = self._nonces.new
        makers: list[Callable[[], Ask]] = [
            lambda: json_ask(new(), stream=True),
            lambda: json_ask(new()),
            lambda: tool_ask(new()),
            lambda: words_ask(new()),
            lambda: _forwarded(new()),
        ]
        await asyncio.gather(
            *(self._calls(make) for make in makers), self._embeddings(), self._tasks()
        )

    async def _calls(self, make: Callable[[], Ask]) -> None:
        async with self._client() as http:
            while await self._there():
                self._seen.in_flight += 1
                told = await put(http, self._daemon.url, make(), self._nonces.given)
                self._seen.in_flight -= 1
                self._seen.ends[told.end] += 1
                if told.end in ("wrong", "refused"):
                    self._seen.whys[told.why] += 1
                if told.decision_id:
                    self._seen.decided(told.decision_id)
                if told.end == "lost":
                    await asyncio.sleep(PAUSE_S)

    async def _embeddings(self) -> None:
        async with self._client() as http:
            while await self._there():
                body = {"model": ENCODER_MODEL, "input": f"order {self._nonces.new()}"}
                answer = await self._post(http, "/embeddings", body)
                if answer is not None and answer.status_code == 200:
                    self._seen.decided(answer.headers["x-aidecamp-decision"])
                    self._seen.ends["embedded"] += 1

    async def _tasks(self) -> None:
        async with self._client() as http:
            while await self._there():
                text = f"count the files in this folder, for {self._nonces.new()}"
                body = {"text": text, "dry_run": True, "attended": False, "privacy": "local"}
                answer = await self._post(http, "/tasks", body)
                if answer is not None and answer.status_code == 202:
                    self._seen.tasks.add(answer.json()["task_id"])
                    self._seen.ends["accepted"] += 1
                await asyncio.sleep(10 * PAUSE_S)

    async def _post(
        self, http: httpx.AsyncClient, path: str, body: dict[str, Any]
    ) -> httpx.Response | None:
        self._seen.in_flight += 1
        try:
            return await http.post(self._daemon.url + path, json=body)
        except httpx.HTTPError:
            await asyncio.sleep(PAUSE_S)
            return None
        finally:
            self._seen.in_flight -= 1

    async def follow(self) -> None:
        """Read events; where the stream breaks off, ask for those after the last whole one."""
        last = 0
        async with self._client() as http:
            while True:
                await self.up.wait()
                headers = {"Last-Event-ID": str(last)}
                try:
                    async with http.stream(
                        "GET", f"{self._daemon.url}/events", headers=headers
                    ) as answer:
                        answer.raise_for_status()
                        self._seen.resumed += 1
                        last = await self._events(answer, last)
                except httpx.TransportError:
                    await asyncio.sleep(PAUSE_S)

    async def _events(self, answer: httpx.Response, last: int) -> int:
        """The id of the last event that came whole: with the empty line that ends it."""
        id_ = None
        try:
            async for line in answer.aiter_lines():
                if line.startswith("id:"):
                    id_ = int(line.removeprefix("id:"))
                elif not line and id_ is not None:
                    self._seen.ids.append(id_)
                    last, id_ = id_, None
        except httpx.TransportError:
            pass
        return last

    async def _there(self) -> bool:
        """Wait until a daemon runs; False where there will be none any more."""
        await self.up.wait()
        return not self.over

    def _client(self) -> httpx.AsyncClient:
        headers = {**self._daemon.headers, "x-aidecamp-client": "kill"}
        return httpx.AsyncClient(headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=False)


def _forwarded(nonce: str) -> Ask:
    said = [{"role": "user", "content": f"Plan the order {nonce}."}]
    body = {"model": f"general/{MODEL}", "messages": said, "stream": True}
    return Ask(nonce, "words", body)


def measure(kills: int = KILLS, seed: int = 17) -> dict[str, Any]:
    seen = Seen()
    with general() as url, home(config_for(url), start=False) as daemon:
        under_load, starts = asyncio.run(_run(daemon, seen, kills, random.Random(seed)))
        daemon.stop()
        with daemon.ledger() as ledger:
            ledger.check()
            events = list(ledger.events())
    return {**_compared(seen, events), "kill": _details(seen, events, kills, under_load, starts)}


async def _run(
    daemon: Home, seen: Seen, kills: int, source: random.Random
) -> tuple[int, list[float]]:
    """Kill it so often; returns how often calls were on their way, and how long each start took."""
    load = Load(daemon, seen)
    clients = asyncio.create_task(load.run())
    reader = asyncio.create_task(load.follow())
    under_load, starts = 0, [await asyncio.to_thread(daemon.start)]
    try:
        for number in range(kills):
            await _begin(load, seen, clients, working=number % 4 > 0)
            await _while(clients, source.uniform(0.0, WORKING_S if number % 4 else LOADING_S))
            under_load += seen.in_flight > 0
            load.up.clear()
            daemon.kill()
            starts.append(await asyncio.to_thread(daemon.start))
            if number % 10 == 9:
                note(
                    f"  {number + 1} kills: {dict(seen.ends)}, {len(seen.decisions)} decisions,"
                    f" {len(seen.ids)} events seen"
                )
        await _begin(load, seen, clients, working=True)
        await _while(clients, WORKING_S)
        load.over = True
        await clients
        await _caught_up(daemon, seen)
    finally:
        for task in (clients, reader):
            task.cancel()
        await asyncio.gather(clients, reader, return_exceptions=True)
    return under_load, starts


async def _begin(load: Load, seen: Seen, clients: asyncio.Task[None], *, working: bool) -> None:
    """Let the clients at the new process; ``working``: until one has a decision of it."""
    seen.news.clear()
    load.up.set()
    if working:
        news = asyncio.create_task(seen.news.wait())
        await asyncio.wait([news, clients], timeout=FIRST_S, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()


async def _while(clients: asyncio.Task[None], seconds: float) -> None:
    """Let them work; raises what broke them."""
    await asyncio.wait([clients], timeout=seconds)
    if clients.done():
        clients.result()


async def _caught_up(daemon: Home, seen: Seen) -> None:
    """Until the reader has the record's last event, or had time enough to get it."""
    with daemon.ledger() as ledger:
        async with asyncio.timeout(CATCH_UP_S):
            calm = 0
            while calm < 10:
                behind = not seen.ids or seen.ids[-1] < ledger.last_id()
                calm = 0 if behind else calm + 1
                await asyncio.sleep(5 * PAUSE_S)


def _compared(seen: Seen, events: list[Event]) -> dict[str, Any]:
    decisions = {decision.id for decision in records(events, Decision)}
    tasks = {task.id for task in records(events, Task)}
    got, there = Counter(seen.ids), {event.id for event in events}
    # What the daemon wrote while it stopped came after the reader had left.
    missed = {id_ for id_ in there if id_ <= max(got, default=0)} - set(got)
    return {
        "kill_lost": len(seen.decisions - decisions) + len(seen.tasks - tasks) + len(missed),
        "kill_duplicated": sum(n - 1 for n in got.values()) + len(set(got) - there),
    }


def _details(
    seen: Seen, events: list[Event], kills: int, under_load: int, starts: list[float]
) -> dict[str, Any]:
    return {
        "kills": kills,
        "under_load": under_load,
        "decisions_acknowledged": len(seen.decisions),
        "tasks_acknowledged": len(seen.tasks),
        "events": len(events),
        "events_streamed": len(seen.ids),
        "streams_opened": seen.resumed,
        "in_order": seen.ids == sorted(seen.ids),
        "ends": dict(seen.ends),
        "why": [why[:200] for why, _ in seen.whys.most_common(5)],
        "restart_p50_ms": round(statistics.median(starts), 1),
        "restart_slowest_ms": round(max(starts), 1),
    }
