"""What became of past answers, as the record tells: by step kind, for this machine and the General.

An answer counts as right or wrong where a person said so (``Judgement``), and as wrong where its
action failed. That an action ran to its end says nothing about whether it was the right one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runtime.calibration import family_of
from runtime.core import Decision, Event, Judgement, Outcome, Task


@dataclass(frozen=True, slots=True)
class Told:
    """Answers whose outcome is known."""

    right: int = 0
    wrong: int = 0

    def plus(self, right: bool) -> Told:
        return Told(self.right + right, self.wrong + (not right))


@dataclass(frozen=True, slots=True)
class Known:
    """One answer whose outcome is known: the decision that it was given under."""

    decision: Decision
    kind: str
    right: bool
    local: bool
    at: float
    """When it was told, in Unix seconds."""
    said: bool
    """A person said so; else an action failed."""


@dataclass(frozen=True, slots=True)
class History:
    """The General's answers by kind, as ``runtime.calibration.family`` names them."""

    away: Mapping[str, Told] = field(default_factory=dict)

    def general(self, kind: str) -> Told:
        return self.away.get(kind, Told())

    @staticmethod
    def of(events: Iterable[Event]) -> History:
        """From the ledger's events, oldest first."""
        away: dict[str, Told] = {}
        for one in known(events):
            if not one.local:
                away[one.kind] = away.get(one.kind, Told()).plus(one.right)
        return History(away)


NO_HISTORY = History()


def known(events: Iterable[Event]) -> list[Known]:
    """Every answer whose outcome the events tell, in the order in which it was told. What a person
    says outweighs what an action did; the last word counts."""
    tools: set[str] = set()
    """Tasks that brought functions of their own."""
    by_id: dict[str, Decision] = {}
    of_step: dict[str, Decision] = {}
    found: dict[str, Known] = {}
    judged: set[str] = set()
    for event in events:
        record = event.record
        if isinstance(record, Task):
            if record.tools:
                tools.add(record.id)
        elif isinstance(record, Decision):
            by_id[record.id] = of_step[record.step_id] = record
        elif isinstance(record, Judgement):
            decision = by_id.get(record.decision_id)
            if decision is not None:
                found.pop(decision.id, None)  # told anew: it moves to the end
                found[decision.id] = _known(event, decision, record.right, tools)
                judged.add(decision.id)
        elif isinstance(record, Outcome) and record.status == "failed":
            decision = of_step.get(record.step_id)
            if decision is not None and decision.id not in judged:
                found[decision.id] = _known(event, decision, False, tools)
    return [one for one in found.values() if one.decision.chosen != "declined"]


def _known(event: Event, decision: Decision, right: bool, tools: set[str]) -> Known:
    kind = family_of(decision.kind, own_tools=decision.task_id in tools)
    said = isinstance(event.record, Judgement)
    return Known(decision, kind, right, decision.chosen != "general", event.at, said)
