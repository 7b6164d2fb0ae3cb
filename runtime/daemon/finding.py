"""Past decisions as rows: found in the ledger by what they are, and by what came of them."""

from __future__ import annotations

from typing import Any

from runtime.core import Decision
from runtime.daemon.rows import OPEN, Row, Rows
from runtime.ledger import Ledger

PAGE = 200
FOLDED = ("decision", "call", "action", "gate", "outcome", "result")
"""Types of event that a row is made of."""


def find(ledger: Ledger, *, outcome: str | None = None, limit: int = 100, **by: Any) -> list[Row]:
    """The newest decisions that match, newest first. ``by``: see :meth:`Ledger.decisions`.

    ``outcome`` is what the row shows (:attr:`Row.outcome`). It follows from all that happened
    after the decision, so rows are made until enough have it; the ledger knows in which tasks to
    look. Only where ``done`` is what hardly any decision came to does this read much.
    """
    if outcome is None:
        return _rows(ledger, limit=limit, **by)
    found: list[Row] = []
    before = by.pop("before", None)
    while len(found) < limit:
        page = _rows(ledger, ending=_ending(outcome), before=before, limit=PAGE, **by)
        found += [row for row in page if row.outcome == outcome]
        if len(page) < PAGE:
            break
        before = page[-1].event_id
    return found[:limit]


def _ending(outcome: str) -> str | None:
    """What the task of a decision with this outcome must have come to; None: anything."""
    if outcome in OPEN:
        return "open"
    return None if outcome == "done" else outcome


def _rows(ledger: Ledger, **by: Any) -> list[Row]:
    decisions = ledger.decisions(**by)
    tasks = list(dict.fromkeys(event.task_id for event in decisions))
    rows = Rows()
    for event in ledger.events_of(tasks, FOLDED):
        rows.add(event)
    ids = [event.record.id for event in decisions if isinstance(event.record, Decision)]
    # What was purged between the two questions is on neither page.
    return [rows.by_id[id_] for id_ in ids if id_ in rows.by_id]
