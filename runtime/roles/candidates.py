"""What each slot of a recipe could hold: values grounded in the request, with their places.

Typed slots take typed spans. Free-text slots take runs of words between *boundaries*: typed
spans, punctuation, and words after or before which the recipe's own examples have their slots.
A value may have a hole where another slot's value stands in its middle ("call Sam *tomorrow*
about the boat").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from runtime.roles.grounding import Span, nested_numbers
from runtime.roles.numbers import NUMBER, number
from runtime.tools.recipe import Slot, SlotType

MOST_OPENS, MOST_ENDS, MOST_HOLES = 40, 24, 3
"""Beginnings that are tried, endings for each of them, and phrases that may stand inside."""
FREE: frozenset[SlotType] = frozenset(("text", "lines", "pattern", "label", "name"))
"""Slot types that any words of the request may fill."""
CUES = frozenset(
    (
    "to", "that", "saying", "says", "for", "about", "called", "named", "titled", "labelled",
    "labeled", "with", "of", "reading", "as", "hear", "play", "type", "write", "enter", "add",
    "know", "word", "text", "phrase", "containing", "contain", "contains", "button", "on",
))  # fmt: skip
"""Words after which free text often begins, in any tool."""
ENDS = frozenset((
    "to", "on", "in", "into", "from", "at", "for", "as", "by", "with", "please", "and", "under",
    "inside", "button", "menu", "field", "tab", "window", "icon", "link", "checkbox", "option",
))  # fmt: skip
"""Words before which free text often ends."""

PATH_CUES = frozenset(
    (
    "in", "under", "of", "from", "to", "into", "inside", "within", "at", "folder", "directory",
    "as", "called", "named", "below", "file", "across", "through", "onto", "name",
))  # fmt: skip
"""Words after which the name of a file or folder often stands."""

_CLOSING = "?!.)]}>%'\"’”»`$€£*+"
_LINES = re.compile(
    rf"\b(?P<count>{NUMBER})\s+lines?\b(?:\s+(?:that\s+)?(?:say|says|saying|reading|of\s+text))?"
    r"\s*[:,]?\s+(?P<body>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_BODY_END = re.compile(
    r"[.;]\s|,?\s+(?:(?:and|then)\s+)+(?:save|store|keep)\b|,\s+(?:save|store|keep)\b"
)
_COURTEOUS_END = re.compile(
    r"[,;\s]+(?:(?:please|thanks|thank\s+you|cheers)|,\s*remind\s+me(?:\s+please)?)$", re.IGNORECASE
)
_QUOTE = re.compile(r"[\"“”‘«»„`]|(?<!\w)'")
_PARTICLES = frozenset(("up", "down", "out", "on", "in", "off", "a", "an", "the", "some"))

_TOKEN = re.compile(r"\w+(?:['’.@+&/-]\w+)*['’]?|[^\w\s]")
_UNIT_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800}


@dataclass(frozen=True, slots=True)
class Word:
    """A word or punctuation mark of the request."""

    text: str
    start: int
    end: int

    @property
    def lower(self) -> str:
        return self.text.lower()

    @property
    def is_word(self) -> bool:
        return self.text[0].isalnum() or self.text[0] == "_"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One value that a slot could take. ``shown`` is how the SLM sees it: the user's words."""

    value: Any
    shown: Any
    ranges: tuple[tuple[int, int], ...] = ()
    """Places in the request; none for a default, or a choice that is not named there."""
    exact: bool = True
    quoted: bool = False

    @property
    def start(self) -> int:
        return self.ranges[0][0] if self.ranges else -1

    @property
    def end(self) -> int:
        return self.ranges[-1][1] if self.ranges else -1

    def overlaps(self, other: Candidate) -> bool:
        return any(a < d and b > c for a, b in self.ranges for c, d in other.ranges)


ABSENT = Candidate(None, None)
"""An optional slot left out."""


def words(text: str) -> list[Word]:
    return [Word(m.group(), m.start(), m.end()) for m in _TOKEN.finditer(text)]


