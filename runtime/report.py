"""What a task's events add up to: the one summary that ``run --json`` and the benchmarks show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from runtime.core import Action, Call, Decision, Event, Outcome, Result, Step, Task, to_json
from runtime.ledger import records

CHARACTERS_PER_TOKEN = 4
How = Literal["measured", "estimated", "assumed", "not known"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with how it came about. ``source`` says from what it was measured or estimated;
    ``value`` is None where it is not known."""

    value: float | None
    how: How
    source: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summary(events: Sequence[Event]) -> dict[str, Any]:
    """One task's events as ``{task_id, status, answer, reason, steps, local_share, tokens, ms,
    cost_usd, bytes_sent}``. ``local_share`` is local calls / all calls; None where no model
    was called. ``ms`` is wall time from the first event to the last."""
    task = records(events, Task)[0]
    results = records(events, Result)
    result = results[-1] if results else None
    calls = records(events, Call)
    serving = [call for call in calls if call.serves]
    local = sum(call.local for call in serving)
    return {
        "task_id": task.id,
        "status": result.status if result else "running",
        "answer": result.answer if result else None,
        "reason": result.reason if result else "",
        "steps": [_step(step, events) for step in records(events, Step)],
        "local_share": round(local / len(serving), 4) if serving else None,
        "tokens": sum(c.tokens_in + c.tokens_out for c in calls),
        "ms": round((events[-1].at - events[0].at) * 1000, 1),
        "cost_usd": sum(c.cost_usd for c in calls),
        "bytes_sent": sum(c.bytes_sent for c in calls),
    }


def _step(step: Step, events: Sequence[Event]) -> dict[str, Any]:
    decisions = [d for d in records(events, Decision) if d.step_id == step.id]
    calls = [c for c in records(events, Call) if c.step_id == step.id]
    actions = [a for a in records(events, Action) if a.step_id == step.id]
    outcomes = [o for o in records(events, Outcome) if o.step_id == step.id]
    return {
        "kind": step.kind,
        "text": step.text,
        "decision": to_json(decisions[-1]) if decisions else None,
        "decisions": [to_json(d) for d in decisions],
        "calls": [to_json(c) for c in calls],
        "action": to_json(actions[-1]) if actions else None,
        "outcome": to_json(outcomes[-1]) if outcomes else None,
        "ms": _span_ms(step, events),
    }


def _span_ms(step: Step, events: Sequence[Event]) -> float:
    """Wall time from when the step's routing began to its last record, in milliseconds."""
    own = [
        e
        for e in events
        if not isinstance(e.record, Step) and getattr(e.record, "step_id", None) == step.id
    ]
    if not own:
        return 0.0
    first = own[0].record
    route_ms = first.route_ms if isinstance(first, Decision) else 0.0
    return round((own[-1].at - own[0].at) * 1000 + route_ms, 1)


def all_general_usd(events: Sequence[Event], price_in: float, price_out: float) -> float:
    """What the General would have cost for the same steps, at US dollars per million tokens.

    An estimate, on the low side: see ``general_tokens``.
    """
    by_step: dict[str, list[Call]] = {}
    for call in records(events, Call):
        by_step.setdefault(call.step_id or call.id, []).append(call)
    usd = 0.0
    for calls in by_step.values():
        tokens_in, tokens_out = general_tokens(calls)
        usd += tokens_in * price_in + tokens_out * price_out
    return usd / 1e6


def general_tokens(calls: Sequence[Call]) -> tuple[float, float]:
    """Tokens in and out that the General takes for one step, from the step's ``calls``.

    What it really took where it was asked and answered. Elsewhere what the local models read and
    wrote, which is on the low side: a General would be sent the whole list of tools each time. A
    choice counts as the text of the option, at four characters a token.
    """
    asked = [c for c in calls if not c.local and c.tokens_in > 0]
    counted = asked or [c for c in calls if c.local and c.serves]
    return (
        float(sum(c.tokens_in for c in counted)),
        float(sum(c.tokens_out or len(c.answer) / CHARACTERS_PER_TOKEN for c in counted)),
    )
