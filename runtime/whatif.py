"""What the user's own record would have cost under other prices, models, thresholds and shares.

``read`` turns ``price=gpt-5.4-mini`` and the like into a Scenario, ``simulate`` plays it over
the steps of the ledger (``runtime.savings.steps_of``). Pure. What moves between here and the
General is a whole step: one that comes home makes the local calls that its kind takes, one that
goes out makes one call with the tokens that it took, or would at least take. Nothing is known
of whether a moved step would have come out right, beyond what the record shows of its like.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.errors import UsageError
from runtime.energy import remote_joules
from runtime.report import Figure
from runtime.savings import StepUse, general_ms

Price = tuple[float, float]
"""US dollars per million tokens, in and out."""
KEYS: Mapping[str, str] = {
    "price": "an entry of the price list, or IN/OUT in USD per million tokens",
    "model": "another General: its list price, and its latency where the record has calls to it",
    "threshold": "a step goes to the General below this P(local succeeds), 0 to 1",
    "alpha": "the threshold that lets at most this share of what is kept be wrong, 0 to 1",
    "local-share": "this share of all calls stays here, 0 to 1",
    "watts": "what this machine draws while models run",
}
WHO = ("threshold", "alpha", "local-share")
"""At most one of these: each says who serves a step."""
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is imagined otherwise; None is as it was."""

    price: Price | None = None
    price_name: str = ""
    model: str | None = None
    threshold: float | None = None
    alpha: float | None = None
    local_share: float | None = None
    watts: float | None = None


@dataclass(frozen=True, slots=True)
class Simulated:
    """The record under a scenario. ``cost`` in US dollars, ``latency`` in seconds of model time,
    ``energy`` in joules. ``threshold`` is the one that was applied, with how it was found."""

    local_share: float
    calls: float
    escalated: float
    """Steps that a General serves."""
    moved: float
    """Steps that are served elsewhere than they were."""
    cost: Figure
    latency: Figure
    energy: Figure
    risk: Figure
    """Wrong among the steps that are kept, of those that the record can tell of."""
    threshold: Figure | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "local_share": self.local_share,
            "calls": self.calls,
            "escalated_steps": self.escalated,
            "moved_steps": self.moved,
            "cost_usd": self.cost.to_json(),
            "latency_s": self.latency.to_json(),
            "energy_j": self.energy.to_json(),
            "risk": self.risk.to_json(),
            "threshold": self.threshold.to_json() if self.threshold else None,
        }


def read(wishes: Sequence[str], price_of: Callable[[str], Price | None]) -> Scenario:
    """The scenario of ``KEY=VALUE`` texts. ``price_of``: a price list entry's price.

    Raises UsageError on an unknown key, one given twice, or a value that makes no sense.
    """
    given: dict[str, str] = {}
    for wish in wishes:
        key, equals, value = (part.strip() for part in wish.partition("="))
        if not equals or not value:
            raise UsageError(f"--what-if {wish!r} is not KEY=VALUE.", hint=_hint())
        if key not in KEYS:
            raise UsageError(f"--what-if has no key {key!r}.", hint=_hint())
        if key in given:
            raise UsageError(f"--what-if {key} is given twice: {given[key]} and {value}.")
        given[key] = value
    if len(who := [key for key in WHO if key in given]) > 1:
        raise UsageError(
            f"--what-if {' and '.join(who)} contradict each other: each says who serves a step.",
            hint="Simulate them one after the other.",
        )
    scenario = Scenario(
        model=given.get("model"),
        threshold=_share(given, "threshold"),
        alpha=_share(given, "alpha", inside=True),
        local_share=_share(given, "local-share"),
        watts=_number("watts", given["watts"], least=0.0) if "watts" in given else None,
    )
    if name := given.get("price", given.get("model")):
        price = _price(name, price_of)
        if price is None and "price" not in given:
            return scenario  # another model at a price that nobody knows: only its latency counts
        if price is None:
            raise UsageError(
                f"--what-if price: no price is known for {name!r}.",
                hint="Name an entry of the price list, or give USD per million tokens: "
                "price=0.75/4.50.",
            )
        return replace(scenario, price=price, price_name=name)
    return scenario


def _hint() -> str:
    return "It takes " + "; ".join(f"{key}: {does}" for key, does in KEYS.items()) + "."


def _price(name: str, price_of: Callable[[str], Price | None]) -> Price | None:
    first, slash, second = name.partition("/")
    if slash and _is_number(first) and _is_number(second):
        return _number("price", first, least=0.0), _number("price", second, least=0.0)
    return price_of(name)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(key: str, text: str, *, least: float) -> float:
    if not _is_number(text) or not math.isfinite(float(text)) or float(text) < least:
        raise UsageError(f"--what-if {key}={text}: a number of at least {least:g} is needed.")
    return float(text)


