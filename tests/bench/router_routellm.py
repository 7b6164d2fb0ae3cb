"""RouteLLM's protocol: how much of the strong model's gain for how many calls to it.

    python -m tests.bench.router --suite routellm [--data FILE]

MMLU questions with whether a weak and a strong model answered each rightly (lm-sys/RouteLLM,
arXiv 2406.18665). 1,500 rows chosen by a seed are learned from, the others are ranked by the
benefit of asking the strong model; five seeds, means of them. ``apgr``: the share of the gap
between the models that is recovered, averaged over all shares of strong calls. ``cpt50`` and
``cpt80``: percent of strong calls that recover 50 and 80 % of it. ``apgr_unseen``: with whole
subjects left out, so that no subject is ranked that was learned from. ``--data`` replaces the rows
that are ranked; rows with the same prompt are then not learned from.

The ranking is ``runtime.benefit.fit_benefit`` on a sum of kernels: the encoder's embedding,
words and pieces of words by TF-IDF, and the shape of the question.
Mixture and ridge were chosen by cross-validation within training rows. Beside it on the same
seeds: prompt length alone, TF-IDF with ridge regression, and RouteLLM's published best.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.pool import Pool
from runtime.benefit import fit_benefit

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
MIXTURE: Mapping[str, float] = {"pieces": 1.0, "words": 1.0, "meaning": 1.0, "shape": 2.0}
RIDGE = 3.0
"""Rows' worth of penalty, for a kernel of weight 1."""
MEANING_WIDTH, SHAPE_WIDTH = 4.0, 0.02
PUBLISHED = {"apgr": 0.603, "cpt50": 35.4, "cpt80": 70.3}
_NEGATED = re.compile(r"\b(NOT|EXCEPT|not|except|false|incorrect|least)\b")
_ALL = re.compile(r"all of the above|none of the above|both|I and II|only", re.IGNORECASE)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    prompts: list[str]
    subjects: NDArray[np.str_]
    weak: NDArray[np.bool_]
    strong: NDArray[np.bool_]
    vectors: Floats
    shapes: Floats

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
        vectors=np.concatenate([encoder.embed([p]) for p in prompts]).astype(np.float64),
        shapes=np.array([shape(p) for p in prompts]),
    )


def shape(prompt: str) -> list[float]:
    """What a question looks like, whatever it is about: lengths, digits, symbols, negation."""
    from math import log1p

    stem, _, rest = prompt.removesuffix("\nAnswer:").partition("\nA. ")
    options = [len(o) for o in re.split(r"\n[B-Z]\. ", rest)]
    size, tokens = max(1, len(prompt)), prompt.split()
    return [
        log1p(size),
        log1p(len(stem)),
        log1p(sum(options) / len(options)),
        log1p(max(options)) - log1p(min(options)),
        sum(c.isdigit() for c in prompt) / size,
        sum(c.isdigit() for c in rest) / max(1, len(rest)),
        float(any(c.isdigit() for c in stem)),
        sum(c in "=+-*/^()$\\{}<>" for c in prompt) / size,
        float("?" in stem),
        float(stem.rstrip().endswith(":")),
        float("_" in stem),
        float(bool(_NEGATED.search(stem))),
        float("Statement 1" in stem),
        float("following" in stem),
        sum(c.isupper() for c in prompt) / size,
        log1p(stem.count(".") + stem.count("?")),
        log1p(len(set(tokens))),
        sum(map(len, tokens)) / max(1, len(tokens)),
        float(bool(_ALL.search(rest))),
        log1p(stem.count("\n")),
    ]


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


Ranker = Callable[[Questions, "Indices", Questions, "Indices"], "Floats"]
"""(questions to learn from, which of them, questions to rank, which of them) -> benefit."""


def by_length(_: Questions, __: Indices, ranked: Questions, held: Indices) -> Floats:
    import numpy as np

    return np.array([len(ranked.prompts[i]) for i in held], dtype=np.float64)


def by_tfidf(learned: Questions, rows: Indices, ranked: Questions, held: Indices) -> Floats:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    model = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
    table = model.fit_transform([learned.prompts[i] for i in rows])
    gain = learned.strong[rows].astype(float) - learned.weak[rows].astype(float)
    ridge = Ridge(alpha=1.0).fit(table, gain)
    found = ridge.predict(model.transform([ranked.prompts[i] for i in held]))
    return np.asarray(found, dtype=np.float64)


def by_benefit(learned: Questions, rows: Indices, ranked: Questions, held: Indices) -> Floats:
    import numpy as np

    known, asked = kernels(learned, rows, ranked, held)
    own, across = (
        np.sum([weight * part[name] for name, weight in MIXTURE.items()], axis=0)
        for part in (known, asked)
    )
    ridge = RIDGE * sum(MIXTURE.values())
    return fit_benefit(own, learned.weak[rows], learned.strong[rows], ridge).gain(across)


def kernels(
    learned: Questions, rows: Indices, ranked: Questions, held: Indices
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Similarities among the learned rows, and of the ranked rows to them, each of mean 1 for a
    row with itself."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    own: dict[str, Floats] = {}
    across: dict[str, Floats] = {}
    settings: dict[str, dict[str, Any]] = {
        "words": {"ngram_range": (1, 2), "min_df": 2},
        "pieces": {"analyzer": "char_wb", "ngram_range": (2, 5), "min_df": 3},
    }
    for name, setting in settings.items():
        model = TfidfVectorizer(sublinear_tf=True, **setting)
        table = model.fit_transform([learned.prompts[i] for i in rows])
        own[name] = (table @ table.T).toarray()
        across[name] = (model.transform([ranked.prompts[i] for i in held]) @ table.T).toarray()
    mean, spread = learned.shapes[rows].mean(axis=0), learned.shapes[rows].std(axis=0) + 1e-9
    shapes, others = (
        np.clip((q.shapes[i] - mean) / spread, -3.0, 3.0)
        for q, i in ((learned, rows), (ranked, held))
    )
    own["shape"] = _bell(shapes, shapes, SHAPE_WIDTH)
    across["shape"] = _bell(others, shapes, SHAPE_WIDTH)
    vectors, asked = learned.vectors[rows], ranked.vectors[held]
    own["meaning"] = _bell(vectors, vectors, MEANING_WIDTH)
    across["meaning"] = _bell(asked, vectors, MEANING_WIDTH)
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
                ranker(learned, rows, ranked, held), ranked.weak[held], ranked.strong[held]
            )
            unseen = []
            for fold in range(UNSEEN_FOLDS):
                out = subjects[fold::UNSEEN_FOLDS]
                kept = order[~np.isin(learned.subjects[order], out)][:TRAINED]
                new = everyone[np.isin(ranked.subjects, out)]
                benefit = ranker(learned, kept, ranked, new)
                unseen.append(curve(benefit, ranked.weak[new], ranked.strong[new]).apgr)
            mean = float(np.mean(unseen))
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
