"""What was served here, and what that saved: the ledger read as steps, shares and figures.

``steps_of`` adds the calls of each step up; ``savings`` compares them with sending every step to
the General. Pure but for the records that are handed in. Shares are fractions.

Area shares stand beside what *Small Language Models are the Future of Agentic AI* (arXiv
2506.02153) and a digest of it estimate for three agents. Those are estimates of how many calls
small models could serve; the measured ones are calls that sent no byte / all calls. They are
not of the same tasks, and here one step takes several small calls, so the share of steps is
shown too. A task belongs to the area that most of its steps are of; what is planning alone
belongs to none.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runtime.core import Call, Decision, Event, Kind, Outcome, Step, Task
from runtime.daemon.totals import Totals
from runtime.decisions import is_unsure
from runtime.energy import remote_joules
from runtime.ledger import records
from runtime.report import Figure, general_tokens

BY_SCORE = ("threshold:", "surface:")
"""Beginnings of the names of rules that compare a probability with a threshold."""


@dataclass(frozen=True, slots=True)
class Area:
    """One of the paper's case studies: the kinds of step that are like it, and its estimate."""

    workload: str
    title: str
    kinds: tuple[Kind, ...]
    estimate: float


PAPER = (
    Area("gui", "GUI agent (Cradle)", ("gui",), 0.70),
    Area("shell", "code/terminal agent (Open Interpreter)", ("shell",), 0.50),
    Area(
        "parse",
        "command-parsing web agent (Open Operator)",
        ("parse", "tool", "format", "dialogue"),
        0.40,
    ),
)


@dataclass(frozen=True, slots=True)
class StepUse:
    """The model calls of one step, added up. Times in milliseconds."""

    task_id: str
    step_id: str
    kind: str
    workload: str | None
    """The area of the step's task (``Area.workload``); None where it has none."""
    probability: float | None
    """P(local succeeds) that the step was routed by; None where no Router was asked."""
    movable: bool
    """A threshold decides who serves it: it is no plan, and no rule pinned it."""
    right: bool | None
    """Whether the local answer held, as the record shows: False where it was not accepted or its
    action failed. None where it was never tried, or nobody can tell."""
    local_calls: int
    general_calls: int
    tokens_in: float
    tokens_out: float
    """What the General took, or would at least take, for this step."""
    local_ms: float
    busy_ms: float
    """``local_ms`` without the time that calls waited in a queue."""
    general_ms: float
    general_model: str
    cost_usd: float

    @property
    def local(self) -> bool:
        return self.general_calls == 0


@dataclass(frozen=True, slots=True)
class ShareRow:
    """Calls and steps of one kind or area. ``estimate`` is the paper's, for areas."""

    name: str
    calls: int
    local_calls: int
    steps: int
    local_steps: int
    local_p50_ms: float | None
    """Median model time of a step that was served here."""
    general_p50_ms: float | None
    estimate: float | None = None
    title: str = ""

    @property
    def share(self) -> float | None:
        return self.local_calls / self.calls if self.calls else None

    @property
    def step_share(self) -> float | None:
        return self.local_steps / self.steps if self.steps else None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "share": self.share, "step_share": self.step_share}


@dataclass(frozen=True, slots=True)
class Compared:
    """One quantity: as it was, and had everything gone to the General."""

    actual: Figure
    all_general: Figure

    def to_json(self) -> dict[str, Any]:
        return {"actual": self.actual.to_json(), "all_general": self.all_general.to_json()}


@dataclass(frozen=True, slots=True)
class Savings:
    """The whole report. ``cost`` in US dollars, ``latency`` in seconds, ``energy`` in joules."""

    totals: Totals
    kinds: tuple[ShareRow, ...]
    areas: tuple[ShareRow, ...]
    unassigned_calls: int
    """Calls of tasks that are of no area."""
    model: str
    cost: Compared
    latency: Compared
    energy: Compared

    def to_json(self) -> dict[str, Any]:
        return {
            **self.totals.to_json(),
            "kinds": [row.to_json() for row in self.kinds],
            "areas": [row.to_json() for row in self.areas],
            "unassigned_calls": self.unassigned_calls,
            "model": self.model,
            "cost_usd_compared": self.cost.to_json(),
            "latency_s_compared": self.latency.to_json(),
            "energy_j_compared": self.energy.to_json(),
        }