def _share(given: Mapping[str, str], key: str, *, inside: bool = False) -> float | None:
    """A share in [0, 1]; ``inside``: neither 0 nor 1. A percent sign may follow."""
    if key not in given:
        return None
    text = given[key]
    percent = text.endswith("%")
    number = text.removesuffix("%").strip()
    value = float(number) / (100 if percent else 1) if _is_number(number) else math.nan
    if not 0.0 <= value <= 1.0 or (inside and value in (0.0, 1.0)):
        raise UsageError(
            f"--what-if {key}={text}: a share {'between' if inside else 'from'} 0 "
            f"{'and' if inside else 'to'} 1 is needed.",
            hint=f"70 % is written {key}=0.7.",
        )
    return value


def simulate(
    steps: Sequence[StepUse],
    scenario: Scenario,
    *,
    price: Price | None,
    price_name: str,
    watts: Figure,
) -> Simulated:
    """``steps`` under ``scenario``. ``price`` is the General's as it is, None where not known.

    Raises UsageError where there is nothing to simulate on, or alpha cannot be certified.
    """
    if not steps:
        raise UsageError(
            "The ledger holds no model call, so there is nothing to simulate on.",
            hint='Run something first: aidecamp run "how much memory is free?"',
        )
    threshold = _threshold(steps, scenario)
    kept = _kept(steps, scenario, threshold.value if threshold else None)
    typical = {kind: _typical(steps, kind) for kind in {s.kind for s in steps}}
    by_share = scenario.local_share is not None
    plays = [
        _play(step, k, typical[step.kind], whole=not by_share)
        for step, k in zip(steps, kept, strict=True)
    ]
    local = sum(p.local_calls for p in plays)
    remote = sum(p.general_calls for p in plays)
    if scenario.price is not None:
        price, price_name = scenario.price, scenario.price_name
    power = watts
    if scenario.watts is not None:
        power = Figure(scenario.watts, "assumed", "as given")
    return Simulated(
        local_share=local / (local + remote),
        calls=local + remote,
        escalated=sum(p.away for p in plays),
        moved=sum(abs(k - float(s.local)) for s, k in zip(steps, kept, strict=True)),
        cost=_cost(steps, plays, scenario, price, price_name),
        latency=_latency(steps, plays, scenario),
        energy=_energy(plays, remote, power),
        risk=_risk(steps, kept),
        threshold=threshold,
    )


@dataclass(frozen=True, slots=True)
class _Play:
    """A step as it is played: calls and times here, and the share of it that the General has."""

    local_calls: float
    general_calls: float
    local_ms: float
    busy_ms: float
    away: float


def _play(step: StepUse, kept: float, typical: tuple[float, float, float], *, whole: bool) -> _Play:
    """``kept``: how much of the step is served here. ``whole``: one that stays as it was plays as
    it was, with a local answer that was tried and not accepted."""
    if kept == float(step.local) and (whole or step.local):
        return _Play(
            step.local_calls,
            step.general_calls,
            step.local_ms,
            step.busy_ms,
            0.0 if step.local else 1.0,
        )
    tried = step.local_calls > 0
    calls, ms, busy = (step.local_calls, step.local_ms, step.busy_ms) if tried else typical
    away = 1.0 - kept
    return _Play(kept * calls, away * max(1, step.general_calls), kept * ms, kept * busy, away)


def _typical(steps: Sequence[StepUse], kind: str) -> tuple[float, float, float]:
    """Local calls and milliseconds that a step of ``kind`` takes: medians of those that were
    served here, of all kinds where none of this kind was. NaN where nothing was."""
    here = [s for s in steps if s.local and s.local_calls]
    like = [s for s in here if s.kind == kind] or here
    if not like:
        return 1.0, math.nan, math.nan
    return (
        statistics.median(s.local_calls for s in like),
        statistics.median(s.local_ms for s in like),
        statistics.median(s.busy_ms for s in like),
    )


def _threshold(steps: Sequence[StepUse], scenario: Scenario) -> Figure | None:
    if scenario.threshold is not None:
        return Figure(scenario.threshold, "assumed", "as given")
    if scenario.alpha is None:
        return None
    import numpy as np

    from runtime.risk import certify

    rows = [(s.probability, s.right) for s in steps if s.movable and s.right is not None]
    scores = np.array([p for p, _ in rows], np.float64)
    right = np.array([bool(r) for _, r in rows], np.bool_)
    found = certify(scores, right, scenario.alpha)
    if found.threshold is None:
        raise UsageError(
            f"--what-if alpha={scenario.alpha:g}: {found.reason}.",
            hint="Rows are local answers whose outcome the ledger shows; or give a threshold.",
        )
    return Figure(found.threshold, "estimated", f"Learn-then-Test on the ledger: {found.reason}")


