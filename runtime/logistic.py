"""A ridge logistic layer on a few named columns, some of which may not be known for a row.

Plain numpy. Its parts add up to its log odds, so what each column did can be said exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.calibrate import fit_logistic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

L2 = 1.0
"""Ridge penalty on standardized columns, in rows."""


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
    """The layer with the least log loss of ``target`` (0 to 1), penalized."""
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
    theta = fit_logistic(design, target, penalty)
    return Layer(mean, spread, theta[:-1], float(theta[-1]))
