"""Which recipe a request asks for: sentence similarity, checked against the types of its words.

The encoder compares the request with every recipe's description and examples. Recipes whose
required slots find nothing of their type in the request, or that could not use a typed value
that stands there, lose a little. A softmax turns scores into shares, and a logistic on the best
score says how likely it is that any recipe fits at all, so shares need not sum to 1.

Calibration needs no labels but the recipes' own examples. Temperature: each example is scored
against the others (leave one out). None of these: each example is scored with its own recipe
taken away, which is a request that nothing here serves, and a near one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from models.base import Encoder
from models.errors import UsageError
from runtime.roles.grounding import Span, spans
from runtime.tools.recipe import Picked, Recipe, SlotType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOP_EXAMPLES = 3
"""A recipe's score rests on its best example and on the mean of this many."""
WEIGHT_BEST = 0.4
WEIGHT_MEAN = 0.4
WEIGHT_DOES = 0.2
"""Shares of the best example, of that mean, and of the description."""
PENALTY_MISSING = 0.06
"""Cosine lost for each required typed slot that finds nothing of its type in the request."""
PENALTY_UNUSED = 0.05
"""Cosine lost for each typed value in the request that the recipe has no slot for."""
TEMPERATURE = 0.05
"""Softmax temperature (cosine) where there are too few examples to fit one."""
ABSENT_AT, ABSENT_SLOPE = 0.45, 14.0
"""Best score at which it is even odds that any recipe fits, and the slope, likewise."""
LEAST_EXAMPLES = 24
"""Fewer examples than this calibrate nothing."""

_CHECKED: frozenset[SlotType] = frozenset(
    ("size", "duration", "datetime", "extension", "keys", "path")
)
"""Types that words show reliably enough to count for or against a recipe."""
_TAKES: dict[SlotType, frozenset[SlotType]] = {
    "path": frozenset(("path", "new_path", "text", "lines", "json")),
    "datetime": frozenset(("datetime", "choice", "duration", "text", "lines", "json")),
    "duration": frozenset(("duration", "datetime", "integer", "number", "text", "lines", "json")),
    "size": frozenset(("size", "integer", "number", "text", "lines", "json")),
    "extension": frozenset(("extension", "pattern", "text", "lines", "json")),
    "keys": frozenset(("keys", "text", "lines", "json")),
}
_MASKS: dict[SlotType, str] = {
    "path": "a file",
    "extension": "",
    "size": "some size",
}
_PREAMBLE = re.compile(
    r"^\s*(?:(?:please|hey|hi|ok|okay|so|and|just|now|then|kindly|afterwards)\b[\s,]*"
    r"|(?:can|could|would|will)\s+you\s+(?:please\s+|kindly\s+)?(?:mind\s+)?(?:tell\s+me\s+)?"
    r"|(?:do\s+you\s+know|tell\s+me|let\s+me\s+know)\s+(?=wh|how|if)"
    r"|i(?:['’]d|\s+would)?\s+(?:like|want|need)\s+(?:you\s+to\s+|to\s+know\s+))+",
    re.IGNORECASE,
)
"""Polite beginnings, which say nothing about what is asked for."""
_PLACE_WORD = re.compile(r"\b(?:folder|directory|here)\b", re.IGNORECASE)
_NOWHERE = Path("/nonexistent")
_ANY_TIME = datetime(2026, 1, 5, 12)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted on the recipes' own examples, and how well it went."""

    temperature: float
    absent_at: float
    absent_slope: float
    examples: int
    top1: float | None
    """Leave-one-out accuracy; None where there were too few examples."""


