"""Tasks: start, list, follow, approve, deny, cancel."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from models.errors import Denied
from runtime.core import Result, Task
from runtime.daemon.bodies import MAX_ID, AnswerBody, TaskBody
from runtime.daemon.declared import ErrorDetail, declared
from runtime.daemon.desk import Desk
from runtime.daemon.errors import NotFound, body_of
from runtime.daemon.guard import caller
from runtime.daemon.shapes import (
    Answered,
    Cancelling,
    EventBody,
    TasksPage,
    TaskStarted,
    TaskSummary,
    TaskView,
)
from runtime.ledger import Ledger

Limit = Annotated[int, Query(ge=1, le=10_000, description="At most this many, newest first.")]
After = Annotated[int, Query(ge=0, le=MAX_ID, description="Only events after this one.")]
Id = Annotated[str, Path(description="The task's id.")]


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["tasks"])
    ledger, runner = desk.ledger, desk.runner

    @router.post(
        "/v1/tasks",
        summary="Start a task; it is on record when this answers",
        status_code=202,
        **declared("act", 409, 502),
    )
    async def start_task(body: TaskBody) -> TaskStarted:
        task = body.task(privacy=desk.privacy, folder=desk.folder)
        await runner.start(task, attended=body.attended)
        return TaskStarted.model_construct(task_id=task.id, status=desk.status(task.id, None))

    @router.get("/v1/tasks", summary="Tasks, newest first", **declared("act"))
    def list_tasks(limit: Limit = 100) -> TasksPage:
        rows = []
        for event in ledger.tasks(limit):
            result = _result(ledger, event.task_id)
            rows.append(
                TaskSummary.model_construct(
                    id=event.task_id,
                    at=event.at,
                    text=event.record.text,  # type: ignore[union-attr]
                    status=desk.status(event.task_id, result),
                    answer=result.answer if result else None,
                    reason=result.reason if result else "",
                )
            )
        return TasksPage.model_construct(tasks=rows)

    @router.get(
        "/v1/tasks/{task_id}",
        summary="A task: its status, its result, what it waits for, and its events",
        **declared("act", 404),
    )
    def one_task(task_id: Id, after: After = 0) -> TaskView:
        events = list(ledger.events(task_id))
        task = next((e.record for e in events if isinstance(e.record, Task)), None)
        if task is None:
            raise NotFound(f"There is no task {task_id!r}.", hint="GET /v1/tasks lists them.")
        failure = runner.failure(task_id)
        result = next((e.record for e in reversed(events) if isinstance(e.record, Result)), None)
        return TaskView.model_construct(
            task=task,
            status=desk.status(task_id, result),
            result=result,
            error=ErrorDetail(**body_of(failure)["error"]) if failure else None,
            waiting=[w for w in runner.waiting if w.task_id == task_id],
            events=[EventBody.of(event) for event in events if event.id > after],
        )

    @router.post(
        "/v1/tasks/{task_id}/approve",
        summary="Let what waits go on",
        **declared("act", 404, 409),
    )
    async def approve(task_id: Id, request: Request, body: AnswerBody | None = None) -> Answered:
        asking = caller(request)
        if not asking.may("admin") and runner.owner(task_id) == asking.name:
            raise Denied(
                f"The token {asking.name!r} began this, so somebody else must approve it.",
                hint="Approve it in the TUI, or with a token that has admin.",
            )
        waiting = runner.answer(task_id, True, body.id if body else None)
        return Answered(id=waiting.id, verdict="allow")

    @router.post(
        "/v1/tasks/{task_id}/deny", summary="Refuse what waits", **declared("act", 404, 409)
    )
    async def deny(task_id: Id, body: AnswerBody | None = None) -> Answered:
        waiting = runner.answer(task_id, False, body.id if body else None)
        return Answered(id=waiting.id, verdict="deny")

    @router.post(
        "/v1/tasks/{task_id}/cancel",
        summary="Stop a task; its end is recorded",
        status_code=202,
        **declared("act", 404, 409),
    )
    async def cancel(task_id: Id) -> Cancelling:
        runner.cancel(task_id)
        return Cancelling(task_id=task_id)

    return router


def _result(ledger: Ledger, task_id: str) -> Result | None:
    found = [e.record for e in ledger.events(task_id, types=("result",))]
    return found[-1] if found and isinstance(found[-1], Result) else None
