"""Whether a certified threshold still holds, from outcomes as they come in.

Each kept answer that turns out right or wrong is a bet against "at most alpha is wrong"
(Waudby-Smith and Ramdas 2020, arXiv 2010.09686). Bets on several higher rates run side by side,
and each takes its gains no further back than the best moment to start (a CUSUM of e-values, the
e-detector of Shin, Ramdas and Rinaldo 2022, arXiv 2203.03532): while the risk is at most alpha,
the first false alarm comes after ``run_length`` outcomes or more on average, whatever the order of
the steps. Tracking a deployed model's risk by such tests: Podkopaev and Ramdas 2021, arXiv
2110.06177.

Outcomes are of answers that were *kept*. Which ones are ever found out, by a person or a failed
action, is not corrected for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from models.errors import UsageError

RUN_LENGTH = 10_000
"""Outcomes until the first false alarm, at least, on average."""
RATES = (1.5, 2.0, 4.0)
"""Multiples of alpha that are bet on."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The state of one watch. ``Drift.watch(alpha)`` starts it; ``after`` moves it on."""

    alpha: float
    run_length: float
    log_wealth: tuple[float, ...]
    """Natural log of what each bet has won since its best start."""
    outcomes: int = 0
    wrong: int = 0
    since: int = 0
    """How many of ``outcomes`` the leading bet looks back on: since about then it was worse."""
    alarm_at: int | None = None
    """The number of the outcome at which it was proposed to calibrate again; it stays."""

    @staticmethod
    def watch(alpha: float, run_length: float = RUN_LENGTH) -> Drift:
        """Raises UsageError where ``alpha`` is no share, or ``run_length`` is not above 1."""
        if not 0.0 < alpha < 1.0 or run_length <= 1.0:
            raise UsageError(
                f"alpha is a share between 0 and 1 and run_length above 1, not {alpha} and "
                f"{run_length}"
            )
        return Drift(alpha, run_length, (-math.inf,) * len(RATES))

    def after(self, wrong: bool) -> Drift:
        """The state after one more outcome of a kept answer."""
        gains = []
        for rate in RATES:
            other = min(rate * self.alpha, (1.0 + self.alpha) / 2.0)
            gains.append(
                math.log(other / self.alpha)
                if wrong
                else math.log((1.0 - other) / (1.0 - self.alpha))
            )
        wealth = tuple(max(w, 0.0) + g for w, g in zip(self.log_wealth, gains, strict=True))
        count = self.outcomes + 1
        restarted = max(self.log_wealth) <= 0.0
        alarm = self.alarm_at
        if alarm is None and _log_mean_exp(wealth) >= math.log(self.run_length):
            alarm = count
        return replace(
            self,
            log_wealth=wealth,
            outcomes=count,
            wrong=self.wrong + int(wrong),
            since=1 if restarted else self.since + 1,
            alarm_at=alarm,
        )

    def after_all(self, wrong: Iterable[bool]) -> Drift:
        """The state after all of ``wrong``, oldest first."""
        state = self
        for one in wrong:
            state = state.after(one)
        return state

    @property
    def recalibrate(self) -> bool:
        return self.alarm_at is not None

    @property
    def reason(self) -> str:
        """In plain English: the rate seen, and what follows from it."""
        seen = f"{self.wrong} of {self.outcomes} kept answers were wrong, {self.alpha:.1%} allowed"
        if self.alarm_at is None:
            return f"{seen}: no sign that the threshold has stopped holding"
        return (
            f"{seen}; at answer {self.alarm_at} the evidence passed what chance gives once in "
            f"{self.run_length:,.0f}: calibrate again"
        )


def watch_each(
    outcomes: Iterable[tuple[str, str, bool]], alpha: float, run_length: float = RUN_LENGTH
) -> dict[tuple[str, str], Drift]:
    """A watch for each (step kind, model digest) among ``outcomes``: rows of kind, digest and
    whether the kept answer was wrong, oldest first. Raises UsageError as :meth:`Drift.watch`."""
    found: dict[tuple[str, str], Drift] = {}
    fresh = Drift.watch(alpha, run_length)
    for kind, model, wrong in outcomes:
        found[kind, model] = found.get((kind, model), fresh).after(wrong)
    return found


def _log_mean_exp(values: tuple[float, ...]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values) / len(values))
