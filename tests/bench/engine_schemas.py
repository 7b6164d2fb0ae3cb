"""What the engine is asked in its benchmark: requests, their prompts and their JSON Schemas.

Twelve for timing: six functions of BFCL (those of ``live_simple`` with the most requests), three
shell and GUI calls of this project with its own prompts, three nested records. For validity, 200
functions of BFCL in the order of their SHA-256. BFCL's rows are only sent and never looked into.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.base import Message
from runtime.roles.filling import SHOTS, prompt
from runtime.tools.gui.skills import SKILLS
from runtime.tools.recipe import Recipe, Slot
from runtime.tools.shell.recipes import load
from tests.bench.engine_records import RECORDS
from tests.bench.peers import bfcl_rows

BFCL_FILES = (
    *("simple_python", "multiple", "parallel", "parallel_multiple"),
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
)
RECIPES = ("files_bigger_than", "largest_files", "save_as")
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": None}
"""BFCL's types that JSON Schema has under another name; None: any value."""
_KEPT = {
    *("description", "enum", "default", "format", "minimum", "maximum", "pattern"),
    *("minItems", "maxItems", "minLength", "maxLength", "required", "additionalProperties"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """One schema with the requests it is asked for; ``head`` is what every prompt starts with."""

    id: str
    schema: Mapping[str, Any]
    head: tuple[Message, ...]
    requests: tuple[str, ...]

    def messages(self, request: str) -> tuple[Message, ...]:
        return (*self.head, {"role": "user", "content": request})


def twelve() -> tuple[Question, ...]:
    """The schemas that are timed: each with at least four requests."""
    return (*_most_asked(6), *_calls(), *_records())


def many(count: int) -> tuple[Question, ...]:
    """``count`` different functions of BFCL with a request each, in the order of their hashes."""
    found: dict[str, Question] = {}
    for row in bfcl_rows(*BFCL_FILES):
        request = _request(row)
        for function in row["function"]:
            text = json.dumps(function, sort_keys=True)
            key = hashlib.sha256(text.encode()).hexdigest()
            found.setdefault(key, _function_question(f"{row['id']} {key[:8]}", function, request))
    return tuple(found[key] for key in sorted(found)[:count])


def json_schema(parameters: Any) -> dict[str, Any]:
    """BFCL's description of a function's parameters, as a JSON Schema. Raises ValueError on a
    type that is in neither."""
    out: dict[str, Any] = {k: v for k, v in parameters.items() if k in _KEPT}
    kind = parameters.get("type")
    kind = _TYPES.get(kind, kind)
    if kind is not None:
        if kind not in ("object", "array", "string", "integer", "number", "boolean", "null"):
            raise ValueError(f"type {kind!r}")
        out["type"] = kind
    if isinstance(parameters.get("properties"), Mapping):
        out["properties"] = {k: json_schema(v) for k, v in parameters["properties"].items()}
        out.setdefault("additionalProperties", False)
    if isinstance(parameters.get("items"), Mapping):
        out["items"] = json_schema(parameters["items"])
    return out


def _most_asked(count: int) -> tuple[Question, ...]:
    asked: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for row in bfcl_rows("live_simple"):
        if len(row["function"]) == 1:
            asked[json.dumps(row["function"][0], sort_keys=True)][_request(row)] = None
    order = sorted(asked, key=lambda f: (-len(asked[f]), hashlib.sha256(f.encode()).hexdigest()))
    by_name: dict[str, Question] = {}
    for text in order:
        function = json.loads(text)
        question = _function_question(function["name"], function, *asked[text])
        by_name.setdefault(question.id, question)
    return tuple(by_name.values())[:count]


def _function_question(id_: str, function: Mapping[str, Any], *requests: str) -> Question:
    system = (
        "You fill in the arguments of a function from the user's request. Copy values from the "
        "request, and leave out what it does not say. Answer with one JSON object.\n"
        f"Function: {json.dumps(function, ensure_ascii=False)}"
    )
    schema = json_schema(function["parameters"])
    return Question(id_, schema, ({"role": "system", "content": system},), requests)


def _request(row: Mapping[str, Any]) -> str:
    turns: Sequence[Mapping[str, str]] = row["question"][0]
    return [turn["content"] for turn in turns if turn["role"] == "user"][-1]


def _calls() -> tuple[Question, ...]:
    """Shell and GUI calls: the Tool User's own prompt, asked with the later examples."""
    recipes: dict[str, Recipe] = {recipe.id: recipe for recipe in (*load(), *SKILLS)}
    return tuple(
        Question(
            id_,
            recipe_schema(recipes[id_].slots),
            prompt(recipes[id_], "")[:-1],
            tuple(example.text for example in recipes[id_].examples[SHOTS:]),
        )
        for id_ in RECIPES
    )


def recipe_schema(slots: Iterable[Slot]) -> dict[str, Any]:
    """The JSON Schema of a recipe's slots."""
    slots = tuple(slots)
    return {
        "type": "object",
        "properties": {slot.name: _slot_schema(slot) for slot in slots},
        "required": [slot.name for slot in slots if slot.required],
        "additionalProperties": False,
    }


def _slot_schema(slot: Slot) -> dict[str, Any]:
    if slot.type == "choice":
        return {"enum": list(slot.choices)}
    if slot.type in ("integer", "size", "duration"):
        kind = "integer"
    elif slot.type in ("number", "boolean"):
        kind = slot.type
    else:
        kind = "string"
    bounds = {"minimum": slot.minimum, "maximum": slot.maximum}
    return {"type": kind, **{k: int(v) for k, v in bounds.items() if v is not None}}


def _records() -> tuple[Question, ...]:
    return tuple(
        Question(
            record.id,
            record.schema,
            (
                {"role": "system", "content": record.system},
                {"role": "user", "content": record.example[0]},
                {"role": "assistant", "content": json.dumps(record.example[1])},
            ),
            record.requests,
        )
        for record in RECORDS
    )
