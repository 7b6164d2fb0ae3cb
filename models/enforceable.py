"""A JSON Schema (draft 2020-12) as it is enforced while a model writes, or the reason why not.

What llguidance cannot enforce, enforces loosely, or what has no finite value is refused here; what
only describes is dropped; every ``$ref`` is resolved inside the schema itself.

Bounds that this adds, because a small model can go on without end: ``STRING_CHARS`` characters,
beyond its ``minLength``, for a string that has no ``maxLength``, ``pattern``, ``enum``, ``const``
or ``format``; ``INTEGER_LIMIT`` for an integer that has no end on a side; and those of
``models/formats.py``. Strings and names in parts that a schema leaves open (``{}``,
``additionalProperties``), digits of a fraction, items of an array and members of an object get no
bound: there ``max_tokens`` ends the text, with ``finish="length"``.
Names that fall under ``additionalProperties`` or ``patternProperties`` may repeat.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, Final

from models.endings import can_end, types_of
from models.errors import SchemaRefused
from models.formats import (
    FINITE_FORMATS,
    FORMAT_CHARS,
    FORMAT_PATTERNS,
    INTEGER_FORMATS,
    NUMBER_FORMATS,
    STRING_FORMATS,
    UNSPEAKABLE,
    check_pattern,
)

STRING_CHARS: Final = 512
"""Characters of a string that the schema does not bound. Masks cost the same up to 2,048."""
INTEGER_LIMIT: Final = 2**53 - 1
"""The largest integer that every JSON reader takes exactly (RFC 7493, section 2.2)."""
CUT_INTEGER: Final = 10**15
"""From here on an integer has as many digits as that limit, and may have run into it."""
LEAST_BOUND: Final = min(STRING_CHARS, *FORMAT_CHARS.values())
_NAMED: Final = {"properties", "patternProperties"}
_LISTED: Final = {"allOf", "anyOf", "oneOf", "prefixItems"}
_SINGLE: Final = {"items", "additionalProperties"}
_AS_THEY_ARE: Final = {
    "type", "enum", "const", "required", "minItems", "maxItems", "minProperties", "maxProperties",
    "minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf",
}  # fmt: skip

_IN_PLACE: Final = {"$ref", "allOf", "anyOf", "oneOf"}
_BOUND: Final = {"maxLength", "pattern", "enum", "const", "format"}
_REFUSED: Final = {
    "not": "list what is allowed, with enum or anyOf",
    "if": "write the cases out with anyOf",
    "uniqueItems": "check it after the answer",
    "contains": "use prefixItems, or check it after the answer",
    "dependentRequired": "write the cases out with anyOf",
    "dependentSchemas": "write the cases out with anyOf",
    "dependencies": "write the cases out with anyOf",
    "propertyNames": "use patternProperties with additionalProperties: false",
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
    "additionalItems": "use items behind prefixItems, as draft 2020-12 does",
    "contentEncoding": "use pattern",
    "contentMediaType": "use pattern, or check it after the answer",
    "contentSchema": "check it after the answer",
    "$dynamicRef": "use $ref",
    "$dynamicAnchor": "use $anchor",
    "$recursiveRef": "use $ref",
}
"""Keywords that llguidance refuses or would take for a description, and what to write instead."""
_EXACT: Final = 2**53


def enforceable(schema: Mapping[str, Any], *, slack: int = 0) -> dict[str, Any]:
    """``schema`` with added bounds, without descriptions, its references under ``$defs``.

    ``slack``: characters by which the added string bounds are made shorter.
    Raises SchemaRefused where it is no schema, or cannot be enforced whole.
    """
    plain = _plain(schema)
    try:
        prepared = _Walk(plain, slack).root()
        if not can_end(prepared):
            raise SchemaRefused(
                "no finite value meets this schema: what it requires is never allowed, or "
                "requires itself again without end",
                hint="give every recursion a way out: an optional property, an array that may be "
                "empty, or a second option in anyOf",
            )
    except RecursionError as error:
        raise SchemaRefused("this schema is nested too deep") from error
    return prepared


def _plain(schema: Any) -> dict[str, Any]:
    """The schema as plain JSON values that meet the meta-schema."""
    import jsonschema

    if not isinstance(schema, Mapping):
        raise SchemaRefused(f"a schema is a JSON object, and this is {type(schema).__name__}")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(schema, allow_nan=False))
        # Formats of the meta-schema aside: patterns are read, with more care, by check_pattern.
        unchecked = jsonschema.FormatChecker(formats=())
        jsonschema.Draft202012Validator.check_schema(plain, format_checker=unchecked)
    except jsonschema.SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top level"
        raise SchemaRefused(
            f"this is no JSON Schema: at {where}, {error.message[:200]}",
            hint="check it against https://json-schema.org/draft/2020-12",
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaRefused(f"this is no JSON Schema: {error}") from error
    return plain


class _Walk:
    """One pass over every place of a schema where a schema stands."""

    def __init__(self, plain: dict[str, Any], slack: int) -> None:
        from referencing import Registry
        from referencing.jsonschema import DRAFT202012

        self._plain = plain
        self._slack = slack
        # An empty registry: whatever is not in the schema itself cannot be found.
        self._resolver = Registry().resolver_with_root(DRAFT202012.create_resource(plain))
        self._names: dict[int, str] = {}
        self._waiting: list[tuple[str, Any]] = []

    def root(self) -> dict[str, Any]:
        prepared = self._object(self._plain, "#", bounded=False)
        definitions = {}
        while self._waiting:
            name, target = self._waiting.pop()
            definitions[name] = self._schema(target, f"#/$defs/{name}", bounded=False)
        if definitions:
            prepared["$defs"] = definitions
        return prepared

    def _schema(self, schema: Any, where: str, *, bounded: bool) -> Any:
        if isinstance(schema, bool):
            return schema
        return self._object(schema, where, bounded=bounded)

    def _object(self, schema: dict[str, Any], where: str, *, bounded: bool) -> dict[str, Any]:
        """``bounded``: an ``allOf`` around it says how long a string may be."""
        self._refuse(schema, where)
        bounded = bounded or any(_BOUND & part.keys() for part in _conjuncts(schema))
        out: dict[str, Any] = {}
        also: list[dict[str, Any]] = []
        for key, value in schema.items():
            at = f"{where}/{key}"
            if key in _NAMED:
                out[key] = {
                    name: self._schema(part, f"{at}/{name}", bounded=False)
                    for name, part in value.items()
                }
            elif key in _LISTED:
                inner = bounded and key != "prefixItems"
                out[key] = [
                    self._schema(part, f"{at}/{index}", bounded=inner)
                    for index, part in enumerate(value)
                ]
            elif key in _SINGLE:
                out[key] = self._schema(value, at, bounded=False)
            elif key == "$ref":
                out[key] = self._reference(value)
            elif key == "format":
                also += self._format(schema, value, where, out)
            elif key in _RANGE and "number" in types_of(schema):
                also.append(_range(key, value))
            elif key in _AS_THEY_ARE:
                out[key] = value
        if also:
            out["allOf"] = [*out.get("allOf", ()), *also]
        if out.get("minProperties", 0) <= len(out.get("required", ())):
            out.pop("minProperties", None)
        if not bounded and not _IN_PLACE & schema.keys() and "string" in types_of(schema):
            out["maxLength"] = schema.get("minLength", 0) + STRING_CHARS - self._slack
        if not bounded and not _IN_PLACE & schema.keys() and _integer(schema):
            self._bound_integer(schema, out)
        return out

    def _bound_integer(self, schema: dict[str, Any], out: dict[str, Any]) -> None:
        """A last number on each side where the schema states none."""
        last = INTEGER_LIMIT if not self._slack else CUT_INTEGER - 1
        low = max(schema.get("minimum", -last), schema.get("exclusiveMinimum", -last))
        high = min(schema.get("maximum", last), schema.get("exclusiveMaximum", last))
        if not {"maximum", "exclusiveMaximum"} & schema.keys() and low <= last // 2:
            out["maximum"] = last
        if not {"minimum", "exclusiveMinimum"} & schema.keys() and high >= -last // 2:
            out["minimum"] = -last

    def _reference(self, reference: str) -> str:
        from referencing.exceptions import Unresolvable

        try:
            target = self._resolver.lookup(reference).contents
        except (Unresolvable, ValueError) as error:
            raise SchemaRefused(
                f"the schema refers to {reference!r}, which it does not hold; nothing was fetched",
                hint="put what it refers to under $defs, and refer to it there",
            ) from error
        if target is self._plain:
            return "#"
        if not isinstance(target, (dict, bool)):
            raise SchemaRefused(f"the schema refers to {reference!r}, which is no schema")
        if id(target) not in self._names:
            name = f"d{len(self._names)}"
            self._names[id(target)] = name
            self._waiting.append((name, target))
        return f"#/$defs/{self._names[id(target)]}"

    def _format(
        self, schema: dict[str, Any], format_: str, where: str, out: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """What holds besides, for a format; a length bound goes into ``out``."""
        types = types_of(schema)
        if "string" in types:
            if format_ in FORMAT_PATTERNS:
                return [{"pattern": FORMAT_PATTERNS[format_]}]
            if format_ in FORMAT_CHARS or format_ in FINITE_FORMATS:
                out["format"] = format_
                if format_ in FORMAT_CHARS and "maxLength" not in schema:
                    out["maxLength"] = FORMAT_CHARS[format_] - self._slack
                return []
        elif format_ in INTEGER_FORMATS and "integer" in types:
            limit = INTEGER_FORMATS[format_]
            return [{"minimum": -limit, "maximum": limit - 1}]
        elif format_ in NUMBER_FORMATS and "number" in types:
            return []
        raise SchemaRefused(
            f"at {where}, the format {format_!r} cannot be enforced",
            hint=f"use a pattern, or one of {', '.join(STRING_FORMATS)}",
        )

    def _refuse(self, schema: dict[str, Any], where: str) -> None:
        for key, hint in _REFUSED.items():
            if key in schema and not _says_nothing(schema, key):
                raise SchemaRefused(f"at {where}, {key!r} cannot be enforced", hint=hint)
        if "$id" in schema and schema is not self._plain:
            raise SchemaRefused(
                f"at {where}, a schema within the schema has an $id of its own",
                hint="put it under $defs, and refer to it there",
            )
        if schema.get("minProperties", 0) > len(schema.get("required", ())) + 1:
            raise SchemaRefused(
                f"at {where}, minProperties cannot be enforced: names could repeat",
                hint="name the properties under required",
            )
        for pattern in [schema.get("pattern"), *schema.get("patternProperties", ())]:
            if pattern is not None:
                check_pattern(pattern, where)
        named = [list(schema.get("properties", ())), schema.get("required")]
        for text in _strings([*named, schema.get("const"), schema.get("enum")]):
            if found := UNSPEAKABLE.search(text):
                raise SchemaRefused(
                    f"at {where}, {text[:80]!r} holds U+{ord(found[0]):04X}, which no answer holds",
                    hint="leave out control characters and lone surrogates",
                )
        for number in _numbers([schema.get("const"), schema.get("enum"), _limits(schema)]):
            if abs(number) > _EXACT:
                raise SchemaRefused(
                    f"at {where}, {number} is beyond 2^53, where numbers are no longer exact"
                )


def _says_nothing(schema: dict[str, Any], key: str) -> bool:
    """True where a keyword constrains nothing as it stands."""
    if key == "if":
        return not {"then", "else"} & schema.keys()
    if key in ("propertyNames", "unevaluatedProperties", "unevaluatedItems"):
        return schema[key] in (True, {})
    if key == "uniqueItems":
        return schema[key] is False
    return key in ("dependentRequired", "dependentSchemas") and schema[key] == {}


_RANGE: Final = {
    "minimum": ("minimum", ROUND_CEILING, 0),
    "maximum": ("maximum", ROUND_FLOOR, 0),
    "exclusiveMinimum": ("minimum", ROUND_FLOOR, 1),
    "exclusiveMaximum": ("maximum", ROUND_CEILING, -1),
}
_DIGITS: Final = 14
_DECIMALS: Final = 9


def _range(keyword: str, bound: float) -> dict[str, float]:
    """A bound of a number as an inclusive one of at most 14 digits and 9 decimals, on its inside.

    llguidance makes a grammar of decimal digits of it, which lets an exclusive bound itself
    through in some ranges, and rounds a bound of more digits to the outside.
    """
    name, rounding, steps = _RANGE[keyword]
    exact = Decimal(repr(bound))
    decimals = max(0, min(_DECIMALS, _DIGITS - max(1, exact.adjusted() + 1)))
    step = Decimal(1).scaleb(-decimals)
    inside = exact.quantize(step, rounding, Context(prec=400)) + steps * step
    return {name: int(inside) if inside == inside.to_integral_value() else float(inside)}


def _conjuncts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema and the parts of its ``allOf``, which all hold at once."""
    yield schema
    for part in schema.get("allOf", ()):
        if isinstance(part, dict):
            yield from _conjuncts(part)


def _limits(schema: dict[str, Any]) -> list[Any]:
    names = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    return [schema.get(name) for name in names]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        yield from _strings(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _numbers(value: Any) -> Iterator[int]:
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, dict):
        yield from _numbers(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)


def _integer(schema: dict[str, Any]) -> bool:
    types = types_of(schema)
    return "integer" in types and "number" not in types and not {"enum", "const"} & schema.keys()
