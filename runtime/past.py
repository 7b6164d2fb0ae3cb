"""Past decisions: found, made again under another policy, and judged.

What the command line and the daemon both do with the ledger; nothing is executed.
"""

from __future__ import annotations

import itertools
import time

from models.errors import UsageError
from runtime.core import Decision, Event, Judgement, Task, new_id
from runtime.ledger import Ledger, records
from runtime.policy import Policy
from runtime.replay import again


def found(ledger: Ledger, decision_id: str) -> Event | None:
    """The event of a decision; None where there is none with this id."""
    event = ledger.record(decision_id)
    return event if event is not None and isinstance(event.record, Decision) else None


def remade(ledger: Ledger, event: Event, policy: Policy) -> Decision:
    """The decision in ``event`` as ``policy`` would have made it.

    Raises UsageError where its task is not on record, or it holds too little.
    """
    task = ledger.record(event.task_id)
    if task is None or not isinstance(task.record, Task):
        raise UsageError(f"The task of decision {_decision(event).id} is not on record.")
    earlier = itertools.takewhile(lambda e: e.id < event.id, ledger.events(types=("call",)))
    return again(event, task.record, policy, earlier)


def judge(ledger: Ledger, event: Event, right: bool, note: str = "") -> Event:
    """Record whether the answer given under a decision was right: calibration learns from it.

    Raises UsageError where there is no such answer, or it was given under a later decision.
    """
    decision = _decision(event)
    if decision.rule.startswith("role:"):
        raise UsageError(
            f"Decision {decision.id} is a role's own work, of which nothing is promised."
        )
    if decision.chosen == "declined":
        raise UsageError(f"Decision {decision.id} was declined: there is no answer to judge.")
    made = records(list(ledger.events(decision.task_id)), Decision)
    last = [d.id for d in made if d.step_id == decision.step_id][-1]
    if last != decision.id:
        raise UsageError(
            f"The answer to this step was given under a later decision, {last}.",
            hint=f"aidecamp decisions mark {last} {'right' if right else 'wrong'}",
        )
    judgement = Judgement(new_id("jud"), decision.task_id, decision.id, right, note=note)
    return ledger.append(Event(decision.task_id, time.time(), judgement))


def _decision(event: Event) -> Decision:
    if not isinstance(event.record, Decision):
        raise TypeError(f"event {event.id} is no decision")
    return event.record
