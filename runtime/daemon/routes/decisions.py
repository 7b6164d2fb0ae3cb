"""Decisions: the table, one with everything that came of it, one made again, one judged."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from models.errors import UsageError
from runtime.core import Decision, Event, Kind
from runtime.daemon.bodies import EventId, MarkBody, ReplayBody
from runtime.daemon.declared import Absent, declared
from runtime.daemon.desk import Desk
from runtime.daemon.errors import Conflict, NotFound
from runtime.daemon.finding import find
from runtime.daemon.rows import Came
from runtime.daemon.settings import config_of, policy_of
from runtime.daemon.shapes import DecisionsPage, EventBody, Replayed
from runtime.daemon.story import Story, tell
from runtime.past import found, judge, remade
from runtime.replay import differs

Limit = Annotated[int, Query(ge=1, le=10_000, description="At most this many, newest first.")]
Before = Annotated[
    EventId | Absent,
    Query(description="Only those older than this event: the next page."),
]
Id = Annotated[str, Path(description="The decision's id.")]


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["decisions"])
    ledger = desk.ledger

    @router.get("/v1/decisions", summary="Decisions, newest first", **declared("admin"))
    def list_decisions(
        kind: Kind | Absent = None,
        chosen: str | Absent = None,
        task_id: str | Absent = None,
        text: str | Absent = None,
        client: str | Absent = None,
        session: str | Absent = None,
        outcome: Came | Absent = None,
        before: Before = None,
        limit: Limit = 100,
    ) -> DecisionsPage:
        # Taken first: what comes meanwhile is told again by the stream, and never missed.
        last = ledger.last_id()
        rows = find(
            ledger,
            kind=kind,
            chosen=chosen,
            task_id=task_id,
            text=text,
            client=client,
            session=session,
            before=before,
            outcome=outcome,
            limit=limit,
        )
        more = rows[-1].event_id if len(rows) == limit else None
        return DecisionsPage.model_construct(decisions=rows, last_event_id=last, next_before=more)

    @router.get(
        "/v1/decisions/{decision_id}",
        summary="One decision, with everything that came of it",
        **declared("admin", 404),
    )
    def one_decision(decision_id: Id) -> Story:
        event = _decision(decision_id)
        story = tell(decision_id, list(ledger.events(event.task_id)))
        if story is None:
            raise _missing(decision_id)
        return story

    @router.post(
        "/v1/decisions/{decision_id}/replay",
        summary="Make a decision again under another policy; nothing is executed",
        **declared("admin", 404, 409),
    )
    def replay(decision_id: Id, body: ReplayBody | None = None) -> Replayed:
        event = _decision(decision_id)
        wanted = body or ReplayBody()
        policy = wanted.policy(config_of(desk).base_policy(), policy_of(desk))
        try:
            after = remade(ledger, event, policy)
        except UsageError as error:
            raise Conflict(error.message, hint=error.hint) from error
        before: Any = event.record
        return Replayed.model_construct(changed=differs(before, after), before=before, after=after)

    @router.post(
        "/v1/decisions/{decision_id}/mark",
        summary="Say whether the answer given under a decision was right",
        status_code=201,
        **declared("admin", 404, 409),
    )
    def mark(decision_id: Id, body: MarkBody) -> EventBody:
        event = _decision(decision_id)
        try:
            kept = judge(ledger, event, body.right, body.note)
        except UsageError as error:
            raise Conflict(error.message, hint=error.hint) from error
        return EventBody.of(kept)

    def _decision(decision_id: str) -> Event:
        event = found(ledger, decision_id)
        if event is None or not isinstance(event.record, Decision):
            raise _missing(decision_id)
        return event

    return router


def _missing(decision_id: str) -> NotFound:
    return NotFound(f"There is no decision {decision_id!r}.", hint="GET /v1/decisions lists them.")
