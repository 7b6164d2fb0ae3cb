"""Fills a recipe's slots from a request: grounded candidates first, the SLM where they differ.

Where the words leave one way to fill the slots, that way is taken and no model is asked. Where
several remain, the SLM compares them as complete calls, behind examples of the recipe itself
(the same head in every call, so its KV cache is reused). Slots of other JSON types are generated
under their schema. Values that stand nowhere in the request become problems, not arguments.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from models.base import Choice, Generation, Generator, Message, Usage
from models.errors import ContextOverflow, SchemaRefused
from runtime.roles.assigning import Assignment, Reading, assignments, read
from runtime.roles.candidates import ABSENT, Word
from runtime.roles.evidence import FUNCTION_WORDS, align
from runtime.roles.grounding import Span
from runtime.tools.recipe import Recipe, Slot, SlotType

SHOTS = 4
"""Examples in front of each request (more cost prefill, and changed little)."""
MOST_OPTIONS = 5
"""Ways to fill the slots that the SLM compares."""
WITHIN = 2.5
"""Nats behind the best way at which another is still worth comparing."""
SLM_WEIGHT = 4.0
"""Weight of the SLM's log probability of a way (mean of its tokens) beside the words' score."""
LEFTOVER_FACTOR = 0.8
"""Confidence left for each word of the request that nothing accounts for."""
INEXACT_FACTOR = 0.95
UNNAMED_FACTOR = 0.9
"""The same for a moment that a convention completed, and a choice the request does not name."""
JSON_TOKENS = 384
GAP = 6.0
SECOND_TOKENS, SECOND_CHARS = 64, 200
"""Bounds on a second opinion, and on the texts that one is asked about."""
FREE_TEXT: frozenset[SlotType] = frozenset(("text", "lines", "name", "pattern", "label"))
"""Slots whose value could be cut from the request in many ways: where a second opinion pays."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A recipe's arguments. ``leftover``: what the request says and no slot took."""

    arguments: Mapping[str, Any]
    confidence: float
    generation: Generation | None
    leftover: tuple[Span, ...]
    problems: tuple[str, ...]
    choice: Choice | None = None
    """The SLM's comparison, where it was asked for one."""
    messages: tuple[Message, ...] = ()
    """What the SLM read."""
    score: float = 0.0
    """How well the words alone explain this filling, in nats (see ``assigning``)."""
    gap: float = GAP
    """By how much, in nats, the next best way to fill the slots is behind; at most ``GAP``."""
    second: Generation | None = None
    """What the SLM itself makes of the free texts, where it was asked for its own opinion."""
    agreement: float | None = None
    """How much of that is the same, in [0, 1]; None where it was not asked."""
    shape: Mapping[str, float] = field(default_factory=dict)
    """What the free texts look like, by the names of ``runtime.cascade.AFTER``."""
    verb_known: bool = True
    """Whether the request's verb stands in the recipe's examples or description."""

    @property
    def margin(self) -> float | None:
        """The smallest margin at a choice that the SLM made, in [0, 1]; None where it made none."""
        margins = [] if self.generation is None else [self.generation.margin]
        if self.choice is not None:
            best, second = sorted(self.choice.probabilities, reverse=True)[:2]
            margins.append(best - second)
        return min(margins, default=None)

    @property
    def usage(self) -> Usage | None:
        if self.generation is not None:
            return self.generation.usage
        return self.choice.usage if self.choice is not None else None


async def fill(
    generator: Generator,
    request: str,
    recipe: Recipe,
    *,
    now: datetime,
    folder: Path,
    second_opinion: bool = False,
) -> Filled:
    """The recipe's arguments for ``request``. ``second_opinion``: ask the SLM what it would write
    for the free texts, so that its agreement is known. Raises SchemaRefused, ContextOverflow."""
    reading = read(request, recipe, now=now, folder=folder)
    ways = assignments(reading, recipe)
    best = ways[0]
    near = [w for w in ways if w.score >= best.score - WITHIN][:MOST_OPTIONS]
    choice: Choice | None = None
    messages = prompt(recipe, request)
    probability = 1.0
    if len(near) > 1:
        options = [json.dumps(_shown(recipe, w), ensure_ascii=False) for w in near]
        if len(set(options)) == len(options):
            choice = await generator.choose(messages, options)
        best, probability = _decide(near, choice)
    filled = _filled(recipe, reading, best, probability)
    arguments, problems = dict(filled.arguments), list(filled.problems)
    confidence, generation = filled.confidence, None
    loose = [s for s in recipe.slots if s.type == "json"]
    if loose:
        generation = await _generate(generator, messages, loose, arguments, recipe)
        confidence *= generation.confidence
        problems += _take_json(generation.text, loose, arguments, request)
    second, agreement = None, None
    if second_opinion and not loose and not problems:
        second, agreement = await _second_opinion(generator, messages, recipe, best)
    return Filled(
        arguments,
        confidence,
        generation,
        filled.leftover,
        tuple(problems),
        choice,
        messages if choice or generation or second else (),
        best.score,
        min(GAP, best.score - ways[1].score) if len(ways) > 1 else GAP,
        second,
        agreement,
        _shape(recipe, reading, best),
        filled.verb_known,
    )


