"""Thresholds that keep a promise: at most a share alpha of what is kept may be wrong.

Learn-then-Test (Angelopoulos et al. 2021, arXiv 2110.01052): each threshold is a hypothesis "more
than alpha of what scores at least this much is wrong", with a p-value that holds for any number
of rows. They are tested in a fixed sequence, strictest first, so that all of them together are
wrong with a probability of at most delta. A sequence may start anew further on, where more rows
are kept: one unlucky row at the very top then does not end it. The starts share delta, and what
is rejected hands its share on (the fallback procedure, Wiens 2003).

The rows must be drawn as later steps will be, and the scores must come from a model that was not
fitted on them. Where the thresholds are not given but taken from the scores, the promise also
needs the risk not to fall as the threshold does, as any useful score has it.
Plain numpy. Where thresholds are kept is ``calibration``; whether they still hold, ``risk_drift``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DELTA = 0.02
"""How likely a certificate may be wrong, over all calibration sets that could have been drawn."""
HYPOTHESES = 64
"""Thresholds that are tested where none are given, evenly spaced in what they keep."""
STARTS = ((0, 0.2), (2, 0.15), (5, 0.15), (10, 0.15), (20, 0.15), (40, 0.1), (80, 0.1))
"""Where sequences start: (wrong rows that could be borne there, share of delta)."""
_ALPHA_STEPS = 60
"""Alphas from 0.002 to 0.5, geometrically, that the smallest one is looked for among."""


@dataclass(frozen=True, slots=True)
class Certified:
    """What the rows certify. ``threshold`` is None where they cannot certify ``alpha``."""

    alpha: float
    delta: float
    threshold: float | None
    """Keep what scores at least this much."""
    coverage: float
    """Share of the rows that it keeps, in [0, 1]."""
    n: int
    """Rows it was certified on."""
    kept: int
    wrong: int
    """Wrong rows among the kept (the sum of the losses, rounded up, where they are fractions)."""
    bound: float
    """Upper bound on the risk at ``threshold``, at 1 - ``delta``; 1.0 where there is none."""
    smallest_alpha: float | None
    """The least alpha that these rows certify, each at ``delta`` on its own: ``alpha`` or less
    where ``threshold`` is given. None where they certify none up to 0.5."""

    @property
    def holds(self) -> bool:
        return self.threshold is not None

    @property
    def reason(self) -> str:
        """In plain English, what was certified or what would have been needed."""
        sure = f"{1 - self.delta:.0%} confidence"
        if self.threshold is not None:
            return (
                f"at most {self.alpha:.1%} wrong with {sure}: {self.wrong} of {self.kept} kept "
                f"rows were wrong, of {self.n} in all"
            )
        need = rows_needed(self.alpha, self.delta * STARTS[0][1])
        best = (
            f"the smallest alpha that they can hold is {self.smallest_alpha:.1%}"
            if self.smallest_alpha is not None
            else "they certify no alpha up to 50%"
        )
        return (
            f"{self.n} rows cannot certify {self.alpha:.1%} with {sure} (it takes {need} kept rows "
            f"without a fault); {best}"
        )


@functools.lru_cache(maxsize=4096)
def rows_needed(alpha: float, delta: float, wrong: int = 0) -> int:
    """The least number of kept rows, ``wrong`` of them wrong, that reject "risk > alpha"."""
    low, high = wrong, wrong + 1
    while binomial_p(wrong, high, alpha) > delta:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_p(wrong, middle, alpha) <= delta else (middle, high)
    return high


def binomial_p(wrong: int, n: int, alpha: float) -> float:
    """P(at most ``wrong`` of ``n`` rows are wrong | each is with ``alpha``): exact for 0/1 losses.

    Valid as a p-value of "risk > alpha": it is at most u with a probability of at most u.
    """
    import numpy as np

    if wrong >= n or n == 0:
        return 1.0
    k = np.arange(1, wrong + 1)
    log_choose = np.concatenate([[0.0], np.cumsum(np.log((n - k + 1) / k))])
    hits = np.arange(wrong + 1)
    logs = log_choose + hits * math.log(alpha) + (n - hits) * math.log1p(-alpha)
    top = float(logs.max())
    return min(1.0, math.exp(top) * float(np.exp(logs - top).sum()))


def hoeffding_bentkus_p(mean_loss: float, n: int, alpha: float) -> float:
    """The p-value of "risk > alpha" for losses in [0, 1] of any kind (arXiv 2110.01052)."""
    if n == 0:
        return 1.0
    low = min(mean_loss, alpha)
    divergence = (low * math.log(low / alpha) if low > 0 else 0.0) + (1 - low) * math.log(
        (1 - low) / (1 - alpha)
    )
    hoeffding = math.exp(-n * divergence)
    bentkus = math.e * binomial_p(math.ceil(n * mean_loss - 1e-9), n, alpha)
    return min(1.0, hoeffding, bentkus)


def risk_bound(wrong: int, n: int, delta: float) -> float:
    """Exact upper bound on the risk at 1 - ``delta`` (Clopper and Pearson 1934)."""
    if wrong >= n:
        return 1.0
    low, high = wrong / n, 1.0 - 1e-12
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if binomial_p(wrong, n, middle) > delta else (low, middle)
    return high


def certify(
    scores: NDArray[np.floating],
    right: NDArray[Any],
    alpha: float,
    delta: float = DELTA,
    *,
    thresholds: Sequence[float] | None = None,
) -> Certified:
    """The threshold that keeps most while at most ``alpha`` of the kept is wrong.

    ``scores`` and ``right`` have shape ``[n]``. ``right`` is 0 or 1 (exact binomial p-values), or
    a fraction (Hoeffding-Bentkus). ``thresholds``: what is tested; from other data than these
    rows, the promise rests on nothing but their being drawn alike. Raises UsageError on numbers
    outside their range or shapes that differ.
    """
    _check(scores, right, alpha, delta)
    table = _Table.of(scores, right, thresholds)
    found = _least_rejected(table, alpha, delta)
    smallest = _smallest_alpha(table, alpha if found is not None else None, delta)
    if found is None:
        return Certified(alpha, delta, None, 0.0, table.n, 0, 0, 1.0, smallest)
    kept, lost = int(table.kept[found]), float(table.lost[found])
    wrong = math.ceil(lost - 1e-9)
    return Certified(
        alpha=alpha,
        delta=delta,
        threshold=float(table.thresholds[found]),
        coverage=kept / table.n,
        n=table.n,
        kept=kept,
        wrong=wrong,
        bound=risk_bound(wrong, kept, delta) if table.binary else _mean_bound(lost, kept, delta),
        smallest_alpha=smallest,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """For each threshold, strictest first: how many rows it keeps, and their summed loss."""

    thresholds: Floats
    kept: NDArray[np.int64]
    lost: Floats
    n: int
    binary: bool

    @staticmethod
    def of(
        scores: NDArray[np.floating], right: NDArray[Any], thresholds: Sequence[float] | None
    ) -> _Table:
        import numpy as np

        order = np.argsort(-scores, kind="stable")
        ordered = scores[order].astype(np.float64)
        losses = 1.0 - right[order].astype(np.float64)
        total = np.concatenate([[0.0], np.cumsum(losses)])
        if thresholds is None:
            n = len(ordered)
            ranks = np.unique(np.linspace(0, n - 1, min(n, HYPOTHESES)).round().astype(int))
            grid = np.unique(ordered[ranks])[::-1] if n else np.zeros(0)
        else:
            grid = np.unique(np.asarray(thresholds, dtype=np.float64))[::-1]
        kept = np.searchsorted(-ordered, -grid, side="right")
        binary = bool(np.isin(losses, (0.0, 1.0)).all())
        return _Table(grid, kept, total[kept], len(ordered), binary)

    def p_value(self, row: int, alpha: float) -> float:
        kept, lost = int(self.kept[row]), float(self.lost[row])
        if self.binary:
            return binomial_p(round(lost), kept, alpha)
        return hoeffding_bentkus_p(lost / kept if kept else 1.0, kept, alpha)


def _least_rejected(table: _Table, alpha: float, delta: float) -> int | None:
    """Index of the least threshold that is certified, None where there is none.

    Starts depend on how many rows there are alone, never on which of them are wrong: the share of
    those that more rows would be needed for goes to the others.
    """
    import numpy as np

    shares = np.zeros(len(table.thresholds))
    most = int(table.kept.max(initial=0))
    within = [(w, s) for w, s in STARTS if rows_needed(alpha, delta * s, w) <= most]
    whole = sum(share for _, share in within)
    for wrong, share in within:
        need = rows_needed(alpha, delta * share / whole, wrong)
        shares[np.flatnonzero(table.kept >= need)[0]] += share / whole
    carried, least = 0.0, None
    for row, share in enumerate(shares):
        level = delta * (share + carried)
        if level > 0 and table.p_value(row, alpha) <= level:
            carried, least = carried + share, row
        else:
            carried = 0.0
    return least


def _smallest_alpha(table: _Table, certified: float | None, delta: float) -> float | None:
    import numpy as np

    for candidate in np.geomspace(0.002, 0.5, _ALPHA_STEPS):
        if certified is not None and candidate >= certified:
            return certified
        if _least_rejected(table, float(candidate), delta) is not None:
            return float(candidate)
    return certified


def _mean_bound(lost: float, n: int, delta: float) -> float:
    low, high = lost / n, 1.0 - 1e-12
    for _ in range(60):
        middle = (low + high) / 2.0
        beyond = hoeffding_bentkus_p(lost / n, n, middle) > delta
        low, high = (middle, high) if beyond else (low, middle)
    return high


def _check(scores: NDArray[np.floating], right: NDArray[Any], alpha: float, delta: float) -> None:
    import numpy as np

    if scores.ndim != 1 or scores.shape != right.shape:
        raise UsageError(
            f"one score and one outcome for each row are needed, not {scores.shape} and "
            f"{right.shape}"
        )
    if not 0.0 < alpha < 1.0 or not 0.0 < delta < 1.0:
        raise UsageError(
            f"alpha and delta are shares between 0 and 1, not {alpha} and {delta}",
            hint="5 % is written 0.05",
        )
    if not np.isfinite(scores).all():
        raise UsageError("a score is not a finite number")
    outcomes = right.astype(np.float64)
    if len(outcomes) and not (outcomes.min() >= 0.0 and outcomes.max() <= 1.0):
        raise UsageError("an outcome is 0 (wrong) to 1 (right)")
