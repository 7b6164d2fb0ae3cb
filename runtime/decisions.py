"""Decisions that need no Router: a role's own work, and the escalation of a weak answer."""

from __future__ import annotations

from dataclasses import replace

from runtime.core import Candidate, Decision, Step, Task, new_id
from runtime.tools.recipe import Proposal


def role_decision(task: Task, step: Step, role: str, reason: str) -> Decision:
    """For work that a role always does locally."""
    worker = f"local:{role}"
    return Decision(
        id=new_id("dec"),
        task_id=task.id,
        step_id=step.id,
        kind=step.kind,
        text=step.text,
        chosen=worker,
        candidates=(Candidate(worker, "", None, None, None),),
        probability=1.0,
        threshold=0.0,
        rule=f"role:{role}",
        reason=reason,
        route_ms=0.0,
    )


def escalation_of(first: Decision, proposal: Proposal, threshold: float) -> Decision:
    """The second decision on a step: the local answer did not pass."""
    if proposal.problems:
        rule, reason = "verifier", "; ".join(proposal.problems)
    else:
        rule = f"accept:{first.kind}"
        reason = f"confidence {proposal.confidence:.2f} < {threshold:.2f}"
    return replace(
        first,
        id=new_id("dec"),
        previous=first.id,
        chosen="general",
        probability=proposal.confidence,
        threshold=threshold,
        rule=rule,
        reason=reason,
        route_ms=0.0,
        would_send=None,
    )
