"""The typed client of the daemon's API, over its Unix socket. Records in, records out."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from models.counters import Counters
from models.errors import AidecampError
from models.residency import Residency
from runtime.core import Decision, Event, from_json
from runtime.daemon import place
from runtime.daemon.errors import Conflict, DaemonMissing, DaemonRunning, revive
from runtime.daemon.rows import Row, Rows, unsure
from runtime.daemon.story import Deed, Story
from runtime.daemon.tokens import TokenStore
from runtime.daemon.totals import Totals
from runtime.daemon.waiting import Waiting
from runtime.daemon.wire import START_IT, OwnToken, Wire

__all__ = [
    "Client",
    "Deed",
    "Link",
    "OwnToken",
    "Page",
    "Pool",
    "Pulling",
    "Remade",
    "Row",
    "Rows",
    "Story",
    "Totals",
    "Waiting",
    "Waits",
    "unsure",
]

LOAD_S = 300.0
"""Loading a large model from a slow disk takes its time."""
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between attempts to reach the daemon again; the last one repeats."""


@dataclass(frozen=True, slots=True)
class Link:
    """The connection to the daemon was made, or lost."""

    up: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Waits:
    """Everything that waits for a person, now."""

    waiting: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Decisions, newest first, and the event to follow on from."""

    rows: tuple[Row, ...]
    last_event_id: int
    next_before: int | None = None
    """``before`` of the next page; None where this one is the last."""


@dataclass(frozen=True, slots=True)
class Remade:
    """A decision as it was, and as another policy would have made it."""

    changed: bool
    before: Decision
    after: Decision


@dataclass(frozen=True, slots=True)
class Pool:
    """What is loaded in the daemon, and how often models came and went since it started."""

    models: tuple[Residency, ...]
    loaded: int
    unloaded: int
    refused: int
    free_bytes: int
    counters: Mapping[str, Counters]


@dataclass(frozen=True, slots=True)
class Pulling:
    """How far a pull is, in bytes; ``total`` None: not known."""

    entry: str
    role: str
    phase: str
    done: int
    total: int | None


class Client:
    """Speaks to one daemon. Every error is an AidecampError; DaemonMissing where none answers."""

    def __init__(
        self, socket_path: Path | None = None, *, tokens: TokenStore | None = None
    ) -> None:
        """``tokens``: where the user's own token is; by default where the settings say."""
        self.socket_path = socket_path or place.socket_path()
        self._wire = Wire(self.socket_path, tokens)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._wire.close()

    async def ensure_running(self) -> None:
        """Start the daemon where none answers. Raises DaemonMissing where it cannot start."""
        from runtime.daemon.launch import start

        try:
            await self.health()
        except DaemonMissing:
            with contextlib.suppress(DaemonRunning):  # Someone else was quicker.
                await asyncio.to_thread(start, self.socket_path)

    async def health(self) -> Mapping[str, Any]:
        return await self._wire.get("/v1/health")

    async def start_task(self, text: str, **fields: Any) -> str:
        """Start a task and return its id; ``fields`` are those of ``POST /v1/tasks``."""
        body = await self._wire.post("/v1/tasks", {"text": text, **fields})
        return str(body["task_id"])

    async def tasks(self, limit: int = 100) -> list[Mapping[str, Any]]:
        return list((await self._wire.get("/v1/tasks", limit=limit))["tasks"])

    async def task(self, task_id: str) -> Mapping[str, Any]:
        """The task, its status, its result, what waits, and its events as records."""
        body = dict(await self._wire.get(f"/v1/tasks/{_part(task_id)}"))
        body["events"] = [Event.from_json(event) for event in body["events"]]
        return body

    async def approve(self, task_id: str, waiting_id: str) -> None:
        await self._wire.post(f"/v1/tasks/{_part(task_id)}/approve", {"id": waiting_id})

    async def deny(self, task_id: str, waiting_id: str) -> None:
        await self._wire.post(f"/v1/tasks/{_part(task_id)}/deny", {"id": waiting_id})

    async def cancel(self, task_id: str) -> None:
        await self._wire.post(f"/v1/tasks/{_part(task_id)}/cancel", None)

    async def cancel_all(self) -> int:
        """Stop every task that runs in the daemon; how many there were."""
        running = (await self.health())["running"]
        for task_id in running:
            try:
                await self.cancel(task_id)
            except Conflict:
                continue  # It ended by itself meanwhile.
        return len(running)

    async def decisions(
        self,
        *,
        kind: str | None = None,
        chosen: str | None = None,
        task_id: str | None = None,
        text: str | None = None,
        client: str | None = None,
        session: str | None = None,
        outcome: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Page:
        """``before``: only decisions before that event."""
        body = await self._wire.get(
            "/v1/decisions",
            kind=kind,
            chosen=chosen,
            task_id=task_id,
            text=text,
            client=client,
            session=session,
            outcome=outcome,
            before=before,
            limit=limit,
        )
        rows = tuple(Row.from_json(row) for row in body["decisions"])
        return Page(rows, body["last_event_id"], body["next_before"])

    async def decision(self, decision_id: str) -> Story:
        return Story.from_json(await self._wire.get(f"/v1/decisions/{_part(decision_id)}"))

    async def replay(
        self,
        decision_id: str,
        *,
        toml: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Remade:
        """The decision under another policy: ``toml`` is a whole ``policy.toml`` as text,
        ``settings`` go on top of the one in force."""
        given = {"toml": toml, "settings": settings}
        body = await self._wire.post(
            f"/v1/decisions/{_part(decision_id)}/replay",
            {name: value for name, value in given.items() if value is not None},
        )
        return Remade(body["changed"], _decision(body["before"]), _decision(body["after"]))

    async def mark(self, decision_id: str, right: bool, note: str = "") -> Event:
        """Say whether the answer given under a decision was right."""
        path = f"/v1/decisions/{_part(decision_id)}/mark"
        return Event.from_json(await self._wire.post(path, {"right": right, "note": note}))

    async def route(
        self, text: str, *, surface: str = "auto", privacy: str | None = None
    ) -> Decision:
        """The Decision alone; nothing is executed."""
        body = {"text": text, "surface": surface, "privacy": privacy}
        return _decision(await self._wire.post("/v1/route", body))

    async def savings(self) -> Totals:
        return Totals.from_json(await self._wire.get("/v1/savings"))

    async def savings_report(
        self, *, model: str | None = None, what_if: Sequence[str] = ()
    ) -> Mapping[str, Any]:
        """As ``aidecamp savings --json`` tells it."""
        return await self._wire.get(
            "/v1/savings/report", model=model, what_if=list(what_if) or None
        )

    async def policy(self) -> Mapping[str, Any]:
        """``{file, values, rules, budgets}``: what is in force, and where it comes from."""
        return await self._wire.get("/v1/policy")

    async def check_policy(self, toml: str) -> Mapping[str, Any]:
        """``{problems, replay}`` of a ``policy.toml`` as text."""
        return await self._wire.post("/v1/policy/check", {"toml": toml})

    async def metrics(self) -> str:
        """Prometheus text."""
        return (await self._wire.send("GET", "/metrics")).text

    async def pool(self) -> Pool:
        """What is loaded."""
        body = dict(await self._wire.get("/v1/pool"))
        models = tuple(Residency(**model) for model in body.pop("models"))
        counters = {name: Counters(**one) for name, one in body.pop("counters").items()}
        return Pool(models=models, counters=counters, **body)

    async def load(self, model: str) -> Residency:
        """Load a model of the catalog now. Raises ModelMissing, StorageFailed, NotFound."""
        body = await self._wire.request(
            "POST", "/v1/pool/load", json={"model": model}, timeout=LOAD_S
        )
        return Residency(**body)

    async def unload(self, model: str) -> bool:
        """Free a model's memory; False where it was not loaded. Raises Conflict where it is in
        use."""
        return bool((await self._wire.post("/v1/pool/unload", {"model": model}))["unloaded"])

    async def store(self) -> Mapping[str, Any]:
        """``{packs, models}`` of the catalog, each with what of it is here."""
        return await self._wire.get("/v1/store")

    async def pull(self, model: str) -> AsyncGenerator[Pulling, None]:
        """Fetch a model or a pack; how far it is, until it is there. Who stops listening stops
        the pull. Raises ModelMissing, ModelCorrupt, StorageFailed, NotFound."""
        lines = self._wire.sse("POST", "/v1/store/pull", json={"model": model})
        async with contextlib.aclosing(lines):
            async for kind, data in lines:
                if kind == "error":
                    raise revive(json.loads(data))
                if kind == "progress":
                    yield Pulling(**json.loads(data))
                if kind == "done":
                    return
        raise DaemonMissing(f"The daemon ended the pull of {model}.", hint=START_IT)

    async def remove(self, model: str, *, forget: bool = False) -> int:
        """Delete a model's files; the bytes that were freed. Raises Conflict, NotFound."""
        path = f"/v1/store/models/{_part(model)}"
        body = await self._wire.request("DELETE", path, params={"forget": forget})
        return int(body["freed_bytes"])

    async def events(
        self, after: int | None = None, task_id: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """Events as they are committed, each once, over every loss of the connection."""
        async with contextlib.aclosing(self.follow(after, task_id)) as signals:
            async for signal in signals:
                if isinstance(signal, Event):
                    yield signal

    async def follow(
        self, after: int | None = None, task_id: str | None = None
    ) -> AsyncGenerator[Event | Waits | Link, None]:
        """Events, what waits for a person, and the state of the connection; never ends.

        ``after`` None: only what comes from now on.
        """
        attempt = 0
        while True:
            try:
                async with contextlib.aclosing(self._stream(after, task_id)) as signals:
                    async for signal in signals:
                        attempt = 0
                        if isinstance(signal, Event):
                            after = signal.id
                        yield signal
                lost = f"The daemon closed the stream. {START_IT}"
            except AidecampError as error:
                lost = f"{error.message} {error.hint}"
            yield Link(False, lost)
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            attempt += 1

    async def _stream(
        self, after: int | None, task_id: str | None
    ) -> AsyncGenerator[Event | Waits | Link, None]:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        parameters = {"task_id": task_id} if task_id else {}
        lines = self._wire.sse("GET", "/v1/events", headers=headers, params=parameters)
        async with contextlib.aclosing(lines):
            async for kind, data in lines:
                if kind == "":
                    yield Link(True)
                elif kind == "waiting":
                    yield Waits(tuple(Waiting.from_json(one) for one in json.loads(data)))
                else:
                    yield Event.from_json(json.loads(data))


def _part(name: str) -> str:
    """``name`` as one part of a path."""
    return quote(name, safe="")


def _decision(body: Mapping[str, Any]) -> Decision:
    found = from_json("decision", body)
    if not isinstance(found, Decision):
        raise TypeError("not a decision")
    return found
