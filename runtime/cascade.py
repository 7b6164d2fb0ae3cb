"""One calibrated score for a step, from what is known before its local answer and after it.

Before: what the Router read, how long the step is, and what is on offer. After: how sure the pick
and the answer's own tokens are, what of the request nothing accounts for, and what the verifier
found. A ridge logistic layer joins them (Platt scaling of a score that has several parts), one for
each side, since what is not known yet is no average answer.
Where rows held out say that it helps, isotonic regression (Zadrozny and Elkan 2002) straightens
what a layer bends, on cross-fitted rows, so that no row calibrates the score that it taught.

Plain numpy, small enough to be fitted on the user's own ledger. Which threshold the score must
pass is certified in ``risk``; what escalating would gain is in ``benefit``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.errors import UsageError
from runtime.calibrate import fit_isotonic, sigmoid
from runtime.logistic import Layer, fit_layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FOLDS = 5
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
    pick: float | None = None
    """After: P(this tool is meant), from the encoder and the words."""
    second: float | None = None
    """After: the same of the runner-up, 0 where there is none."""
    confidence: float | None = None
    """After: of the arguments, given the tool: how sure their words and free tokens are."""
    least_margin: float | None = None
    """After: the smallest margin at a choice that the SLM made; None where it was not asked."""
    agreement: float | None = None
    """After: how much of the SLM's own free answer is the same, in [0, 1]; None where it was not
    asked."""
    likeness: float | None = None
    """After: of the request to the tool's description and examples, about a cosine."""
    score: float | None = None
    """After: how well the words explain the arguments, in nats."""
    gap: float | None = None
    """After: by how much the next best arguments are behind, in nats."""
    verb_known: float | None = None
    """After: 1 where the request's verb stands in the tool's examples, else 0."""
    taken: float | None = None
    """After: share of the request's words that free texts took."""
    swallowed: float | None = None
    """After: words of the tool's own in free texts."""
    edges: float | None = None
    """After: free texts' first and last words that only join, or are the tool's own."""
    marks: float | None = None
    """After: punctuation within free texts."""
    unnamed: float | None = None
    """After: choices that no word of the request names."""
    question: float | None = None
    """After: 1 where the request ends in a question mark."""
    reach: float | None = None
    """After: log odds that any tool here does what is asked."""
    leftover: int | None = None
    """After: words and values of the request that no argument took."""
    problems: int | None = None
    """After: what the verifier found."""

    @property
    def answered(self) -> bool:
        return self.confidence is not None or self.problems is not None


BEFORE = ("probability", "margin", "nearest", "chars", "tools", "schema_chars")
AFTER = (
    *("pick", "second", "confidence", "least_margin", "agreement", "likeness", "score", "gap"),
    *("verb_known", "taken", "swallowed", "edges", "marks", "unnamed", "question", "reach"),
    *("leftover", "problems"),
)
COLUMNS = (*BEFORE, *AFTER)
"""What a layer sees, one number each."""
ODDS = ("probability", "pick", "confidence")
"""Those that it sees as log odds."""
COUNTS = ("chars", "tools", "schema_chars", "leftover", "problems")
"""Those that it sees as logarithms."""


def log_odds(probability: Floats) -> Floats:
    """log(p / (1 - p)), kept within ±13.8."""
    import numpy as np

    p = np.clip(probability, 1e-6, 1.0 - 1e-6)
    odds: Floats = np.log(p / (1.0 - p))
    return odds


