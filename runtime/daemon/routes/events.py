"""The event stream: the ledger as server-sent events, resumed where a reader left off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse

from models.errors import UsageError
from runtime.core import RECORDS
from runtime.daemon.bodies import MAX_ID, EventId
from runtime.daemon.declared import Absent, streamed
from runtime.daemon.desk import Desk, sse_line
from runtime.daemon.measure import Meter

HEARTBEAT_S = 10
After = Annotated[EventId | Absent, Query(description="Only events after this one.")]
TellTo = Annotated[
    bool, Query(description="False: the stream ends where the record does, for now.")
]


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["events"])
    ledger = desk.ledger

    @router.get(
        "/v1/events",
        summary="Every event of the record as it is committed, by any process",
        response_class=EventSourceResponse,
        **streamed(
            "admin",
            description="`event` is the record's type, `id` its row id, `data` the event as JSON. "
            "An event `waiting`, without an id, tells what waits for a person.",
            events=(*RECORDS, "waiting"),
        ),
    )
    async def events(
        request: Request,
        last_event_id: Annotated[
            str | Absent, Header(description="Go on after this event. It wins over `after`.")
        ] = None,
        after: After = None,
        task_id: str | Absent = None,
        follow: TellTo = True,
    ) -> EventSourceResponse:
        start = after
        if last_event_id is not None:
            if not (last_event_id.isascii() and last_event_id.isdigit()):
                raise UsageError(
                    f"Last-Event-ID {last_event_id!r} is no event id.", hint="It is a whole number."
                )
            start = min(int(last_event_id), MAX_ID)
        if start is None:
            start = await asyncio.to_thread(ledger.last_id)
        told = desk.stream(start, task_id) if follow else _recorded(desk, start, task_id)
        return EventSourceResponse(Meter.of(request).streaming(told), ping=HEARTBEAT_S)

    return router


async def _recorded(desk: Desk, after: int, task_id: str | None) -> AsyncIterator[ServerSentEvent]:
    """What is on record after ``after``."""
    while batch := await desk.follower.read(after, task_id):
        for event in batch:
            yield ServerSentEvent(sse_line(event.to_json()), event=event.type, id=str(event.id))
        after = batch[-1].id
