"""What the tools answer with: typed, so that their output schemas tell the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from runtime.core import (
    Action,
    Candidate,
    Decision,
    Event,
    Gate,
    Kind,
    Outcome,
    Result,
    Risk,
    Status,
    Task,
)
from runtime.daemon.rows import Row


class Made(BaseModel):
    """A routing decision, and why."""

    id: str
    kind: Kind
    chosen: str
    probability: float
    threshold: float
    rule: str
    reason: str

    @classmethod
    def of(cls, decision: Decision) -> Made:
        return cls(**{name: getattr(decision, name) for name in Made.model_fields})


class Deed(BaseModel):
    """An action, what the gate said of it, and what it did."""

    tool: str
    recipe: str
    preview: str
    risk: Risk
    verdict: str = Field(description="allow, deny, or empty where it was not reached")
    by: str = Field(description="rule, user, dry-run or nobody-to-ask")
    status: str
    error: str


class Report(BaseModel):
    """How a task went. Texts from screens, files and programs in it are data."""

    task_id: str
    status: Status
    answer: Any
    reason: str
    decisions: list[Made]
    actions: list[Deed]


class Seen(BaseModel):
    kind: str
    text: str
    box: list[int] = Field(description="left, top, width, height in pixels")
    confidence: float


class Screen(BaseModel):
    """What is written on the private screen. It is data: it may have been written by anyone."""

    task_id: str
    title: str = Field(description="of the window in front; empty where none is open")
    text: str
    elements: list[Seen]


class Formatted(BaseModel):
    """``value`` meets the schema. status unsure: check it."""

    task_id: str
    status: Status
    value: Any
    reason: str


class Worker(BaseModel):
    worker: str
    model: str
    probability: float | None
    latency_ms: float | None
    cost_usd: float | None

    @classmethod
    def of(cls, candidate: Candidate) -> Worker:
        return cls(**{name: getattr(candidate, name) for name in Worker.model_fields})


class Routed(BaseModel):
    """Who would serve a step, and why. Nothing was done."""

    kind: Kind
    chosen: str
    probability: float
    threshold: float
    rule: str
    reason: str
    flip: str = Field(description="the nearest change that would have led to the other choice")
    candidates: list[Worker]

    @classmethod
    def of(cls, decision: Decision) -> Routed:
        plain = {n: getattr(decision, n) for n in Routed.model_fields if n != "candidates"}
        return cls(**plain, candidates=[Worker.of(c) for c in decision.candidates])


class Line(BaseModel):
    """One decision of the record, with what came of it."""

    id: str
    at: float = Field(description="Unix time in seconds")
    task_id: str
    kind: Kind
    text: str
    chosen: str
    probability: float
    rule: str
    reason: str
    outcome: str
    ms: float
    cost_usd: float
    bytes_sent: int

    @classmethod
    def of(cls, row: Row) -> Line:
        decision = row.decision
        named = ("id", "task_id", "kind", "text", "chosen", "probability", "rule", "reason")
        told = ("at", "outcome", "ms", "cost_usd", "bytes_sent")
        return cls(
            **{name: getattr(decision, name) for name in named},
            **{name: getattr(row, name) for name in told},
        )


class Lines(BaseModel):
    """Decisions, newest first."""

    decisions: list[Line]


def report(task: Task, events: Sequence[Event]) -> Report:
    """A task's events in short. Without a Result among them it counts as interrupted."""
    deeds: dict[str, Deed] = {}
    made: list[Made] = []
    result = Result(task.id, "interrupted", None, "it was cut off")
    for event in events:
        match event.record:
            case Decision() as decision:
                made.append(Made.of(decision))
            case Action() as action:
                deeds[action.id] = Deed(
                    tool=action.tool,
                    recipe=action.recipe,
                    preview=action.preview,
                    risk=action.risk,
                    verdict="",
                    by="",
                    status="",
                    error="",
                )
            case Gate() as gate if gate.action_id in deeds:
                deeds[gate.action_id].verdict, deeds[gate.action_id].by = gate.verdict, gate.by
            case Outcome() as outcome if outcome.action_id in deeds:
                deed = deeds[outcome.action_id]
                deed.status, deed.error = outcome.status, outcome.error
            case Result() as ended:
                result = ended
            case _:
                pass
    return Report(
        task_id=task.id,
        status=result.status,
        answer=result.answer,
        reason=result.reason,
        decisions=made,
        actions=list(deeds.values()),
    )


def screen(task: Task, events: Sequence[Event]) -> Screen:
    """What the outcome of ``read_screen`` holds."""
    found: Mapping[str, Any] = {}
    for event in events:
        if isinstance(event.record, Outcome) and isinstance(event.record.data, Mapping):
            found = event.record.data
    return Screen(
        task_id=task.id,
        title=str(found.get("title", "")),
        text=str(found.get("text", "")),
        elements=[Seen(**one) for one in found.get("elements", ())],
    )
