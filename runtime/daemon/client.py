"""The typed client of the daemon's API, over its Unix socket. Records in, records out."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from models.errors import AidecampError
from runtime.core import Event
from runtime.daemon import place
from runtime.daemon.errors import Conflict, DaemonMissing, DaemonRunning, revive
from runtime.daemon.rows import Row, Rows, unsure
from runtime.daemon.story import Deed, Story
from runtime.daemon.tokens import TokenStore, configured
from runtime.daemon.totals import Totals
from runtime.daemon.waiting import Waiting

__all__ = [
    "Client",
    "Deed",
    "Link",
    "Page",
    "Row",
    "Rows",
    "Story",
    "Totals",
    "Waiting",
    "Waits",
    "unsure",
]

START_IT = "Start it: aidecamp daemon start."
TIMEOUT_S = 30.0
SILENCE_S = 25.0
"""A stream that says nothing this long (it beats every 10 s) is dead."""
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


class OwnToken(httpx.Auth):
    """Sends the user's own token, as it is kept at that moment. Raises StorageFailed where it
    cannot be read."""

    def __init__(self, tokens: TokenStore | None = None) -> None:
        self._tokens = tokens

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self._tokens = self._tokens or configured()
        request.headers["Authorization"] = f"Bearer {self._tokens.own()}"
        yield request


class Client:
    """Speaks to one daemon. Every error is an AidecampError; DaemonMissing where none answers."""

    def __init__(
        self, socket_path: Path | None = None, *, tokens: TokenStore | None = None
    ) -> None:
        """``tokens``: where the user's own token is; by default where the settings say."""
        self.socket_path = socket_path or place.socket_path()
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(self.socket_path)),
            base_url="http://aidecamp",
            auth=OwnToken(tokens),
            timeout=TIMEOUT_S,
            trust_env=False,
        )

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
        await self._http.aclose()

    async def ensure_running(self) -> None:
        """Start the daemon where none answers. Raises DaemonMissing where it cannot start."""
        from runtime.daemon.launch import start

        try:
            await self.health()
        except DaemonMissing:
            with contextlib.suppress(DaemonRunning):  # Someone else was quicker.
                await asyncio.to_thread(start, self.socket_path)

    async def health(self) -> Mapping[str, Any]:
        return await self._get("/v1/health")

    async def start_task(self, text: str, **fields: Any) -> str:
        """Start a task and return its id; ``fields`` are those of ``POST /v1/tasks``."""
        body = await self._post("/v1/tasks", {"text": text, **fields})
        return str(body["task_id"])

    async def tasks(self, limit: int = 100) -> list[Mapping[str, Any]]:
        return list((await self._get("/v1/tasks", limit=limit))["tasks"])

    async def task(self, task_id: str) -> Mapping[str, Any]:
        """The task, its status, its result, what waits, and its events as records."""
        body = dict(await self._get(f"/v1/tasks/{task_id}"))
        body["events"] = [Event.from_json(event) for event in body["events"]]
        return body

    async def approve(self, task_id: str, waiting_id: str) -> None:
        await self._post(f"/v1/tasks/{task_id}/approve", {"id": waiting_id})

    async def deny(self, task_id: str, waiting_id: str) -> None:
        await self._post(f"/v1/tasks/{task_id}/deny", {"id": waiting_id})

    async def cancel(self, task_id: str) -> None:
        await self._post(f"/v1/tasks/{task_id}/cancel", None)

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
        limit: int = 100,
    ) -> Page:
        body = await self._get(
            "/v1/decisions", kind=kind, chosen=chosen, task_id=task_id, text=text, limit=limit
        )
        rows = tuple(Row.from_json(row) for row in body["decisions"])
        return Page(rows, body["last_event_id"])

    async def decision(self, decision_id: str) -> Story:
        return Story.from_json(await self._get(f"/v1/decisions/{decision_id}"))

    async def savings(self) -> Totals:
        return Totals.from_json(await self._get("/v1/savings"))

    async def events(
        self, after: int | None = None, task_id: str | None = None
    ) -> AsyncIterator[Event]:
        """Events as they are committed, each once, over every loss of the connection."""
        async for signal in self.follow(after, task_id):
            if isinstance(signal, Event):
                yield signal

    async def follow(
        self, after: int | None = None, task_id: str | None = None
    ) -> AsyncIterator[Event | Waits | Link]:
        """Events, what waits for a person, and the state of the connection; never ends.

        ``after`` None: only what comes from now on.
        """
        attempt = 0
        while True:
            try:
                async for signal in self._stream(after, task_id):
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
    ) -> AsyncIterator[Event | Waits | Link]:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        parameters = {"task_id": task_id} if task_id else {}
        timeout = httpx.Timeout(TIMEOUT_S, read=SILENCE_S)
        try:
            async with self._http.stream(
                "GET", "/v1/events", headers=headers, params=parameters, timeout=timeout
            ) as response:
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    raise _error(response)
                yield Link(True)
                kind, data = "", ""
                async for line in response.aiter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        kind = value
                    elif field == "data":
                        data = value
                    elif line == "" and data:
                        body = json.loads(data)
                        if kind == "waiting":
                            yield Waits(tuple(Waiting.from_json(one) for one in body))
                        else:
                            yield Event.from_json(body)
                        kind, data = "", ""
        except httpx.TransportError as error:
            raise self._missing(error) from error

    async def _get(self, path: str, **parameters: Any) -> Mapping[str, Any]:
        given = {k: v for k, v in parameters.items() if v is not None}
        return await self._request("GET", path, params=given)

    async def _post(self, path: str, body: Mapping[str, Any] | None) -> Mapping[str, Any]:
        return await self._request("POST", path, json=body)

    async def _request(self, method: str, path: str, **rest: Any) -> Mapping[str, Any]:
        try:
            response = await self._http.request(method, path, **rest)
        except httpx.TransportError as error:
            raise self._missing(error) from error
        if response.is_error:
            raise _error(response)
        body: Mapping[str, Any] = response.json()
        return body

    def _missing(self, error: httpx.TransportError) -> DaemonMissing:
        return DaemonMissing(
            f"No daemon answers on {self.socket_path} ({type(error).__name__}).",
            hint=START_IT,
        )


def _error(response: httpx.Response) -> AidecampError:
    """The error that the daemon raised, as its own class again."""
    try:
        return revive(response.json())
    except (ValueError, KeyError, TypeError):
        return AidecampError(f"The daemon answered {response.status_code}, and no JSON error.")