def typed(slot: Slot, found: Sequence[Span], text: str) -> list[Candidate]:
    """Candidates from spans that already have the slot's type."""
    if slot.type in ("choice", "boolean"):
        return _choices(slot, text) if slot.type == "choice" else []
    spans = [s for s in found if s.type in _accepted(slot)]
    if slot.type in ("path", "new_path") and any(s.type == "path" for s in spans):
        # a quotation is a file's name only if it looks like one, where real ones stand beside it
        spans = [s for s in spans if s.type == "path" or re.search(r"^\S*[./]\S*$", s.value)]
    if slot.type in ("integer", "number") and not spans:
        spans = [
            n for s in found if s.type in ("size", "duration") for n in nested_numbers(text, s)
        ]
    values = [
        Candidate(value, span.text if span.type != "text" else span.value,
                  ((span.start, span.end),), span.exact, span.quoted)
        for span in spans
        if (value := convert(slot, span)) is not None and _within(slot, value)
    ]  # fmt: skip
    if slot.type == "lines":
        values += _listed(text)
        quotes = [v for v in values if v.quoted]
        if len(quotes) > 1:
            joined = "\n".join(q.value for q in quotes)
            values.append(Candidate(joined, joined, tuple(r for q in quotes for r in q.ranges),
                                    quoted=True))  # fmt: skip
    return values


def _listed(text: str) -> list[Candidate]:
    """ "two lines: red and blue" is two lines, where as many are named as were announced."""
    match = _LINES.search(text)
    if match is None:
        return []
    start = match.start("body")
    body = _BODY_END.split(match.group("body"), maxsplit=1)[0]
    end = start + len(body)
    body = body.rstrip(" .!")
    parts = [p.strip() for p in re.split(r"\s*(?:,\s*and\s+|[,;]\s*|\s+and\s+|\n)\s*", body)]
    if len(parts) != number(match.group("count")) or not all(parts) or _QUOTE.search(body):
        return []
    joined = "\n".join(parts)
    return [Candidate(joined, joined, ((start, end),), quoted=True)]  # as plain as a quotation


def _accepted(slot: Slot) -> frozenset[SlotType]:
    if slot.type in ("text", "lines", "pattern", "label"):
        return frozenset(("text",))
    if slot.type in ("path", "new_path"):
        return frozenset(("path", "text"))
    if slot.type == "number":
        return frozenset(("integer", "number"))
    if slot.type == "name":
        return frozenset(("name", "text"))
    if slot.type == "duration" and not slot.unit:
        return frozenset(("duration",))
    return frozenset((slot.type, "integer")) if slot.type == "duration" else frozenset((slot.type,))


def convert(slot: Slot, span: Span) -> Any:
    """The span's value as the slot wants it; None where it cannot be."""
    if slot.type == "duration":
        if span.type == "integer":
            # a bare number ("timer: 5") already counts in the slot's own unit
            return span.value
        unit = _UNIT_SECONDS.get(slot.unit or "minutes", 60)
        whole, rest = divmod(span.value, unit)
        return whole if rest == 0 else None
    if slot.type == "datetime" and slot.unit == "date":
        return span.value[:10]
    if slot.type == "datetime" and slot.unit == "time":
        return span.value[11:]
    if slot.type == "name" and span.type == "text" and not span.quoted:
        return None
    if slot.type == "pattern" and span.type == "text":
        return span.value
    return span.value


