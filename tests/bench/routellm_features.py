"""What RouteLLM's questions look like to a ranker: numbers from the prompt's text alone.

``traits`` hold for a question whatever it is about: lengths, digits, the form of what is asked, how
alike its four options are. ``stems`` and ``options`` are the encoder's embeddings of what is asked
and of the answers offered (their mean); how near these are to one another is a trait too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log1p
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BATCH = 32
"""Texts embedded at a time, of about the same length. The batch changes no embedding."""
_WORD = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?|[^\sA-Za-z\d]")
_NUMBER = re.compile(r"[\s$€%\d.,/^()*+=x-]+|.{0,2}\d[\d.,]*\s*\S{0,12}")
_SIGNS = "=+-*/^()$\\{}<>"
_ALL = re.compile(r"all of the above|none of the above|both|I and II|only", re.IGNORECASE)
_IN_STEM = tuple(
    re.compile(pattern)
    for pattern in (
        r"\d",
        r"\?",
        r":\s*$",
        "_",
        r"\b(NOT|EXCEPT|not|except|false|incorrect|least)\b",
        "Statement 1",
        "following",
        r"(?i)\bhow (many|much|long|far|fast|old)\b",
        r"(?i)\b(find|calculate|compute|evaluate|solve|determine|estimate|simplify|approximately)\b",
        r"\b(1[5-9]\d\d|20[012]\d)\b",
        '["“”‘]',
    )
)
_ASKED = tuple(
    re.compile(rf"\b({word})\b")
    for word in (
        *("what", "which", "who", "when", "where", "why", "how"),
        "best|most|likely|primary|main|first|greatest",
    )
)
"""Looked for in the last sentence of what is asked."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """One row for each prompt."""

    traits: Floats
    stems: Floats
    options: Floats


def features(prompts: Sequence[str], encoder: Any) -> Features:
    import numpy as np

    split = [parts(p) for p in prompts]
    texts = sorted({t for stem, options in split for t in (stem, *options)}, key=len)
    found = [encoder.embed(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)]
    vectors = dict(zip(texts, np.concatenate(found).astype(np.float64), strict=True))
    rows, stems, means = [], [], []
    for prompt, (stem, options) in zip(prompts, split, strict=True):
        offered = np.array([vectors[o] for o in options])
        rows.append([*form(prompt), *likeness(options), *nearness(vectors[stem], offered)])
        stems.append(vectors[stem])
        means.append(offered.mean(axis=0))
    return Features(np.array(rows), np.array(stems), np.array(means))


def parts(prompt: str) -> tuple[str, list[str]]:
    """What is asked, and the options."""
    stem, _, rest = prompt.removesuffix("\nAnswer:").partition("\nA. ")
    return stem, re.split(r"\n[B-Z]\. ", rest)


def words(text: str) -> list[str]:
    return [w.lower() for w in _WORD.findall(text)]


def form(prompt: str) -> list[float]:
    """Lengths, digits, symbols, negation, and what kind of thing is asked."""
    stem, options = parts(prompt)
    rest, tokens, said = " ".join(options), prompt.split(), words(stem)
    size, spoken = max(1, len(prompt)), max(1, len(said))
    alphabetic = [w for w in said if w.isalpha()]
    offered = {w for w in words(rest) if w.isalpha()}
    last = re.split(r"(?<=[.?!])\s", stem.strip())[-1].lower()
    return [
        log1p(size),
        log1p(len(stem)),
        log1p(spoken),
        len(stem) / size,
        log1p(stem.count(".") + stem.count("?")),
        log1p(stem.count("\n")),
        log1p(len(set(tokens))),
        len(set(said)) / spoken**0.7,
        _mean([len(w) for w in tokens]),
        _mean([len(w) for w in alphabetic]),
        _mean([len(w) > 8 for w in alphabetic]),
        _mean([len(w) for w in offered]),
        _mean([w in said for w in offered]),
        sum(c.isdigit() for c in prompt) / size,
        sum(c.isdigit() for c in rest) / max(1, len(rest)),
        sum(c in _SIGNS for c in prompt) / size,
        sum(c.isupper() for c in prompt) / size,
        len(re.findall(r"(?<=[a-z,;] )[A-Z][a-z]+", stem)) / spoken,
        len(re.findall(r"\b(I|my|me)\b", stem)) / spoken,
        len(re.findall(r"\b[a-zA-Z]\b", prompt)) / max(1, len(tokens)),
        float(bool(re.search(r"[\\^=<>∈∀∃→⊃•~]", prompt))),
        float(bool(re.search(r"\bI\.|\bII\b", prompt))),
        float(bool(_ALL.search(rest))),
        *(float(bool(pattern.search(stem))) for pattern in _IN_STEM),
        *(float(bool(pattern.search(last))) for pattern in _ASKED),
    ]


def likeness(options: Sequence[str]) -> list[float]:
    """How long the options are, how they are written, and how many words they share."""
    import numpy as np

    said = [words(o) for o in options]
    sets, lengths = [set(w) for w in said], [len(o) for o in options]
    count, total = len(options), sum(map(len, said))
    shared = [len(a & b) / max(1, len(a | b)) for a, b in combinations(sets, 2)] or [0.0]
    return [
        log1p(_mean(lengths)),
        log1p(max(lengths)) - log1p(min(lengths)),
        float(np.std(lengths)) / max(1.0, _mean(lengths)),
        log1p(total / count),
        log1p(sum(o.count(",") for o in options)),
        _mean([any(c.isdigit() for c in o) for o in options]),
        _mean([bool(_NUMBER.fullmatch(o)) for o in options]),
        _mean([o.rstrip().endswith(".") for o in options]),
        _mean([o[:1].isupper() for o in options]),
        _mean(shared),
        max(shared),
        min(shared),
        len(set().union(*sets)) / max(1, total),
        len({(w or [""])[0] for w in said}) / count,
        len({(w or [""])[-1] for w in said}) / count,
    ]


def nearness(stem: Floats, options: Floats) -> list[float]:
    """Cosines of the options with one another, and of what is asked with each of them."""
    import numpy as np

    among = (options @ options.T)[np.triu_indices(len(options), 1)]
    if not len(among):
        among = np.zeros(1)
    toward = np.sort(options @ stem)
    margin = toward[-1] - toward[-2] if len(toward) > 1 else 0.0
    spread = (np.mean, np.max, np.min, np.std)
    return [float(f(among)) for f in spread] + [
        float(toward.mean()),
        float(toward[-1]),
        float(margin),
        float(toward.std()),
    ]


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / max(1, len(numbers))
