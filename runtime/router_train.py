"""Fit the Router's head: ``python -m runtime.router_train``.

Reads ``models/specialists/router/data``, fits on its training part and calibrates on its
calibration part with the encoder of the store, writes ``head.npz``, and ``card.md`` with the
scores on the test part. The benchmark on CLINC150 calls the same :func:`fit`. Fine-tuning the
encoder itself is not covered.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from models.base import Encoder
from runtime import router_data
from runtime.calibrate import (
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    sigmoid,
    threshold_at_recall,
)
from runtime.router_data import OUT_OF_SCOPE, Row
from runtime.router_features import features
from runtime.router_head import EVIDENCE, Head

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
    Floats = NDArray[np.float64]

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a head is fitted. Chosen on the training and calibration rows alone."""

    inverse_l2: float = 10.0
    """scikit-learn's C of the linear layer."""
    oos_recall: float = 0.95
    """Share of the out-of-scope rows that the threshold must reject where it is fitted. Above
    what is wanted later: a hundred rows say it only to within 4 points."""


ROUTER = Recipe(oos_recall=0.8)
"""For the shipped head: a step that is sent away without need costs money, and one that stays
without reason is still checked by the verifier."""


def fit(
    vectors: Vectors,
    labels: Sequence[str],
    outside: Vectors,
    *,
    encoder: str,
    groups: Sequence[str] | None = None,
    outside_groups: Sequence[str] | None = None,
    calibration: tuple[Vectors, Sequence[str], Vectors] | None = None,
    recipe: Recipe | None = None,
    dimension: int | None = None,
) -> Head:
    """A calibrated head for texts ``vectors`` of classes ``labels``, and ``outside`` of none.

    The first ``dimension`` columns (all, where None) are the embedding, whose neighbours count.
    The evidence for being in scope is joined by a logistic layer on cross-validated rows
    (whole ``groups`` held out together), since a text's own place in the bank says nothing.
    Temperature, Platt scaling and threshold come from those cross-validated rows, together with
    ``calibration`` (vectors, labels, out-of-scope vectors) where it is given.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    recipe = recipe or Recipe()
    width = dimension or vectors.shape[1]
    names = tuple(sorted(set(labels)))
    inside_labels = np.array([names.index(label) for label in labels])
    every = np.concatenate([vectors, outside])
    every_labels = np.concatenate([inside_labels, np.full(len(outside), len(names))])
    own = [f"row {i}" for i in range(len(every))]
    group_of = [*(groups or own[: len(vectors)]), *(outside_groups or own[len(vectors) :])]
    # Fold by fold: fitted on the other rows, as the head will meet new ones.
    logits = np.zeros((len(every), len(names)))
    evidence = np.zeros((len(every), len(EVIDENCE)))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, held in folds.split(every, every_labels, group_of):
        part = _linear(every[train], every_labels[train], names, width, recipe)
        logits[held], evidence[held] = part.evidence(every[held])
    is_inside = every_labels < len(names)
    mean, spread = evidence.mean(axis=0), evidence.std(axis=0) + 1e-9
    joint = LogisticRegression(class_weight="balanced")
    joint.fit((evidence - mean) / spread, is_inside)
    slopes = joint.coef_[0] / spread
    head = dataclasses.replace(
        _linear(every, every_labels, names, width, recipe),
        encoder=encoder,
        scope_weights=np.append(slopes, joint.intercept_[0] - slopes @ mean),
    )
    scores = head.scope_score(evidence)
    if calibration is not None:
        held, held_labels, held_outside = calibration
        more_logits, more_evidence = head.evidence(np.concatenate([held, held_outside]))
        logits = np.concatenate([logits, more_logits])
        scores = np.concatenate([scores, head.scope_score(more_evidence)])
        is_inside = np.concatenate([is_inside, np.arange(len(more_logits)) < len(held)])
        inside_labels = np.append(inside_labels, [names.index(label) for label in held_labels])
    slope, offset = fit_platt(scores, is_inside)
    in_scope = sigmoid(slope * scores + offset)
    return dataclasses.replace(
        head,
        temperature=fit_temperature(logits[is_inside], inside_labels),
        scope_slope=slope,
        scope_offset=offset,
        threshold=threshold_at_recall(in_scope[~is_inside], recipe.oos_recall),
    )


def _linear(
    vectors: Vectors,
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    dimension: int,
    recipe: Recipe,
) -> Head:
    """The linear layer and the bank, uncalibrated. Class ``len(names)`` is out of scope."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=recipe.inverse_l2, max_iter=500).fit(vectors, labels)
    return Head(
        encoder="",
        labels=names,
        weights=model.coef_,
        bias=model.intercept_,
        bank=vectors[labels < len(names), :dimension],
        scope_weights=np.zeros(len(EVIDENCE) + 1),
    )


