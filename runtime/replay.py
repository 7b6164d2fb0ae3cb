"""Past decisions, made again under another policy: one of them, or the whole ledger.

A Decision holds what it was made from, so it is made again exactly: under its own policy it comes
out as it was. Over the whole ledger, what the other policy would have spent is kept account of.
Not covered: what would have followed on a changed decision never happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from models.errors import UsageError
from runtime.budgets import Amount, day_start, month_start
from runtime.core import Call, Decision, Event, Task
from runtime.decisions import decide, is_unsure, verdict
from runtime.explain import flip
from runtime.given import Given
from runtime.policy import Policy


def replayable(decision: Decision) -> bool:
    """It was made by a policy, and holds what from."""
    return bool(decision.given)


def again(event: Event, task: Task, policy: Policy, earlier: Iterable[Event] = ()) -> Decision:
    """The decision in ``event`` as ``policy`` would have made it.

    ``earlier``: the ledger's events before it; its Calls tell what was spent where the decision
    itself did not ask. Raises UsageError where it is none, or holds too little.
    """
    decision = event.record
    if not isinstance(decision, Decision):
        raise UsageError(f"Event {event.id} is no decision.")
    if not replayable(decision):
        why = (
            "a role's own work, which no policy decides"
            if decision.rule.startswith("role:")
            else "recorded before decisions held what they were made from"
        )
        raise UsageError(f"Decision {decision.id} cannot be made again: it is {why}.")
    account = _Account()
    for before in earlier:
        if isinstance(before.record, Call) and before.record.role == "general":
            account.called(before.at, before.record)
    return _again(decision, task, account.given(event.at, decision), policy)


def _again(decision: Decision, task: Task, given: Given, policy: Policy) -> Decision:
    made = decide(decision, task, given, policy)
    if made.would_send is None and verdict(decision, task, given, policy).wanted:
        made = replace(made, would_send={})  # what would have been sent was never put together
    return replace(made, flip=flip(decision, task, given, policy), given=decision.given)


@dataclass(frozen=True, slots=True)
class Changed:
    """A decision that another policy would have made otherwise."""

    before: Decision
    after: Decision

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.before.id,
            "task_id": self.before.task_id,
            "kind": self.before.kind,
            "text": self.before.text,
            "from": self.before.chosen,
            "to": self.after.chosen,
            "unsure_before": is_unsure(self.before),
            "unsure": is_unsure(self.after),
            "rule_before": self.before.rule,
            "rule": self.after.rule,
            "reason": self.after.reason,
        }


@dataclass
class Replay:
    """What a policy would have changed in a ledger."""

    replayed: int = 0
    skipped: int = 0
    """Roles' own work, and decisions that hold too little."""
    moot: int = 0
    """Decisions on a step, or in a task, that would not have come that far."""
    changed: list[Changed] = field(default_factory=list)
    before: Counter[str] = field(default_factory=Counter)
    """Decisions by how they came out: local, unsure, general, declined."""
    after: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        return {
            "replayed": self.replayed,
            "skipped": self.skipped,
            "moot": self.moot,
            "before": dict(self.before),
            "after": dict(self.after),
            "changed": [change.to_json() for change in self.changed],
        }


def over(events: Iterable[Event], policy: Policy) -> Replay:
    """Every decision of the ledger under ``policy``, in the order of the record."""
    done, tasks, account = Replay(), dict[str, Task](), _Account()
    cut: set[str] = set()
    """Steps and tasks that another choice would have led elsewhere."""
    for event in events:
        record = event.record
        if isinstance(record, Task):
            tasks[record.id] = record
        elif isinstance(record, Call) and record.role == "general":
            account.called(event.at, record)
        if not isinstance(record, Decision):
            continue
        task = tasks.get(record.task_id)
        if task is None or not replayable(record):
            done.skipped += 1
        elif cut & {record.step_id, record.task_id}:
            done.moot += 1
        else:
            given = account.given(event.at, record)
            after = _again(record, task, given, policy)
            done.replayed += 1
            done.before[_outcome(record)] += 1
            done.after[_outcome(after)] += 1
            if differs(record, after):
                done.changed.append(Changed(record, after))
                cut.add(record.task_id if after.chosen == "declined" else record.step_id)
                account.differs(event.at, record, after, given)
    return done


def differs(before: Decision, after: Decision) -> bool:
    """Another worker serves, or the same one in the General's place."""
    return (before.chosen, is_unsure(before)) != (after.chosen, is_unsure(after))


def _outcome(decision: Decision) -> str:
    return "unsure" if is_unsure(decision) else decision.chosen.partition(":")[0]


class _Account:
    """What the General took by task, day and month, and by how much the other policy differs."""

    def __init__(self) -> None:
        self._actual: dict[tuple[str, Any], Amount] = {}
        self._saved: dict[tuple[str, Any], Amount] = {}
        self._dropped: set[str] = set()
        """Decisions whose call would not have been made."""

    def called(self, at: float, call: Call) -> None:
        took = Amount(call.cost_usd, call.tokens_in + call.tokens_out, call.ms / 1000.0)
        books = self._saved if call.decision_id in self._dropped else None
        for key in self._keys(at, call.task_id).items():
            self._actual[key] = self._actual.get(key, Amount()) + took
            if books is not None:
                books[key] = books.get(key, Amount()) + _negative(took)

    def differs(self, at: float, before: Decision, after: Decision, given: Given) -> None:
        """``after`` replaces ``before``: its call is not made, or one is that never was."""
        if before.chosen == "general":
            self._dropped.add(before.id)
        elif after.chosen == "general" and given.worst is not None:
            for key in self._keys(at, before.task_id).items():
                self._saved[key] = self._saved.get(key, Amount()) + given.worst

    def given(self, at: float, decision: Decision) -> Given:
        """What the decision would have been given: its own record, with the difference so far."""
        given = Given.from_json(decision.given)
        spent: dict[str, Amount] = {}
        for key in self._keys(at, decision.task_id).items():
            recorded = given.spent.get(key[0])
            actual = recorded if recorded is not None else self._actual.get(key, Amount())
            spent[key[0]] = actual + self._saved.get(key, Amount())
        return replace(given, spent=spent)

    @staticmethod
    def _keys(at: float, task_id: str) -> Mapping[str, Any]:
        return {"task": task_id, "day": day_start(at), "month": month_start(at)}


def _negative(amount: Amount) -> Amount:
    return Amount(None if amount.usd is None else -amount.usd, -amount.tokens, -amount.seconds)
