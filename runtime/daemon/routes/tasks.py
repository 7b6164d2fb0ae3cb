"""Tasks: start, list, follow, approve, deny, cancel."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from runtime.core import Result, Task, to_json
from runtime.daemon.bodies import AnswerBody, TaskBody
from runtime.daemon.desk import Desk
from runtime.daemon.errors import NotFound
from runtime.daemon.guard import needs
from runtime.ledger import Ledger

Limit = Annotated[int, Query(ge=1, le=10_000)]
After = Annotated[int, Query(ge=0)]


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["tasks"])
    ledger, runner = desk.ledger, desk.runner

    @router.post("/v1/tasks", status_code=202, dependencies=[needs("act")])
    async def start_task(body: TaskBody) -> dict[str, Any]:
        task = body.task(privacy=desk.privacy, folder=desk.folder)
        await runner.start(task)
        return {"task_id": task.id, "status": desk.status(task.id, None)}

    @router.get("/v1/tasks", dependencies=[needs("act")])
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

    @router.get("/v1/tasks/{task_id}", dependencies=[needs("act")])
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

    @router.post("/v1/tasks/{task_id}/approve", dependencies=[needs("act")])
    async def approve(task_id: str, body: AnswerBody | None = None) -> dict[str, Any]:
        waiting = runner.answer(task_id, True, body.id if body else None)
        return {"id": waiting.id, "verdict": "allow"}

    @router.post("/v1/tasks/{task_id}/deny", dependencies=[needs("act")])
    async def deny(task_id: str, body: AnswerBody | None = None) -> dict[str, Any]:
        waiting = runner.answer(task_id, False, body.id if body else None)
        return {"id": waiting.id, "verdict": "deny"}

    @router.post("/v1/tasks/{task_id}/cancel", status_code=202, dependencies=[needs("act")])
    async def cancel(task_id: str) -> dict[str, Any]:
        runner.cancel(task_id)
        return {"task_id": task_id, "status": "cancelling"}

    return router


def _result(ledger: Ledger, task_id: str) -> Result | None:
    found = [e.record for e in ledger.events(task_id, types=("result",))]
    return found[-1] if found and isinstance(found[-1], Result) else None
