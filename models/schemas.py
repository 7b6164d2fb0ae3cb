"""Values held against JSON Schemas (draft 2020-12), without leaving this machine.

jsonschema by itself fetches a ``$ref`` that names an address. A schema comes from a task, so that
would let a task send bytes whatever its privacy mode: references are resolved within the schema
alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from models.errors import SchemaRefused

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

KEPT_VALIDATORS = 64


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

    Raises SchemaRefused as ``check`` does, and where following the schema never ends.
    """
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaRefused(f"This is no JSON Schema: {error}.") from error
    try:
        return list(_validator(text).iter_errors(value))
    except re.error as error:
        raise SchemaRefused(f"A pattern of the schema cannot be read: {error}.") from error
    except RecursionError as error:
        raise SchemaRefused("The schema or the value refers to itself without end.") from error


@lru_cache(KEPT_VALIDATORS)
def _validator(text: str) -> Validator:
    """Checking a schema against its meta-schema takes longer than most values against it."""
    import jsonschema
    from referencing import Registry

    schema = json.loads(text)
    check(schema)
    exact = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator, {"multipleOf": _multiple_of}
    )
    validator: Validator = exact(schema, registry=Registry())
    return validator


def _multiple_of(_: Any, step: float, value: Any, __: Any) -> Iterator[ValidationError]:
    """jsonschema divides floats, by which 0.7 is no multiple of 0.1."""
    from jsonschema import ValidationError

    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if not math.isfinite(value) or Fraction(repr(value)) % Fraction(repr(step)):
        yield ValidationError(f"{value!r} is not a multiple of {step}")


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
