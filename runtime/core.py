"""The records: the only vocabulary that Aidecamp's parts share.

Frozen dataclasses, JSON in and out. Imports the standard library and nothing else.
A record is never changed: what happens next is a further record that names it.
"""

from __future__ import annotations

import copy
import dataclasses
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal[
    "plan", "refine", "gui", "shell", "tool", "parse", "format", "repair", "dialogue", "embed"
]
KINDS: tuple[Kind, ...] = get_args(Kind)

Status = Literal["done", "unsure", "declined", "denied", "failed", "cancelled", "interrupted"]
STATUSES: tuple[Status, ...] = get_args(Status)

EXIT_CODES: dict[str, int] = {
    "done": 0,
    "failed": 1,
    "denied": 9,
    "unsure": 10,
    "declined": 11,
    "cancelled": 130,
    "interrupted": 130,
}

GENERAL = "general"
"""The worker that is the remote LLM."""
Privacy = Literal["local", "ask", "auto"]
Surface = Literal["gui", "shell", "auto"]
Risk = Literal["read", "write", "sensitive"]


def new_id(prefix: str) -> str:
    """A fresh id that sorts by time: ``prefix_<milliseconds in hex><random>``."""
    return f"{prefix}_{int(time.time() * 1000):011x}{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Task:
    """What the user asked for, and the bounds within which it may be done."""

    id: str
    text: str
    surface: Surface = "auto"
    privacy: Privacy = "ask"
    folder: str = ""
    """Work folder: the only place that a sandboxed command may write. Absolute path."""
    now: str = ""
    """Local date and time (ISO 8601) that words such as "tomorrow" are resolved against."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Function tools on offer, as OpenAI's API writes them; empty: shell and GUI only."""
    schema: Mapping[str, Any] | None = None
    """JSON Schema that the answer must meet."""
    template: str | None = None
    """Text template with ``{field}`` placeholders that the answer fills."""
    dry_run: bool = False
    yes: bool = False
    budget_usd: float | None = None
    client: str = ""
    """Which program asked, where it came through the daemon."""
    session: str = ""
    """Requests of one conversation of that program have the same."""


@dataclass(frozen=True, slots=True)
class Step:
    """One concrete thing to do. Its kind is the tag of every model call made for it."""

    id: str
    task_id: str
    index: int
    kind: Kind
    text: str
    total: int = 1
    """How many steps the plan has: after a crash, fewer in the record mean that it was cut."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker that could serve a step. None stands for "not measured"."""

    worker: str
    """``local:<role>`` or ``general``."""
    model: str
    probability: float | None
    """That its answer is right: what is calibrated for these files, or told of the General."""
    latency_ms: float | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """Who serves a step, and why. One record in ledger, API, TUI and test."""

    id: str
    task_id: str
    step_id: str
    kind: Kind
    text: str
    chosen: str
    candidates: tuple[Candidate, ...]
    probability: float
    threshold: float
    rule: str
    """Name of the rule or threshold that won, such as ``threshold:shell`` or ``verifier``."""
    reason: str
    route_ms: float
    signals: Mapping[str, float] = field(default_factory=dict)
    effects: Mapping[str, float] = field(default_factory=dict)
    """How much each signal moved the probability, in log odds; positive: towards local."""
    flip: str = ""
    """The nearest change that would have led to the other choice, in words."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """What the policy was applied to besides the score (``runtime.given.Given`` as JSON), so
    that the decision can be made again under another policy."""
    cut: bool = False
    """True where the Router read only the first 128 tokens of the text."""
    previous: str | None = None
    """The decision before this one on the same step: whose answer is kept here, or overruled."""
    would_send: Mapping[str, Any] | None = None
    """For an escalation that did not happen: messages, tokens (estimated) and price."""

    @property
    def keeps(self) -> bool:
        """It kept, as sure, the local answer that the decision before it had asked for."""
        by_score = self.rule.startswith("accept:") and self.would_send is None
        return by_score and self.previous is not None and self.chosen.startswith("local:")


@dataclass(frozen=True, slots=True)
class Call:
    """One model call, whoever served it. Local share = local calls / all calls that ``serve``."""

    id: str
    task_id: str
    step_id: str
    decision_id: str
    kind: Kind
    role: str
    model: str
    """Digest of the local file, or the remote model's name."""
    messages: tuple[Mapping[str, str], ...]
    parameters: Mapping[str, Any]
    answer: str
    confidence: float | None
    """From the answer's own probabilities; None where the server gave none."""
    tokens_in: int
    tokens_out: int
    tokens_cached: int = 0
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    mask_ms: float = 0.0
    cost_usd: float = 0.0
    bytes_sent: int = 0
    sent: str = ""
    """What left this machine: the request's body, or ``sha256:<hex>`` of it, by setting."""
    adapter: str | None = None

    @property
    def local(self) -> bool:
        """Served here: no byte was sent, and not because the General could not be reached."""
        return self.bytes_sent == 0 and self.role != "general"

    @property
    def serves(self) -> bool:
        """It is part of an answer. A second opinion on one is no service: counting it would raise
        the local share by asking more often."""
        return self.role != "verifier"

    @property
    def ms(self) -> float:
        return self.queue_ms + self.prefill_ms + self.decode_ms + self.mask_ms


