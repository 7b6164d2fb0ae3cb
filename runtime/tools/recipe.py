"""A recipe: one typed thing that a tool can do, with slots to fill and examples of requests.

Shell commands, GUI skills and offered functions are all recipes to the Tool User: the
encoder picks one by its description and examples, the local SLM fills its slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from runtime.core import Kind, Risk

SlotType = Literal[
    "text",  # words to copy from the request (a message, a title, a search phrase)
    "lines",  # one or several lines of text to type, kept exactly
    "path",  # an existing file or folder
    "new_path",  # a file or folder to be made
    "pattern",  # a word or phrase to look for
    "extension",  # a file extension without its dot
    "integer",
    "number",
    "size",  # a file size, as bytes
    "duration",  # a time span, as whole days or minutes (see Slot.unit)
    "datetime",  # local ISO 8601, seconds precision
    "choice",  # one of Slot.choices
    "boolean",
    "label",  # the words on a button, menu or field on the screen
    "keys",  # a key or shortcut, such as ctrl+s
    "name",  # a program, process, user or person
    "json",  # any other value: filled under Slot.schema
]


@dataclass(frozen=True, slots=True)
class Slot:
    """One argument of a recipe."""

    name: str
    type: SlotType
    does: str
    """What it is, in a few words; the SLM reads this."""
    required: bool = True
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A request and the arguments that it means."""

    text: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One thing that can be done. ``id`` is unique within its tool."""

    id: str
    kind: Kind
    does: str
    slots: tuple[Slot, ...]
    examples: tuple[Example, ...]
    risk: Risk


@dataclass(frozen=True, slots=True)
class Picked:
    """The recipes that fit a request, best first, with calibrated probabilities."""

    recipe: Recipe
    probability: float
    score: float = 0.0
    """Likeness to the recipe's description and examples, about a cosine."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One filled recipe: what the Tool User would do.

    ``confidence`` in [0, 1] joins the pick and the slots; ``problems`` are what the verifier
    found (empty: it passed), each a short sentence that a person can read. ``signals``: what the
    confidence was made from, by the names of ``runtime.cascade.AFTER``.
    """

    recipe: Recipe
    arguments: Mapping[str, Any]
    confidence: float
    problems: tuple[str, ...] = ()
    signals: Mapping[str, float] = field(default_factory=dict)
