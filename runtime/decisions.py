"""From a score to a decision: rules before it, hysteresis beside it, permission after it.

Pure: a Decision follows from its score, from what was ``Given`` and from the policy, all of which
it holds or names. So it can be explained by what would have changed it (``explain``), and made
again under another policy (``replay``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from runtime.budgets import Amount, Budget, Excess, excess
from runtime.core import Candidate, Decision, Kind, Privacy, Step, Task, new_id
from runtime.policy import EVEN, NEVER, Policy
from runtime.rules import Rule, Situation, pinned_privacy, pinned_route, privacy_under
from runtime.tools.recipe import Proposal
from runtime.trust import Judged, evidence_of

Side = Literal["local", "general", ""]
GENERAL, DECLINED = "general", "declined"


@dataclass(frozen=True, slots=True)
class Given:
    """What a decision is made from, besides text and probability."""

    kinds: tuple[Kind, ...]
    """The step's kind, and ``repair`` where a failed action is repaired."""
    score_rule: str
    """What the score alone went by: ``threshold:shell``, ``out-of-scope``, ``verifier``, …"""
    score_local: bool
    score_reason: str
    privacy: Privacy
    """The task's; a rule may pin another."""
    general: bool
    """A General is configured."""
    person: bool
    """Somebody can be asked."""
    incumbent: Side = ""
    """Who served the task's step before this one."""
    window: str = ""
    """Title of the window in front, where one is known."""
    spent: Mapping[str, Amount] = field(default_factory=dict)
    """By scope, where the General was wanted."""
    worst: Amount | None = None
    """The most that the General's call could take; None where none was considered."""
    budget_usd: float | None = None
    """The task's own budget."""
    failed: str = ""
    """Why the General has failed at this step."""
    answer: Side = ""
    """What a person answered when asked what to do without the General: local, or nothing."""
    models: str = ""
    """Digests of the files that gave the local answer; empty before there is one."""
    certified: Mapping[str, float | None] = field(default_factory=dict)
    """By alpha: the score that an answer must reach, None where that cannot be certified. Empty
    where nothing is calibrated for these files."""
    smallest_alpha: float | None = None
    """The least alpha that can be certified."""
    benefit: float | None = None
    """P(General right) - P(local right); None where the latter is not calibrated."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Given:
        """Raises KeyError or TypeError where ``body`` was not written by :meth:`to_json`."""
        known = {f.name for f in dataclasses.fields(Given)}
        values = {k: v for k, v in body.items() if k in known}
        values["kinds"] = tuple(values["kinds"])
        values["spent"] = {k: Amount.from_json(v) for k, v in values["spent"].items()}
        values["worst"] = Amount.from_json(values["worst"]) if values["worst"] else None
        return Given(**values)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who serves, by which rule, and why."""

    chosen: str
    rule: str
    reason: str
    threshold: float
    wanted: bool
    """The General would have been asked, had nothing stood in the way."""


def verdict(scored: Decision, task: Task, given: Given, policy: Policy) -> Verdict:
    """What the policy makes of a score. ``scored``: any decision on the step with that score."""
    at = Situation.of(task, given.kinds, scored.text, given.window)
    local, threshold, reason = _score(scored, given, policy)
    rule, pin = given.score_rule, pinned_route(policy.rules, at)
    worker = _local_worker(scored)
    if pin is not None and scored.previous is None:
        if pin.route == "decline":
            why = f"{pin.words} declines it"
            return Verdict(DECLINED, pin.id, f"{why}; {reason}", threshold, False)
        says = "keeps it here" if pin.route == "local" else "sends it to the General"
        rule, reason = pin.id, f"{pin.words} {says}; the score: {reason}"
        local = pin.route == "local" and scored.kind != "plan"
    elif stays := _hysteresis(scored, threshold, given, policy):
        rule, local = "hysteresis", stays == "local"
        reason = (
            f"within {policy.hysteresis_margin:g} of its threshold, it stays with "
            f"{'this machine' if local else 'the General'}, as the step before; {reason}"
        )
    if local:
        return Verdict(worker, rule, reason, threshold, False)
    fallback = _has_fallback(scored, given)
    bar = _barred(at, given, policy, pin, fallback)
    if bar is None:
        warned = _excess(given, policy)
        if warned:
            reason += f"; budget warning: {warned[0].words}"
        return Verdict(GENERAL, rule, reason, threshold, True)
    by, why, block = bar
    if block or not fallback:
        return Verdict(DECLINED, by, f"{reason}; declined: {why}", threshold, True)
    return Verdict(worker, by, f"{reason}; best local answer, unsure: {why}", threshold, True)