def _kept(steps: Sequence[StepUse], scenario: Scenario, threshold: float | None) -> Sequence[float]:
    """How much of each step is served here: 0, 1, or for one step at the edge of a share between.

    A threshold moves what a threshold decides. One that was above it and was escalated all the
    same, for what the verifier found in its answer, is escalated still.
    """
    if scenario.local_share is not None:
        return _kept_for_share(steps, scenario.local_share)
    if threshold is None:
        return [float(s.local) for s in steps]
    kept = []
    for step in steps:
        if not step.movable or step.probability is None:
            kept.append(float(step.local))
        elif step.probability < threshold:
            kept.append(0.0)
        else:
            kept.append(float(step.local or step.local_calls == 0))
    return kept


def _kept_for_share(steps: Sequence[StepUse], share: float) -> list[float]:
    """The likeliest to succeed stay here, until their calls are ``share`` of all."""
    unrouted = {True: 2.0, False: -1.0}
    order = sorted(
        range(len(steps)),
        key=lambda i: (
            -(p if (p := steps[i].probability) is not None else unrouted[steps[i].local]),
            i,
        ),
    )

    def kept(amount: float) -> list[float]:
        out = [0.0] * len(steps)
        for rank, i in enumerate(order):
            out[i] = min(1.0, max(0.0, amount - rank))
        return out

    typical = {s.kind: _typical(steps, s.kind) for s in steps}

    def reached(amount: float) -> float:
        plays = [
            _play(step, k, typical[step.kind], whole=False)
            for step, k in zip(steps, kept(amount), strict=True)
        ]
        local = sum(p.local_calls for p in plays)
        return local / (local + sum(p.general_calls for p in plays))

    low, high = 0.0, float(len(steps))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < share else (low, middle)
    return kept(high)


def _cost(
    steps: Sequence[StepUse],
    plays: Sequence[_Play],
    scenario: Scenario,
    price: Price | None,
    price_name: str,
) -> Figure:
    as_paid = scenario.price is None and scenario.model is None
    unpriced = f"no price of {scenario.model or price_name} is known"
    if scenario.model is not None and scenario.price is None:
        price = None
    usd = 0.0
    for step, play in zip(steps, plays, strict=True):
        if as_paid and not step.local:
            usd += step.cost_usd * play.away
        elif play.away > 0:
            if price is None:
                return Figure(None, "not known", unpriced)
            usd += play.away * (step.tokens_in * price[0] + step.tokens_out * price[1]) / 1e6
    source = (
        "as recorded; for steps that move, at least the tokens that the local models used, x the "
        f"price of {price_name}"
        if as_paid
        else f"recorded tokens x the price of {price_name}, at least"
    )
    return Figure(usd, "estimated", source)


def _latency(steps: Sequence[StepUse], plays: Sequence[_Play], scenario: Scenario) -> Figure:
    each, n = general_ms(steps, scenario.model)
    ms = sum(p.local_ms for p in plays)
    if math.isnan(ms):
        return Figure(None, "not known", "no step was served here yet, so none was timed")
    for step, play in zip(steps, plays, strict=True):
        if play.away == 0:
            continue
        if not step.local and scenario.model in (None, step.general_model):
            ms += play.away * step.general_ms
        elif each is None:
            whose = scenario.model or "a General"
            return Figure(None, "not known", f"no call to {whose} is in the ledger to time it by")
        else:
            ms += play.away * each
    return Figure(ms / 1000, "estimated", f"recorded times; the General's median of {n} steps")


def _energy(plays: Sequence[_Play], remote_calls: float, watts: Figure) -> Figure:
    busy = sum(p.busy_ms for p in plays) / 1000
    if math.isnan(busy):
        return Figure(None, "not known", "no step was served here yet, so none was timed")
    remote = remote_joules(remote_calls)
    here = f"{busy:.1f} s of local model time x {watts.value or 0.0:.1f} W ({watts.source})"
    joules = busy * (watts.value or 0.0) + (remote.value or 0.0)
    return Figure(joules, "estimated", f"{here}; {remote.source}" if remote_calls else here)


def _risk(steps: Sequence[StepUse], kept: Sequence[float]) -> Figure:
    told = [(s, k) for s, k in zip(steps, kept, strict=True) if s.right is not None and k > 0]
    total = sum(k for _, k in told)
    if not total:
        return Figure(None, "not known", "no kept step has an outcome in the ledger")
    wrong = sum(k for s, k in told if not s.right)
    source = (
        f"{len(told)} kept steps with an outcome in the ledger: wrong where the answer was not "
        "accepted or its action failed; what nobody noticed is not in it"
    )
    return Figure(wrong / total, "estimated", source)
