"""Values against schemas: what is wrong with them, and no address is ever asked."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from models.errors import SchemaRefused
from models.schemas import violations

COUNT = {"type": "object", "properties": {"count": {"$ref": "#/$defs/n"}}, "required": ["count"]}
COUNT["$defs"] = {"n": {"type": "integer"}}


@pytest.mark.parametrize(
    ("value", "wrong"),
    [({"count": 3}, 0), ({"count": "three"}, 1), ({}, 1), ([], 1)],
)
def test_violations_are_counted_and_references_within_the_schema_followed(
    value: Any, wrong: int
) -> None:
    assert len(violations(COUNT, value)) == wrong


@pytest.mark.parametrize("schema", [{"type": "nope"}, {"required": 3}])
def test_what_is_no_schema_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaRefused, match="no JSON Schema"):
        violations(schema, {})


def test_a_reference_to_nowhere_is_refused() -> None:
    with pytest.raises(SchemaRefused, match="/nope"):
        violations({"$ref": "#/nope"}, {})


def test_an_address_in_a_schema_is_never_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema"
        with pytest.raises(SchemaRefused, match="Nothing was fetched"):
            violations({"properties": {"a": {"$ref": address}}}, {"a": 1})
        with pytest.raises(BlockingIOError):  # nobody has knocked
            server.accept()


@pytest.mark.parametrize(("value", "wrong"), [(0.7, 0), (3, 0), (0.75, 1), (1e400, 1), (True, 0)])
def test_multiples_are_counted_in_decimal_digits(value: Any, wrong: int) -> None:
    assert len(violations({"multipleOf": 0.1}, value)) == wrong


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"const": {1}}, {"properties": {1: {2}}}])
def test_what_cannot_be_followed_or_is_no_json_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaRefused):
        violations(schema, {})


def test_a_pattern_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(SchemaRefused):
        violations({"pattern": "^\\p{L}$"}, "a")


def test_a_schema_that_holds_itself_is_refused() -> None:
    schema: dict[str, Any] = {}
    schema["items"] = schema
    with pytest.raises(SchemaRefused):
        violations(schema, [])


def test_a_schema_that_was_changed_is_read_anew() -> None:
    schema = {"type": "integer"}
    assert not violations(schema, 3)
    schema["type"] = "string"
    assert violations(schema, 3)
