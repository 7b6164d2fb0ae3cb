"""What the parts of the engine's benchmark share: the model, how much to do, how to report."""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.base import Generation, Message
from models.llama import LlamaGenerator

FLIP_MARGIN = 0.05
"""Where the top two probabilities are closer, the shape of a batch may decide between them."""
_WORDS = """
river stone window garden letter copper market winter bridge candle forest island kettle lantern
meadow number office pocket quarter ribbon signal ticket valley wagon yellow anchor basket corner
dinner engine father glass hammer iron jacket kitchen leather mirror needle
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmark on one model. ``quick``: fewer repetitions."""

    model: Path
    generator: LlamaGenerator
    quick: bool

    def times(self, full: int, quick: int) -> int:
        return quick if self.quick else full


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def ms(values: Sequence[float]) -> float:
    """The median, to a tenth of a millisecond."""
    return round(statistics.median(values), 1)


def ratio(ours: float, theirs: float) -> float:
    return round(ours / theirs, 3)


def is_valid(schema: Mapping[str, Any], text: str, finish: str) -> bool:
    """Whether an answer came to its own end and meets its schema."""
    import jsonschema

    if finish != "stop":
        return False
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def words(count: int, seed: int) -> str:
    """Plain words that no other seed gives in this order."""
    source, vocabulary = random.Random(seed), _WORDS.split()
    return " ".join(source.choice(vocabulary) for _ in range(count))


def prompt_of(run: Run, tokens: int, seed: int, ask: str) -> tuple[Message, ...]:
    """A system text of random words and the request ``ask``: ``tokens`` tokens in all, or one
    or two fewer."""
    generator = run.generator
    count = tokens
    while True:
        messages: tuple[Message, ...] = (
            {"role": "system", "content": words(count, seed)},
            {"role": "user", "content": ask},
        )
        over = len(generator.prompt_tokens(messages)) - tokens
        if over <= 0:
            return messages
        count -= (over + 1) // 2


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two answers to the same prompt part. ``flip``: both ways were nearly as likely."""

    at: int
    flip: bool
    margin: float


def difference(one: Generation, other: Generation) -> Difference | None:
    """The first character at which two answers differ; None where they are the same text."""
    if (one.text, one.finish) == (other.text, other.finish):
        return None
    pairs = zip(one.text, other.text, strict=False)
    shared = min(len(one.text), len(other.text))
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), shared)
    margin = min(_margin_at(one, at), _margin_at(other, at))
    return Difference(at, margin <= FLIP_MARGIN, margin)


def _margin_at(generation: Generation, at: int) -> float:
    """The margin of the token that wrote character ``at`` (the last free one beyond the end)."""
    end, last = 0, 1.0
    for token in generation.tokens:
        end += len(token.text)
        if not token.forced:
            last = token.margin
        if end > at:
            return token.margin if not token.forced else last
    return last