def _within(slot: Slot, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    low = slot.minimum is None or value >= slot.minimum
    return low and (slot.maximum is None or value <= slot.maximum)


def _choices(slot: Slot, text: str) -> list[Candidate]:
    """Choices that the request names, in their own words; a plural or a hyphen is no matter."""
    found = []
    for choice in slot.choices:
        # "to-do" and "living-room" name the choices "todo" and "living room"
        letters = re.sub(r"[\s_-]+", "", choice)
        pattern = r"\b" + r"[\s_-]?".join(map(re.escape, letters)) + r"(?:s|es)?\b"
        found += [
            Candidate(choice, choice, ((m.start(), m.end()),))
            for m in re.finditer(pattern, text, re.IGNORECASE)
        ]
    return found


def texts(
    request: str,
    tokens: Sequence[Word],
    spans: Iterable[Span],
    starts_after: frozenset[str],
    ends_before: frozenset[str],
) -> list[Candidate]:
    """Runs of words that a free-text slot could hold.

    ``starts_after`` and ``ends_before``: words that stand around such slots in the examples.
    """
    bounds = list(spans)
    solid = [s for s in bounds if s.type not in ("name", "integer", "number")]
    opens = [i for i, w in enumerate(tokens) if _opens(i, tokens, bounds, starts_after)]
    closes = [i for i, w in enumerate(tokens) if _closes(i, tokens, bounds, ends_before)]
    opens = opens[:MOST_OPENS]  # in a long text, what a slot wants begins early
    found: dict[tuple[tuple[int, int], ...], Candidate] = {}
    holes = [s for s in solid if s.type in ("datetime", "duration")][:MOST_HOLES]
    for i in opens:
        ends = [j for j in closes if j >= i]
        if len(ends) > MOST_ENDS:
            ends = [*ends[: MOST_ENDS // 2], *ends[-MOST_ENDS // 2 :]]
        for j in ends:
            start, end = tokens[i].start, tokens[j].end
            if any(s.start < start < s.end or s.start < end < s.end for s in solid):
                continue
            whole = _run(request, ((start, end),))
            found[whole.ranges] = whole
            for hole in holes:
                if not start < hole.start < hole.end < end:
                    continue
                rest = next(w for w in tokens[i : j + 1] if w.end > hole.end)
                if rest.is_word:
                    pierced = _run(request, ((start, hole.start), (hole.end, end)))
                    found[pierced.ranges] = pierced
    return list(found.values())


def singles(tokens: Sequence[Word], ordinary: frozenset[str]) -> list[Candidate]:
    """Single words that only a slot can explain: a search word, a program's name."""
    return [
        Candidate(w.text, w.text, ((w.start, w.end),))
        for w in tokens
        if w.is_word and w.lower not in ordinary
    ]


def paths(
    tokens: Sequence[Word], starts_after: frozenset[str], ordinary: frozenset[str]
) -> list[Candidate]:
    """Single words that name a file or folder only by where they stand ("in reports").

    ``ordinary``: words that name nothing by themselves.
    """
    found = []
    for before, word in pairwise(tokens):
        cued = before.lower in PATH_CUES or before.lower in starts_after
        if cued and word.is_word and word.lower not in ordinary:
            found.append(Candidate(word.text, word.text, ((word.start, word.end),)))
    return found


def _opens(i: int, tokens: Sequence[Word], bounds: Sequence[Span], after: frozenset[str]) -> bool:
    if not tokens[i].is_word and tokens[i].text not in "<>[({#$€£@&*+-=/\\.":
        return False
    if i <= 1 or (i == 2 and tokens[1].lower in _PARTICLES):
        return True  # the first word is often the verb, and any verb will do
    before = tokens[i - 1]
    return (
        not before.is_word
        or before.lower in after
        or before.lower in CUES
        or any(s.end == before.end or s.start == tokens[i].start for s in bounds)
    )


def _closes(i: int, tokens: Sequence[Word], bounds: Sequence[Span], before: frozenset[str]) -> bool:
    if not tokens[i].is_word and not (tokens[i].text in _CLOSING and i and _touch(tokens, i)):
        return False
    if i == len(tokens) - 1:
        return True
    after = tokens[i + 1]
    return (
        not after.is_word
        or after.lower in before
        or after.lower in ENDS
        or any(s.start == after.start or s.end == tokens[i].end for s in bounds)
    )


def _touch(tokens: Sequence[Word], i: int) -> bool:
    return tokens[i - 1].end == tokens[i].start


def _run(request: str, ranges: tuple[tuple[int, int], ...]) -> Candidate:
    parts = [request[a:b].strip() for a, b in ranges]
    text = " ".join(p for p in parts if p).strip()
    text = _COURTEOUS_END.sub("", text) or text
    if text[-1:] in ".!" and text[:-1].count(".") == 0:
        text = text[:-1]
    return Candidate(text, text, ranges)