def decide(scored: Decision, task: Task, given: Given, policy: Policy) -> Decision:
    """``scored`` as the policy has it. ``would_send`` stays where the General was wanted."""
    made = verdict(scored, task, given, policy)
    return replace(
        scored,
        chosen=made.chosen,
        rule=made.rule,
        reason=made.reason,
        threshold=made.threshold,
        given=given.to_json(),
        would_send=scored.would_send if made.wanted else None,
    )


def is_unsure(decision: Decision) -> bool:
    """A local worker serves although the General was wanted."""
    return decision.chosen.startswith("local:") and decision.would_send is not None


def mode(task: Task, given: Given, text: str, policy: Policy) -> Privacy:
    """The privacy mode in force for a step."""
    at = Situation.of(task, given.kinds, text, given.window)
    return privacy_under(policy.rules, at, given.privacy)


def budgets_of(given: Given, policy: Policy) -> tuple[Budget, ...]:
    """The policy's budgets, and the task's own."""
    if given.budget_usd is None:
        return policy.budgets
    return (Budget("task", usd=given.budget_usd), *policy.budgets)


def _score(scored: Decision, given: Given, policy: Policy) -> tuple[bool, float, str]:
    """The score's own choice under this policy's thresholds: local, threshold, reason."""
    by, p = given.score_rule, scored.probability
    if by.startswith("accept:"):
        threshold, promise = acceptance(given, policy)
        return p >= threshold, threshold, _accepted_words(p, threshold, promise, given)
    if not by.startswith(("threshold:", "surface:")):
        return given.score_local, scored.threshold, given.score_reason
    threshold = policy.route_threshold.get(scored.kind, NEVER)
    local = p >= threshold
    if threshold == scored.threshold:
        return local, threshold, given.score_reason
    return local, threshold, f"{p:.2f}, {_relation(local)} {threshold:.2f}"


def acceptance(given: Given, policy: Policy) -> tuple[float, str]:
    """The least score at which a local answer is given as sure, and what that rests on, in words.

    A threshold that the user set stands first; then what is certified for the policy's alpha, or
    for a smaller one; then nothing is.
    """
    kind = given.kinds[0]
    if not given.certified or policy.fixes_acceptance(kind):
        own = "your accept_threshold" if policy.fixes_acceptance(kind) else "not calibrated"
        return policy.accepts(kind), own
    alpha = policy.risk_alpha
    if alpha <= 0:
        return EVEN, "more likely right than wrong"
    held = [t for a, t in given.certified.items() if float(a) <= alpha + 1e-9 and t is not None]
    if held:
        return min(held), f"at most {alpha:.3g} of such answers wrong, certified"
    least = given.smallest_alpha
    can = f"the smallest that can be is {least:.2g}" if least is not None else "nor any other"
    return NEVER, f"alpha {alpha:.3g} cannot be certified for {kind}; {can}"


def _accepted_words(p: float, threshold: float, promise: str, given: Given) -> str:
    if threshold > 1.0:
        return f"P(answer right) = {p:.2f}, but {promise}"
    name = "P(answer right)" if given.certified else "confidence"
    return f"{name} = {p:.2f}, {_relation(p >= threshold)} {threshold:.2f} ({promise})"


def _relation(local: bool) -> str:
    return "at least" if local else "below"


def _hysteresis(scored: Decision, threshold: float, given: Given, policy: Policy) -> Side:
    """The incumbent's side where the step is near its threshold and would change hands."""
    scores = given.score_rule.startswith(("threshold:", "surface:"))
    if not scores or not given.incumbent or scored.previous is not None:
        return ""
    side: Side = "local" if scored.probability >= threshold else "general"
    near = abs(scored.probability - threshold) <= policy.hysteresis_margin
    return given.incumbent if near and side != given.incumbent else ""


