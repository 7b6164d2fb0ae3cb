"""Data takes the form that was asked for, by rule where a rule leads there."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import SchemaRefused
from models.pool import Pool
from runtime.core import Kind
from runtime.roles.formatter import Formatter
from runtime.roles.mapping import fit
from runtime.roles.templates import fields, filled, values_from_data, values_from_text
from tests.fakes import FakeGenerator
from tests.runtime.roles.support import a_decision, a_step, a_task

ROWS = [{"bytes": 3145728, "path": "a/b.iso"}, {"bytes": 10, "path": "c.txt"}]


def props(**types: Any) -> dict[str, Any]:
    body = {n: t if isinstance(t, dict) else {"type": t} for n, t in types.items()}
    return {"type": "object", "properties": body, "required": list(body)}


def array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


@pytest.mark.parametrize(
    ("data", "schema", "expected"),
    [
        (ROWS, array(props(path="string", bytes="integer")),
         [{"path": "a/b.iso", "bytes": 3145728}, {"path": "c.txt", "bytes": 10}]),
        (ROWS, array(props(file="string", size="integer")),
         [{"file": "a/b.iso", "size": 3145728}, {"file": "c.txt", "size": 10}]),
        (ROWS[:1], array(props(path="string", size_mb="number")),
         [{"path": "a/b.iso", "size_mb": 3.0}]),
        (ROWS[:1], array(props(fileName="string", path="string")),
         [{"fileName": "b.iso", "path": "a/b.iso"}]),
        (ROWS, array({"type": "string"}), ["a/b.iso", "c.txt"]),
        (ROWS, array({"type": "integer"}), [3145728, 10]),
        (ROWS, props(files=array(props(path="string")), count="integer", total_bytes="integer"),
         {"files": [{"path": "a/b.iso"}, {"path": "c.txt"}], "count": 2, "total_bytes": 3145738}),
        (ROWS[:1], props(path="string"), {"path": "a/b.iso"}),
        (42, props(lines="integer"), {"lines": 42}),
        (42, {"type": "integer"}, 42),
        ("17", {"type": "integer"}, 17),
        (42, {"type": "string"}, "42"),
        ("a\nb", array({"type": "string"}), ["a", "b"]),
        ([], array(props(path="string")), []),
        ([], props(files=array(props(path="string"))), {"files": []}),
    ],
)  # fmt: skip
def test_rules_fit_data_to_a_schema(data: Any, schema: dict[str, Any], expected: Any) -> None:
    assert fit(data, schema) == expected


@pytest.mark.parametrize(
    ("data", "schema"),
    [
        (ROWS, props(owner="string")),
        (ROWS, {"type": "string"}),
        ("no number", {"type": "integer"}),
        (3.5, {"type": "integer"}),
        (True, {"type": "integer"}),
        (42, props(a="integer", b="integer")),
        ([{"path": "x"}], array(props(path="string", bytes="integer"))),
    ],
)
def test_what_no_rule_reaches_is_not_guessed(data: Any, schema: dict[str, Any]) -> None:
    with pytest.raises(LookupError):
        fit(data, schema)


async def run(
    data: Any,
    text: str = "do it",
    generator: FakeGenerator | None = None,
    pool: Pool | None = None,
    **fields_: Any,
) -> tuple[Any, float, list[Any]]:  # fmt: skip
    encoder: Any = pool.encoder() if pool else None
    formatter = Formatter(generator or FakeGenerator(), encoder)
    kind: Kind = "format" if data == text else "shell"
    return await formatter.format(
        a_task(text, **fields_), a_step(text, kind), a_decision(text, kind), data
    )  # fmt: skip


async def test_a_mapping_by_rule_is_no_model_call() -> None:
    value, confidence, calls = await run(ROWS, schema=array(props(path="string", bytes="integer")))
    assert value[0] == {"path": "a/b.iso", "bytes": 3145728}
    assert (confidence, calls) == (1.0, [])


async def test_names_that_only_mean_the_same_go_through_the_encoder(pool: Pool) -> None:
    rows = [{"command": "sshd", "memory": 12.5, "seconds": 3.0}]
    schema = array(props(program="string", ram_percent="number", elapsed_time="number"))
    value, _, calls = await run(rows, schema=schema, pool=pool)
    assert value == [{"program": "sshd", "ram_percent": 12.5, "elapsed_time": 3.0}]
    assert [c.model for c in calls] == [pool.encoder().model]


async def test_where_rules_end_the_model_generates_under_the_schema() -> None:
    generator = FakeGenerator(['{"first":"Ada","last":"King"}'])
    schema = props(first="string", last="string")
    value, confidence, calls = await run("Ada King", schema=schema, generator=generator)
    assert value == {"first": "Ada", "last": "King"} and confidence == pytest.approx(0.9)
    assert [c.role for c in calls] == ["formatter"]


async def test_a_generated_value_that_the_source_lacks_costs_confidence() -> None:
    generator = FakeGenerator(['{"first":"Ada","last":"Byron"}'])
    _, confidence, _ = await run(
        "Ada King", schema=props(first="string", last="string"), generator=generator
    )
    assert confidence < 0.6


@pytest.mark.parametrize("answer", ['{"first":"A', '{"first":1,"last":"x"}'])
async def test_an_answer_that_misses_the_schema_is_refused(answer: str) -> None:
    with pytest.raises(SchemaRefused):
        await run("Ada King", schema=props(first="string", last="string"),
                  generator=FakeGenerator([answer]))  # fmt: skip


async def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(SchemaRefused):
        await run(ROWS, schema={"type": "nonsense"})


async def test_words_are_read_into_a_schema_like_a_tools_arguments() -> None:
    text = "a meeting with Ana tomorrow at 10"
    schema = props(person={"type": "string", "description": "name of the person"},
                   when={"type": "string", "format": "date-time"})  # fmt: skip
    value, _, calls = await run(text, text, schema=schema, generator=FakeGenerator([0, 0]))
    assert value == {"person": "Ana", "when": "2026-11-23T10:00:00"}
    assert len(calls) <= 1


def test_template_fields_and_filling() -> None:
    template = "Dear {name}, order {order no} for {name}"
    assert fields(template) == ["name", "order no"]
    assert filled(template, {"name": "Ada", "order no": 7}) == "Dear Ada, order 7 for Ada"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fill it with Ada, 1042, Monday", ["Ada", "1042", "Monday"]),
        ("fill it using Ada, 1042 and Monday.", ["Ada", "1042", "Monday"]),
        ("fill it: name: Ada, order = 1042, and the day is Monday", ["Ada", "1042", "Monday"]),
        ('name is "Ada K.", order: 1042; day: Monday', ["Ada K.", "1042", "Monday"]),
    ],
)
def test_template_values_come_from_the_request(text: str, expected: list[str]) -> None:
    assert list(values_from_text(["name", "order", "day"], text).values()) == expected


def test_template_values_come_from_data_by_name() -> None:
    assert values_from_data(["File Name"], [{"file_name": "x"}]) == {"File Name": "x"}
    assert values_from_data(["n"], 42) == {"n": 42}
    assert values_from_data(["n"], ROWS) == {}


async def test_a_template_in_the_request_is_filled_without_a_model() -> None:
    text = "fill 'Dear {name}, your order {order} ships {day}' with Ada, 1042, Monday"
    value, confidence, calls = await run(text, text)
    assert value == "Dear Ada, your order 1042 ships Monday"
    assert (confidence, calls) == (1.0, [])


async def test_a_tasks_template_is_filled_from_data() -> None:
    value, _, calls = await run(42, template="There are {count} lines.")
    assert value == "There are 42 lines." and calls == []


async def test_a_missing_template_value_is_the_models_to_find() -> None:
    generator = FakeGenerator(['{"day":"Monday"}'])
    value, confidence, calls = await run(
        None, "Ada gets it on Monday", generator=generator, template="On {day}."
    )
    assert value == "On Monday." and confidence == pytest.approx(0.9) and len(calls) == 1


async def test_nothing_asked_for_leaves_data_as_it_is() -> None:
    assert (await run(ROWS))[0] == ROWS
    assert (await run("  text \n"))[0] == "text"
    assert (await run(None))[0] == "Done."
