"""The choice of a token from logits, greedy or drawn, with the evidence for it.

All but ``Sampler`` are pure functions on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from models.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_TEMPERATURE = 2.0
MOST_PENALTY = 2.0
MOST_ALTERNATIVES = 20


class Pick(NamedTuple):
    """An allowed token; ``logprob`` and ``margin`` are among the allowed alone.

    ``margin`` is 0.0 for any token but the likeliest.
    """

    token: int
    logprob: float
    margin: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn, in the terms and ranges of OpenAI's API.

    ``temperature``, 0 to 2: what logits are divided by; 0 takes the likeliest token. ``top_p``,
    0 to 1: a token is drawn from the likeliest ones that have this probability together, and from
    one at least. ``presence_penalty`` and ``frequency_penalty``, -2 to 2: taken from the logit of
    a token that the answer holds, once and for each time it does; before the temperature. Tokens
    that a grammar forced count as well. ``seed``: with the same one, the same prompt gets the same
    answer as far as the batch allows: what else runs, and what is cached, moves logits by some
    rounding, and where a draw falls that close to the border of two tokens, the other one of them
    may come. Raises UsageError.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0, MOST_TEMPERATURE)
        _check("top_p", self.top_p, 0, 1)
        _check("presence_penalty", self.presence_penalty, -MOST_PENALTY, MOST_PENALTY)
        _check("frequency_penalty", self.frequency_penalty, -MOST_PENALTY, MOST_PENALTY)

    @property
    def greedy(self) -> bool:
        """True where it changes nothing: the likeliest token is always taken."""
        return not (self.temperature or self.presence_penalty or self.frequency_penalty)


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # NaN is refused too
        raise UsageError(f"{name} is {value}, and has to be from {least:g} to {most:g}")


class Sampler:
    """Chooses the tokens of one answer; it remembers which there were.

    Each choice among several tokens takes one random number, whether or not the token was
    drafted, so drafts do not change what a seed leads to.
    """

    def __init__(self, sampling: Sampling) -> None:
        import numpy as np

        self._sampling = sampling
        # A seed may be negative, and NumPy takes none that is.
        seed = None if sampling.seed is None else sampling.seed % (1 << 64)
        self._random = np.random.default_rng(seed)
        self._counts: dict[int, int] = {}

    def pick(self, logits: NDArray[np.float32], allowed: NDArray[np.intp] | None) -> Pick:
        """One of the ``allowed`` token ids (of all where None). Its log-probability is the
        model's own, before temperature and penalties."""
        import numpy as np

        best = pick(logits, allowed)
        if allowed is not None and len(allowed) == 1:
            return best
        values = logits.astype(np.float64)
        if self._counts:
            seen = np.fromiter(self._counts, np.intp, len(self._counts))
            times = np.fromiter(self._counts.values(), np.float64, len(self._counts))
            values[seen] -= (
                self._sampling.presence_penalty + self._sampling.frequency_penalty * times
            )
        if allowed is not None:
            values = values[allowed]
        index = draw(values, self._sampling, self._random.random())
        token = index if allowed is None else int(allowed[index])
        if token == best.token:
            return best
        return Pick(token, min(0.0, best.logprob + _between(logits, best.token, token)), 0.0)

    def wrote(self, token: int) -> None:
        """The answer has one more token, drawn or forced."""
        if self._sampling.presence_penalty or self._sampling.frequency_penalty:
            self._counts[token] = self._counts.get(token, 0) + 1


def draw(values: NDArray[np.float64], sampling: Sampling, at: float) -> int:
    """The index that a random number ``at``, in [0, 1), draws from logits.

    Indices keep their order on the line that ``at`` falls on, so that logits which differ by some
    rounding alone nearly always give the same one.
    """
    import numpy as np

    best = int(values.argmax())
    if not sampling.temperature:
        return best
    with np.errstate(over="ignore"):  # a tiny temperature: all but the best are at -inf
        odds = np.exp((values - values[best]) / sampling.temperature)
    odds /= odds.sum()
    kept = nucleus(odds, sampling.top_p) if sampling.top_p < 1 else None
    ends = np.cumsum(odds if kept is None else odds[kept])
    index = int(np.searchsorted(ends, at * ends[-1], side="right"))
    if index == len(ends):  # rounding
        return best
    return index if kept is None else int(kept[index])


def nucleus(odds: NDArray[np.float64], top_p: float) -> NDArray[np.intp]:
    """Indices, in order, of the likeliest that have a probability of ``top_p`` together: the
    fewest such, and one at least (Holtzman et al. 2020, arXiv 1904.09751)."""
    import numpy as np

    # Whatever is below this has, all together, less than what is left out: no need to sort it.
    likely = odds[odds >= (1 - top_p) / len(odds)]
    likely = np.sort(likely)[::-1]  # Sorting indices would take more than twice as long.
    count = min(int(np.searchsorted(np.cumsum(likely), top_p)) + 1, len(likely))
    least = likely[count - 1]
    above = np.flatnonzero(odds > least)
    equal = np.flatnonzero(odds == least)[: count - len(above)]
    return np.sort(np.concatenate([above, equal]))


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


def likeliest(
    logits: NDArray[np.float32], allowed: NDArray[np.intp] | None, count: int, known: Pick
) -> list[tuple[int, float]]:
    """The ``count`` likeliest of the ``allowed`` token ids, best first, with the natural log of
    the probability of each among them. ``known`` is any of them, with its own."""
    import numpy as np

    values = logits if allowed is None else logits[allowed]
    count = min(count, len(values))
    top = np.argpartition(values, -count)[-count:]
    top = top[np.argsort(-values[top], kind="stable")]
    tokens = top if allowed is None else allowed[top]
    return [
        (int(token), min(0.0, known.logprob + _between(logits, known.token, int(token))))
        for token in tokens
    ]


def _between(logits: NDArray[np.float32], one: int, other: int) -> float:
    return float(logits[other]) - float(logits[one])


def log_softmax(values: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    shifted = values - values.max()
    result: NDArray[Any] = shifted - np.log(np.exp(shifted).sum())
    return result
