"""The head on top of the encoder: which class a text is, and whether it is any of them.

A linear layer gives one logit for each class and one for "out of scope". A second, tiny linear
layer joins the evidence that a text is in scope at all: the energy (log-sum-exp) of the class
logits (Liu et al. 2020, arXiv 2010.03759), the best of them, the out-of-scope logit, and the
similarity to the nearest and the fifth-nearest training text (Sun et al. 2022, arXiv
2204.06507). Plain numpy arrays in an ``.npz``, no pickle. Fitting is in ``router_train``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ModelCorrupt, ModelMissing
from runtime.calibrate import sigmoid, softmax

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEIGHBOUR = 5
"""Which neighbour besides the nearest speaks for being in scope."""
BANK_SCALE = 254.0
"""Unit vectors of 384 numbers rarely hold one above 0.5: times this they fit into int8."""
EVIDENCE = ("energy", "best", "out", "nearest", "fifth")
_REFIT = "Fit the head again with: python -m runtime.router_train"


@dataclass(frozen=True, slots=True)
class Scores:
    """What the head says of ``n`` texts."""

    classes: Floats
    """P(class | in scope), calibrated, shape ``[n, classes]``."""
    in_scope: Floats
    """P(in scope), calibrated, shape ``[n]``."""
    nearest: Floats
    """Cosine to the nearest training text, shape ``[n]``."""
    fifth: Floats
    """The same to the fifth-nearest."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Weights, calibration and threshold, fitted on one encoder file (``encoder``, a digest)."""

    encoder: str
    labels: tuple[str, ...]
    weights: Floats
    """Shape ``[classes + 1, columns]``; the last row is "out of scope"."""
    bias: Floats
    bank: NDArray[np.float32]
    """Embeddings (the first columns) of the training texts in scope, shape ``[rows, dimension]``.
    Kept as 8-bit integers on disk."""
    scope_weights: Floats
    """One weight for each of :data:`EVIDENCE`, then the offset."""
    temperature: float = 1.0
    scope_slope: float = 1.0
    scope_offset: float = 0.0
    threshold: float = 0.5
    """A text with P(in scope) below this is out of scope."""

    def evidence(self, vectors: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Class logits ``[n, classes]`` and :data:`EVIDENCE` ``[n, 5]`` of features."""
        import numpy as np

        logits = _products(vectors, self.weights) + self.bias
        inside, out = logits[:, :-1], logits[:, -1]
        best = inside.max(axis=1)
        energy = best + np.log(np.exp(inside - best[:, None]).sum(axis=1))
        embedded = vectors[:, : self.bank.shape[1]]
        similar = _products(embedded, self.bank)
        k = min(NEIGHBOUR, similar.shape[1])
        top = np.sort(np.partition(similar, -k, axis=1)[:, -k:], axis=1)
        stacked = np.stack([energy, best, out, top[:, -1], top[:, 0]], axis=1)
        return inside.astype(np.float64), stacked.astype(np.float64)

    def scope_score(self, evidence: Floats) -> Floats:
        """The joined evidence as one number, larger for texts in scope. Shape ``[n]``."""
        score: Floats = evidence @ self.scope_weights[:-1] + self.scope_weights[-1]
        return score

    def score(self, vectors: NDArray[np.float32]) -> Scores:
        """Calibrated probabilities for features of shape ``[n, columns]``."""
        logits, evidence = self.evidence(vectors)
        return Scores(
            classes=softmax(logits, self.temperature),
            in_scope=sigmoid(self.scope_slope * self.scope_score(evidence) + self.scope_offset),
            nearest=evidence[:, EVIDENCE.index("nearest")],
            fifth=evidence[:, EVIDENCE.index("fifth")],
        )

    def save(self, path: Path) -> None:
        """Write the head to ``path`` (``.npz``): weights in 32-bit floats, bank in int8."""
        import numpy as np

        fields: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["weights"] = self.weights.astype(np.float32)
        fields["bank"] = np.clip(np.rint(self.bank * BANK_SCALE), -127, 127).astype(np.int8)
        np.savez_compressed(path, **fields)

    @staticmethod
    def load(path: Path, *, encoder: str) -> Head:
        """The head in ``path``, for the encoder file with digest ``encoder``.

        Raises ModelMissing where there is none, ModelCorrupt where it cannot be read or was
        fitted on another encoder file: probabilities move with every change of the weights.
        """
        import zipfile

        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as arrays:
                values = {f.name: arrays[f.name] for f in dataclasses.fields(Head)}
        except FileNotFoundError as error:
            raise ModelMissing(f"The Router's head is missing: {path}.", hint=_REFIT) from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ModelCorrupt(
                f"The Router's head cannot be read: {path} ({error}).", hint=_REFIT
            ) from error
        fitted_on = str(values["encoder"])
        if fitted_on != encoder:
            raise ModelCorrupt(
                f"The Router's head was fitted on the encoder {fitted_on}, but the encoder in use "
                f"is {encoder}. Its probabilities would be wrong.",
                hint=_REFIT,
            )
        return Head(
            encoder=fitted_on,
            labels=tuple(str(x) for x in values["labels"]),
            weights=values["weights"].astype(np.float64),
            bias=values["bias"],
            bank=values["bank"].astype(np.float32) / BANK_SCALE,
            scope_weights=values["scope_weights"],
            temperature=float(values["temperature"]),
            scope_slope=float(values["scope_slope"]),
            scope_offset=float(values["scope_offset"]),
            threshold=float(values["threshold"]),
        )


def _products(rows: NDArray[np.float32], columns: NDArray[Any]) -> NDArray[np.floating]:
    """``rows @ columns.T``. One row alone keeps out of BLAS: its threads, woken for so little
    while the encoder's still spin, were measured to take 16 ms now and then, instead of 0.3."""
    import numpy as np

    if len(rows) > 1:
        many: NDArray[np.floating] = rows @ columns.T
        return many
    one: NDArray[np.floating] = np.einsum("md,d->m", columns, rows[0].astype(columns.dtype))
    return one[None, :]