def steps_of(events: Sequence[Event]) -> list[StepUse]:
    """Every step that a model was called for, in the order of its first call."""
    steps = {step.id: step for step in records(events, Step)}
    workloads = _workloads(events)
    decisions: dict[str, list[Decision]] = {}
    for decision in records(events, Decision):
        decisions.setdefault(decision.step_id, []).append(decision)
    outcomes: dict[str, list[Outcome]] = {}
    for outcome in records(events, Outcome):
        outcomes.setdefault(outcome.step_id, []).append(outcome)
    calls: dict[str, list[Call]] = {}
    for call in records(events, Call):
        calls.setdefault(call.step_id or call.id, []).append(call)
    return [
        _step_use(
            step_id,
            steps[step_id].kind if step_id in steps else own[0].kind,
            workloads.get(own[0].task_id),
            own,
            decisions.get(step_id, []),
            outcomes.get(step_id, []),
        )
        for step_id, own in calls.items()
    ]


def _step_use(
    step_id: str,
    kind: str,
    workload: str | None,
    calls: Sequence[Call],
    decisions: Sequence[Decision],
    outcomes: Sequence[Outcome],
) -> StepUse:
    local = [c for c in calls if c.local]
    remote = [c for c in calls if not c.local]
    tokens_in, tokens_out = general_tokens(calls)
    serving = sum(c.serves for c in local)
    first = decisions[0] if decisions else None
    routed = first is not None and not first.rule.startswith("role:")
    return StepUse(
        task_id=calls[0].task_id,
        step_id=step_id,
        kind=kind,
        workload=workload,
        probability=_judged(decisions).probability if first is not None and routed else None,
        movable=first is not None and kind != "plan" and _by_score(first),
        right=_right(decisions, outcomes) if routed else None,
        local_calls=serving,
        general_calls=len(remote),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        local_ms=sum(c.ms for c in local),
        busy_ms=sum(c.ms - c.queue_ms for c in local),
        general_ms=sum(c.ms for c in remote),
        general_model=remote[-1].model if remote else "",
        cost_usd=sum(c.cost_usd for c in remote),
    )


def _judged(decisions: Sequence[Decision]) -> Decision:
    """The decision that weighed the local answer, where there was one; else the first."""
    weighed = (d for d in decisions if str(d.given.get("score_rule")).startswith("accept:"))
    return next(weighed, decisions[0])


def _by_score(decision: Decision) -> bool:
    """A threshold would decide it: no rule of the policy pinned it, and it is in scope."""
    scored = str(decision.given.get("score_rule") or decision.rule)
    pinned = decision.rule.startswith("rule:")
    return not pinned and (scored.startswith(BY_SCORE) or decision.rule == "no-general")


def _right(decisions: Sequence[Decision], outcomes: Sequence[Outcome]) -> bool | None:
    """What became of a local answer, as far as the record tells."""
    if is_unsure(decisions[0]):
        return None  # below its threshold, and nobody checked it
    if not decisions[0].chosen.startswith("local:"):
        return None
    if any(not d.keeps for d in decisions[1:]) or any(o.status == "failed" for o in outcomes):
        return False
    return None if any(o.status != "done" for o in outcomes) else True


def _workloads(events: Sequence[Event]) -> dict[str, str]:
    """Each task's area, by task id."""
    area_of = {kind: area.workload for area in PAPER for kind in area.kinds}
    found: dict[str, Counter[str]] = {}
    for step in records(events, Step):
        if step.kind in area_of:
            found.setdefault(step.task_id, Counter())[area_of[step.kind]] += 1
    workloads = {t.id: t.surface for t in records(events, Task) if t.surface != "auto"}
    return {**workloads, **{task: counts.most_common(1)[0][0] for task, counts in found.items()}}


