"""Texts that say the same with other names and numbers, found without a model.

First what is plainly a value (numbers, dates, quoted words, addresses, paths, ids) becomes a slot;
then texts of the same length that begin alike and agree in most words are laid together, as log
lines are by Drain (He et al., ICWS 2017). Only texts with equal numbers of words meet: "weather in
Bern" and "weather in New York" stay two templates, so repetition is counted on the low side.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from operator import eq

SIMILAR = 0.6
"""Share of words, in their places, in which two texts of one template agree."""
MIN_WORDS = 3
"""Texts of fewer words are the same or are not."""
MAX_WORDS = 60
"""Words that are looked at; a longer text is known by its beginning."""
MAX_BESIDE = 100
"""Templates that a text is compared with, the most frequent ones; beyond, it is one of its own."""
ANYTHING = "<*>"
"""Where texts of one template differ."""

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_SLOTS = (
    ("<url>", r"\b[a-z][a-z0-9+.-]*://\S+"),
    ("<email>", r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    ("<text>", r"\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»|`[^`\n]*`|(?<!\w)'[^'\n]*'(?!\w)"),
    ("<path>", r"(?<![\w/])(?:~|\.{1,2})?(?:/[\w.@+-]+)+/?|\b[a-z]:\\\S+"),
    ("<date>", r"\b\d{4}-\d{1,2}-\d{1,2}(?:[t ]\d{1,2}:\d{2}(?::\d{2})?(?:\.\d+)?z?)?\b"),
    ("<date>", r"\b\d{1,2}[./]\d{1,2}[./](?:\d{4}|\d{2})\b"),
    (
        "<date>",
        rf"\b(?:{_MONTH} {_DAY}|{_DAY} {_MONTH})(?:,? \d{{4}})?\b",
    ),
    ("<time>", r"\b\d{1,2}:\d{2}(?::\d{2})?(?: ?[ap]m)?\b|\b\d{1,2} ?[ap]m\b"),
    ("<id>", r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"),
    ("<id>", r"\b(?=[\w-]*\d)(?=[\w-]*[a-z])[a-z0-9]+(?:[_-][a-z0-9]+)*\b"),
    ("<n>", r"[$€£]?(?<![\w.])[-+]?\d[\d,.]*\d|[$€£]?(?<!\w)[-+]?\d"),
)
_EACH = tuple((name, re.compile(pattern)) for name, pattern in _SLOTS)


def slotted(text: str) -> tuple[str, ...]:
    """The words of ``text`` in lower case, each value as its slot."""
    text = " ".join(text[: MAX_WORDS * 40].lower().split())
    for name, pattern in _EACH:
        text = pattern.sub(name, text)
    return tuple(text.split()[:MAX_WORDS])


def templates_of(texts: Sequence[str]) -> list[str]:
    """The template of each text, in order. What is the same for two texts is one template.

    The most frequent texts are laid down first, so the order of ``texts`` does not matter.
    """
    words = [slotted(text) for text in texts]
    seen = Counter(words)
    piles: dict[tuple[int, str], list[_Pile]] = defaultdict(list)
    home: dict[tuple[str, ...], _Pile] = {}
    for one in sorted(seen, key=lambda w: (-seen[w], w)):
        beside = piles[len(one), one[0] if one else ""]
        pile = next((p for p in beside[:MAX_BESIDE] if p.takes(one)), None)
        if pile is None:
            beside.append(pile := _Pile(one))
        pile.add(one)
        home[one] = pile
    return [" ".join(home[one].words) for one in words]


class _Pile:
    """Texts that were laid together."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def takes(self, words: tuple[str, ...]) -> bool:
        """A place that differs already counts against it, so that no template melts away."""
        if len(words) < MIN_WORDS:
            return words == self.words
        same: int = sum(map(eq, self.words, words))
        return same / len(words) >= SIMILAR

    def add(self, words: tuple[str, ...]) -> None:
        pairs = zip(self.words, words, strict=True)
        self.words = tuple(a if a == b else ANYTHING for a, b in pairs)
