"""Whether anything that is on offer here does what is asked at all: one number for a step.

A logistic layer on the encoder's embedding, one for each kind of step, fitted on labelled steps of
which about a third ask for something near that no tool does ("switch off the bedroom heater",
where there are lights alone). The Router asks whether a step is any agent's work; this asks whether
it is this one's. Fitting: ``fit``; shipped in ``models/specialists/acceptance/reach.npz``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ModelCorrupt
from runtime.logistic import fit_layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHIPPED = Path(__file__).parents[1] / "models" / "specialists" / "acceptance" / "reach.npz"
L2 = 30.0
"""Ridge penalty on standardized columns, in rows: 384 of them, and a few hundred rows."""
FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """Weights by kind, for the encoder file with digest ``encoder``; the last is the offset."""

    encoder: str = ""
    weights: Mapping[str, Floats] = field(default_factory=dict)

    def of(self, kind: str, row: NDArray[np.floating]) -> float | None:
        """Log odds that some tool here serves the step. ``row``: its embedding ``[dimension]``.
        None where nothing was learned of its kind."""
        weights = self.weights.get(kind)
        return None if weights is None else float(row @ weights[:-1] + weights[-1])

    def save(self, path: Path) -> None:
        """Write to ``path`` (``.npz``), in 32-bit floats."""
        import numpy as np

        arrays: dict[str, Any] = {
            f"kind_{k}": w.astype(np.float32) for k, w in self.weights.items()
        }
        np.savez_compressed(path, encoder=np.array(self.encoder), **arrays)

    @staticmethod
    def load(encoder: str, path: Path = SHIPPED) -> Reach:
        """What is in ``path`` for this encoder; empty where it was learned on another, or there is
        none. Raises ModelCorrupt where it cannot be read."""
        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as arrays:
                if str(arrays["encoder"]) != encoder:
                    return Reach()
                weights = {
                    name.removeprefix("kind_"): arrays[name].astype(np.float64)
                    for name in arrays.files
                    if name.startswith("kind_")
                }
        except FileNotFoundError:
            return Reach()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ModelCorrupt(
                f"{path} cannot be read ({error}).", hint="Install Aidecamp again."
            ) from error
        return Reach(encoder, weights)


def fit(rows: Floats, served: NDArray[np.bool_]) -> Floats:
    """Weights ``[dimension + 1]`` from embeddings ``[n, dimension]`` and whether a tool serves."""
    import numpy as np

    layer = fit_layer(rows.astype(np.float64), served.astype(np.float64), L2)
    weights = layer.weights / layer.spread
    found: Floats = np.append(weights, layer.offset - weights @ layer.mean)
    return found


def held_out(rows: Floats, served: NDArray[np.bool_], seed: int = 0) -> Floats:
    """The log odds of each row under weights that were fitted without it. Shape ``[n]``."""
    import numpy as np

    fold = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
    found = np.zeros(len(rows))
    for k in range(FOLDS):
        weights = fit(rows[fold != k], served[fold != k])
        found[fold == k] = rows[fold == k] @ weights[:-1] + weights[-1]
    return found
