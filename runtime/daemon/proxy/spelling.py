"""The strings of a JSON text with their places: one can be changed, and all else stays as it is.

A JSON library would read numbers, order and spelling into values of its own and write them in its
own way. Here the text itself is edited, so that what is not meant to change arrives unchanged:
white space, the digits of numbers, escapes, the order of keys, and keys that stand twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

Path = tuple[str | int, ...]
"""Keys and indexes from the outermost value to one inside it."""

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{},:]', re.DOTALL)
_NUMBERS = re.compile(r"(?:\s*-?[0-9][-+.eE0-9]*\s*,)+")
"""A stretch of numbers in an array, such as tokens: passed over in one go."""
# Numbers stay text: thousands of digits are no reason to fail, and nobody looks at them here.
_READ = json.JSONDecoder(parse_int=str, parse_float=str)


class Place(NamedTuple):
    """A string in a JSON text, ``text[start:end]`` with its quotes."""

    path: Path
    start: int
    end: int
    value: str


class Member(NamedTuple):
    """A member of an object: its key begins at ``start``, its value is ``text[value:end]``."""

    key: str
    start: int
    value: int
    end: int


class Edit(NamedTuple):
    """``new`` in the place of ``text[start:end]``."""

    start: int
    end: int
    new: str


def strings(text: str) -> Iterator[Place]:
    """Every string value (no key), in order. ``text`` is valid JSON."""
    path: list[str | int] = []
    at = 0
    key_next = False
    while (match := _TOKEN.search(text, at)) is not None:
        at = match.end()
        sign = text[match.start()]
        if sign == '"':
            value = json.loads(match[0])
            if key_next:
                path[-1] = value
            else:
                yield Place(tuple(path), match.start(), at, value)
        elif sign == "{":
            path.append("")
            key_next = True
        elif sign == "[":
            path.append(0)
            at = _past_numbers(text, at, path)
        elif sign in "}]":
            path.pop()
            key_next = False
        elif sign == ":":
            key_next = False
        elif isinstance(path[-1], int):
            path[-1] += 1
            at = _past_numbers(text, at, path)
        else:
            key_next = True


def _past_numbers(text: str, at: int, path: list[str | int]) -> int:
    if (numbers := _NUMBERS.match(text, at)) is None:
        return at
    path[-1] = int(path[-1]) + numbers[0].count(",")
    return numbers.end()


def members(text: str) -> list[Member]:
    """The members of the object that ``text`` is. Raises ValueError where it is none."""
    found: list[Member] = []
    at = _past(text, 0, "{")
    while text[at : at + 1] != "}":
        if found:
            at = _past(text, at, ",")
        key, colon = _value(text, at)
        if not isinstance(key, str) or text[at] != '"':
            raise ValueError(f"a key is missing at character {at}")
        value = _past(text, colon, ":")
        _, end = _value(text, value)
        found.append(Member(key, at, value, end))
        at = _space(text, end)
    if (rest := _space(text, at + 1)) < len(text):
        raise ValueError(f"something follows it at character {rest}")
    return found


def _past(text: str, at: int, sign: str) -> int:
    """Where the next thing begins after ``sign``, which must come next."""
    at = _space(text, at)
    if text[at : at + 1] != sign:
        raise ValueError(f"{sign} is missing at character {at}")
    return _space(text, at + 1)


def _value(text: str, at: int) -> tuple[object, int]:
    """The value that begins at ``at``, with its numbers as strings, and where it ends."""
    try:
        return _READ.raw_decode(text, at)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def read(text: str) -> object:
    """The value of a JSON text, with its numbers as strings. Raises ValueError."""
    value, end = _value(text, _space(text, 0))
    if (rest := _space(text, end)) < len(text):
        raise ValueError(f"something follows it at character {rest}")
    return value


def _space(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def without(found: Sequence[Member], keys: Iterable[str]) -> list[Edit]:
    """What takes the members named ``keys`` out of an object, with a comma each."""
    keys = frozenset(keys)
    kept = [i for i, member in enumerate(found) if member.key not in keys]
    last = kept[-1] if kept else -1
    edits = [
        Edit(member.start, found[i + 1].start, "")
        for i, member in enumerate(found[: max(last, 0)])
        if member.key in keys
    ]
    if last < len(found) - 1:  # those at the end: the comma before them goes
        edits.append(Edit(found[last].end if kept else found[0].start, found[-1].end, ""))
    return edits


def spliced(text: str, edits: Iterable[Edit]) -> str:
    """``text`` with the edits made, which do not overlap."""
    parts, at = [], 0
    for edit in sorted(edits):
        parts += [text[at : edit.start], edit.new]
        at = edit.end
    return "".join([*parts, text[at:]])


def edited(text: str, change: Callable[[Path, str], str]) -> str:
    """``text``, which is valid JSON, with each string value as ``change(path, value)`` has it."""
    edits = []
    for place in strings(text):
        new = change(place.path, place.value)
        if new != place.value:
            edits.append(Edit(place.start, place.end, spelled(new)))
    return spliced(text, edits) if edits else text


def spelled(value: str) -> str:
    """``value`` as a JSON string that can be written as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only spell as an escape
        return json.dumps(value)
    return json.dumps(value, ensure_ascii=False)
