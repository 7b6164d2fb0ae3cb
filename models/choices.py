"""Yes or no, and scores on a scale, as typed choices; and the temperatures that calibrate them.

A choice's probabilities are a softmax of mean log-probabilities, divided by a temperature (Guo et
al. 2017, arXiv 1706.04599). It belongs to one model file: another quantization of the same model
needs another. ``specialists/choice/temperatures.json`` holds those that were fitted, and its card
says on what; ``python -m tests.bench.choices`` fits and measures them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from models.base import Choice, Message
from models.errors import UsageError

TEMPERATURES: Final = Path(__file__).parent / "specialists" / "choice" / "temperatures.json"
YES: Final = "Yes"
NO: Final = "No"

Kind = Literal["choice", "yes_no"]


class Chooser(Protocol):
    """The part of a Generator that chooses."""

    model: str

    async def choose(
        self,
        messages: Sequence[Message],
        options: Sequence[str],
        *,
        temperature: float | None = None,
    ) -> Choice: ...


@dataclass(frozen=True, slots=True)
class Score:
    """A score on a scale. ``probabilities`` sum to 1, in the order of ``levels``."""

    levels: tuple[int, ...]
    probabilities: tuple[float, ...]
    choice: Choice

    @property
    def expected(self) -> float:
        """The mean of the levels, each weighted by its probability."""
        return sum(n * p for n, p in zip(self.levels, self.probabilities, strict=True))

    @property
    def level(self) -> int:
        """The most probable level."""
        return self.levels[self.choice.index]


async def yes_no(generator: Chooser, messages: Sequence[Message]) -> float:
    """The probability of yes. ``messages`` end in a question to be answered with Yes or No.

    Raises ContextOverflow.
    """
    temperature = temperature_for(generator.model, "yes_no") or 1.0
    choice = await generator.choose(messages, (YES, NO), temperature=temperature)
    return choice.probabilities[0]


async def score(generator: Chooser, messages: Sequence[Message], levels: Sequence[int]) -> Score:
    """A score among ``levels``, which ``messages`` have to explain.

    Uses the temperature of choices at large: none was fitted for scales. Raises UsageError on
    fewer than two levels or a repeated one, ContextOverflow.
    """
    if len(levels) < 2 or len(set(levels)) < len(levels):
        raise UsageError(
            f"the levels of a score are {list(levels)}",
            hint="give two or more, each of them once",
        )
    temperature = temperature_for(generator.model) or 1.0
    options = [str(level) for level in levels]
    choice = await generator.choose(messages, options, temperature=temperature)
    return Score(tuple(levels), choice.probabilities, choice)


def temperature_for(digest: str, kind: Kind = "choice") -> float | None:
    """The temperature that was fitted for the model file ``digest``; None where none was."""
    fitted = _fitted(TEMPERATURES).get(digest)
    return fitted[kind] if fitted is not None else None


@functools.cache
def _fitted(path: Path) -> dict[str, dict[Kind, float]]:
    body = json.loads(path.read_text(encoding="utf-8"))
    return {
        digest: {"choice": float(entry["choice"]), "yes_no": float(entry["yes_no"])}
        for digest, entry in body.items()
    }
