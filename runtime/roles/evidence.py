"""What a recipe's own examples teach about its slots: which words stand around them.

Each example is aligned with its arguments: a slot's place is where its value, or a span that
means its value, stands in the text. From the places come contexts (the word before and the word
after; another slot counts as a word) and the recipe's command words (all that is in no slot).
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from runtime.roles.candidates import Candidate, Word, typed, words
from runtime.roles.grounding import spans
from runtime.tools.recipe import Recipe

START, END = "<s>", "</s>"
FUNCTION_WORDS = frozenset((
    "a", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "by", "can",
    "could", "do", "does", "don't", "for", "from", "get", "give", "go", "has", "have", "he",
    "help", "her", "here", "hey", "hi", "his", "how", "i", "i'd", "i'll", "i'm", "i've", "if",
    "in", "into", "is", "it", "its", "i’d", "i’m", "just", "kindly", "let", "let's", "like",
    "make", "many", "maybe", "me", "more", "much", "must", "my", "need", "not", "now", "of",
    "ok", "okay", "on", "one", "or", "our", "out", "please", "really", "she", "should", "show",
    "so", "some", "tell", "thank", "thanks", "that", "the", "them", "then", "there", "these",
    "they", "think", "this", "those", "to", "too", "up", "us", "want", "was", "we", "we'll",
    "we're", "we've", "we’re", "what", "what's", "when", "where", "which", "who", "will",
    "with", "would", "you", "your",
))  # fmt: skip
"""Words that need no explanation in any request."""

NEAR = 12
"""Words before and after a slot among which its context is sought: another slot may be long."""

_NOWHERE = Path("/nonexistent")
_ANY_TIME = datetime(2026, 1, 5, 12)


@dataclass(frozen=True)
class Evidence:
    """Contexts by slot, and the words that belong to the recipe itself."""

    left: Mapping[str, frozenset[tuple[str, ...]]]
    right: Mapping[str, frozenset[tuple[str, ...]]]
    command: frozenset[str]
    values: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    """Words of the examples by slot and value, for choices that go by other names."""

    def before(self, slot: str) -> frozenset[str]:
        return frozenset(c[-1] for c in self.left.get(slot, ()) if c)

    def after(self, slot: str) -> frozenset[str]:
        return frozenset(c[0] for c in self.right.get(slot, ()) if c)


def evidence(recipe: Recipe) -> Evidence:
    """What the recipe's examples teach; kept, since recipes do not change."""
    examples = tuple(
        (e.text, json.dumps(dict(e.arguments), default=str, sort_keys=True))
        for e in recipe.examples
    )
    return _learned(_Key(recipe, examples))


class _Key:
    """A recipe that can be a dictionary key: equal by id and examples."""

    def __init__(self, recipe: Recipe, examples: tuple[tuple[str, str], ...]) -> None:
        self.recipe = recipe
        slots = tuple((s.name, s.type, s.does) for s in recipe.slots)
        self.identity = (recipe.id, recipe.does, slots, examples)

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.identity == other.identity


@lru_cache(maxsize=512)
def _learned(key: _Key) -> Evidence:
    recipe = key.recipe
    left: dict[str, set[tuple[str, ...]]] = {s.name: set() for s in recipe.slots}
    right: dict[str, set[tuple[str, ...]]] = {s.name: set() for s in recipe.slots}
    values: dict[str, dict[str, set[str]]] = {}
    command = set(_content(recipe.id.replace("_", " ").replace(".", " ")))
    command |= _content(recipe.does)
    for slot in recipe.slots:
        command |= _content(slot.does) | _content(slot.name.replace("_", " "))
    for example in recipe.examples:
        tokens = words(example.text)
        places = align(recipe, example.text, example.arguments)
        outside = {
            w.lower for w in tokens if w.is_word and not any(p.covers(w) for p in places.values())
        }
        command |= outside
        for name, place in places.items():
            before, after = contexts(tokens, name, place.ranges, {
                n: p.ranges for n, p in places.items() if n != name})  # fmt: skip
            left[name].add(before)
            right[name].add(after)
        for slot in recipe.slots:
            if slot.type in ("choice", "boolean") and slot.name in example.arguments:
                value = str(example.arguments[slot.name])
                values.setdefault(slot.name, {}).setdefault(value, set()).update(outside)
    return Evidence(
        {n: frozenset(c) for n, c in left.items()},
        {n: frozenset(c) for n, c in right.items()},
        frozenset(command),
        {n: {v: frozenset(ws) for v, ws in by.items()} for n, by in values.items()},
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a slot's value stands in an example."""

    ranges: tuple[tuple[int, int], ...]

    def covers(self, word: Word) -> bool:
        return any(a < word.end and b > word.start for a, b in self.ranges)


def align(recipe: Recipe, text: str, arguments: Mapping[str, Any]) -> dict[str, Place]:
    """Where each argument stands in an example's text, for those that stand there."""
    found = spans(text, now=_ANY_TIME, folder=_NOWHERE)
    places: dict[str, Place] = {}
    for slot in recipe.slots:
        if slot.name not in arguments:
            continue
        value = arguments[slot.name]
        options = [
            c for c in typed(slot, found, text)
            if value in (c.value, c.shown) or (isinstance(value, str) and c.shown == value)
        ]  # fmt: skip
        free = [o for o in options if not any(_overlap(o, p) for p in places.values())]
        if free:
            places[slot.name] = Place(free[0].ranges)
            continue
        if isinstance(value, str) and value:
            pattern = rf"(?<!\w){re.escape(value)}(?!\w)"
            match = re.search(pattern, text, re.IGNORECASE) or re.search(
                re.escape(value), text, re.IGNORECASE
            )
            if match:
                places[slot.name] = Place((match.span(),))
    return places


def _overlap(candidate: Candidate, place: Place) -> bool:
    return any(a < d and b > c for a, b in candidate.ranges for c, d in place.ranges)


def contexts(
    tokens: Sequence[Word],
    name: str,
    ranges: Sequence[tuple[int, int]],
    others: Mapping[str, Sequence[tuple[int, int]]],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Up to two words before and two after a slot's place; another slot is one word."""
    start, end = ranges[0][0], ranges[-1][1]
    first = bisect_right(tokens, start, key=lambda w: w.end)
    last = bisect_left(tokens, end, key=lambda w: w.start)
    before = list(tokens[max(0, first - NEAR) : first])
    after = list(tokens[last : last + NEAR])
    if first <= NEAR:
        before.insert(0, START_WORD)
    if last + NEAR >= len(tokens):
        after.append(END_WORD)
    return (
        tuple(reversed(_abstract(before[::-1], others)))[-2:],
        tuple(_abstract(after, others))[:2],
    )


START_WORD, END_WORD = Word(START, -2, -1), Word(END, 1 << 30, (1 << 30) + 1)


def _abstract(tokens: Sequence[Word], others: Mapping[str, Sequence[tuple[int, int]]]) -> list[str]:
    names: list[str] = []
    for word in tokens:
        owner = next(
            (n for n, rs in others.items() if any(a < word.end and b > word.start for a, b in rs)),
            None,
        )
        text = f"<{owner}>" if owner else word.lower
        if text in "\"'“”‘’«»`„" or (owner and names and names[-1] == text):
            continue
        names.append(text)
        if len(names) == 2:
            break
    return names


def _content(text: str) -> set[str]:
    return {w.lower for w in words(text) if w.is_word}
