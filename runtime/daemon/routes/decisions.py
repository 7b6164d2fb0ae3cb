"""Decisions: the table, and one with everything that came of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from runtime.core import Kind
from runtime.daemon.desk import Desk
from runtime.daemon.errors import NotFound
from runtime.daemon.guard import needs
from runtime.daemon.story import tell

Limit = Annotated[int, Query(ge=1, le=10_000)]


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["decisions"])
    ledger = desk.ledger

    @router.get("/v1/decisions", dependencies=[needs("admin")])
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

    @router.get("/v1/decisions/{decision_id}", dependencies=[needs("admin")])
    def one_decision(decision_id: str) -> dict[str, Any]:
        event = ledger.record(decision_id)
        story = tell(decision_id, list(ledger.events(event.task_id))) if event else None
        if story is None:
            raise NotFound(
                f"There is no decision {decision_id!r}.", hint="GET /v1/decisions lists them."
            )
        return story.to_json()

    return router
