"""What the daemon answers, where it is no record: typed, so that the schema tells the truth.

Records and the dataclasses that are folded from them are answered as they are; ``told`` makes a
model of a dataclass whose properties are told, too.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from runtime.budgets import Act, Amount, Scope
from runtime.core import RECORDS, Decision, Event, Kind, Record, Result, Status, Task
from runtime.daemon.declared import ErrorDetail
from runtime.daemon.rows import Row
from runtime.daemon.totals import Totals
from runtime.daemon.waiting import Waiting
from runtime.policy_file import Problem
from runtime.report import Figure
from runtime.savings import ShareRow

Verdict = Literal["allow", "deny"]
TaskStatus = Status | Literal["waiting", "running", "open"]
"""``open``: not ended, and not running in this daemon."""


def told(of: type[Any], *properties: str) -> type[BaseModel]:
    """A model with the fields of the dataclass ``of`` and its ``properties``."""
    hints = get_type_hints(of)
    fields: dict[str, Any] = {f.name: (hints[f.name], ...) for f in dataclasses.fields(of)}
    for name in properties:
        fields[name] = (get_type_hints(getattr(of, name).fget)["return"], ...)
    return create_model(of.__name__, __doc__=of.__doc__, **fields)


class EventBody(BaseModel):
    """One line of the record."""

    id: int
    task_id: str
    at: float
    """Unix time in seconds."""
    type: str = Field(json_schema_extra={"enum": list(RECORDS)})
    record: Record

    @staticmethod
    def of(event: Event) -> EventBody:
        return EventBody.model_construct(
            id=event.id, task_id=event.task_id, at=event.at, type=event.type, record=event.record
        )


class DecisionsPage(BaseModel):
    """Decisions, newest first."""

    decisions: list[Row]
    last_event_id: int
    """The newest event that this page knows of: follow the stream on from it."""
    next_before: int | None
    """``before`` of the next page; null where this one was the last."""


class Replayed(BaseModel):
    """A decision as it was, and as another policy would have made it."""

    changed: bool
    """Another worker would serve, or the same one in the General's place."""
    before: Decision
    after: Decision


class TaskStarted(BaseModel):
    task_id: str
    status: TaskStatus


class TaskSummary(BaseModel):
    id: str
    at: float
    text: str
    status: TaskStatus
    answer: Any
    reason: str


class TasksPage(BaseModel):
    tasks: list[TaskSummary]


class TaskView(BaseModel):
    """A task, what became of it, and what it waits for."""

    task: Task
    status: TaskStatus
    result: Result | None
    error: ErrorDetail | None
    """What ended it, where it ran here, failed, and is not long over."""
    waiting: list[Waiting]
    events: list[EventBody]


class Answered(BaseModel):
    id: str
    verdict: Verdict


class Cancelling(BaseModel):
    task_id: str
    status: Literal["cancelling"] = "cancelling"


TotalsBody = told(Totals, "local_share")


class GeneralHealth(BaseModel):
    """One General, and whether it is asked now."""

    name: str
    state: Literal["closed", "open", "half-open"]
    """Of its circuit breaker; ``open``: it is left alone for a while."""
    failures: int
    """In a row."""
    retry_in_s: float
    problem: str


class Health(BaseModel):
    status: Literal["ok"]
    version: str
    settings: str
    """A digest of the settings in force: a program that has the same may use this daemon."""
    pid: int
    uptime_s: float
    ledger: str
    ledger_bytes: int
    last_event_id: int
    running: list[str]
    """Ids of the tasks that run here."""
    waiting: int
    """Questions that wait for a person."""
    addresses: list[str]
    """Where it listens, as far as it knows."""
    models: list[str]
    """Models that are loaded."""
    generals: list[GeneralHealth]
    """Empty before the first task, and where none is configured."""
    queue: dict[str, int]
    """Proxied calls: ``running`` and ``waiting`` now, and how many of each there may be."""
    kinds: list[Kind]


class Setting(BaseModel):
    """A value of the policy, and where it comes from."""

    value: float | str
    from_: str = Field(alias="from")


class RuleBody(BaseModel):
    """A rule: its conditions, and what it pins."""

    model_config = ConfigDict(extra="allow")

    number: int
    name: str
    route: str | None
    privacy: str | None


class BudgetBody(BaseModel):
    """Limits for one scope, and what was spent of them."""

    scope: Scope
    usd: float | None
    tokens: int | None
    seconds: float | None
    action: Act
    spent: Amount | None


class InForce(BaseModel):
    """The policy that decides now."""

    file: str | None
    """``policy.toml``, where there is one."""
    values: dict[str, Setting]
    rules: list[RuleBody]
    budgets: list[BudgetBody]


class ChangedBody(BaseModel):
    """A decision that another policy would have made otherwise."""

    id: str
    task_id: str
    kind: str
    text: str
    from_: str = Field(alias="from")
    to: str
    unsure_before: bool
    unsure: bool
    rule_before: str
    rule: str
    reason: str


class ReplayBody(BaseModel):
    """What a policy would have changed on record."""

    replayed: int
    skipped: int
    moot: int
    before: dict[str, int]
    after: dict[str, int]
    changed_total: int
    changed: list[ChangedBody]
    """The first of them."""


class Checked(BaseModel):
    """What is wrong with a policy file, line by line; its replay where nothing is an error."""

    problems: list[Problem]
    replay: ReplayBody | None


ShareBody = told(ShareRow, "share", "step_share")


class ComparedBody(BaseModel):
    """One quantity: as it was, and had everything gone to the General."""

    actual: Figure
    all_general: Figure


class SimulatedBody(BaseModel):
    """The record under a scenario."""

    local_share: float
    calls: float
    escalated_steps: float
    moved_steps: float
    cost_usd: Figure
    latency_s: Figure
    energy_j: Figure
    risk: Figure
    threshold: Figure | None


class PriceBody(BaseModel):
    """US dollars for a million tokens."""

    model: str
    input: float
    output: float
    as_of: str


class SavingsBody(TotalsBody):  # type: ignore[misc, valid-type]
    """The whole report: sums, shares by kind and area, and three quantities compared."""

    kinds: list[ShareBody]  # type: ignore[valid-type]
    areas: list[ShareBody]  # type: ignore[valid-type]
    unassigned_calls: int
    model: str
    cost_usd_compared: ComparedBody
    latency_s_compared: ComparedBody
    energy_j_compared: ComparedBody
    all_general_usd_estimated: float | None
    saved_usd_estimated: float | None
    price: PriceBody | None
    what_if: SimulatedBody | None
