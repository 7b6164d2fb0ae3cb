"""Ways to fill a recipe's slots from a request, best first, scored by how well each explains it.

A good assignment leaves no word unexplained: every word is in a slot, belongs to the recipe
(it stands in its examples or description), or is a function word. Places that look like those
in the recipe's examples count for an assignment; words cut off badly count against it. Scores
are in nats, roughly: differences are used as log odds (see ``filling``).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from runtime.roles.candidates import (
    ABSENT,
    CUES,
    ENDS,
    FREE,
    Candidate,
    Word,
    paths,
    singles,
    texts,
    typed,
    words,
)
from runtime.roles.evidence import FUNCTION_WORDS, Evidence, contexts, evidence
from runtime.roles.grounding import Span, spans
from runtime.tools.recipe import Recipe, Slot

UNEXPLAINED = 1.0
"""Lost for each word that nothing accounts for."""
UNUSED_SPAN = 1.5
"""Lost for each quotation, or typed value other than a name or number, that no slot took."""
BOTH_BEFORE, ONE_BEFORE, CUE_BEFORE, NONE_BEFORE = 2.0, 1.2, 0.7, -0.5
"""Two words before as in an example; one; a word after which free text often begins; none."""
BOTH_AFTER, ONE_AFTER = 0.9, 0.6
QUOTED = 1.5
BAD_EDGE = 1.2
COMMAND_INSIDE, MOST_COMMAND = 0.3, 1.5
"""Lost for each word of the recipe's own that free text swallows, and at most."""
HOLE = 0.3
IN_ORDER = 0.3
"""Won where two slots of one type stand in the recipe's order: from before to, old before new."""
AROUND_QUOTE = 2.0
"""Lost by free text that takes in a quotation and more: quotes mean exactly this."""
EXTRA_WORD, EXTRA_LABEL_WORD = 1.05, 0.35
"""Lost for each word after the first of a pattern or an unproved name, and of a label."""
CAPITALS = 0.4
"""Won by a pattern or label in capital letters, such as TODO."""
MOST_WORDS = 6
"""A pattern, name or label has no more words than this unless it is quoted."""
NO_CONTENT = 1.5
"""Lost by free text made of nothing but the recipe's own words and function words."""
UNNAMED_CHOICE = 0.7
CHOICE_WORD = 0.6
"""Won for each word that the examples have with this choice alone."""
INEXACT = 0.1
TYPED_NAME = 1.2
"""Won by a name that its capital letter or its kind ("my boss") shows to be one."""
UNTYPED_NAME = 0.6
"""Lost by one that nothing shows to be a name."""
SWALLOWED = 1.2
"""Lost where free text takes in a typed value while the slot of that type stays empty."""
WHOLE_SENTENCE = 0.8
"""Lost by free text that begins with the first word, which is mostly the verb."""
BEAM = 400
LEAST_BEAM, BEAM_WORDS = 24, 20_000
"""Partial assignments kept after each slot: at most, at least, and times the request's words."""
PER_SLOT = 14

_HEAD_FAULTS = frozenset((
    "to", "that", "and", "for", "about", "of", "at", "is", "or", "then", "saying", "says",
    "reading", "called", "named", "titled", "with", "by", "from", "into", "in", "on", "please",
    "some", "an", "a", "the",
))  # fmt: skip
_LABEL_KINDS = frozenset(("button", "menu", "field", "tab", "window", "icon", "link", "option"))
_TAIL_FAULTS = (ENDS - _LABEL_KINDS) | {
    "the",
    "a",
    "an",
    "my",
    "that",
    "of",
    "is",
    "called",
    "or",
    "then",
    "it",
}
_SOLID = frozenset(("datetime", "duration", "size", "path", "extension", "keys"))