@dataclass(frozen=True, slots=True)
class Part:
    """One split as arrays: rows in scope, then rows out of scope."""

    vectors: Vectors
    labels: list[str]
    groups: list[str]
    outside: Vectors
    outside_groups: list[str]

    @staticmethod
    def of(encoder: Encoder, rows: Sequence[Row]) -> Part:
        inside = [r for r in rows if r.kind != OUT_OF_SCOPE]
        outside = [r for r in rows if r.kind == OUT_OF_SCOPE]
        return Part(
            vectors=features(encoder, [r.text for r in inside]),
            labels=[r.kind for r in inside],
            groups=[r.template for r in inside],
            outside=features(encoder, [r.text for r in outside]),
            outside_groups=[r.template for r in outside],
        )


def fit_router(encoder: Encoder, folder: Path = router_data.FOLDER) -> Head:
    """The Router's head, fitted and calibrated on the shipped examples."""
    train = Part.of(encoder, router_data.load("train", folder))
    held = Part.of(encoder, router_data.load("calibration", folder))
    return fit(
        train.vectors,
        train.labels,
        train.outside,
        encoder=encoder.model,
        groups=train.groups,
        outside_groups=train.outside_groups,
        calibration=(held.vectors, held.labels, held.outside),
        recipe=ROUTER,
        dimension=encoder.dimension,
    )


def evaluate(head: Head, part: Part) -> dict[str, float]:
    """How good a head is on one split, as fractions.

    ``accuracy``: rows in scope whose kind is right, whatever the threshold says. ``in_scope``:
    those that are also taken for in scope. ``oos_recall``: rows out of scope that are rejected;
    ``oos_to_general``: rejected, or taken for a plan. ``plan_recall``: plans that reach the
    General either way. ``ece`` of P(kind right and in scope) over all rows, 15 bins.
    """
    import numpy as np

    inside, outside = head.score(part.vectors), head.score(part.outside)
    labels = np.array(head.labels)
    best, out_best = labels[inside.classes.argmax(axis=1)], labels[outside.classes.argmax(axis=1)]
    right = best == np.array(part.labels)
    kept, rejected = inside.in_scope >= head.threshold, outside.in_scope < head.threshold
    plans = np.array(part.labels) == "plan"
    probability = np.concatenate(
        [s.classes.max(axis=1) * s.in_scope for s in (inside, outside)],
    )
    scores = {
        "accuracy": right.mean(),
        "in_scope": (right & kept).mean(),
        "oos_recall": rejected.mean(),
        "ece": expected_calibration_error(
            probability, np.concatenate([right, np.zeros(len(rejected), dtype=bool)])
        ),
    }
    if plans.any():
        scores["plan_recall"] = ((best == "plan") | ~kept)[plans].mean()
        scores["oos_to_general"] = (rejected | (out_best == "plan")).mean()
    return {name: round(float(value), 4) for name, value in scores.items()}


def main() -> None:
    """Fit the head, write it with its card, and print its scores on the test split."""
    from models.pool import Pool

    pool = Pool()
    try:
        encoder = pool.encoder()
        print("embedding and fitting: one to two minutes", file=sys.stderr)
        head = fit_router(encoder)
        test = Part.of(encoder, router_data.load("test"))
    finally:
        pool.close()
    scores = evaluate(head, test)
    folder = router_data.FOLDER
    head.save(folder / "head.npz")
    (folder / "card.md").write_text(_card(head, scores), "utf-8")
    print(json.dumps(scores))


def _card(head: Head, scores: dict[str, float]) -> str:
    template = Template((router_data.FOLDER / "card.template.md").read_text("utf-8"))
    kinds: dict[str, Counter[str]] = {
        name: Counter(r.kind for r in router_data.load(name)) for name in router_data.SPLITS
    }
    counts = "\n".join(
        f"| {kind} | " + " | ".join(str(kinds[s][kind]) for s in router_data.SPLITS) + " |"
        for kind in sorted(kinds["train"])
    )
    return template.substitute(
        encoder=head.encoder,
        counts=counts,
        scores="\n".join(f"| {name} | {value} |" for name, value in scores.items()),
        temperature=f"{head.temperature:.2f}",
        threshold=f"{head.threshold:.3f}",
        inverse_l2=f"{ROUTER.inverse_l2:g}",
        calibration_recall=f"{ROUTER.oos_recall:.0%}",
    )


if __name__ == "__main__":
    main()
