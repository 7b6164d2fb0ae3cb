"""The routes: thin, typed, and nothing but what :class:`Desk` can do.

Every error is the JSON of ``AidecampError.as_dict()`` with its own HTTP status.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.exceptions import HTTPException

from models.errors import AidecampError, UsageError
from runtime.core import Kind, Privacy, Result, Task, to_json
from runtime.daemon.bodies import AnswerBody, TaskBody
from runtime.daemon.errors import NotFound, Unreadable
from runtime.daemon.follow import Follower
from runtime.daemon.guard import BodyLimit
from runtime.daemon.rows import Row, Rows
from runtime.daemon.runner import AgentFactory, Runner
from runtime.daemon.story import tell
from runtime.daemon.totals import Totals
from runtime.ledger import Ledger

HEARTBEAT_S = 10
Limit = Annotated[int, Query(ge=1, le=10_000)]
After = Annotated[int, Query(ge=0)]


@dataclass
class Desk:
    """What the routes work on: the ledger, the tasks that run, and who follows along."""

    ledger: Ledger
    make_agent: AgentFactory
    folder: Path
    """Work folder of tasks that name none."""
    privacy: Privacy = "ask"
    started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.follower = Follower(self.ledger)
        self.runner = Runner(self.ledger, self.make_agent, self.follower.tick)
        self._totals = Totals()
        self._totals_lock = asyncio.Lock()

    async def stop(self) -> None:
        """Cancel and record what runs, then end every stream."""
        await self.runner.close()
        await self.follower.stop()

    def rows(
        self,
        kind: str | None,
        chosen: str | None,
        task_id: str | None,
        text: str | None,
        limit: int,
    ) -> list[Row]:
        """The newest decisions that match, newest first."""
        found = self.ledger.decisions(
            kind=kind, chosen=chosen, task_id=task_id, text=text, limit=limit
        )
        rows = Rows()
        for task in dict.fromkeys(event.task_id for event in found):
            for event in self.ledger.events(task):
                rows.add(event)
        return [rows.by_id[event.record.id] for event in found]  # type: ignore[union-attr]

    async def totals(self) -> Totals:
        """The sums so far; only what is new since the last time is read."""
        async with self._totals_lock:
            while batch := await self.follower.read(self._totals.last_event_id):
                for event in batch:
                    self._totals = self._totals.add(event)
        return self._totals

    def status(self, task_id: str, result: Result | None) -> str:
        if result is not None:
            return result.status
        if any(waiting.task_id == task_id for waiting in self.runner.waiting):
            return "waiting"
        return "running" if task_id in self.runner.running else "open"

    async def stream(self, after: int, task_id: str | None) -> AsyncIterator[ServerSentEvent]:
        """Ledger events after ``after``, as they come, and what waits whenever that changes."""
        told: object = None
        while not self.follower.stopped:
            ticks = self.follower.ticks
            for event in (batch := await self.follower.read(after, task_id)):
                yield ServerSentEvent(_line(event.to_json()), event=event.type, id=str(event.id))
                after = event.id
            if batch:
                continue
            if (waiting := self.runner.waiting) != told:
                told = waiting
                # No id: it is the state of now, not a line of the record to resume from.
                yield ServerSentEvent(_line([one.to_json() for one in waiting]), event="waiting")
            await self.follower.wait(ticks)


def create_app(desk: Desk) -> FastAPI:
    """The daemon's API on ``desk``."""
    from runtime import core

    app = FastAPI(title="Aidecamp", summary="Tasks, decisions and why.", redirect_slashes=False)
    app.add_middleware(BodyLimit)
    _errors(app)
    ledger, runner = desk.ledger, desk.runner

    @app.post("/v1/tasks", status_code=202)
    async def start_task(body: TaskBody) -> dict[str, Any]:
        task = body.task(privacy=desk.privacy, folder=desk.folder)
        await runner.start(task)
        return {"task_id": task.id, "status": desk.status(task.id, None)}

    @app.get("/v1/tasks")
    def list_tasks(limit: Limit = 100) -> dict[str, Any]:
        rows = []
        for event in ledger.tasks(limit):
            result = _result(ledger, event.task_id)
            rows.append(
                {
                    "id": event.task_id,
                    "at": event.at,
                    "text": event.record.text,  # type: ignore[union-attr]
                    "status": desk.status(event.task_id, result),
                    "answer": result.answer if result else None,
                    "reason": result.reason if result else "",
                }
            )
        return {"tasks": rows}

    @app.get("/v1/tasks/{task_id}")
    def one_task(task_id: str, after: After = 0) -> dict[str, Any]:
        events = list(ledger.events(task_id))
        task = next((e.record for e in events if isinstance(e.record, Task)), None)
        if task is None:
            raise NotFound(f"There is no task {task_id!r}.", hint="GET /v1/tasks lists them.")
        result = next((e.record for e in reversed(events) if isinstance(e.record, Result)), None)
        return {
            "task": to_json(task),
            "status": desk.status(task_id, result),
            "result": to_json(result) if result else None,
            "waiting": [w.to_json() for w in runner.waiting if w.task_id == task_id],
            "events": [event.to_json() for event in events if event.id > after],
        }

    @app.post("/v1/tasks/{task_id}/approve")
    async def approve(task_id: str, body: AnswerBody | None = None) -> dict[str, Any]:
        waiting = runner.answer(task_id, True, body.id if body else None)
        return {"id": waiting.id, "verdict": "allow"}

    @app.post("/v1/tasks/{task_id}/deny")
    async def deny(task_id: str, body: AnswerBody | None = None) -> dict[str, Any]:
        waiting = runner.answer(task_id, False, body.id if body else None)
        return {"id": waiting.id, "verdict": "deny"}

    @app.post("/v1/tasks/{task_id}/cancel", status_code=202)
    async def cancel(task_id: str) -> dict[str, Any]:
        runner.cancel(task_id)
        return {"task_id": task_id, "status": "cancelling"}

    @app.get("/v1/decisions")
    def list_decisions(
        kind: Kind | None = None,
        chosen: str | None = None,
        task_id: str | None = None,
        text: str | None = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        # Taken first: what comes meanwhile is told again by the stream, and never missed.
        last = ledger.last_id()
        rows = desk.rows(kind, chosen, task_id, text, limit)
        return {"decisions": [row.to_json() for row in rows], "last_event_id": last}

    @app.get("/v1/decisions/{decision_id}")
    def one_decision(decision_id: str) -> dict[str, Any]:
        event = ledger.record(decision_id)
        story = tell(decision_id, list(ledger.events(event.task_id))) if event else None
        if story is None:
            raise NotFound(
                f"There is no decision {decision_id!r}.", hint="GET /v1/decisions lists them."
            )
        return story.to_json()

    @app.get("/v1/events")
    async def events(
        last_event_id: Annotated[str | None, Header()] = None,
        after: After | None = None,
        task_id: str | None = None,
    ) -> EventSourceResponse:
        start = after
        if last_event_id is not None:
            if not (last_event_id.isascii() and last_event_id.isdigit()):
                raise UsageError(
                    f"Last-Event-ID {last_event_id!r} is no event id.", hint="It is a whole number."
                )
            start = min(int(last_event_id), 2**63 - 1)
        if start is None:
            start = await asyncio.to_thread(ledger.last_id)
        return EventSourceResponse(desk.stream(start, task_id), ping=HEARTBEAT_S)

    @app.get("/v1/savings")
    async def savings() -> dict[str, Any]:
        return (await desk.totals()).to_json()

    @app.get("/v1/health")
    def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "pid": os.getpid(),
            "uptime_s": round(time.time() - desk.started, 3),
            "ledger": str(ledger.path),
            "last_event_id": ledger.last_id(),
            "running": list(runner.running),
            "waiting": len(runner.waiting),
            "kinds": list(core.KINDS),
        }

    return app


