"""Labelled steps: what counts as the same call, and that the shipped ones can be judged at all."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.labelled import Labelled, Wanted, load, same
from runtime.roles.functions import from_functions
from runtime.team import assistant_tools
from runtime.tools.gui.skills import SKILLS
from runtime.tools.recipe import Recipe, Slot
from runtime.tools.shell.recipes import load as shell_recipes

SEND = Recipe(
    "send",
    "parse",
    "send",
    (
        Slot("to", "name", "whom"),
        Slot("text", "text", "what"),
        Slot("folder", "path", "where", False, "."),
        Slot("urgent", "boolean", "urgent", False, False),
        Slot("lines", "lines", "exactly", False),
    ),
    (),
    "write",
)


@pytest.mark.parametrize(
    ("found", "wanted", "equal"),
    [
        ({"to": "Sam", "text": "the keys"}, {"to": "sam", "text": "keys."}, True),
        ({"to": "Sam", "folder": "."}, {"to": "Sam"}, True),
        ({"to": "Sam", "folder": "docs/"}, {"to": "Sam", "folder": "docs"}, True),
        ({"to": "Sam", "urgent": False}, {"to": "Sam"}, True),
        ({"to": "Sam", "urgent": True}, {"to": "Sam"}, False),
        ({"to": "Sam", "text": "and the keys"}, {"to": "Sam", "text": "the keys"}, False),
        ({"to": "Sam", "lines": "Hello!"}, {"to": "Sam", "lines": "Hello"}, False),
        ({"to": "Sam", "cc": "Ann"}, {"to": "Sam"}, False),
        ({"to": "Sam"}, {"to": "Sam", "text": "x"}, False),
    ],
)
def test_the_same_call(found: dict[str, Any], wanted: dict[str, Any], equal: bool) -> None:
    assert same(SEND, found, wanted) is equal


def test_where_no_tool_fits_nothing_is_right() -> None:
    assert not Labelled("x-1", "fly", ()).accepts(SEND, {"to": "Sam"})
    either = Labelled("x-2", "x", (Wanted("other", {}), Wanted("send", {"to": "Sam"})))
    assert either.accepts(SEND, {"to": "Sam"})


def test_how_many_are_meant_is_read_from_the_words_as_the_tool_reads_it() -> None:
    largest = next(r for r in shell_recipes() if r.id == "largest_files")
    one = Labelled("x-3", "the largest file here", (Wanted("largest_files", {"count": 1}),))
    assert one.accepts(largest, {"folder": "."})
    three = Labelled("x-4", "the 3 largest files", (Wanted("largest_files", {"count": 3}),))
    assert not three.accepts(largest, {"folder": "."})


@pytest.mark.parametrize("part", ["train", "calibration"])
def test_every_shipped_label_names_a_tool_and_its_slots(part: Any) -> None:
    own: dict[str, Recipe] = {r.id: r for r in (*shell_recipes(), *SKILLS)}
    own |= {r.id: r for r in from_functions(assistant_tools())}
    rows = load(part)
    assert len(rows) > 1500
    for row in rows:
        offered = {r.id: r for r in from_functions(row.tools)} if row.tools else own
        for wanted in row.wanted:
            recipe = offered[wanted.recipe]
            slots = {s.name for s in recipe.slots}
            assert set(wanted.arguments) <= slots, row.id
            required = {s.name for s in recipe.slots if s.required and s.default is None}
            assert required <= set(wanted.arguments), row.id


def test_no_request_is_in_both_parts() -> None:
    train = {" ".join(r.text.casefold().split()) for r in load("train")}
    both = [r.id for r in load("calibration") if " ".join(r.text.casefold().split()) in train]
    assert both == []