@dataclass(frozen=True, slots=True)
class Assignment:
    """One candidate for each slot (``ABSENT`` for a slot left out)."""

    values: Mapping[str, Candidate]
    score: float
    leftover: tuple[str, ...]
    """Words that nothing accounts for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A request read for one recipe."""

    request: str
    tokens: tuple[Word, ...]
    spans: tuple[Span, ...]
    evidence: Evidence
    verb: Word | None
    """The first word that is no courtesy: mostly the verb, so it explains itself."""

    unclear: tuple[Word, ...] = ()
    """Words that only a slot can explain."""

    @property
    def beam(self) -> int:
        return max(LEAST_BEAM, min(BEAM, BEAM_WORDS // max(1, len(self.tokens))))

    @property
    def verb_known(self) -> bool:
        if self.verb is None:
            return True
        known = self.evidence.command
        return self.verb.lower in known or _stem(self.verb.lower) in known


def read(request: str, recipe: Recipe, *, now: datetime, folder: Path) -> Reading:
    found = spans(request, now=now, folder=folder)
    tokens = tuple(words(request))
    verb = next((w for w in tokens if w.is_word and w.lower not in FUNCTION_WORDS), None)
    if verb and any(s.start <= verb.start < s.end for s in found):
        verb = None
    learned = evidence(recipe)
    unclear = tuple(w for w in tokens if w is not verb and _is_unclear(w, learned))
    return Reading(request, tokens, found, learned, verb, unclear)


def assignments(reading: Reading, recipe: Recipe) -> list[Assignment]:
    """Every way worth weighing, best first; the same arguments only once."""
    slots = [s for s in recipe.slots if s.type != "json"]
    # typed slots first: what they take is then closed to free text
    slots.sort(key=lambda s: s.type in FREE)
    partial: list[dict[str, Candidate]] = [{}]
    for slot in slots:
        options = _options(slot, reading, recipe)
        grown = [
            {**values, slot.name: option}
            for values in partial
            for option in options
            if not any(option.overlaps(v) for v in values.values())
        ]
        if not grown:  # every option is taken: the slot stays open
            grown = [{**values, slot.name: ABSENT} for values in partial]
        if len(grown) > reading.beam:
            grown.sort(key=lambda v: -_score(v, reading, recipe, final=False)[0])
            grown = grown[: reading.beam]
        partial = grown
    scored: dict[str, Assignment] = {}
    for values in partial:
        score, leftover = _score(values, reading, recipe, final=True)
        key = repr(sorted((n, c.value) for n, c in values.items() if c is not ABSENT))
        if key not in scored or score > scored[key].score:
            scored[key] = Assignment(values, score, leftover)
    best = sorted(scored.values(), key=lambda a: -a.score)
    return [a for a in best if not _is_padded(a, best, recipe)]


def _is_padded(way: Assignment, others: Sequence[Assignment], recipe: Recipe) -> bool:
    """Whether the same way without one optional free text explains as much of the request."""
    for slot in recipe.slots:
        value = way.values.get(slot.name, ABSENT)
        if slot.required or slot.type not in FREE or value is ABSENT or value.quoted:
            continue
        bare = _said({**way.values, slot.name: ABSENT})
        if any(_said(o.values) == bare and len(o.leftover) <= len(way.leftover) for o in others):
            return True
    return False


def _said(values: Mapping[str, Candidate]) -> dict[str, Any]:
    return {n: c.value for n, c in values.items() if c is not ABSENT}


def _options(slot: Slot, reading: Reading, recipe: Recipe) -> list[Candidate]:
    known = typed(slot, reading.spans, reading.request)
    options = list(known)
    learned = reading.evidence
    ordinary = FUNCTION_WORDS | learned.command
    if slot.type in ("path", "new_path"):
        if not _enough(slot, recipe, reading):
            options += paths(reading.tokens, learned.before(slot.name), ordinary)
    elif slot.type in FREE or (slot.type == "keys" and not known):
        options += texts(
            reading.request,
            reading.tokens,
            reading.spans,
            learned.before(slot.name),
            learned.after(slot.name),
        )
        if slot.type not in ("text", "lines"):
            options = known + [o for o in options if _is_short(o)]
            options += singles(reading.tokens, ordinary)
        if slot.type == "name":  # no verb and no little word is anybody's name
            closed = FUNCTION_WORDS | CUES | ({reading.verb.lower} if reading.verb else set())
            options = [o for o in options if o in known or str(o.value).lower() not in closed]
        options.sort(key=lambda o: -_local(slot, o, reading))
        options = options[:PER_SLOT]
    elif slot.type == "choice" and not known and slot.required and slot.default is None:
        options = [Candidate(c, c) for c in slot.choices]
    elif slot.type == "boolean":
        options = _booleans(slot, reading, recipe)
    if not slot.required or slot.default is not None or not options:
        options.append(ABSENT)
    return options


def _enough(slot: Slot, recipe: Recipe, reading: Reading) -> bool:
    """Whether names that look like files are as many as the slots that want one."""
    wanted = sum(s.type in ("path", "new_path") and s.required for s in recipe.slots)
    return sum(s.type == "path" for s in reading.spans) >= max(1, wanted)


def _is_short(option: Candidate) -> bool:
    return len(option.ranges) == 1 and len(str(option.value).split()) <= MOST_WORDS


def _booleans(slot: Slot, reading: Reading, recipe: Recipe) -> list[Candidate]:
    """True where the request says one of the words that only examples with True have."""
    by = reading.evidence.values.get(slot.name, {})
    yes, no = by.get("True", frozenset()), by.get("False", frozenset())
    names = {w.lower for w in words(slot.name.replace("_", " "))} - FUNCTION_WORDS
    told = {w.lower for w in words(f"{recipe.id.replace('_', ' ')} {recipe.does}")}
    shown = (yes - no - FUNCTION_WORDS - told) | names
    for word in reading.tokens:
        if word.lower in shown:
            return [Candidate(True, True, ((word.start, word.end),))]
    if slot.required and slot.default is None:
        return [Candidate(False, False), Candidate(True, True)]
    return []


def _local(slot: Slot, option: Candidate, reading: Reading) -> float:
    """How well a candidate stands on its own, before the other slots are known."""
    return _place(slot, option, reading, {}) + _edges(option, reading)


def _score(
    values: Mapping[str, Candidate], reading: Reading, recipe: Recipe, *, final: bool
) -> tuple[float, tuple[str, ...]]:
    total = 0.0
    filled = {n: c for n, c in values.items() if c is not ABSENT}
    places = {n: c.ranges for n, c in filled.items() if c.ranges}
    for slot in recipe.slots:
        option = filled.get(slot.name)
        if option is None:
            continue
        others = {n: r for n, r in places.items() if n != slot.name}
        total += _place(slot, option, reading, others)
        total -= 0.0 if option.exact else INEXACT
        if slot.type in FREE:
            total += _edges(option, reading)
        if slot.type == "choice" and not option.ranges:
            total += _association(slot, option, reading) - UNNAMED_CHOICE
    if not final:
        return total, ()
    taken = [r for ranges in places.values() for r in ranges]
    leftover = tuple(
        w.text for w in reading.unclear if not any(w.start < b and w.end > a for a, b in taken)
    )
    total -= UNEXPLAINED * len(leftover)
    total += _order(recipe, filled)
    total -= SWALLOWED * sum(
        slot.type in _SOLID
        and slot.name not in filled
        and any(_takes(slot, span) and not span.quoted for span in reading.spans)
        for slot in recipe.slots
    )
    for span in reading.spans:
        if (span.quoted or span.type in _SOLID) and not any(
            span.start < b and span.end > a for a, b in taken
        ):
            total -= UNUSED_SPAN
    return total, leftover


def _is_unclear(word: Word, learned: Evidence) -> bool:
    """Whether a word is neither a function word nor one of the recipe's own."""
    lower = word.lower
    known = lower in FUNCTION_WORDS or lower in learned.command or _stem(lower) in learned.command
    return word.is_word and not known


def _takes(slot: Slot, span: Span) -> bool:
    return span.type == slot.type


def _stem(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 3 else word + "s"


def _place(
    slot: Slot,
    option: Candidate,
    reading: Reading,
    others: Mapping[str, Sequence[tuple[int, int]]],
) -> float:
    """How much the words around a candidate look like those around the slot in the examples."""
    if not option.ranges:
        return 0.0
    learned = reading.evidence
    before, after = contexts(reading.tokens, slot.name, option.ranges, others)
    left, right = learned.left.get(slot.name, ()), learned.right.get(slot.name, ())
    score = 0.0
    if before in left:
        score += BOTH_BEFORE
    elif before and before[-1] in learned.before(slot.name):
        score += ONE_BEFORE
    elif (
        before
        and slot.type in FREE
        and (
            before[-1] in CUES
            or before[-1] == ":"
            or (reading.verb is not None and before[-1] == reading.verb.lower)
        )
    ):
        score += CUE_BEFORE
    elif slot.type in FREE and not (before and before[-1].startswith("<")):
        score += NONE_BEFORE
    if after in right:
        score += BOTH_AFTER
    elif after and after[0] in learned.after(slot.name):
        score += ONE_AFTER
    if option.quoted and slot.type in FREE:
        score += QUOTED
    if slot.type in ("pattern", "name", "label") and not option.quoted:
        score += _short_form(slot, option, reading)
    if not option.quoted and any(
        s.quoted and any(s.start < b and s.end > a for a, b in option.ranges) for s in reading.spans
    ):
        score -= AROUND_QUOTE
    bare = slot.type in FREE and not option.quoted
    if bare and reading.tokens and option.start == reading.tokens[0].start:
        score -= WHOLE_SENTENCE
    if len(option.ranges) > 1 and not option.quoted:
        score -= HOLE
    return score


def _short_form(slot: Slot, option: Candidate, reading: Reading) -> float:
    """What the form of an unquoted pattern, name or label says for or against it."""
    value = str(option.value)
    extra = len(value.split()) - 1
    if slot.type == "name":
        named = any(
            s.type == "name" and option.ranges == ((s.start, s.end),) for s in reading.spans
        )
        return TYPED_NAME if named else -UNTYPED_NAME - EXTRA_WORD * extra
    score = -extra * (EXTRA_WORD if slot.type == "pattern" else EXTRA_LABEL_WORD)
    said = value.lower().split()  # none in a quoted blank
    if slot.type == "label" and said and said[-1] in _LABEL_KINDS:
        score -= BAD_EDGE  # "the Cancel button" bears the words "Cancel"
    return score + (CAPITALS if value.isupper() else 0.0)


def _order(recipe: Recipe, filled: Mapping[str, Candidate]) -> float:
    """Slots of one type mostly stand in the recipe's order."""
    score = 0.0
    placed = [(s.type, filled[s.name].start) for s in recipe.slots if s.name in filled]
    for (type_, start), (next_type, next_start) in pairwise(placed):
        if type_.removeprefix("new_") == next_type.removeprefix("new_") and start >= 0:
            score += IN_ORDER if start < next_start else 0.0
    return score


def _edges(option: Candidate, reading: Reading) -> float:
    if option.quoted or not option.ranges:
        return 0.0
    tokens = reading.tokens
    inside = [
        w
        for start, end in option.ranges
        for w in tokens[
            bisect_left(tokens, start, key=lambda w: w.start) : bisect_right(
                tokens, end, key=lambda w: w.end
            )
        ]
        if w.is_word
    ]
    if not inside:
        return -BAD_EDGE
    score = 0.0
    first, last = inside[0].lower, inside[-1].lower
    if first in _HEAD_FAULTS:
        score -= BAD_EDGE * (0.4 if first in ("a", "an", "the") else 1.0)
    at_end = inside[-1].end >= max((w.end for w in tokens if w.is_word), default=0)
    if last in _TAIL_FAULTS and len(inside) > 1 and (last == "please" or not at_end):
        score -= BAD_EDGE
    commands = reading.evidence.command - FUNCTION_WORDS
    if not any(_is_unclear(w, reading.evidence) for w in inside):
        score -= NO_CONTENT
    swallowed = COMMAND_INSIDE * sum(w.lower in commands for w in inside)
    return score - min(MOST_COMMAND, swallowed)


def _association(slot: Slot, option: Candidate, reading: Reading) -> float:
    """For a choice that the request does not name: words that go with it in the examples."""
    by = reading.evidence.values.get(slot.name, {})
    own = by.get(str(option.value), frozenset())
    rest = frozenset().union(*(ws for v, ws in by.items() if v != str(option.value)))
    telling = own - rest
    return CHOICE_WORD * sum(
        w.lower in telling or _stem(w.lower) in telling for w in reading.tokens
    )