def columns(rows: Sequence[Signals]) -> Floats:
    """Shape ``[len(rows), len(COLUMNS)]``; NaN where a signal is not known."""
    import numpy as np

    values = [[getattr(row, name) for name in COLUMNS] for row in rows]
    table = np.array(values, np.float64).reshape(len(rows), len(COLUMNS))
    odds, counts = ([COLUMNS.index(name) for name in names] for names in (ODDS, COUNTS))
    table[:, odds] = log_odds(table[:, odds])
    table[:, counts] = np.log1p(table[:, counts])
    return table


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A calibrated probability from the columns that one side of the answer knows."""

    names: tuple[str, ...]
    layer: Layer
    knots: Floats
    """Log odds of the layer at which the isotonic steps lie; empty: the layer stands alone."""
    values: Floats
    """Calibrated probabilities at ``knots``, non-decreasing."""

    def table(self, rows: Sequence[Signals]) -> Floats:
        """Shape ``[len(rows), len(names)]``."""
        picked: Floats = columns(rows)[:, [COLUMNS.index(n) for n in self.names]]
        return picked

    def probability(self, table: Floats) -> Floats:
        """Shape ``[len(table)]``."""
        import numpy as np

        odds = self.layer.log_odds(table)
        if not len(self.knots):
            return sigmoid(odds)
        found: Floats = np.interp(odds, self.knots, self.values)
        return found

    def as_dict(self) -> dict[str, Any]:
        layer = {f.name: _plain(getattr(self.layer, f.name)) for f in dataclasses.fields(Layer)}
        return {
            "columns": list(self.names),
            "layer": layer,
            "knots": self.knots.tolist(),
            "values": self.values.tolist(),
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any], names: tuple[str, ...]) -> Side:
        """Raises KeyError, TypeError, ValueError; UsageError where it reads other columns."""
        import numpy as np

        if tuple(content["columns"]) != names:
            raise UsageError(
                "The score was fitted on other signals than this version reads.",
                hint="Calibrate again: aidecamp calibrate run.",
            )
        layer = content["layer"]
        return Side(
            names,
            Layer(
                np.array(layer["mean"], np.float64),
                np.array(layer["spread"], np.float64),
                np.array(layer["weights"], np.float64),
                float(layer["offset"]),
            ),
            np.array(content["knots"], np.float64),
            np.array(content["values"], np.float64),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Cascade:
    """P(the local answer is right) for steps of one kind by one set of model files."""

    model: str
    """Their digests."""
    before: Side
    after: Side

    def probability(self, rows: Sequence[Signals]) -> Floats:
        """Shape ``[len(rows)]``; of rows without an answer yet, what is expected of one."""
        import numpy as np

        answered = np.array([row.answered for row in rows], dtype=bool)
        found = np.zeros(len(rows))
        for after in (False, True):
            own = np.flatnonzero(answered == after).tolist()
            if own:
                side = self._side(after)
                found[own] = side.probability(side.table([rows[i] for i in own]))
        return found

    def effects(self, row: Signals) -> dict[str, float]:
        """How much each known signal moved the score, in log odds, against a typical step."""
        side = self._side(row.answered)
        parts = side.layer.parts(side.table([row]))[0]
        return {n: float(p) for n, p in zip(side.names, parts, strict=True) if abs(p) > 1e-12}

    def _side(self, answered: bool) -> Side:
        return self.after if answered else self.before

    def as_dict(self) -> dict[str, Any]:
        """JSON values that :meth:`from_dict` reads back."""
        return {
            "model": self.model,
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Cascade:
        """Raises UsageError where it was fitted on other signals, or is none."""
        try:
            return Cascade(
                model=str(content["model"]),
                before=Side.from_dict(content["before"], BEFORE),
                after=Side.from_dict(content["after"], COLUMNS),
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
    table = columns(rows)
    before, after = (
        _fit_side(table[:, [COLUMNS.index(n) for n in names]], names, target, seed)
        for names in (BEFORE, COLUMNS)
    )
    return Cascade(model, before, after)


def _fit_side(table: Floats, names: tuple[str, ...], target: NDArray[np.bool_], seed: int) -> Side:
    import numpy as np

    outcome = target.astype(np.float64)
    knots, values = np.zeros(0), np.zeros(0)
    if len(table) >= ISOTONIC_ROWS:
        held = np.zeros(len(table))
        fold = _folds(target, seed)
        for k in range(FOLDS):
            out = fold == k
            held[out] = fit_layer(table[~out], outcome[~out]).log_odds(table[out])
        if _isotonic_helps(held, target, fold):
            knots, values = fit_isotonic(held, outcome)
    return Side(names, fit_layer(table, outcome), knots, values)


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
