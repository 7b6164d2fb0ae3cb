"""Does a certified threshold keep its promise, and at what price in coverage?

    python -m tests.bench.router --suite trust [--data FILE]

On two sets of rows, none scored by a head that it was fitted on: our own steps, each held out with
its whole group of paraphrases from the head that scores it (five heads, as 1 % wants more rows than
one split holds out), and CLINC150's validation part (``--data``: another file in its place). 200
times, a set is cut in two by chance, 4 to 1: on the larger part the score is calibrated and its
threshold certified by Learn-then-Test, on the other the promise is looked at.

Of our own steps, keeping one is right where its kind is, as it would be served: a step that is
taken for a plan is not kept, and one that is a plan, or out of scope, is wrong to keep.

``held``: share of the cuts in which at most alpha of the kept rows was wrong, within binomial
error (two-sided 95 %: ``alpha + 1.96 sqrt(alpha (1 - alpha) / kept)``). ``coverage``: share of
rows kept. ``coverage_gap``: how much more the oracle keeps, which knows the outcomes of the rows
that are looked at. ``ece``: expected calibration error on those rows, in 15 bins. Of both sets,
the worse; maps are by alpha.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.base import Encoder
from models.pool import Pool
from runtime.calibrate import expected_calibration_error, fit_platt, sigmoid
from runtime.cascade import log_odds
from runtime.risk import DELTA, certify
from runtime.router_data import OUT_OF_SCOPE, SPLITS, load
from runtime.router_features import features
from runtime.router_train import FOLDS, ROUTER, fit
from tests.bench.router_clinc import score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Labels = NDArray[np.str_]

ALPHAS = (0.01, 0.05, 0.10)
CUTS = 200
SAME = ("parse", "tool")
"""Kinds that are served by the same functions."""
CALIBRATION = 0.8
"""Share of a set that the threshold comes from."""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def kept_here(classes: Floats, in_scope: Floats, labels: Sequence[str]) -> tuple[Floats, Labels]:
    """What the Router would keep each step here for, and with what score: P(that kind is right and
    in scope), as ``runtime.router.Router.probability`` has it. A plan is never kept: score 0."""
    import numpy as np

    names = np.array(labels)
    # The same functions serve both: either reading will do.
    shared = classes[:, np.isin(names, SAME)].sum(axis=1)
    merged = np.where(np.isin(names, SAME), shared[:, None], classes)
    kinds = names[merged.argmax(axis=1)]
    scores = np.where(kinds == "plan", 0.0, merged.max(axis=1) * in_scope)
    return scores, np.where(np.isin(kinds, SAME), SAME[0], kinds)


def own(encoder: Encoder) -> tuple[Floats, Flags]:
    """The score of each of our own steps, cross-fitted, and whether keeping it here is right."""
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold

    rows = [row for name in SPLITS for row in load(name)]
    vectors = np.concatenate([features(encoder, [row.text]) for row in rows])
    kinds = np.array([row.kind for row in rows])
    groups = np.array([row.template for row in rows])
    scores, right = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for number, (train, held) in enumerate(folds.split(vectors, kinds, groups)):
        say(f"our own steps: fold {number + 1} of {FOLDS}")
        inside, outside = train[kinds[train] != OUT_OF_SCOPE], train[kinds[train] == OUT_OF_SCOPE]
        head = fit(
            vectors[inside],
            kinds[inside].tolist(),
            vectors[outside],
            encoder=encoder.model,
            groups=groups[inside].tolist(),
            outside_groups=groups[outside].tolist(),
            recipe=ROUTER,
            dimension=encoder.dimension,
        )
        found = head.score(vectors[held])
        scores[held], said = kept_here(found.classes, found.in_scope, head.labels)
        meant = np.where(np.isin(kinds[held], SAME), SAME[0], kinds[held])
        right[held] = (said == meant) & (said != "plan")
    return scores, right


def oracle(scores: Floats, right: Flags, alpha: float) -> float:
    """The most that any threshold keeps with at most ``alpha`` wrong among the kept."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    wrong = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    # Rows of one score are kept together.
    ends = np.append(np.diff(scores[order]) != 0, True)
    fine = np.flatnonzero((wrong <= alpha) & ends)
    return float(fine[-1] + 1) / len(order) if len(fine) else 0.0


@dataclasses.dataclass(slots=True)
class Tally:
    held: int = 0
    kept: float = 0.0
    best: float = 0.0
    certified: int = 0


def judge(scores: Floats, right: Flags, seed: int = 0) -> dict[str, Any]:
    """The figures of one set of rows over :data:`CUTS` random cuts."""
    import numpy as np

    rng = np.random.default_rng(seed)
    tallies = {alpha: Tally() for alpha in ALPHAS}
    errors = []
    for _ in range(CUTS):
        order = rng.permutation(len(scores))
        size = round(CALIBRATION * len(scores))
        fitted, seen = order[:size], order[size:]
        slope, offset = fit_platt(log_odds(scores[fitted]), right[fitted])
        calibrated = sigmoid(slope * log_odds(scores[seen]) + offset)
        errors.append(expected_calibration_error(calibrated, right[seen]))
        for alpha, tally in tallies.items():
            certified = certify(scores[fitted], right[fitted], alpha, DELTA)
            at = np.inf if certified.threshold is None else certified.threshold
            kept = scores[seen] >= at
            count, wrong = int(kept.sum()), int((~right[seen] & kept).sum())
            slack = 1.96 * (alpha * (1 - alpha) / count) ** 0.5 if count else 0.0
            tally.held += count == 0 or wrong / count <= alpha + slack
            tally.kept += count / len(seen)
            tally.best += oracle(scores[seen], right[seen], alpha)
            tally.certified += certified.holds
    return {
        "held": {a: t.held / CUTS for a, t in tallies.items()},
        "coverage": {a: t.kept / CUTS for a, t in tallies.items()},
        "coverage_gap": {a: (t.best - t.kept) / CUTS for a, t in tallies.items()},
        "certified": {a: t.certified / CUTS for a, t in tallies.items()},
        "ece": float(np.mean(errors)),
    }


def measure(data: Path | None = None) -> dict[str, Any]:
    pool = Pool()
    try:
        encoder = pool.encoder()
        sets = {"own": own(encoder)}
        clinc = score(encoder, data)
        sets["clinc"] = clinc.probability, clinc.right
    finally:
        pool.close()
    found = {}
    for name, (scores, right) in sets.items():
        found[name] = judge(scores, right)
        say(f"{name}: {len(scores)} rows, {right.mean():.3f} right; {found[name]}")
    worse: dict[str, Any] = {}
    for key, pick in (("held", min), ("coverage", min), ("coverage_gap", max)):
        worse[key] = {
            f"{alpha:g}": round(pick(f[key][alpha] for f in found.values()), 4) for alpha in ALPHAS
        }
    return {**worse, "ece": round(max(f["ece"] for f in found.values()), 4)}
