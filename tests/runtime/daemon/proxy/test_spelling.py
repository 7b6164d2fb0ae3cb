"""Editing a JSON text: what is meant to change does, and nothing else, to the last character."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.daemon.proxy.spelling import (
    Edit,
    Path,
    edited,
    members,
    read,
    spelled,
    spliced,
    strings,
    without,
)

SPACE = st.text(" \t\r\n", max_size=2)
NUMBERS = st.sampled_from(
    ["0", "-0.0", "1.0", "1.50", "1e2", "1E+02", "2.5e-07", "12345678901234567890123", "-7"]
) | st.integers().map(str)
WORDS = st.text(max_size=8)
STRINGS = st.builds(lambda s, plain: json.dumps(s, ensure_ascii=plain), WORDS, st.booleans())
RAW_STRINGS = STRINGS | st.sampled_from([r'"\u0041\/"', r'"\ud83d"', r'"\\\""', r'"{\"a\": [1,"'])
KEYS = st.sampled_from(["model", "a", "b", "content"]).map(json.dumps) | RAW_STRINGS


def _object(pairs: list[tuple[str, str]], space: str) -> str:
    """Keys may stand twice."""
    inner = f"{space},".join(f"{space}{key}{space}:{space}{value}" for key, value in pairs)
    return f"{{{inner}{space}}}"


TEXTS: st.SearchStrategy[str] = st.recursive(
    RAW_STRINGS | NUMBERS | st.sampled_from(["true", "false", "null"]),
    lambda inner: (
        st.builds(lambda items, s: f"[{s}{f'{s},{s}'.join(items)}{s}]", st.lists(inner), SPACE)
        | st.builds(_object, st.lists(st.tuples(KEYS, inner)), SPACE)
    ),
    max_leaves=20,
)
OBJECTS = st.builds(_object, st.lists(st.tuples(KEYS, TEXTS), max_size=6), SPACE)


def _strings(pairs: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every string of a value whose objects are ``_Pairs``."""
    if isinstance(pairs, str):
        yield path, pairs
    elif isinstance(pairs, _Pairs):
        for key, value in pairs:
            yield from _strings(value, (*path, key))
    elif isinstance(pairs, list):
        for index, value in enumerate(pairs):
            yield from _strings(value, (*path, index))


class _Pairs(list[tuple[str, Any]]):
    """An object with keys that may stand twice."""


@given(TEXTS)
def test_every_string_is_found_where_it_stands(text: str) -> None:
    found = list(strings(text))
    assert [(p.path, p.value) for p in found] == list(
        _strings(json.loads(text, object_pairs_hook=_Pairs))
    )
    assert all(json.loads(text[p.start : p.end]) == p.value for p in found)


@given(TEXTS)
def test_a_text_in_which_nothing_changes_stays_the_same(text: str) -> None:
    assert edited(text, lambda path, value: value) == text


@given(TEXTS)
def test_all_but_the_strings_stays_as_it_is_spelled(text: str) -> None:
    blanked = spliced(text, [Edit(p.start, p.end, "") for p in strings(text)])
    new = edited(text, lambda path, value: f"{value}!")
    assert spliced(new, [Edit(p.start, p.end, "") for p in strings(new)]) == blanked
    assert [p.value for p in strings(new)] == [f"{p.value}!" for p in strings(text)]


@given(OBJECTS)
def test_the_members_of_an_object_are_found_in_order(text: str) -> None:
    pairs = json.loads(text, object_pairs_hook=_Pairs)
    found = members(text)
    assert [m.key for m in found] == [key for key, _ in pairs]
    assert [json.loads(text[m.value : m.end], object_pairs_hook=_Pairs) for m in found] == [
        value for _, value in pairs
    ]


@given(OBJECTS, st.sets(st.sampled_from(["model", "a", "b", "content"])))
def test_taking_members_out_leaves_an_object_of_the_others(text: str, keys: set[str]) -> None:
    found = members(text)
    new = spliced(text, without(found, keys))
    kept = [m for m in found if m.key not in keys]
    assert [(m.key, new[m.value : m.end]) for m in members(new)] == [
        (m.key, text[m.value : m.end]) for m in kept
    ]
    if len(kept) == len(found):
        assert new == text


@pytest.mark.parametrize("text", ["[1]", '"a"', "", "{", '{"a":1,}', "nonsense", "{'a':1}"])
def test_what_is_no_object_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        members(text)


def test_nesting_without_end_is_an_error_and_no_crash() -> None:
    deep = "[" * sys.getrecursionlimit() * 100
    with pytest.raises(ValueError, match="too deep"):
        read(deep)


def test_numbers_of_any_length_are_no_error() -> None:
    digits = "9" * 10_000
    assert members(f'{{"seed": {digits}}}')[0].end == len(digits) + 9


@given(st.text(st.characters(exclude_categories=[]), max_size=20))
def test_any_string_can_be_spelled_and_sent(value: str) -> None:
    assert json.loads(spelled(value).encode("utf-8")) == json.loads(json.dumps(value))