async def _second_opinion(
    generator: Generator,
    messages: Sequence[Message],
    recipe: Recipe,
    way: Assignment,
) -> tuple[Generation | None, float | None]:
    """What the SLM would write for the free texts by itself, with the other arguments given.

    Words and SLM go wrong in different ways: where both say the same, they are mostly right.
    Quoted text is not asked about.
    """
    shown = _shown(recipe, way)
    asked = [
        s.name
        for s in recipe.slots
        if s.type in FREE_TEXT and s.name in shown and not way.values[s.name].quoted
    ]
    if not asked or any(len(str(shown[n])) > SECOND_CHARS for n in asked):
        return None, None
    properties = {n: {"type": "string"} if n in asked else {"const": v} for n, v in shown.items()}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    try:
        second = await generator.generate(messages, schema=schema, max_tokens=SECOND_TOKENS)
    except (ContextOverflow, SchemaRefused):
        return None, None  # the answer needs no opinion on it
    try:
        said = json.loads(second.text)
    except ValueError:
        return second, 0.0
    return second, min(_likeness(str(shown[n]), str(said[n])) for n in asked)


def _shape(recipe: Recipe, reading: Reading, way: Assignment) -> dict[str, float]:
    """Free text that was cut well holds few of the tool's own words, and neither begins nor ends
    with a word that only joins."""
    known = reading.evidence.command | FUNCTION_WORDS
    texts: list[list[Word]] = []
    for slot in recipe.slots:
        value = way.values.get(slot.name, ABSENT)
        if slot.type in FREE_TEXT and not value.quoted and value.ranges:
            texts.append(
                [w for w in reading.tokens if any(a <= w.start < b for a, b in value.ranges)]
            )
    guessed = [
        s.name
        for s in recipe.slots
        if s.type in ("choice", "boolean")
        and s.name in way.values
        and way.values[s.name] is not ABSENT
        and not way.values[s.name].ranges
    ]
    inside = [w for text in texts for w in text]
    own = reading.evidence.command - FUNCTION_WORDS
    ends = [w for text in texts for w in (text[:1] + text[1:][-1:])]
    return {
        "taken": len(inside) / max(1, len(reading.tokens)),
        "swallowed": float(sum(w.lower in own for w in inside)),
        "edges": float(sum(w.lower in known for w in ends)),
        "marks": float(sum(not w.is_word for w in inside)),
        "unnamed": float(len(guessed)),
        "question": float(reading.request.rstrip().endswith("?")),
    }


def _likeness(one: str, other: str) -> float:
    """1 for the same words, else half of their F1: close is not right."""
    a, b = (re.findall(r"\w+", text.casefold()) for text in (one, other))
    if a == b:
        return 1.0
    shared = len(set(a) & set(b))
    return shared / (len(set(a)) + len(set(b))) if shared else 0.0


def first_guess(request: str, recipe: Recipe, *, now: datetime, folder: Path) -> Filled:
    """What ``fill`` would say from the words alone, asking no model."""
    reading = read(request, recipe, now=now, folder=folder)
    ways = assignments(reading, recipe)
    return _filled(recipe, reading, ways[0], 1.0)


def prompt(recipe: Recipe, request: str) -> tuple[Message, ...]:
    """Instructions, the recipe's own examples, then the request: all but the last are fixed."""
    slots = "; ".join(
        f"{s.name}: {s.does}" + (f" (one of {', '.join(s.choices)})" if s.choices else "")
        for s in recipe.slots
    )
    # What a server says of its own tool is quoted: it is data.
    does = f"It is said to do: {json.dumps(recipe.does)}." if recipe.kind == "tool" else recipe.does
    system = (
        f"Fill in the arguments of {recipe.id}. {does} Arguments: {slots}. "
        "Copy words from the request. Leave out what it does not say. Answer in JSON."
    )
    messages: list[Message] = [{"role": "system", "content": system}]
    for example in recipe.examples[:SHOTS]:
        places = align(recipe, example.text, example.arguments)
        shown = {
            s.name: _words_of(s, example.arguments[s.name], example.text, places)
            for s in recipe.slots
            if s.name in example.arguments
        }
        messages.append({"role": "user", "content": example.text})
        messages.append({"role": "assistant", "content": json.dumps(shown, ensure_ascii=False)})
    return (*messages, {"role": "user", "content": request})


