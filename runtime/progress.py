"""What the loop has learned so far about one task: folded from its records, old and new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.budgets import Amount
from runtime.core import Call, Decision, Event, Kind, Outcome, Record, Status, Step
from runtime.given import Side


class Stop(Exception):
    """Ends the task with a status that is no error."""

    def __init__(self, status: Status, reason: str, answer: Any = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.answer = answer


@dataclass
class Progress:
    """Results so far, doubts, what the General took, and who served which step."""

    results: list[tuple[Kind, Any]] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    spent: Amount = field(default_factory=Amount)
    window: str = ""
    """Title of the window in front, as the last GUI action left it."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why the General failed, by step id: it is not asked again for that step."""
    _sides: dict[str, Side] = field(default_factory=dict)

    @staticmethod
    def of(history: Sequence[Event]) -> Progress:
        """Where an earlier run of the task had come to; results are added step by step."""
        progress = Progress()
        for event in history:
            progress.note(event.record)
        return progress

    def note(self, record: Record) -> None:
        """Take a record in."""
        match record:
            case Decision(step_id=step, chosen=chosen, rule=rule) if not rule.startswith("role:"):
                if chosen != "declined":
                    self._sides[step] = "general" if chosen == "general" else "local"
            case Call(role="general") as call:
                self.spent += Amount(
                    call.cost_usd, call.tokens_in + call.tokens_out, call.ms / 1000.0
                )
            case Outcome(data=Mapping() as data) if isinstance(data.get("title"), str):
                self.window = data["title"]

    def incumbent(self, step: Step) -> Side:
        """Who served the task's step before this one."""
        others = [side for id_, side in self._sides.items() if id_ != step.id]
        return others[-1] if others else ""

    def add(self, step: Step, data: Any) -> None:
        """A step's result."""
        self.results.append((step.kind, data))

    def settle(self, step: Step, outcome: Outcome) -> None:
        """Take the outcome's data over, or end the task."""
        if outcome.status == "denied":
            raise Stop("denied", f"not allowed: {outcome.error}")
        if outcome.status == "interrupted":
            said = outcome.error or "it was cut off in the middle, and is not repeated"
            raise Stop("interrupted", said)
        if outcome.status == "failed":
            raise Stop("failed", outcome.error)
        self.add(step, outcome.data if outcome.data is not None else outcome.output)

    @property
    def data(self) -> Any:
        """What the answer is made of: the result, or a list of them where several were asked
        for. GUI steps are stages of one piece of work, so only the last one's counts."""
        if not self.results:
            return None
        asked = [data for kind, data in self.results if kind != "gui"]
        if not asked:
            return self.results[-1][1]
        return asked[0] if len(asked) == 1 else asked
