"""Whether any finite value meets a schema that ``models/enforceable.py`` has prepared."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

TYPES: Final = ("null", "boolean", "number", "string", "array", "object")


def types_of(schema: dict[str, Any]) -> set[str]:
    stated = schema.get("type", TYPES)
    return {stated} if isinstance(stated, str) else set(stated)


def can_end(root: dict[str, Any]) -> bool:
    """True where some finite value can meet a prepared schema.

    A least fixed point over (place, type of value): a place ends once all that it requires ends.
    """
    proven: set[tuple[int, str]] = set()

    def ends(schema: Any, type_: str, seen: set[tuple[int, str]]) -> bool:
        if isinstance(schema, bool):
            return schema
        key = (id(schema), type_)
        if key not in seen and key not in proven:
            seen.add(key)
            if holds(schema, type_, seen):
                proven.add(key)
        return key in proven

    def some(schema: Any, seen: set[tuple[int, str]]) -> bool:
        return any(ends(schema, type_, seen) for type_ in TYPES)

    def holds(schema: dict[str, Any], type_: str, seen: set[tuple[int, str]]) -> bool:
        types = types_of(schema)
        if type_ not in types and not (type_ == "number" and "integer" in types):
            return False
        both = list(schema.get("allOf", ()))
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#").removeprefix("/$defs/")
            both.append(root["$defs"][name] if name else root)
        if not all(ends(part, type_, seen) for part in both):
            return False
        for options in (schema.get("anyOf"), schema.get("oneOf")):
            if options is not None and not any(ends(part, type_, seen) for part in options):
                return False
        if {"const", "enum"} & schema.keys():
            return True
        return all(some(part, seen) for part in _required_parts(schema, type_))

    while True:
        before = len(proven)
        if some(root, set()):
            return True
        if len(proven) == before:
            return False


def _required_parts(schema: dict[str, Any], type_: str) -> Iterable[Any]:
    """The schemas of what a value of this type holds at least."""
    if type_ == "array":
        least = schema.get("minItems", 0)
        prefix = schema.get("prefixItems", [])
        yield from prefix[:least]
        if least > len(prefix):
            yield schema.get("items", True)
    elif type_ == "object":
        properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name in schema.get("required", ()):
            matching = [part for pattern, part in patterns.items() if re.search(pattern, name)]
            if name in properties:
                matching.append(properties[name])
            yield from matching or [schema.get("additionalProperties", True)]
