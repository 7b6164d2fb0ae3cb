"""Greedy choice from logits, with the evidence for it. Pure functions on arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Pick(NamedTuple):
    """The likeliest allowed token; ``logprob`` and ``margin`` are among the allowed alone."""

    token: int
    logprob: float
    margin: float


def pick(logits: NDArray[np.float32], allowed: NDArray[np.intp] | None) -> Pick:
    """The likeliest of the ``allowed`` token ids (of all where None)."""
    import numpy as np

    values = logits if allowed is None else logits[allowed]
    best = int(values.argmax())
    token = best if allowed is None else int(allowed[best])
    if len(values) == 1:
        return Pick(token, 0.0, 1.0)
    odds = np.exp(values - values[best])
    total = float(odds.sum())
    odds[best] = 0.0
    return Pick(token, -float(np.log(total)), (1.0 - float(odds.max())) / total)


def log_softmax(values: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    shifted = values - values.max()
    result: NDArray[Any] = shifted - np.log(np.exp(shifted).sum())
    return result