class Picker:
    """Picks among fixed recipes. Embeds their texts once; ``cache`` is a folder that keeps them.

    Raises UsageError where there is nothing to pick from.
    """

    def __init__(
        self, encoder: Encoder, recipes: Sequence[Recipe], cache: Path | None = None
    ) -> None:
        import numpy as np

        if not recipes:
            raise UsageError("there is no recipe to pick from")
        self.encoder = encoder
        self.recipes = tuple(recipes)
        examples = [(i, e.text) for i, r in enumerate(recipes) for e in r.examples]
        self._owner = np.array([i for i, _ in examples], dtype=int)
        self._texts = [text for _, text in examples]
        described = [_description(r) for r in recipes]
        rows = embed_cached(encoder, [*described, *map(masked, self._texts)], cache)
        self._does, self._examples = rows[: len(recipes)], rows[len(recipes) :]
        self._fits = [_Fit.of(r) for r in recipes]
        self._last: tuple[str, NDArray[np.float32]] | None = None
        self.calibration = self._calibrate()

    def pick(self, text: str, top: int = 5, row: NDArray[np.float32] | None = None) -> list[Picked]:
        """The ``top`` recipes for ``text``, best first. Their probabilities and that of none
        of these sum to 1. ``row``: the embedding of ``text``, where it is there already."""
        import numpy as np

        scores = self._scores(self.embedding(text) if row is None else row, text)
        shares = _softmax(scores / self.calibration.temperature)
        fits = _sigmoid(
            self.calibration.absent_slope * (float(scores.max()) - self.calibration.absent_at)
        )
        order = np.argsort(-scores)[:top]
        return [Picked(self.recipes[i], float(shares[i] * fits), float(scores[i])) for i in order]

    def embedding(self, text: str) -> NDArray[np.float32]:
        """The embedding of what ``text`` asks for, its names and quotations masked; the last one
        is kept."""
        last = self._last  # Other threads may replace it meanwhile.
        if last is None or last[0] != text:
            self._last = last = text, self.encoder.embed([masked(text)])[0]
        return last[1]

    def _scores(
        self, row: NDArray[np.float32], text: str, without: int | None = None
    ) -> NDArray[np.float64]:
        """Score of each recipe; ``without`` leaves one example out."""
        import numpy as np

        similar = self._examples @ row
        does = self._does @ row
        scores = np.zeros(len(self.recipes))
        present = _types(spans(text, now=_ANY_TIME, folder=_NOWHERE))
        for i in range(len(self.recipes)):
            own = self._owner == i
            if without is not None:
                own[without] = False
            values = np.sort(similar[own])[::-1][:TOP_EXAMPLES]
            score = float(does[i])
            if len(values):
                score = (
                    WEIGHT_BEST * float(values[0])
                    + WEIGHT_MEAN * float(values.mean())
                    + WEIGHT_DOES * score
                )
            scores[i] = score - self._fits[i].penalty(present)
        return scores

    def _calibrate(self) -> Calibration:
        import numpy as np

        count = len(self._texts)
        if count < LEAST_EXAMPLES or len(self.recipes) < 2:
            return Calibration(TEMPERATURE, ABSENT_AT, ABSENT_SLOPE, count, None)
        scores = np.stack(
            [self._scores(self._examples[j], self._texts[j], j) for j in range(count)]
        )
        right = np.arange(count), self._owner
        grid = np.geomspace(0.01, 0.3, 40)
        loss = [-np.log(_softmax(scores / t)[right] + 1e-9).mean() for t in grid]
        inside = scores.max(axis=1)
        elsewhere = scores.copy()
        elsewhere[right] = -np.inf
        at, slope = _logistic(inside, elsewhere.max(axis=1))
        top1 = float((scores.argmax(axis=1) == self._owner).mean())
        return Calibration(float(grid[int(np.argmin(loss))]), at, slope, count, top1)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Which types a recipe needs, and which it can take."""

    needs: tuple[SlotType, ...]
    takes: frozenset[SlotType]

    @staticmethod
    def of(recipe: Recipe) -> _Fit:
        needs = tuple(
            s.type for s in recipe.slots if s.required and s.default is None and s.type in _CHECKED
        )
        return _Fit(needs, frozenset(s.type for s in recipe.slots))

    def penalty(self, present: frozenset[SlotType]) -> float:
        missing = sum(need not in present for need in self.needs)
        unused = sum(not _TAKES[t] & self.takes for t in present)
        return PENALTY_MISSING * missing + PENALTY_UNUSED * unused


def picking_key(recipes: Sequence[Recipe]) -> tuple[object, ...]:
    """What a picker rests on: equal for recipes that it would choose among in the same way."""
    return tuple((_description(r), tuple(e.text for e in r.examples), _Fit.of(r)) for r in recipes)


def _types(found: Sequence[Span]) -> frozenset[SlotType]:
    return frozenset(s.type for s in found if s.type in _CHECKED)


def masked(text: str) -> str:
    """``text`` with what varies from request to request (file names, quotations) replaced by
    a word for its kind: two requests for the same thing then look alike. Numbers stay:
    they tell recipes apart more than they mislead."""
    text = _PREAMBLE.sub("", text)
    parts, place = [], 0
    for span in spans(text, now=_ANY_TIME, folder=_NOWHERE):
        if span.start < place or (span.type not in _MASKS and not span.quoted):
            continue
        word = "some text" if span.quoted else _MASKS[span.type]
        if span.type == "extension":
            word = span.text
        elif span.type == "path" and not span.quoted:
            if _PLACE_WORD.search(span.text):
                continue
            word = _MASKS["path"] if PurePath(span.value).suffix else "a folder"
        parts += [text[place : span.start], word]
        place = span.end
    parts.append(text[place:])
    return "".join(parts)


def _description(recipe: Recipe) -> str:
    names = ", ".join(s.name.replace("_", " ") for s in recipe.slots)
    title = re.sub(r"[_.]+", " ", recipe.id)
    return f"{title}: {recipe.does}" + (f" ({names})" if names else "")


def embed_cached(encoder: Encoder, texts: Sequence[str], cache: Path | None) -> NDArray[np.float32]:
    """Embeddings of ``texts``, kept in ``cache`` under the digest of encoder and texts.

    A cache that cannot be read or written costs time, and nothing else.
    """
    import numpy as np

    key = hashlib.sha256("\0".join([encoder.model, *texts]).encode("utf-8", "replace")).hexdigest()
    path = cache / f"{key[:32]}.npy" if cache else None
    shape = (len(texts), encoder.dimension)
    if path is not None and path.is_file():
        try:
            kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
            if kept.shape == shape and kept.dtype == np.float32:
                return kept
        except (OSError, ValueError, EOFError):
            pass
    rows = encoder.embed(texts)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{id(rows):x}.part.npy")
            np.save(part, rows)
            part.replace(path)
        except OSError:
            pass
    return rows


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _sigmoid(value: float) -> float:
    import math

    return 1 / (1 + math.exp(-max(-60.0, min(60.0, value))))


def _logistic(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> tuple[float, float]:
    """Where, and how steeply, scores of requests that a recipe serves part from the others."""
    import numpy as np

    values = np.concatenate([inside, outside])
    labels = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    centre, scale = values.mean(), values.std() + 1e-9
    x = np.stack([(values - centre) / scale, np.ones(len(values))])
    weights = np.zeros(2)
    ridge = 1e-2 * np.eye(2)
    for _ in range(25):  # Newton's method: this loss is convex
        p = 1 / (1 + np.exp(-np.clip(weights @ x, -30, 30)))
        gradient = x @ (p - labels) + ridge @ weights
        weights -= np.linalg.solve((x * (p * (1 - p))) @ x.T + ridge, gradient)
    slope = max(float(weights[0]), 1e-3) / scale
    return float(centre - weights[1] / max(float(weights[0]), 1e-3) * scale), float(slope)
