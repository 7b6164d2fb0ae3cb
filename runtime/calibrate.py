"""Scores to probabilities, and how good those probabilities are.

Temperature scaling and expected calibration error after Guo et al. 2017 (arXiv 1706.04599),
Platt scaling and isotonic regression for one score, and the threshold that meets a recall. Plain
numpy, so that what was fitted can be checked where scikit-learn is not loaded. Thresholds that
bound a risk with a confidence are in ``risk``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_STEPS = 60
"""Golden-section steps: the bracket shrinks by 0.618 in each, to below 1e-10."""


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Row-wise softmax of ``logits / temperature``, shape ``[n, k]``."""
    import numpy as np

    scaled = logits / temperature
    exps: Floats = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    exps /= exps.sum(axis=1, keepdims=True)
    return exps


def sigmoid(scores: Floats) -> Floats:
    """1 / (1 + exp(-scores)), without overflow."""
    import numpy as np

    return 0.5 * (1.0 + np.tanh(0.5 * scores))


def log_loss(logits: Floats, labels: NDArray[np.int64], temperature: float) -> float:
    """Mean negative log probability of the right class, in nats."""
    import numpy as np

    right = softmax(logits, temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(right, 1e-12)).mean())


def fit_temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """The temperature in [0.05, 20] with the least log loss (golden-section search)."""
    import math

    low, high = math.log(0.05), math.log(20.0)
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(_STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if log_loss(logits, labels, math.exp(left)) < log_loss(logits, labels, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2.0)


def fit_platt(scores: Floats, positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset of ``sigmoid(slope * score + offset)`` = P(positive).

    Platt's smoothed targets keep both finite where the scores separate perfectly.
    """
    import numpy as np

    n_yes, n_no = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (n_yes + 1) / (n_yes + 2), 1 / (n_no + 2))
    design = np.stack([scores, np.ones_like(scores)], axis=1)
    slope, offset = fit_logistic(design, target, np.full(2, 1e-9))
    return float(slope), float(offset)


def fit_logistic(design: Floats, target: Floats, penalty: Floats) -> Floats:
    """Weights ``[columns]`` of ``sigmoid(design @ weights)`` with the least log loss of ``target``
    (0 to 1), and half of ``penalty`` times their squares. Newton's method, damped."""
    import numpy as np

    theta: Floats = np.zeros(design.shape[1])

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
    return theta


def fit_isotonic(scores: Floats, target: Floats) -> tuple[Floats, Floats]:
    """The non-decreasing steps with the least squared error: knots and values, to interpolate.

    Pool adjacent violators (Ayer et al. 1955). Each block gives one knot, at its mean score, so
    that between two blocks the probability rises evenly; its value is smoothed by half a row of
    either outcome, so that none is certain.
    """
    import numpy as np

    blocks: list[tuple[float, float, float]] = []
    for at in np.argsort(scores, kind="stable"):
        total, hits, weight = float(scores[at]), float(target[at]), 1.0
        while blocks and blocks[-1][1] / blocks[-1][2] >= hits / weight:
            before = blocks.pop()
            total, hits, weight = total + before[0], hits + before[1], weight + before[2]
        blocks.append((total, hits, weight))
    knots = np.array([total / weight for total, _, weight in blocks], dtype=np.float64)
    values = np.array([(hits + 0.5) / (weight + 1.0) for _, hits, weight in blocks])
    return knots, np.maximum.accumulate(values)


def expected_calibration_error(
    probabilities: Floats, right: NDArray[np.bool_], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over ``bins`` of equal width, weighted by size."""
    import numpy as np

    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    gap = 0.0
    for b in range(bins):
        inside = index == b
        if inside.any():
            gap += inside.mean() * abs(probabilities[inside].mean() - right[inside].mean())
    return float(gap)


def threshold_at_recall(scores: Floats, recall: float) -> float:
    """The least score that keeps at least ``recall`` of ``scores`` strictly below it.

    ``scores`` are those of the rows to be rejected; a row below the threshold is rejected.
    """
    import math

    import numpy as np

    ordered = np.sort(scores)
    last = math.ceil(recall * len(ordered)) - 1
    return float(np.nextafter(ordered[max(last, 0)], np.inf))