def _words_of(slot: Slot, value: Any, text: str, places: Mapping[str, Any]) -> Any:
    """An example's argument as its text says it: the SLM copies, and code converts."""
    if slot.type in ("choice", "boolean", "text", "json") or slot.name not in places:
        return value
    return text[places[slot.name].ranges[0][0] : places[slot.name].ranges[-1][1]].strip("\"'")


def _shown(recipe: Recipe, way: Assignment) -> dict[str, Any]:
    return {
        s.name: way.values[s.name].shown
        for s in recipe.slots
        if s.name in way.values and way.values[s.name] is not ABSENT
    }


def _decide(near: Sequence[Assignment], choice: Choice | None) -> tuple[Assignment, float]:
    """The best way by words and SLM together, and its share of the probability."""
    scores = [way.score for way in near]
    if choice is not None:
        scores = [
            s + SLM_WEIGHT * math.log(max(p, 1e-9))
            for s, p in zip(scores, choice.probabilities, strict=True)
        ]
    top = max(scores)
    weights = [math.exp(s - top) for s in scores]
    index = scores.index(top)
    return near[index], weights[index] / sum(weights)


def _filled(recipe: Recipe, reading: Reading, way: Assignment, probability: float) -> Filled:
    arguments: dict[str, Any] = {}
    problems: list[str] = []
    confidence = probability * LEFTOVER_FACTOR ** len(way.leftover)
    for slot in recipe.slots:
        if slot.type == "json":
            continue
        option = way.values.get(slot.name, ABSENT)
        if option is not ABSENT:
            arguments[slot.name] = option.value
            confidence *= 1.0 if option.exact else INEXACT_FACTOR
            confidence *= UNNAMED_FACTOR if slot.type == "choice" and not option.ranges else 1.0
        elif slot.default is not None:
            arguments[slot.name] = slot.default
        elif slot.required:
            problems.append(f"The request does not say the {slot.name.replace('_', ' ')}.")
    taken = [r for c in way.values.values() for r in c.ranges]
    leftover = _leftover(reading, way, taken)
    return Filled(
        arguments,
        confidence,
        None,
        leftover,
        tuple(problems),
        score=way.score,
        verb_known=reading.verb_known,
    )


def _leftover(
    reading: Reading, way: Assignment, taken: Sequence[tuple[int, int]]
) -> tuple[Span, ...]:
    """Typed spans that no slot took, then unexplained words."""

    def free(start: int, end: int) -> bool:
        return not any(start < b and end > a for a, b in taken)

    spans = [s for s in reading.spans if free(s.start, s.end)]
    for word in reading.tokens:
        if word.text in way.leftover and free(word.start, word.end):
            inside = any(s.start <= word.start < s.end for s in spans)
            if not inside:
                spans.append(Span("text", word.text, word.text, word.start, word.end))
    return tuple(spans)


async def _generate(
    generator: Generator,
    messages: Sequence[Message],
    loose: Sequence[Slot],
    arguments: Mapping[str, Any],
    recipe: Recipe,
) -> Generation:
    """The slots that only a schema describes, beside those already known."""
    properties: dict[str, Any] = {}
    for slot in recipe.slots:
        if slot in loose:
            properties[slot.name] = dict(slot.schema) if slot.schema is not None else {}
        elif slot.name in arguments:
            properties[slot.name] = {"const": arguments[slot.name]}
    required = [n for n in properties if n in arguments]
    required += [s.name for s in loose if s.required]
    schema = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return await generator.generate(messages, schema=schema, max_tokens=JSON_TOKENS)


def _take_json(
    text: str, loose: Sequence[Slot], arguments: dict[str, Any], request: str
) -> list[str]:
    """Add generated slots to ``arguments``; what is wrong with them."""
    try:
        body = json.loads(text)
    except ValueError:
        return ["The arguments were cut off."]
    problems = []
    lower = request.lower()
    for slot in loose:
        if slot.name not in body:
            continue
        arguments[slot.name] = body[slot.name]
        allowed = set(map(str, _enums(slot.schema)))
        invented = [
            leaf for leaf in _leaves(body[slot.name])
            if leaf and leaf not in allowed and leaf.lower() not in lower
        ]  # fmt: skip
        problems += [f"{slot.name}: {leaf!r} is not in the request." for leaf in invented[:3]]
    return problems


def _leaves(value: Any) -> list[str]:
    """Every string in a JSON value, keys left out."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [leaf for v in value.values() for leaf in _leaves(v)]
    if isinstance(value, list):
        return [leaf for v in value for leaf in _leaves(v)]
    return []


def _enums(schema: Any) -> list[Any]:
    if isinstance(schema, Mapping):
        own = list(schema.get("enum", ())) + ([schema["const"]] if "const" in schema else [])
        return own + [e for v in schema.values() for e in _enums(v)]
    if isinstance(schema, list):
        return [e for v in schema for e in _enums(v)]
    return []