def _barred(
    at: Situation, given: Given, policy: Policy, pin: Rule | None, fallback: bool
) -> tuple[str, str, bool] | None:
    """What keeps the step from the General: the rule's name, why, and whether nothing else may
    serve it. None where it may be asked."""
    if given.failed:
        asked = policy.general_failed == "ask" and given.person and fallback
        if asked and given.answer != "local":
            return "general-failed", f"{given.failed}; the local answer was not wanted", True
        said = "; you chose the local answer" if asked else ""
        return "general-failed", f"{given.failed}{said}", False
    if pin is not None and pin.route != "general":
        return pin.id, f"{pin.words} keeps it here", pin.route == "decline"
    by_rule = pinned_privacy(policy.rules, at) if given.privacy != "local" else None
    if fallback and gains_too_little(given, policy):
        gain = f"{given.benefit:+.2f}, below {policy.least_benefit:.2f}"
        return "benefit", f"asking the General is expected to gain {gain}", False
    privacy = privacy_under(policy.rules, at, given.privacy)
    by = by_rule.id if by_rule else "no-general"
    whose = f"{by_rule.words}: " if by_rule else ""
    if privacy == "local":
        return by, f"{whose}privacy mode 'local' keeps every byte here", False
    if not given.general:
        return "no-general", "no General is configured", False
    if privacy == "ask" and not given.person:
        return by, f"{whose}privacy mode 'ask', and nobody is there to ask", False
    over = [e for e in _excess(given, policy) if e.action != "warn"]
    if over:
        return over[0].rule, over[0].words, over[0].action == "block"
    return None


def gains_too_little(given: Given, policy: Policy) -> bool:
    """Whether asking the General is expected to gain less than the policy asks for. What the
    verifier found is no matter of chance."""
    known = given.benefit is not None and given.score_rule != "verifier"
    return known and (given.benefit or 0.0) < policy.least_benefit


def _excess(given: Given, policy: Policy) -> list[Excess]:
    if given.worst is None:
        return []
    return excess(budgets_of(given, policy), given.spent, given.worst)


def _has_fallback(scored: Decision, given: Given) -> bool:
    """Whether a local answer is better than none."""
    hopeless = scored.kind == "plan" or "repair" in given.kinds
    return not hopeless and given.score_rule != "out-of-scope"


def _local_worker(decision: Decision) -> str:
    workers = (c.worker for c in decision.candidates if c.worker.startswith("local:"))
    return next(workers, "local:tool_user")


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


def judged_of(first: Decision, proposal: Proposal, judged: Judged) -> Decision:
    """The second score on a step: that of its local answer. Whether it is kept is the policy's to
    say, unless the verifier found a problem."""
    if proposal.problems:
        made = _again(
            first, "verifier", "; ".join(proposal.problems), judged.probability, NEVER, local=False
        )
    else:
        made = _again(first, f"accept:{first.kind}", "", judged.probability, NEVER, local=True)
    return replace(
        with_chance(made, judged.probability),
        effects=judged.effects,
        signals={**first.signals, **evidence_of(proposal)},
    )


def with_chance(scored: Decision, probability: float) -> Decision:
    """With P(the local answer is right) at the local candidate."""
    candidates = tuple(
        replace(c, probability=probability) if c.worker.startswith("local:") else c
        for c in scored.candidates
    )
    return replace(scored, candidates=candidates)


def with_general(scored: Decision, probability: float) -> Decision:
    """With P(the General is right) at the General."""
    candidates = tuple(
        replace(c, probability=probability) if c.worker == GENERAL else c for c in scored.candidates
    )
    return replace(scored, candidates=candidates)


def repair_of(
    first: Decision, probability: float, threshold: float, failure: str, *, local: bool
) -> Decision:
    """The score on a failed action: another recipe may mend it."""
    made = _again(first, "repair", failure, probability, threshold, local=local)
    return replace(made, kind="repair")


def without_general(first: Decision, given: Given) -> tuple[Decision, Given]:
    """The score again, for when the General that was chosen cannot serve after all."""
    lasting = given.score_rule in ("out-of-scope", "kind:plan")
    again = replace(
        given,
        score_rule=given.score_rule if lasting else "wanted",
        score_local=False,
        score_reason=f"the General was chosen under decision {first.id}",
    )
    return replace(first, id=new_id("dec"), previous=first.id, route_ms=0.0, effects={}), again


def _again(
    first: Decision, rule: str, reason: str, probability: float, threshold: float, *, local: bool
) -> Decision:
    return replace(
        first,
        id=new_id("dec"),
        previous=first.id,
        chosen=_local_worker(first) if local else GENERAL,
        probability=probability,
        threshold=threshold,
        rule=rule,
        reason=reason,
        route_ms=0.0,
        effects={},
        flip="",
        given={},
        would_send=None,
    )
