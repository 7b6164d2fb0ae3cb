"""One calibrated score for a step, from what is known before its local answer and after it.

Before: what the Router read, how long the step is, what is on offer, and how steps of its kind
went so far. After: how sure the answer's own tokens are, and what the verifier found. A ridge
logistic layer joins them (Platt scaling of a score that has several parts). Where rows held out
say that it helps, isotonic regression (Zadrozny and Elkan 2002) straightens what the layer bends,
on cross-fitted rows, so that no row calibrates the score that it taught. :class:`Benefit` predicts
what escalating would gain: P(General right) - P(local right), which is not the doubt, since some
steps nobody gets right.

Plain numpy, small enough to be fitted on the user's own ledger. Which threshold the score must
pass is certified in ``risk``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.errors import UsageError
from runtime.calibrate import fit_isotonic, sigmoid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FOLDS = 5
L2 = 1.0
"""Ridge penalty on standardized signals, in rows."""
PRIOR = 4.0
"""Rows at the overall rate that a kind's own history is weighed against."""
ISOTONIC_ROWS = 500
"""Below this, steps of isotonic regression are noise, and the layer's own probability stands."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of a step. None stands for not known: it then moves nothing."""

    probability: float
    """The Router's P(kind right and in scope)."""
    margin: float | None = None
    """Between the best and the second-best kind."""
    nearest: float | None = None
    """Cosine to the nearest training text."""
    chars: int = 0
    tools: int = 0
    """Function tools on offer."""
    schema_chars: int = 0
    """Length of the schema that the answer must meet, as JSON."""
    history_right: int = 0
    """Kept answers to steps of this kind, by this model file, that turned out right."""
    history_wrong: int = 0
    confidence: float | None = None
    """After: geometric mean of the probabilities of the answer's free tokens."""
    least_margin: float | None = None
    """After: the smallest margin at a free token."""
    agreement: float | None = None
    """After: share of further samples that gave the same answer."""
    problems: int | None = None
    """After: what the verifier found."""

    @property
    def answered(self) -> bool:
        return self.confidence is not None or self.problems is not None


COLUMNS = (
    "probability",
    "margin",
    "nearest",
    "chars",
    "tools",
    "schema_chars",
    "history",
    "confidence",
    "least_margin",
    "agreement",
    "problems",
)
"""What the layer sees, one number each; probabilities as log odds, counts as logarithms."""


def log_odds(probability: Floats) -> Floats:
    """log(p / (1 - p)), kept within ±13.8."""
    import numpy as np

    p = np.clip(probability, 1e-6, 1.0 - 1e-6)
    odds: Floats = np.log(p / (1.0 - p))
    return odds


