"""What the record says of a task's earlier run: where to go on, and what to leave alone."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.core import Event, Outcome, Step
from runtime.ledger import records


def recorded_steps(history: Sequence[Event]) -> list[Step]:
    """The plan of an earlier run, if all of it was recorded; else nothing."""
    found = [s for s in records(history, Step) if 0 < s.index <= s.total]
    if not found:
        return []
    plan = found[-1].total
    last = {s.index: s for s in found if s.total == plan}
    return [last[i] for i in sorted(last)] if sorted(last) == list(range(1, plan + 1)) else []


def outcome_of(step: Step, history: Sequence[Event]) -> Outcome | None:
    found = [o for o in records(history, Outcome) if o.step_id == step.id]
    return found[-1] if found else None
