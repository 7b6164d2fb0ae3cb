"""From a score to a decision: rules before it, hysteresis beside it, permission after it.

Pure: a Decision follows from its score, from what was ``Given`` and from the policy, all of which
it holds or names. So it can be explained by what would have changed it (``explain``), and made
again under another policy (``replay``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from runtime.budgets import Budget, Excess, excess
from runtime.core import GENERAL, Candidate, Decision, Privacy, Step, Task, new_id
from runtime.given import Given, Side
from runtime.keeping import acceptance, accepted_words, gains_too_little, relation
from runtime.policy import NEVER, Policy
from runtime.rules import Rule, Situation, pinned_privacy, pinned_route, privacy_under
from runtime.tools.recipe import Proposal
from runtime.trust import Judged, evidence_of

DECLINED = "declined"
NOT_HERE = ("unserved:", "pinned:general")
"""Rules of scores under which not even a rule of the policy makes a local worker serve: it would
leave out what the client asked for."""
GENERAL_ALONE = ("out-of-scope", *NOT_HERE)
"""Rules of scores under which no local answer is better than none: nothing here is for it, a
parameter that is not honoured here, a client that asked for the General by name."""


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
        local = (
            pin.route == "local"
            and scored.kind != "plan"
            and not given.score_rule.startswith(NOT_HERE)
        )
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
        return p >= threshold, threshold, accepted_words(p, threshold, promise, given)
    if not by.startswith(("threshold:", "surface:")):
        return given.score_local, scored.threshold, given.score_reason
    threshold = policy.route_threshold.get(scored.kind, NEVER)
    local = p >= threshold
    if threshold == scored.threshold:
        return local, threshold, given.score_reason
    return local, threshold, f"{p:.2f}, {relation(local)} {threshold:.2f}"


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
    if pin is None and fallback and gains_too_little(given, policy):
        gain = f"{given.benefit:+.2f}, below {policy.least_benefit:.2f}"
        return "benefit", f"asking the General is expected to gain {gain}", False
    return None


def _excess(given: Given, policy: Policy) -> list[Excess]:
    if given.worst is None:
        return []
    return excess(budgets_of(given, policy), given.spent, given.worst)


def _has_fallback(scored: Decision, given: Given) -> bool:
    """Whether a local answer is better than none."""
    hopeless = scored.kind == "plan" or "repair" in given.kinds
    return not hopeless and not given.score_rule.startswith(GENERAL_ALONE)


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
    candidates = tuple(
        c if c.worker == GENERAL else replace(c, probability=judged.probability)
        for c in made.candidates
    )
    return replace(
        made,
        candidates=candidates,
        effects=judged.effects,
        signals={**first.signals, **evidence_of(proposal)},
    )


def repair_of(
    first: Decision, probability: float, threshold: float, failure: str, *, local: bool
) -> Decision:
    """The score on a failed action: another recipe may mend it."""
    made = _again(first, "repair", failure, probability, threshold, local=local)
    return replace(made, kind="repair")


def without_general(first: Decision, given: Given) -> tuple[Decision, Given]:
    """The score again, for when the General that was chosen cannot serve after all."""
    lasting = given.score_rule.startswith((*GENERAL_ALONE, "kind:plan"))
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
