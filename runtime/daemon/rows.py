"""Events folded into rows: each decision with what came of it, in numbers.

The daemon folds a task's events to answer a query, and a view folds the stream to stay live:
the same fold, so that both show the same. Pure; imports records alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from runtime.core import (
    Action,
    Call,
    Decision,
    Event,
    Gate,
    Outcome,
    Result,
    from_json,
    to_json,
)

Came = Literal[
    "running",
    "answered",
    "acting",
    "done",
    "unsure",
    "failed",
    "denied",
    "skipped",
    "interrupted",
    "kept",
    "escalated",
    "overruled",
    "declined",
    "cancelled",
]
"""What came of a decision. ``kept``: the next decision on the step found its answer good enough."""
OPEN = ("running", "answered", "acting")
"""Outcomes of a decision that something may still come of."""


@dataclass(frozen=True, slots=True)
class Row:
    """One decision as a table shows it."""

    event_id: int
    at: float
    decision: Decision
    outcome: str = "running"
    """One of ``Came``."""
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    ms: float = 0.0
    """Routing, model calls and the action together."""
    cost_usd: float = 0.0
    bytes_sent: int = 0
    confidence: float | None = None
    """Of the last answer; None while there is none."""
    action_id: str | None = None
    preview: str = ""
    note: str = ""
    """Why it ended as it did, where someone said so: an error, the gate's reason."""

    @property
    def id(self) -> str:
        return self.decision.id

    def to_json(self) -> dict[str, Any]:
        body = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**body, "decision": to_json(self.decision)}

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Row:
        known = {f.name for f in fields(Row)}
        values = {k: v for k, v in body.items() if k in known}
        return Row(**{**values, "decision": from_json("decision", values["decision"])})


class Rows:
    """Rows by decision id, kept current by :meth:`add`."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.by_id: dict[str, Row] = {}
        self._of_step: dict[str, str] = {}
        self._of_action: dict[str, str] = {}
        self._of_task: dict[str, list[str]] = {}
        for row in rows:
            self._put(row)
            if row.action_id:
                self._of_action[row.action_id] = row.id

    def _put(self, row: Row) -> None:
        decision = row.decision
        if decision.id not in self.by_id:
            self._of_task.setdefault(decision.task_id, []).append(decision.id)
        self._of_step[decision.step_id] = decision.id
        self.by_id[decision.id] = row

    def add(self, event: Event) -> list[str]:
        """Fold one event in; the ids of the decisions whose rows changed."""
        record = event.record
        if isinstance(record, Decision):
            return self._decided(event, record)
        if isinstance(record, Call):
            return self._change(record.decision_id, lambda row: _called(row, record))
        if isinstance(record, Action):
            id_ = self._of_step.get(record.step_id)
            if id_:
                self._of_action[record.id] = id_
            return self._change(
                id_,
                lambda row: replace(
                    row, outcome="acting", action_id=record.id, preview=record.preview
                ),
            )
        if isinstance(record, Gate):
            return self._change(self._of_action.get(record.action_id), lambda r: _gated(r, record))
        if isinstance(record, Outcome):
            return self._change(
                self._of_action.get(record.action_id) or self._of_step.get(record.step_id),
                lambda row: replace(
                    row, outcome=record.status, ms=row.ms + record.ms, note=record.error or row.note
                ),
            )
        if isinstance(record, Result):
            return self._ended(record)
        return []

    def _decided(self, event: Event, decision: Decision) -> list[str]:
        changed = [decision.id]
        for id_ in self._of_task.get(decision.task_id, []):
            # The loop goes from step to step: an earlier step that still looks open is through.
            row = self.by_id[id_]
            if row.outcome in OPEN and row.decision.step_id != decision.step_id:
                changed += self._change(id_, _done)
        before = self.by_id.get(decision.previous or "")
        if before is not None and before.outcome in OPEN:
            word = "escalated" if decision.chosen == "general" else "overruled"
            word = "kept" if decision.keeps else word
            changed += self._change(before.id, lambda row: replace(row, outcome=word))
        self._put(
            Row(
                event_id=event.id,
                at=event.at,
                decision=decision,
                outcome="declined" if decision.chosen == "declined" else "running",
                ms=decision.route_ms,
            )
        )
        return changed

    def _ended(self, result: Result) -> list[str]:
        served = result.status in ("done", "unsure")
        changed: list[str] = []
        for id_ in self._of_task.get(result.task_id, []):
            row = self.by_id[id_]
            if row.outcome in OPEN and not served:
                changed += self._change(
                    id_, lambda row: replace(row, outcome=result.status, note=result.reason)
                )
            elif served and (row.outcome in OPEN or row.outcome == "done"):
                doubt = result.status == "unsure" and unsure(row.decision)
                changed += self._change(id_, _doubted if doubt else _done)
        return changed

    def _change(self, id_: str | None, change: Callable[[Row], Row]) -> list[str]:
        if id_ is None or id_ not in self.by_id:
            return []
        self.by_id[id_] = change(self.by_id[id_])
        return [id_]


def _done(row: Row) -> Row:
    return replace(row, outcome="done")


def _doubted(row: Row) -> Row:
    return replace(row, outcome="unsure")


def unsure(decision: Decision) -> bool:
    """True where a local worker serves although the rule would have escalated."""
    return decision.chosen.startswith("local:") and decision.would_send is not None


def _called(row: Row, call: Call) -> Row:
    return replace(
        row,
        outcome="answered" if row.outcome == "running" else row.outcome,
        calls=row.calls + 1,
        tokens_in=row.tokens_in + call.tokens_in,
        tokens_out=row.tokens_out + call.tokens_out,
        ms=row.ms + call.ms,
        cost_usd=row.cost_usd + call.cost_usd,
        bytes_sent=row.bytes_sent + call.bytes_sent,
        confidence=call.confidence,
    )


def _gated(row: Row, gate: Gate) -> Row:
    if gate.verdict == "allow":
        return row
    return replace(row, outcome="skipped" if gate.by == "dry-run" else "denied", note=gate.reason)
