"""The nearest change that would have led to another choice.

A flip is found by making the decision again with one thing changed, or two, so what it names is
sure to change it. What moved the score itself is in ``effects``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from runtime.budgets import Excess, excess, shown
from runtime.core import Decision, Task
from runtime.decisions import Verdict, budgets_of, mode, verdict
from runtime.given import Given
from runtime.keeping import acceptance, gains_too_little
from runtime.policy import NEVER, Policy
from runtime.rules import Rule, Situation, pinned_privacy, pinned_route


@dataclass(frozen=True, slots=True)
class _Change:
    words: str
    apply: Callable[[Given, Policy], tuple[Given, Policy]]


def flip(scored: Decision, task: Task, given: Given, policy: Policy) -> str:
    """The nearest change that would have led to another choice, in words; empty where no change
    of one thing or two does. "threshold 0.42 or below: local". Where nobody else would have
    served, the nearest that would have made a local answer sure, or unsure."""
    return _nearest(scored, task, given, policy, _side) or _nearest(
        scored, task, given, policy, _sureness
    )


def _nearest(
    scored: Decision,
    task: Task,
    given: Given,
    policy: Policy,
    side_of: Callable[[Verdict], str],
) -> str:
    now = side_of(verdict(scored, task, given, policy))
    changes = list(_changes(scored, task, given, policy))
    for several in (1, 2):
        for chosen in combinations(changes, several):
            other_given, other_policy = given, policy
            for change in chosen:
                other_given, other_policy = change.apply(other_given, other_policy)
            side = side_of(verdict(scored, task, other_given, other_policy))
            if side != now:
                return f"{' and '.join(change.words for change in chosen)}: {side}"
    return ""


def _side(made: Verdict) -> str:
    return made.chosen.partition(":")[0]


def _sureness(made: Verdict) -> str:
    return f"{_side(made)}, {'unsure' if made.wanted else 'sure'}"


def _changes(scored: Decision, task: Task, given: Given, policy: Policy) -> Iterator[_Change]:
    """Everything that could have been otherwise, the nearest first."""
    at = Situation.of(task, given.kinds, scored.text, given.window)
    pins = (pinned_route(policy.rules, at), pinned_privacy(policy.rules, at))
    for rule in dict.fromkeys(pin for pin in pins if pin is not None):
        yield _Change(f"without {rule.words}", _without(rule))
    if given.worst is not None:
        over = excess(budgets_of(given, policy), given.spent, given.worst)
        for one in over:
            yield _more_budget(one)
    yield from _thresholds(scored, given, policy)
    if gains_too_little(given, policy):
        yield _Change(
            f"least_benefit {given.benefit:.2f} or below",
            lambda g, p: (g, replace(p, least_benefit=given.benefit or 0.0)),
        )
    if given.failed:
        yield _Change("had the General answered", lambda g, p: (replace(g, failed=""), p))
        yield _Change(
            "had you chosen the local answer", lambda g, p: (replace(g, answer="local"), p)
        )
    if not given.general:
        yield _Change("a General configured", lambda g, p: (replace(g, general=True), p))
    in_force = mode(task, given, scored.text, policy)
    if in_force == "ask" and not given.person:
        yield _Change("somebody to ask", lambda g, p: (replace(g, person=True), p))
    if given.privacy != "auto":
        yield _Change("privacy 'auto'", lambda g, p: (replace(g, privacy="auto"), p))
    if given.privacy != "local":
        yield _Change("privacy 'local'", lambda g, p: (replace(g, privacy="local"), p))


def _without(rule: Rule) -> Callable[[Given, Policy], tuple[Given, Policy]]:
    def apply(given: Given, policy: Policy) -> tuple[Given, Policy]:
        return given, replace(policy, rules=tuple(r for r in policy.rules if r != rule))

    return apply


def _more_budget(over: Excess) -> _Change:
    if over.short is None:
        priced = _Change("a known price", lambda g, p: (g, p))

        def price(given: Given, policy: Policy) -> tuple[Given, Policy]:
            worst = replace(given.worst, usd=0.0) if given.worst else None
            return replace(given, worst=worst), policy

        return replace(priced, apply=price)
    step = 1e4 if over.unit == "usd" else 10.0 if over.unit == "seconds" else 1.0
    more = math.ceil(over.short * step - 1e-6) / step

    def raise_it(given: Given, policy: Policy) -> tuple[Given, Policy]:
        own = given.budget_usd
        if over.scope == "task" and over.unit == "usd" and own is not None and own == over.limit:
            return replace(given, budget_usd=own + more), policy
        budgets = tuple(
            replace(b, **{over.unit: getattr(b, over.unit) + more})
            if b.scope == over.scope and getattr(b, over.unit) == over.limit
            else b
            for b in policy.budgets
        )
        return given, replace(policy, budgets=budgets)

    return _Change(f"{shown(over.unit, more)} more budget for the {over.scope}", raise_it)


def _alphas(p: float, given: Given, policy: Policy) -> Iterator[_Change]:
    """The nearest alpha under which the score would have fallen on the other side."""
    kept = p >= acceptance(given, policy)[0]
    for alpha in sorted((float(a) for a in given.certified), reverse=kept):
        if (p >= acceptance(given, replace(policy, risk_alpha=alpha))[0]) != kept:
            wording = f"risk_alpha {alpha:g} or {'below' if kept else 'above'}"
            yield _Change(wording, _alpha(alpha))
            return


def _alpha(alpha: float) -> Callable[[Given, Policy], tuple[Given, Policy]]:
    return lambda given, policy: (given, replace(policy, risk_alpha=alpha))


def _thresholds(scored: Decision, given: Given, policy: Policy) -> Iterator[_Change]:
    """A threshold on the other side of the probability, and the margin around it."""
    p = scored.probability
    if given.score_rule.startswith(("threshold:", "surface:")):
        name, kind, now = (
            "route_threshold",
            scored.kind,
            policy.route_threshold.get(scored.kind, NEVER),
        )
    elif given.score_rule.startswith("accept:"):
        kind = given.kinds[0]
        if given.certified and not policy.fixes_acceptance(kind):
            yield from _alphas(p, given, policy)
            return
        name, now = "accept_threshold", policy.accepts(kind)
    else:
        return
    cents = math.floor(round(p * 100.0, 6))
    to = cents / 100.0 if p < now else (cents + 1) / 100.0
    wording = f"{'threshold' if name == 'route_threshold' else 'accept threshold'} {to:.2f}"
    wording += " or below" if p < now else " or above"

    def move(given: Given, policy: Policy) -> tuple[Given, Policy]:
        table = {**getattr(policy, name), kind: to}
        changed = replace(policy, route_threshold=table)
        return given, changed if name == "route_threshold" else replace(
            policy, accept_threshold=table
        )

    def no_margin(given: Given, policy: Policy) -> tuple[Given, Policy]:
        return given, replace(policy, hysteresis_margin=0.0)

    if name == "route_threshold" and given.incumbent and policy.hysteresis_margin:
        yield _Change("without hysteresis", no_margin)
    yield _Change(wording, move)
