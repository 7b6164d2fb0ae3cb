"""Numbers as people write them: digits, "1,000", "3.5", "twenty-five", "a dozen", "half".

English only. Ordinals ("third", "3rd") are left to ``dates``; fractions other than a half and
a quarter are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

UNITS = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
TENS = {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_SMALL = "|".join(sorted((*UNITS, *TENS), key=len, reverse=True))
_BIG = "|".join(SCALES)
_WORDS = (
    rf"(?:half\s+a\s+dozen|(?:an?|one|two|three|four|five)\s+dozen|dozen"
    rf"|(?:a\s+)?couple(?:\s+of)?"
    rf"|an?\s+(?:{_BIG})(?:[\s-]+(?:and\s+)?(?:{_SMALL}|{_BIG})){{0,8}}"
    rf"|(?:{_SMALL})(?:[\s-]+(?:and\s+)?(?:{_SMALL}|{_BIG})){{0,8}})"
)
_DIGITS = r"(?<!\d)(?:\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(?:\.\d{1,15})?(?!\d)"
NUMBER = rf"(?:{_DIGITS}|{_WORDS})"
"""Pattern of one number, digits or words; match it ignoring case."""

_FIND = re.compile(rf"(?:(?<![\w.,$€£/\\-])-?|(?<=\d-)|(?<=\d–)){NUMBER}(?!\w)", re.IGNORECASE)
_PRONOUN_BEFORE = re.compile(
    r"\b(?:the|this|that|which|no|every|each|any|another|same|new|other|right|wrong)\s+$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text. Whole numbers are ints."""

    value: int | float
    start: int
    end: int


def number(text: str) -> int | float:
    """The value of one number that matches ``NUMBER``. Raises ValueError on anything else."""
    plain = " ".join(text.lower().replace("-", " ").split())
    negative = text.strip().startswith("-") and plain[:1].isdigit()
    if plain[:1].isdigit():
        digits = plain.replace(",", "")
        value: int | float = float(digits) if "." in digits else int(digits)
        return -value if negative else value
    if plain.startswith("half a dozen"):
        return 6
    if plain.endswith("dozen"):
        head = plain.removesuffix("dozen").strip()
        return 12 * (1 if head in ("", "a", "an") else UNITS[head])
    if plain.removeprefix("a ").startswith("couple"):
        return 2
    return _words(plain)


def _words(plain: str) -> int:
    total = group = 0
    for word in plain.split():
        if word in ("a", "an"):
            group = 1
        elif word in UNITS or word in TENS:
            group += UNITS.get(word, TENS.get(word, 0))
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in SCALES:
            total += max(group, 1) * SCALES[word]
            group = 0
        elif word != "and":
            raise ValueError(f"not a number: {plain!r}")
    return total + group


def numbers(text: str) -> Iterator[Number]:
    """Every number in ``text``, left to right. A pronoun "one" ("the one") is none."""
    for match in _FIND.finditer(text):
        words = match.group()
        if words.lower() == "one" and _is_pronoun(text, match.start(), match.end()):
            continue
        yield Number(number(words), match.start(), match.end())


def _is_pronoun(text: str, start: int, end: int) -> bool:
    after = text[end : end + 16].lstrip()
    return (
        bool(_PRONOUN_BEFORE.search(text[max(0, start - 16) : start]))
        or not after
        or after[0] in ".,;!?)"
    )