def row(name: str, steps: Sequence[StepUse], area: Area | None = None) -> ShareRow:
    """The shares of ``steps``."""
    here = [s for s in steps if s.local and s.local_calls]
    away = [s for s in steps if not s.local]
    # Refining is a part of every task and no work of its own.
    work = [s for s in steps if s.kind != "refine"] if area else steps
    return ShareRow(
        name=name,
        calls=sum(s.local_calls + s.general_calls for s in steps),
        local_calls=sum(s.local_calls for s in steps),
        steps=len(work),
        local_steps=sum(s.local for s in work),
        local_p50_ms=statistics.median(s.local_ms for s in here) if here else None,
        general_p50_ms=statistics.median(s.general_ms for s in away) if away else None,
        estimate=area.estimate if area else None,
        title=area.title if area else "",
    )


def general_ms(steps: Sequence[StepUse], model: str | None = None) -> tuple[float | None, int]:
    """Median milliseconds that the General took for a step, and of how many; ``model``: of its
    calls alone. None where it was never asked."""
    times = [s.general_ms for s in steps if not s.local and model in (None, s.general_model)]
    return (statistics.median(times) if times else None), len(times)


def savings(
    events: Sequence[Event],
    *,
    model: str,
    price: tuple[float, float] | None,
    price_source: str,
    watts: Figure,
) -> Savings:
    """The report on ``events``.

    ``price``: US dollars per million tokens in and out of ``model``, None where none is known;
    ``price_source`` says where it is from. ``watts``: of this machine while models run.
    """
    totals = Totals()
    for event in events:
        totals = totals.add(event)
    steps = steps_of(events)
    kinds = sorted({s.kind for s in steps})
    return Savings(
        totals=totals,
        kinds=tuple(row(kind, [s for s in steps if s.kind == kind]) for kind in kinds),
        areas=tuple(
            row(area.workload, [s for s in steps if s.workload == area.workload], area)
            for area in PAPER
        ),
        unassigned_calls=sum(s.local_calls + s.general_calls for s in steps if s.workload is None),
        model=model,
        cost=_cost(steps, totals, model, price, price_source),
        latency=_latency(steps),
        energy=_energy(steps, watts),
    )


def _cost(
    steps: Sequence[StepUse],
    totals: Totals,
    model: str,
    price: tuple[float, float] | None,
    price_source: str,
) -> Compared:
    asked = sum(s.general_calls for s in steps)
    actual = (
        Figure(totals.cost_usd, "estimated", f"tokens of {asked} recorded calls x list price")
        if asked
        else Figure(0.0, "measured", "no call went to a General")
    )
    if price is None:
        return Compared(actual, Figure(None, "not known", f"no price of {model} is configured"))
    usd = sum(s.tokens_in * price[0] + s.tokens_out * price[1] for s in steps) / 1e6
    source = (
        f"{price_source}; the General's own tokens where it was asked, else at least those that "
        "the local models read and wrote"
    )
    return Compared(actual, Figure(usd, "estimated", source))


def _latency(steps: Sequence[StepUse]) -> Compared:
    spent = sum(s.local_ms + s.general_ms for s in steps) / 1000
    actual = Figure(spent, "measured", f"model time of {len(steps)} steps, from the ledger")
    each, n = general_ms(steps)
    if each is None:
        return Compared(
            actual, Figure(None, "not known", "no General has answered yet, so none was timed")
        )
    known = sum(s.general_ms for s in steps if not s.local)
    total = (known + each * sum(s.local for s in steps)) / 1000
    source = f"{n} measured steps of the General, their median for each of the others"
    return Compared(actual, Figure(total, "estimated", source))


def _energy(steps: Sequence[StepUse], watts: Figure) -> Compared:
    busy = sum(s.busy_ms for s in steps) / 1000
    here = busy * (watts.value or 0.0)
    remote = remote_joules(sum(s.general_calls for s in steps))
    source = f"{busy:.1f} s of local model time, measured, x {watts.value:.1f} W: {watts.source}"
    if remote.value:
        source += f"; and for the remote calls {remote.source}"
    everything = remote_joules(len(steps))
    return Compared(Figure(here + (remote.value or 0.0), "estimated", source), everything)
