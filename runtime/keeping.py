"""Which local answers are kept: the score that one must reach, what that promises, and whether
asking the General instead would gain enough. Pure."""

from __future__ import annotations

from dataclasses import replace

from runtime.benefit import general_rate
from runtime.core import GENERAL, Decision
from runtime.given import Given
from runtime.outcomes import Told
from runtime.policy import EVEN, NEVER, Policy
from runtime.trust import Judged


def acceptance(given: Given, policy: Policy) -> tuple[float, str]:
    """The least score at which a local answer is given as sure, and what that rests on, in words.

    A threshold that the user set stands first; then what is certified for the policy's alpha, or
    for a smaller one; then nothing is. Where nothing is promised, what is calibrated must be more
    likely right than wrong, and for the rest the confidence decides.
    """
    kind, alpha = given.kinds[0], policy.risk_alpha
    if policy.fixes_acceptance(kind):
        return policy.accepts(kind), "your accept_threshold"
    if alpha <= 0:
        if given.certified:
            return EVEN, "more likely right than wrong"
        return policy.accepts(kind), "not calibrated"
    if not given.certified:
        return NEVER, f"alpha {alpha:.3g} is not promised of {kind}: nothing is calibrated for it"
    held = [t for a, t in given.certified.items() if float(a) <= alpha + 1e-9 and t is not None]
    if held:
        return min(held), f"at most {alpha:.3g} of such answers wrong, certified"
    tested = [float(a) for a, t in given.certified.items() if t is not None]
    can = f"the smallest that is certified is {min(tested):g}" if tested else "nor any other"
    return NEVER, f"alpha {alpha:.3g} cannot be certified for {kind}; {can}"


def accepted_words(p: float, threshold: float, promise: str, given: Given) -> str:
    name = "P(answer right)" if given.certified else "confidence"
    if threshold > 1.0:
        return f"{name} = {p:.2f}, but {promise}"
    return f"{name} = {p:.2f}, {relation(p >= threshold)} {threshold:.2f} ({promise})"


def relation(local: bool) -> str:
    return "at least" if local else "below"


def gains_too_little(given: Given, policy: Policy) -> bool:
    """Whether asking the General instead of a local answer is expected to gain less than the
    policy asks for. What the verifier found is no matter of chance."""
    known = given.benefit is not None and given.score_rule.startswith("accept:")
    return known and (given.benefit or 0.0) < policy.least_benefit


def weighed(
    scored: Decision, given: Given, judged: Judged, told: Told, models: str
) -> tuple[Decision, Given]:
    """The score with how likely each side is right, and what is promised of the local one.

    ``told``: what became of the General's answers to steps of this kind. Where nothing is
    calibrated, nothing is known of either side.
    """
    if not judged.calibrated:
        return scored, replace(given, models=models)
    chance = general_rate(told.right, told.wrong)
    candidates = tuple(
        replace(c, probability=chance if c.worker == GENERAL else judged.probability)
        for c in scored.candidates
    )
    benefit = round(chance - judged.probability, 4)
    return replace(scored, candidates=candidates), replace(
        given,
        models=models,
        certified=judged.thresholds,
        smallest_alpha=judged.smallest_alpha,
        benefit=benefit,
    )