def _line(value: Any) -> str:
    # ASCII only: some readers of SSE also break lines at U+0085 and U+2028.
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _result(ledger: Ledger, task_id: str) -> Result | None:
    found = [e.record for e in ledger.events(task_id, types=("result",))]
    return found[-1] if found and isinstance(found[-1], Result) else None


def _errors(app: FastAPI) -> None:
    def answer(error: AidecampError, status: int | None = None) -> JSONResponse:
        return JSONResponse(error.as_dict(), status or error.http_status)

    @app.exception_handler(AidecampError)
    async def ours(_: Request, error: AidecampError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def unreadable(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        if first["type"] == "json_invalid":
            return answer(
                UsageError("The body is not valid JSON.", hint=str(first["ctx"]["error"]))
            )
        says = f"{where}: {first['msg']}." if where else f"The body: {first['msg']}."
        return answer(Unreadable(says, hint="GET /openapi.json describes every field."))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return answer(NotFound(f"There is no {request.url.path}.", hint="See /openapi.json."))
        return answer(UsageError(f"{request.url.path}: {error.detail}."), error.status_code)

    @app.exception_handler(Exception)
    async def fault(_: Request, error: Exception) -> JSONResponse:
        return answer(
            AidecampError(
                f"A fault in Aidecamp itself: {type(error).__name__}.",
                hint="`aidecamp daemon logs` has the traceback.",
            )
        )
