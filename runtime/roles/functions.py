"""Function tools, as OpenAI's API writes them, turned into recipes.

A parameter's JSON Schema, name and description give its slot type. What a slot type cannot
express (arrays, objects, unions) stays a ``json`` slot, which the SLM fills under its schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from models.errors import UsageError
from runtime.tools.recipe import Example, Recipe, Slot, SlotType

EXAMPLES = Path(__file__).parent.parent / "tools" / "assistant_examples.json"
"""Example requests for functions of the names in ``runtime/tools/assistant.json``."""

_TIME_UNIT = re.compile(r"\b(seconds?|minutes?|hours?|days?|weeks?)\b")
_WORDS_OF_TYPE: tuple[tuple[SlotType, re.Pattern[str]], ...] = (
    ("name", re.compile(r"\b(recipient|person|contact|attendee|who|city|country|town|artist)\b")),
    ("path", re.compile(r"\b(path|file ?name|folder|directory|file)\b")),
    ("keys", re.compile(r"\b(shortcut|key combination|hotkey)\b")),
    ("pattern", re.compile(r"\b(keyword|search term|pattern)\b")),
)


def from_functions(tools: Iterable[Mapping[str, Any]]) -> tuple[Recipe, ...]:
    """A recipe of kind ``parse`` for each function tool. Raises UsageError on what is none."""
    return tuple(_recipe(tool) for tool in tools)


def schema_of(recipe: Recipe) -> dict[str, Any]:
    """The JSON Schema that the arguments of a function recipe must meet."""
    properties = {s.name: dict(s.schema) if s.schema is not None else {} for s in recipe.slots}
    required = [s.name for s in recipe.slots if s.required]
    return {"type": "object", "properties": properties, "required": required,
            "additionalProperties": False}  # fmt: skip


def _recipe(tool: Mapping[str, Any]) -> Recipe:
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    parameters = function.get("parameters") or {} if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name or not isinstance(parameters, Mapping):
        raise UsageError(
            f"not a function tool: {json.dumps(tool, default=str)[:200]}",
            hint='Each looks like {"type": "function", "function": {"name": …, "parameters": …}}.',
        )
    properties = parameters.get("properties") or {}
    required = parameters.get("required") or ()
    if not isinstance(properties, Mapping):
        raise UsageError(f"function {name}: its parameters' properties are no JSON object")
    slots = tuple(_slot(n, s, n in required) for n, s in properties.items())
    names = {s.name for s in slots}
    known = tuple(e for e in _known_examples().get(name, ()) if set(e.arguments) <= names)
    does = str(function.get("description") or name.replace("_", " "))
    return Recipe(name, "parse", does, slots, known, "write")


def _slot(name: str, schema: Any, required: bool) -> Slot:
    schema = schema if isinstance(schema, Mapping) else {}
    does = str(schema.get("description") or name.replace("_", " "))
    words = f"{name.replace('_', ' ')} {does}".lower()
    choices = schema.get("enum")
    type_, unit = _type(schema, words)
    return Slot(
        name=name,
        type=type_,
        does=does,
        required=required,
        default=schema.get("default"),
        choices=tuple(map(str, choices)) if type_ == "choice" and choices else (),
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        unit=unit,
        schema=dict(schema),
    )


def _type(schema: Mapping[str, Any], words: str) -> tuple[SlotType, str]:
    kind, choices = schema.get("type"), schema.get("enum")
    if isinstance(choices, list):
        return ("choice", "") if all(isinstance(c, str) for c in choices) else ("json", "")
    if kind == "boolean":
        return "boolean", ""
    if kind in ("integer", "number"):
        if match := _TIME_UNIT.search(words):
            return "duration", match.group().rstrip("s") + "s"
        if re.search(r"\bbytes\b", words):
            return "size", ""
        return ("integer" if kind == "integer" else "number"), ""
    if kind != "string":
        return "json", ""
    if schema.get("format") in ("date-time", "date", "time"):
        return "datetime", str(schema["format"])
    for type_, pattern in _WORDS_OF_TYPE:
        if pattern.search(words):
            return type_, ""
    return "text", ""


@cache
def _known_examples() -> dict[str, tuple[Example, ...]]:
    body = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    return {n: tuple(Example(e["text"], e["arguments"]) for e in es) for n, es in body.items()}
