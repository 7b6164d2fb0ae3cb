"""One decision with everything that belongs to it: what led to it, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.core import (
    Action,
    Call,
    Decision,
    Event,
    Gate,
    Outcome,
    Result,
    Step,
    Task,
    from_json,
    to_json,
)
from runtime.daemon.rows import Row, Rows


@dataclass(frozen=True, slots=True)
class Deed:
    """An action, the gate's verdict on it and what it did."""

    action: Action
    gate: Gate | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """A decision's whole story. ``before`` and ``after`` are its neighbours in the task."""

    row: Row
    task: Task | None
    step: Step | None
    calls: tuple[Call, ...]
    deeds: tuple[Deed, ...]
    result: Result | None
    before: str | None
    after: str | None
    overruled_by: str | None

    @property
    def decision(self) -> Decision:
        return self.row.decision

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.row.to_json(),
            "task": to_json(self.task) if self.task else None,
            "step": to_json(self.step) if self.step else None,
            "calls": [to_json(call) for call in self.calls],
            "deeds": [
                {
                    "action": to_json(deed.action),
                    "gate": to_json(deed.gate) if deed.gate else None,
                    "outcome": to_json(deed.outcome) if deed.outcome else None,
                }
                for deed in self.deeds
            ],
            "result": to_json(self.result) if self.result else None,
            "before": self.before,
            "after": self.after,
            "overruled_by": self.overruled_by,
        }

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Story:
        def record(type_: str, value: Mapping[str, Any] | None) -> Any:
            return None if value is None else from_json(type_, value)

        return Story(
            row=Row.from_json(body["row"]),
            task=record("task", body["task"]),
            step=record("step", body["step"]),
            calls=tuple(record("call", call) for call in body["calls"]),
            deeds=tuple(
                Deed(
                    record("action", deed["action"]),
                    record("gate", deed["gate"]),
                    record("outcome", deed["outcome"]),
                )
                for deed in body["deeds"]
            ),
            result=record("result", body["result"]),
            before=body["before"],
            after=body["after"],
            overruled_by=body["overruled_by"],
        )


def tell(decision_id: str, events: Sequence[Event]) -> Story | None:
    """The story of one decision from its task's events, in order; None where it is not there."""
    rows = Rows()
    task: Task | None = None
    result: Result | None = None
    steps: dict[str, Step] = {}
    calls: list[Call] = []
    actions: dict[str, Action] = {}
    gates: dict[str, Gate] = {}
    outcomes: dict[str, Outcome] = {}
    served_by: dict[str, str] = {}
    latest: dict[str, str] = {}
    for event in events:
        rows.add(event)
        match event.record:
            case Task() as record:
                task = record
            case Result() as record:
                result = record
            case Step() as record:
                steps[record.id] = record
            case Decision() as record:
                latest[record.step_id] = record.id
            case Call(decision_id=of) as record if of == decision_id:
                calls.append(record)
            case Action() as record:
                actions[record.id] = record
                served_by[record.id] = latest.get(record.step_id, "")
            case Gate() as record:
                gates[record.action_id] = record
            case Outcome() as record:
                outcomes[record.action_id] = record
            case _:
                pass
    row = rows.by_id.get(decision_id)
    if row is None:
        return None
    order = list(rows.by_id)
    at = order.index(decision_id)
    return Story(
        row=row,
        task=task,
        step=steps.get(row.decision.step_id),
        calls=tuple(calls),
        deeds=tuple(
            Deed(action, gates.get(id_), outcomes.get(id_))
            for id_, action in actions.items()
            if served_by[id_] == decision_id
        ),
        result=result,
        before=order[at - 1] if at else None,
        after=order[at + 1] if at + 1 < len(order) else None,
        overruled_by=next(
            (
                r.id
                for r in rows.by_id.values()
                if r.decision.previous == decision_id and not r.decision.keeps
            ),
            None,
        ),
    )
