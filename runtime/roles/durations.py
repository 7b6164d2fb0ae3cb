"""Durations in English words ("90 minutes", "half an hour", "past week"), as seconds.

As a length, a month counts 30 days and a year 365.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.roles.numbers import NUMBER, number

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
UNITS_OF_TIME = {
    "s": "second", "sec": "second", "secs": "second", "second": "second", "seconds": "second",
    "m": "minute", "min": "minute", "mins": "minute", "minute": "minute", "minutes": "minute",
    "h": "hour", "hr": "hour", "hrs": "hour", "hour": "hour", "hours": "hour",
    "d": "day", "day": "day", "days": "day", "week": "week", "weeks": "week",
    "fortnight": "fortnight", "month": "month", "months": "month", "year": "year", "years": "year",
}  # fmt: skip
_SECONDS_OF = {**_SECONDS, "fortnight": 14 * 86400, "month": 30 * 86400, "year": 365 * 86400}
"""Seconds of each unit."""

TIME_UNIT = "|".join(sorted((u for u in UNITS_OF_TIME if len(u) > 1), key=len, reverse=True))
_AMOUNT = rf"(?:half\s+an?|(?:a\s+)?quarter\s+of\s+an|three\s+quarters\s+of\s+an|an?|{NUMBER})"
_PIECE = rf"(?:{_AMOUNT}[\s-]+(?:{TIME_UNIT})|\d{{1,9}}(?:\.\d{{1,9}})?\s?(?:{TIME_UNIT}|[smhd]))"
_PIECE += r"(?:\s+and\s+a\s+half)?"
_AND_HALF = rf"(?:{NUMBER}|an?)\s+and\s+a\s+half\s+(?:{TIME_UNIT})"
LENGTH = rf"(?:{_AND_HALF}|{_PIECE})(?:(?:,\s*|\s+and\s+|\s+)(?:{_PIECE})){{0,3}}"
_SINCE = rf"(?:last|past|previous)\s+(?:{TIME_UNIT})"
_DURATION = re.compile(
    rf"(?<![\w.-])(?:(?:last|past|previous)\s+(?:{LENGTH})|{_SINCE}|{LENGTH})(?![\w-])",
    re.IGNORECASE,
)
_PIECES = re.compile(
    rf"(?P<half>half\s+an?|(?:a\s+)?quarter\s+of\s+an|three\s+quarters\s+of\s+an)[\s-]+(?P<u0>{TIME_UNIT})"
    rf"|(?P<n1>{NUMBER}|an?)\s+and\s+a\s+half\s+(?P<u1>{TIME_UNIT})"
    rf"|(?P<n2>{NUMBER}|an?)[\s-]*(?P<u2>{TIME_UNIT}|[smhd])\b(?P<plus>\s+and\s+a\s+half)?"
    rf"|(?:last|past|previous)\s+(?P<u3>{TIME_UNIT})",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Length:
    """A time span in whole seconds where it can be."""

    seconds: int
    start: int
    end: int


def length(text: str) -> int:
    """Seconds that a duration phrase means, such as "an hour and a half" (5400)."""
    seconds = 0.0
    for piece in _PIECES.finditer(text):
        unit = next(u for k in ("u0", "u1", "u2", "u3") if (u := piece.group(k)))
        each = _SECONDS_OF[UNITS_OF_TIME[unit.lower()]]
        count: float
        amount = piece.group("n1") or piece.group("n2") or ""
        if part := piece.group("half"):
            count = 0.75 if part.startswith("three") else 0.25 if "quarter" in part else 0.5
        elif not amount or amount.lower() in ("a", "an"):
            count = 1
        else:
            count = number(amount)
        if piece.group("n1") or piece.group("plus"):
            count += 0.5
        seconds += count * each
    return round(seconds)


def lengths(text: str) -> Iterator[Length]:
    """Every duration in ``text``: "90 minutes", "half an hour", "last 7 days", "past week"."""
    for match in _DURATION.finditer(text):
        yield Length(length(match.group()), match.start(), match.end())
