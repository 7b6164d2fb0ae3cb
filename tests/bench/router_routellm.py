"""RouteLLM's protocol: how much of the strong model's gain for how many calls to it.

    python -m tests.bench.router --suite routellm [--data FILE]

MMLU questions with whether a weak and a strong model answered each rightly (lm-sys/RouteLLM,
arXiv 2406.18665). 1,500 rows chosen by a seed are learned from, the others are ranked by the
benefit of asking the strong model; five seeds, means of them. ``apgr``: the share of the gap
between the models that is recovered, averaged over all shares of strong calls. ``cpt50`` and
``cpt80``: percent of strong calls that recover 50 and 80 % of it. ``apgr_unseen``: with whole
subjects left out, so that no subject is ranked that was learned from. ``--data`` replaces the rows
that are ranked; rows with the same prompt are then not learned from.

The ranking is the mean of ``runtime.benefit.fit_benefit`` on nine sums of kernels over the
prompt's text (``routellm_features``, and pieces of words by TF-IDF): MIXTURES, each under RIDGES.
How much each counts is settled anew in each fit by cross-validation within its training rows, one
row left out at a time, or one subject where the subjects ranked will be new. A subject's name
serves to leave it out, and is no feature. Features and kernels were picked by cross-validation on
the training rows of these five seeds, candidates and SHARPNESS by nested cross-validation there.
Those rows are together most of the file, so only the figures of other ``--data`` owe nothing to it.
Beside it on the same seeds: prompt length alone, TF-IDF with ridge regression, and RouteLLM's
published best.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.pool import Pool
from runtime.benefit import fit_benefit
from tests.bench.routellm_features import Features, features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

DATA = Path(__file__).parents[3] / "shared" / "data" / "routellm" / "mmlu_dev.jsonl.gz"
SEEDS = 5
TRAINED = 1500
UNSEEN_FOLDS = 3
"""With subjects left out, a third of them is ranked at a time."""
MIXTURES: Sequence[Mapping[str, float]] = tuple(
    {"form": 1.0, "trend": trend, "pieces": topic, "stems": topic, "options": topic}
    for trend, topic in ((0.0, 1.0), (1.0, 1.0), (1.0, 0.3))
)
"""Weights of the kernels: from what recurs within a subject to what holds across them."""
RIDGES = (2.0, 4.0, 8.0)
"""Rows' worth of penalty, for kernels of total weight 1."""
SHARPNESS = 100.0
"""A candidate with 0.01 less APGR on rows left out counts 1/e as much."""
FORM_WIDTH, EMBEDDING_WIDTH = 1.0, 4.0
PUBLISHED = {"apgr": 0.603, "cpt50": 35.4, "cpt80": 70.3}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    prompts: list[str]
    subjects: NDArray[np.str_]
    weak: NDArray[np.bool_]
    strong: NDArray[np.bool_]
    features: Features

    def __len__(self) -> int:
        return len(self.prompts)


def read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        sys.exit(
            f"RouteLLM's MMLU answers are not at {path}. They are published in "
            "https://github.com/lm-sys/RouteLLM; give a file of "
            "{domain, prompt, weak_correct, strong_correct} rows with --data."
        )
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def questions(rows: Sequence[Mapping[str, Any]], encoder: Any) -> Questions:
    import numpy as np

    prompts = [str(r["prompt"]) for r in rows]
    say(f"embedding {len(rows)} questions")
    return Questions(
        prompts=prompts,
        subjects=np.array([str(r["domain"]) for r in rows]),
        weak=np.array([bool(r["weak_correct"]) for r in rows]),
        strong=np.array([bool(r["strong_correct"]) for r in rows]),
        features=features(prompts, encoder),
    )


@dataclass(frozen=True, slots=True)
class Curve:
    apgr: float
    cpt50: float
    cpt80: float


def curve(benefit: Floats, weak: NDArray[np.bool_], strong: NDArray[np.bool_]) -> Curve:
    """Recovered share of the gap over the share of strong calls, highest benefit first."""
    import numpy as np

    order = np.argsort(-benefit, kind="stable")
    gains = np.cumsum((strong.astype(int) - weak.astype(int))[order])
    recovered = np.concatenate([[0.0], gains / gains[-1]])
    calls = np.linspace(0.0, 1.0, len(recovered))
    return Curve(
        float(np.trapezoid(recovered, calls)),
        *(100.0 * float(calls[np.argmax(recovered >= level)]) for level in (0.5, 0.8)),
    )


Ranker = Callable[[Questions, "Indices", Questions, "Indices", bool], "Floats"]
"""(questions to learn from, which of them, questions to rank, which of them, whether these are of
subjects that were not learned from) -> benefit."""


def by_length(_: Questions, __: Indices, ranked: Questions, held: Indices, ___: bool) -> Floats:
    import numpy as np

    return np.array([len(ranked.prompts[i]) for i in held], dtype=np.float64)


def by_tfidf(
    learned: Questions, rows: Indices, ranked: Questions, held: Indices, _: bool
) -> Floats:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    model = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
    table = model.fit_transform([learned.prompts[i] for i in rows])
    gain = learned.strong[rows].astype(float) - learned.weak[rows].astype(float)
    ridge = Ridge(alpha=1.0).fit(table, gain)
    found = ridge.predict(model.transform([ranked.prompts[i] for i in held]))
    return np.asarray(found, dtype=np.float64)


