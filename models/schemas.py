"""Values held against JSON Schemas (draft 2020-12), without leaving this machine.

jsonschema by itself fetches a ``$ref`` that names an address. A schema comes from a task, so that
would let a task send bytes whatever its privacy mode: references are resolved within the schema
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from models.errors import SchemaRefused

if TYPE_CHECKING:
    from jsonschema import ValidationError


def check(schema: Mapping[str, Any]) -> None:
    """Raises SchemaRefused where ``schema`` is none, or refers to what it does not hold."""
    import jsonschema
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        # An empty registry: whatever is not in the schema itself cannot be found.
        resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
        for reference in _references(schema):
            resolver.lookup(reference)
    except jsonschema.SchemaError as error:
        raise SchemaRefused(
            f"This is no JSON Schema: {error.message[:200]}.",
            hint="Check it against https://json-schema.org.",
        ) from error
    except Unresolvable as error:
        raise SchemaRefused(
            f"The schema refers to {error.ref!r}, which it does not hold. Nothing was fetched.",
            hint="Put what it refers to under $defs, and refer to it there.",
        ) from error


def violations(schema: Mapping[str, Any], value: Any) -> list[ValidationError]:
    """What of ``value`` does not meet ``schema``; empty where it meets it.

    Raises SchemaRefused as ``check`` does.
    """
    import jsonschema
    from referencing import Registry

    check(schema)
    return list(jsonschema.Draft202012Validator(schema, registry=Registry()).iter_errors(value))


def _references(schema: Any) -> Iterator[str]:
    """Every ``$ref`` in a schema, whichever keyword it stands under."""
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, (list, tuple)):
        for item in schema:
            yield from _references(item)
