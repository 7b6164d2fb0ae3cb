"""What escalating a step would gain: P(General right) - P(local right).

That is not the doubt: some steps nobody gets right, and there a remote call buys nothing.
:func:`general_rate` says how likely the General is right, from what the ledger tells of it;
:class:`Benefit` learns the difference itself from steps that both sides answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ASSUMED_RATE, ASSUMED_ROWS = 0.9, 10.0
"""How often a General is taken to be right before its outcomes are known, and the number of
outcomes that this assumption weighs."""


def general_rate(right: int, wrong: int) -> float:
    """P(the General is right) on steps of a kind, after outcomes in the ledger: the mean of a
    beta distribution that starts from the assumption above."""
    return (right + ASSUMED_RATE * ASSUMED_ROWS) / (right + wrong + ASSUMED_ROWS)


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
