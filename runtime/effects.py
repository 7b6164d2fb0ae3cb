"""How much each signal moved a score, in log odds.

Leave-one-out: one signal is replaced by what the mean request has, and the head is evaluated
again. That is exact, since the head is linear in its inputs up to a softmax and logistic
functions, which are evaluated in full; effects of signals that work together do not add up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime.calibrate import sigmoid, softmax
from runtime.router_features import without_quotes, words
from runtime.router_head import EVIDENCE, Head, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAX_WORDS = 16
"""Words of a text that are left out one by one; of a longer text, only all together."""
SHOWN_WORDS = 3
LEAST = 0.005
"""An effect below this, in log odds, is none."""
_SAMPLE = 64
"""Training texts whose nearest neighbours stand for what is typical."""
_WORD = re.compile(r"\w+")


def log_odds(probability: float) -> float:
    """log(p / (1 - p)), within ±13.8."""
    p = min(max(probability, 1e-6), 1.0 - 1e-6)
    return math.log(p / (1.0 - p))


class Effects:
    """How much each signal moves one head's probabilities.

    ``meaning``: the embedding, against the mean training text. ``words``: all hashed words,
    against none. ``word:…``: one word, against the text without it. ``familiar``: closeness to
    the nearest and the fifth-nearest training text, against the mean closeness.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._dimension = head.bank.shape[1]
        mean = head.bank.mean(axis=0)
        self._mean_logits = _rows(head.weights[:, : self._dimension], mean[None, :])[0]
        self._typical = _closeness(head)

    def of(
        self,
        text: str,
        row: NDArray[np.float32],
        scored: Scores,
        probability: Callable[[Scores, int], float],
    ) -> dict[str, float]:
        """Effects in log odds on ``probability(scores, i)``, the largest first.

        ``row``: the text's features, shape ``[1, columns]``; ``scored``: what the head made of it.
        """
        import numpy as np

        head, cut = self._head, self._dimension
        masked = without_quotes(text)
        found = list(_WORD.finditer(masked))
        left_out = (
            [masked[: m.start()] + masked[m.end() :] for m in found]
            if len(found) <= MAX_WORDS
            else []
        )
        bags = np.stack([row[0, cut:], *(words(one) for one in left_out)])
        meant = _rows(head.weights[:, :cut], row[:, :cut])[0] + head.bias
        said = _rows(head.weights[:, cut:], bags)
        logits = np.vstack(
            [
                meant + said[0],
                self._mean_logits + head.bias + said[0],
                meant,
                meant + said[0],
                meant + said[1:],
            ]
        )
        near = np.tile([scored.nearest[0], scored.fifth[0]], (len(logits), 1))
        near[3] = self._typical
        scores = scores_of(head, logits, near)
        moved = [log_odds(probability(scores, i)) for i in range(len(logits))]
        names = ["meaning", "words", "familiar"]
        effects = {name: moved[0] - at for name, at in zip(names, moved[1:4], strict=True)}
        by_word = {
            f"word:{match.group().lower()}": moved[0] - at
            for match, at in zip(found, moved[4:], strict=False)
        }
        strongest = sorted(by_word, key=lambda name: -abs(by_word[name]))[:SHOWN_WORDS]
        effects |= {name: by_word[name] for name in strongest}
        return {
            name: round(effects[name], 3)
            for name in sorted(effects, key=lambda name: -abs(effects[name]))
            if abs(effects[name]) >= LEAST
        }


def scores_of(head: Head, logits: Floats, near: Floats) -> Scores:
    """What the head makes of class logits ``[n, classes + 1]`` (the last is "out of scope") and
    of the cosines to the nearest and the fifth-nearest training text ``[n, 2]``."""
    import numpy as np

    inside = logits[:, :-1]
    best = inside.max(axis=1)
    energy = best + np.log(np.exp(inside - best[:, None]).sum(axis=1))
    columns = {"energy": energy, "best": best, "out": logits[:, -1]}
    columns |= {"nearest": near[:, 0], "fifth": near[:, 1]}
    evidence = np.stack([columns[name] for name in EVIDENCE], axis=1).astype(np.float64)
    return Scores(
        classes=softmax(inside.astype(np.float64), head.temperature),
        in_scope=sigmoid(head.scope_slope * head.scope_score(evidence) + head.scope_offset),
        nearest=near[:, 0],
        fifth=near[:, 1],
    )


def _rows(matrix: NDArray[np.floating], rows: NDArray[np.floating]) -> Floats:
    """``rows @ matrix.T`` outside BLAS, whose threads cost more than so few products."""
    import numpy as np

    products: Floats = np.einsum("md,kd->km", matrix, rows.astype(matrix.dtype))
    return products


def _closeness(head: Head) -> tuple[float, float]:
    """Mean cosine of a training text to its nearest and fifth-nearest other one."""
    import numpy as np

    step = max(1, len(head.bank) // _SAMPLE)
    similar = np.sort(head.bank[::step] @ head.bank.T, axis=1)
    # The last column is the text itself.
    nearest, fifth = similar[:, -min(2, similar.shape[1])], similar[:, -min(6, similar.shape[1])]
    return float(nearest.mean()), float(fifth.mean())