def by_benefit(
    learned: Questions, rows: Indices, ranked: Questions, held: Indices, unseen: bool
) -> Floats:
    import numpy as np

    own, across = kernels(learned, rows, ranked, held)
    weak, strong = learned.weak[rows], learned.strong[rows]
    groups = learned.subjects[rows] if unseen else np.arange(len(rows))
    scores, gains = [], []
    for mixture in MIXTURES:
        known, asked = (
            np.sum([weight * part[name] for name, weight in mixture.items()], axis=0)
            for part in (own, across)
        )
        for level in RIDGES:
            ridge = level * sum(mixture.values())
            predicted = left_out(known, strong.astype(float) - weak.astype(float), groups, ridge)
            scores.append(curve(predicted, weak, strong).apgr)
            gains.append(fit_benefit(known, weak, strong, ridge).gain(asked))
    counts = np.exp(SHARPNESS * (np.array(scores) - max(scores)))
    return np.average(gains, axis=0, weights=counts)


def left_out(kernel: Floats, gain: Floats, groups: NDArray[Any], ridge: float) -> Floats:
    """What each row is predicted by a fit without its group. All from one inverse: with A that of
    the kernel plus ridge, a group's residuals are A[g, g]^-1 (A y)[g] (Rasmussen and Williams
    2006, section 5.4.2, there for single rows)."""
    import numpy as np

    inverse = np.linalg.inv(kernel + ridge * np.eye(len(kernel)))
    dual = inverse @ (gain - gain.mean())
    found = gain.copy()
    for group in np.unique(groups):
        i = np.flatnonzero(groups == group)
        found[i] -= np.linalg.solve(inverse[np.ix_(i, i)], dual[i])
    return found


def kernels(
    learned: Questions, rows: Indices, ranked: Questions, held: Indices
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Similarities among the learned rows, and of the ranked rows to them, each of mean 1 for a
    row with itself: alike in traits, linear in them, in pieces of words, and in the embeddings
    of what is asked and of the options."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    known, asked = learned.features, ranked.features
    mean, spread = known.traits[rows].mean(axis=0), known.traits[rows].std(axis=0) + 1e-9
    a, b = (
        np.clip((f.traits[i] - mean) / spread, -3.0, 3.0) / np.sqrt(len(mean))
        for f, i in ((known, rows), (asked, held))
    )
    model = TfidfVectorizer(
        sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5), min_df=3, dtype=np.float64
    )
    table = model.fit_transform([learned.prompts[i] for i in rows])
    others = model.transform([ranked.prompts[i] for i in held])
    own = {"form": _bell(a, a, FORM_WIDTH), "trend": a @ a.T, "pieces": (table @ table.T).toarray()}
    across = {
        "form": _bell(b, a, FORM_WIDTH),
        "trend": b @ a.T,
        "pieces": (others @ table.T).toarray(),
    }
    for name in ("stems", "options"):
        vectors = getattr(known, name)[rows]
        own[name] = _bell(vectors, vectors, EMBEDDING_WIDTH)
        across[name] = _bell(getattr(asked, name)[held], vectors, EMBEDDING_WIDTH)
    for name, kernel in own.items():
        scale = float(np.diag(kernel).mean())
        own[name], across[name] = kernel / scale, across[name] / scale
    return own, across


def _bell(a: Floats, b: Floats, width: float) -> Floats:
    import numpy as np

    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    found: Floats = np.exp(-width * np.maximum(square, 0.0))
    return found


def compare(learned: Questions, ranked: Questions, own: bool) -> dict[str, dict[str, float]]:
    """Mean figures of each ranker. ``own``: rows are ranked that come from the same file."""
    import numpy as np

    rankers: dict[str, Ranker] = {
        "prompt length": by_length,
        "TF-IDF + ridge": by_tfidf,
        "ours": by_benefit,
    }
    totals = {
        name: {"apgr": 0.0, "cpt50": 0.0, "cpt80": 0.0, "apgr_unseen": 0.0} for name in rankers
    }
    everyone = np.arange(len(ranked))
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(learned))
        rows, held = order[:TRAINED], order[TRAINED:] if own else everyone
        subjects = rng.permutation(np.unique(learned.subjects))
        for name, ranker in rankers.items():
            found = curve(
                ranker(learned, rows, ranked, held, False), ranked.weak[held], ranked.strong[held]
            )
            unseen = []
            for fold in range(UNSEEN_FOLDS):
                out = subjects[fold::UNSEEN_FOLDS]
                kept = order[~np.isin(learned.subjects[order], out)][:TRAINED]
                new = everyone[np.isin(ranked.subjects, out)]
                if not len(new):  # another file's rows may be of few subjects
                    continue
                benefit = ranker(learned, kept, ranked, new, True)
                unseen.append(curve(benefit, ranked.weak[new], ranked.strong[new]).apgr)
            mean = float(np.mean(unseen)) if unseen else float("nan")
            figures = (found.apgr, found.cpt50, found.cpt80, mean)
            for key, value in zip(totals[name], figures, strict=True):
                totals[name][key] += value / SEEDS
            say(f"seed {seed} {name}: {found}, unseen {mean:.4f}")
    return totals


def measure(data: Path | None = None) -> dict[str, float]:
    pool = Pool()
    try:
        encoder = pool.encoder()
        rows = read(DATA)
        if data is None:
            learned = ranked = questions(rows, encoder)
        else:
            other = read(data)
            prompts = {str(r["prompt"]) for r in other}
            learned = questions([r for r in rows if str(r["prompt"]) not in prompts], encoder)
            ranked = questions(other, encoder)
    finally:
        pool.close()
    totals = compare(learned, ranked, own=data is None)
    for name, figures in {**totals, "RouteLLM, published": PUBLISHED}.items():
        say(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
    ours = totals["ours"]
    return {k: round(v, 4 if k.startswith("apgr") else 2) for k, v in ours.items()}
