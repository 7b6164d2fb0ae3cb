"""What an MCP server says of its tools, made fit to be shown to a model: data, never orders.

A description is written by whoever runs the server. It is stripped of what a terminal or a
chat template would obey, of sentences that speak to a model about instructions or permission, and
cut to a length. Nothing here decides what is allowed: risk comes from the configuration alone, so
a description that gets through changes nothing but which recipe is picked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from models.errors import SchemaRefused
from models.schemas import check
from runtime.plain import plain

MAX_DOES_CHARS = 400
MAX_SLOT_CHARS = 160
MAX_SCHEMA_CHARS = 20_000
MAX_SCHEMA_DEPTH = 12
TOOL_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")
ARGUMENT_NAME = re.compile(r"[A-Za-z0-9_$@][A-Za-z0-9_$@.:-]{0,63}")

_MARKUP = re.compile(r"<[^<>]{0,200}>|<\|.{0,80}?\|>|\[/?[A-Z_ ]{2,20}\]|`{3,}|#{2,}|\*{2,}|-{3,}")
_SENTENCE = re.compile(r"(?<=[.!?;:])\s+|\n+")
_SPEAKS_TO_MODELS = re.compile(
    r"""
    \b(ignore|disregard|forget|override|bypass)\b.{0,60}\b(instruct\w*|prompt\w*|rule\w*|polic\w*|
        previous|prior|above|everything|gate|safety)\b
    | \b(system|developer|assistant|user)\s*:
    | \bsystem\s+(prompt|message)\b
    | \byou\s+(may|can|must|should|shall|will|are|have\s+to|need\s+to)\b
    | \bwithout\s+(asking|approval|permission|confirm\w*|telling|consent)\b
    | \b(do\s+not|don't|never)\s+(ask|tell|mention|reveal|show|inform|warn)\b
    | \b(always|first)\s+(call|use|run|invoke)\b
    | \b(before|instead\s+of)\s+(using|calling|running)\s+(any|every|all|other)\b
    | \b(pre-?approved|no\s+confirmation|already\s+(approved|allowed|confirmed))\b
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_KEPT = {
    *("type", "properties", "required", "items", "prefixItems", "enum", "const", "default"),
    *("anyOf", "oneOf", "allOf", "not", "minimum", "maximum", "exclusiveMinimum", "format"),
    *("exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "minItems"),
    *("maxItems", "uniqueItems", "minProperties", "maxProperties", "additionalProperties"),
    *("description", "$ref", "$defs", "definitions"),
}
_NAMED = frozenset(("properties", "$defs", "definitions"))
"""Keywords whose keys are names, not keywords."""
_VALUES = frozenset(("enum", "const", "default", "required", "type"))


def cleaned(text: str, limit: int = MAX_DOES_CHARS) -> str:
    """``text`` as one short line of description, without markup and without sentences that speak
    to a model of instructions or permission."""
    spaced = _MARKUP.sub(" ", plain(text, lines=True))
    kept = [s for s in _SENTENCE.split(spaced) if s.strip() and not _SPEAKS_TO_MODELS.search(s)]
    line = " ".join(" ".join(kept).split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def cleaned_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an input schema that says what arguments may be; descriptions cleaned.

    Raises SchemaRefused where it is none for an object, too large, or names arguments oddly.
    """
    if schema.get("type", "object") != "object":
        raise SchemaRefused("Its arguments are no JSON object.")
    if len(json.dumps(schema)) > MAX_SCHEMA_CHARS:
        raise SchemaRefused(f"Its schema has more than {MAX_SCHEMA_CHARS:,} characters.")
    for name in schema.get("properties") or {}:
        if not ARGUMENT_NAME.fullmatch(str(name)):
            raise SchemaRefused(f"An argument is named {plain(str(name))[:80]!r}.")
    clean: dict[str, Any] = _part(schema, 0)
    check(clean)
    return clean


def _part(value: Any, depth: int) -> Any:
    if depth > MAX_SCHEMA_DEPTH:
        raise SchemaRefused(f"Its schema is nested more than {MAX_SCHEMA_DEPTH} deep.")
    if isinstance(value, list):
        return [_part(one, depth + 1) for one in value]
    if not isinstance(value, Mapping):
        return value
    part: dict[str, Any] = {}
    for key, inner in value.items():
        if key not in _KEPT:
            continue
        if key == "description":
            part[key] = cleaned(str(inner), MAX_SLOT_CHARS)
        elif key in _NAMED and isinstance(inner, Mapping):
            part[key] = {name: _part(one, depth + 1) for name, one in inner.items()}
        else:
            part[key] = inner if key in _VALUES else _part(inner, depth + 1)
    return part


def digest(tool: Mapping[str, Any]) -> str:
    """SHA-256 over everything a server says of a tool: name, title, description, schemas,
    annotations."""
    said = {k: tool.get(k) for k in ("name", "title", "description", "annotations")}
    said |= {k: tool.get(k) for k in ("inputSchema", "outputSchema")}
    text = json.dumps(said, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
