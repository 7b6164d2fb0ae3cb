"""The Decision alone: who would serve a step, and why. Nothing is executed or recorded."""

from __future__ import annotations

from fastapi import APIRouter

from runtime.accept import check_task
from runtime.core import Decision, Task, new_id
from runtime.daemon.bodies import RouteBody
from runtime.daemon.declared import declared
from runtime.daemon.desk import Desk


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["decisions"])

    @router.post(
        "/v1/route",
        summary="Who would serve a step, with what probability, and why",
        **declared("infer", 409),
    )
    def route(body: RouteBody) -> Decision:
        task = Task(
            new_id("task"),
            body.text.strip(),
            surface=body.surface,
            privacy=body.privacy or desk.staff.config.privacy,
        )
        return foreseen(desk, task)

    return router


def foreseen(desk: Desk, task: Task) -> Decision:
    """The decision on ``task`` as one step. Blocks, while models load. Raises UsageError on a task
    that cannot be accepted."""
    from runtime.foresee import foresee
    from runtime.router import Router

    staff = desk.staff
    check_task(task, staff.policy)
    team = staff.team()
    return foresee(
        task,
        staff.config,
        staff.policy,
        staff.pool(),
        team.router if isinstance(team.router, Router) else Router(staff.pool().encoder()),
        trust=team.trust,
        history=staff.history,
        spending=staff.spending(),
    )