@dataclass(frozen=True, slots=True)
class Action:
    """Something about to be done to the world. Durable in the ledger before it is done."""

    id: str
    task_id: str
    step_id: str
    tool: str
    """``shell``, ``gui``, or the name of the offered function for ``tool`` and ``parse``."""
    recipe: str
    arguments: Mapping[str, Any]
    preview: str
    """What a person is shown before approving: the command line, or the GUI actions in words."""
    risk: Risk
    sandbox: str = ""
    """How it is isolated, in words: ``bubblewrap, no network, writes only in …``."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action did. ``status`` is done, failed, denied, skipped or interrupted."""

    action_id: str
    task_id: str
    step_id: str
    status: Literal["done", "failed", "denied", "skipped", "interrupted"]
    output: str = ""
    data: Any = None
    """The output as JSON values, such as a list of rows."""
    error: str = ""
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate's verdict on an action: who allowed or denied it, and by which rule."""

    action_id: str
    task_id: str
    verdict: Literal["allow", "deny"]
    by: Literal["rule", "user", "dry-run", "nobody-to-ask"]
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Somebody's word on whether the answer given under a decision was right."""

    id: str
    task_id: str
    decision_id: str
    right: bool
    by: Literal["user"] = "user"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """How a task ended. ``answer`` is JSON: whatever the schema or template asked for."""

    task_id: str
    status: Status
    answer: Any
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Purge:
    """Older tasks were removed from the record: how many, and the calls that sums now lack.

    A purge works in small bites; each replaces the one record of it, so that what it says and
    what is gone agree at any moment.
    """

    id: str
    by: Literal["user", "age", "size"]
    """Who wanted it: a person, or the setting of ``[record]`` by that name."""
    tasks: int
    events: int
    calls: int
    """Model calls among ``events`` that served an answer."""
    local_calls: int
    first_at: float
    """Unix time in seconds of the first event that was removed."""
    last_at: float
    client: str | None = None
    """The only client whose tasks were removed; None: all were looked at."""


Record = Task | Step | Decision | Call | Action | Outcome | Gate | Judgement | Result | Purge

RECORDS: dict[str, type[Any]] = {
    "task": Task,
    "step": Step,
    "decision": Decision,
    "call": Call,
    "action": Action,
    "outcome": Outcome,
    "gate": Gate,
    "judgement": Judgement,
    "result": Result,
    "purge": Purge,
}
_TYPE_OF = {cls: name for name, cls in RECORDS.items()}
_FIELDS: dict[type[Any], dict[str, None]] = {
    cls: dict.fromkeys(f.name for f in dataclasses.fields(cls))
    for cls in (*RECORDS.values(), Candidate)
}
"""Field names of each record class, in order."""
_SCALARS = frozenset((str, int, float, bool, type(None)))
_TUPLES = frozenset(("candidates", "tools", "messages"))
"""Fields that are tuples, and lists in JSON."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the append-only record. ``id`` is its row id (0 until it is committed)."""

    task_id: str
    at: float
    """Unix time in seconds."""
    record: Record
    id: int = 0

    @property
    def type(self) -> str:
        return _TYPE_OF[type(self.record)]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "task_id": self.task_id,
            "at": self.at,
            "type": self.type,
            "record": to_json(self.record),
        }

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Event:
        return Event(
            task_id=body["task_id"],
            at=body["at"],
            record=from_json(body["type"], body["record"]),
            id=body["id"],
        )


def to_json(record: Record) -> dict[str, Any]:
    """The record as plain JSON values (tuples become lists)."""
    return {name: _plain(getattr(record, name)) for name in _FIELDS[type(record)]}


def _plain(value: Any) -> Any:
    """What ``dataclasses.asdict`` makes of a value, in a tenth of its time."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        return {key: _plain(inner) for key, inner in value.items()}
    if kind is tuple or kind is list:
        return [_plain(inner) for inner in value]
    if (names := _FIELDS.get(kind)) is not None:
        return {name: _plain(getattr(value, name)) for name in names}
    return copy.deepcopy(value)


def from_json(type_: str, body: Mapping[str, Any]) -> Record:
    """The record back from its JSON form. Unknown fields are ignored, so that a newer
    ledger stays readable. Raises KeyError on an unknown type."""
    cls = RECORDS[type_]
    known = _FIELDS[cls]
    values = {k: v for k, v in body.items() if k in known}
    for name in _TUPLES.intersection(values):
        value = values[name]
        if name == "candidates":
            values[name] = tuple(Candidate(**c) for c in value)
        elif isinstance(value, list):
            values[name] = tuple(value)
    record: Record = cls(**values)
    return record