def columns(rows: Sequence[Signals], base_rate: float = 0.5) -> Floats:
    """Shape ``[len(rows), len(COLUMNS)]``; NaN where a signal is not known."""
    import numpy as np

    def odds(value: float | None) -> float:
        if value is None:
            return math.nan
        p = min(max(value, 1e-6), 1.0 - 1e-6)
        return math.log(p / (1.0 - p))

    table = []
    for row in rows:
        seen = row.history_right + row.history_wrong
        rate = (row.history_right + PRIOR * base_rate) / (seen + PRIOR)
        table.append(
            (
                odds(row.probability),
                math.nan if row.margin is None else row.margin,
                math.nan if row.nearest is None else row.nearest,
                math.log1p(row.chars),
                math.log1p(row.tools),
                math.log1p(row.schema_chars),
                odds(rate),
                odds(row.confidence),
                math.nan if row.least_margin is None else row.least_margin,
                math.nan if row.agreement is None else row.agreement,
                math.nan if row.problems is None else math.log1p(row.problems),
            )
        )
    return np.array(table, np.float64).reshape(len(rows), len(COLUMNS))


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A ridge logistic layer on standardized columns; a missing one counts as its mean."""

    mean: Floats
    spread: Floats
    weights: Floats
    offset: float

    def parts(self, table: Floats) -> Floats:
        """What each column adds to the log odds, against a typical row. Shape as ``table``."""
        import numpy as np

        moved: Floats = np.nan_to_num((table - self.mean) / self.spread) * self.weights
        return moved

    def log_odds(self, table: Floats) -> Floats:
        total: Floats = self.parts(table).sum(axis=1) + self.offset
        return total


def fit_layer(table: Floats, target: Floats, l2: float = L2) -> Layer:
    """The layer with the least log loss of ``target`` (0 to 1), penalized. Newton's method."""
    import numpy as np

    known = np.isfinite(table)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, table, 0.0).sum(axis=0) / count
    around = np.where(known, table - mean, 0.0)
    spread = np.sqrt((around**2).sum(axis=0) / count)
    spread = np.where(spread > 1e-9, spread, 1.0)
    design = np.hstack([around / spread, np.ones((len(table), 1))])
    penalty = np.full(design.shape[1], l2)
    penalty[-1] = 1e-6
    theta = np.zeros(design.shape[1])

    def loss(at: Floats) -> float:
        z = design @ at
        return float((np.logaddexp(0.0, z) - target * z).sum() + 0.5 * (penalty * at**2).sum())

    for _ in range(100):
        p = sigmoid(design @ theta)
        gradient = design.T @ (p - target) + penalty * theta
        curvature = (design * (p * (1.0 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        scale = 1.0
        while scale > 1e-6 and loss(theta - scale * step) > loss(theta):
            scale /= 2.0
        theta = theta - scale * step
        if np.abs(scale * step).max() < 1e-9:
            break
    return Layer(mean, spread, theta[:-1], float(theta[-1]))


@dataclass(frozen=True, slots=True, eq=False)
class Cascade:
    """P(the local answer is right), for one model file (``model``, a digest)."""

    model: str
    layer: Layer
    base_rate: float
    knots: Floats
    """Log odds of the layer at which the isotonic steps lie; empty: the layer stands alone."""
    values: Floats
    """Calibrated probabilities at ``knots``, non-decreasing."""

    def probability(self, rows: Sequence[Signals]) -> Floats:
        """Shape ``[len(rows)]``."""
        return self._calibrated(self.layer.log_odds(columns(rows, self.base_rate)))

    def effects(self, row: Signals) -> dict[str, float]:
        """How much each known signal moved the score, in log odds, against a typical step."""
        parts = self.layer.parts(columns([row], self.base_rate))[0]
        return {n: float(p) for n, p in zip(COLUMNS, parts, strict=True) if abs(p) > 1e-12}

    def _calibrated(self, odds: Floats) -> Floats:
        import numpy as np

        if not len(self.knots):
            return sigmoid(odds)
        found: Floats = np.interp(odds, self.knots, self.values)
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON values that :meth:`from_dict` reads back."""
        return {
            "columns": list(COLUMNS),
            "model": self.model,
            "base_rate": self.base_rate,
            "layer": {
                f.name: _plain(getattr(self.layer, f.name)) for f in dataclasses.fields(Layer)
            },
            "knots": self.knots.tolist(),
            "values": self.values.tolist(),
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Cascade:
        """Raises UsageError where it was fitted on other signals, or is none."""
        import numpy as np

        try:
            if tuple(content["columns"]) != COLUMNS:
                raise UsageError(
                    "The score was fitted on other signals than this version reads.",
                    hint="Calibrate again.",
                )
            layer = content["layer"]
            return Cascade(
                model=str(content["model"]),
                layer=Layer(
                    np.array(layer["mean"], np.float64),
                    np.array(layer["spread"], np.float64),
                    np.array(layer["weights"], np.float64),
                    float(layer["offset"]),
                ),
                base_rate=float(content["base_rate"]),
                knots=np.array(content["knots"], np.float64),
                values=np.array(content["values"], np.float64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"This is no calibrated score: {error}.") from error


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def fit_cascade(
    rows: Sequence[Signals], right: Sequence[bool], *, model: str, seed: int = 0
) -> Cascade:
    """A calibrated score from steps whose local answer is known to be right or wrong.

    Raises UsageError where there are fewer than two rows of either outcome in each fold, since
    then nothing can be held out.
    """
    import numpy as np

    target = np.asarray(right, dtype=bool)
    least = min(int(target.sum()), int((~target).sum()))
    if len(rows) != len(target) or least < 2 * FOLDS:
        raise UsageError(
            f"{len(rows)} steps, {least} of the rarer outcome, are too few to calibrate on",
            hint=f"At least {2 * FOLDS} right and {2 * FOLDS} wrong answers are needed.",
        )
    rate = float(target.mean())
    table = columns(rows, rate)
    knots, values = np.zeros(0), np.zeros(0)
    if len(rows) >= ISOTONIC_ROWS:
        held = np.zeros(len(rows))
        fold = _folds(target, seed)
        for k in range(FOLDS):
            out = fold == k
            held[out] = fit_layer(table[~out], target[~out].astype(np.float64)).log_odds(table[out])
        if _isotonic_helps(held, target, fold):
            knots, values = fit_isotonic(held, target.astype(np.float64))
    return Cascade(model, fit_layer(table, target.astype(np.float64)), rate, knots, values)


def _isotonic_helps(odds: Floats, right: NDArray[np.bool_], fold: NDArray[np.int64]) -> bool:
    """Whether isotonic regression has less log loss on rows held out from it than ``odds`` have."""
    import numpy as np

    p = sigmoid(odds)
    stepped = np.zeros(len(odds))
    for k in range(FOLDS):
        out = fold == k
        stepped[out] = np.interp(odds[out], *fit_isotonic(odds[~out], right[~out].astype(float)))
    losses = [-np.log(np.where(right, q, 1.0 - q).clip(1e-9)).mean() for q in (stepped, p)]
    return bool(losses[0] < losses[1])


def _folds(target: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Each outcome spread evenly over the folds."""
    import numpy as np

    rng = np.random.default_rng(seed)
    fold = np.zeros(len(target), np.int64)
    for outcome in (True, False):
        at = rng.permutation(np.flatnonzero(target == outcome))
        fold[at] = np.arange(len(at)) % FOLDS
    return fold


@dataclass(frozen=True, slots=True, eq=False)
class Benefit:
    """What escalating gains: P(General right) - P(local right), in [-1, 1].

    Kernel ridge regression on the difference itself, which is what the choice turns on: learning
    either side alone spends the rows on steps that both get right, or neither.
    """

    dual: Floats
    mean: float

    def gain(self, kernel: Floats) -> Floats:
        """For steps whose kernel with the fitted rows is ``kernel``, shape ``[n, fitted]``."""
        import numpy as np

        found: Floats = np.clip(kernel @ self.dual + self.mean, -1.0, 1.0)
        return found


def fit_benefit(
    kernel: Floats, local_right: NDArray[Any], general_right: NDArray[Any], ridge: float
) -> Benefit:
    """``kernel``: similarity of the rows to one another, ``[n, n]``, positive semi-definite."""
    import numpy as np

    difference = general_right.astype(np.float64) - local_right.astype(np.float64)
    mean = float(difference.mean())
    solved = np.linalg.solve(kernel + ridge * np.eye(len(kernel)), difference - mean)
    dual = np.asarray(solved, dtype=np.float64)
    return Benefit(dual, mean)
