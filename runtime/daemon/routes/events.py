"""The event stream: the ledger as server-sent events, resumed where a reader left off."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query
from sse_starlette.sse import EventSourceResponse

from models.errors import UsageError
from runtime.daemon.desk import Desk
from runtime.daemon.guard import needs

HEARTBEAT_S = 10
After = Annotated[int, Query(ge=0)]


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["events"])
    ledger = desk.ledger

    @router.get("/v1/events", dependencies=[needs("admin")])
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

    return router
