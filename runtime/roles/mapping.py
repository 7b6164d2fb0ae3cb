"""Data to a JSON Schema by rule: rows to arrays, columns to properties, bytes to other units.

Columns find their property by name, then by the kind of thing they hold, then by similarity of
words where an encoder is at hand. Nothing is cut or invented: what does not fit gives no result.
Covers objects, arrays and scalars, nested; not ``oneOf`` and its kin, ``$ref`` or ``prefixItems``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

Similarity = Callable[[Sequence[str], Sequence[str]], Sequence[Sequence[float]]]
"""Cosines between each text of the first list and each of the second."""

LEAST_SIMILARITY = 0.35
"""A column and a property less alike than this are not matched by words alone."""

_SAME: tuple[frozenset[str], ...] = (
    frozenset(("path", "file", "filename", "file_name", "name", "filepath", "file_path", "title")),
    frozenset(("bytes", "size", "size_bytes", "bytes_size", "length")),
    frozenset(("count", "number", "total", "amount", "n", "quantity")),
    frozenset(("pid", "process_id", "id")),
    frozenset(("modified", "mtime", "date", "changed", "time", "when", "last_modified")),
    frozenset(("folder", "directory", "dir")),
    frozenset(("line", "lines", "text", "content")),
    frozenset(("user", "owner", "account")),
)
_UNITS = {"kb": 1, "kib": 1, "kilobytes": 1, "mb": 2, "mib": 2, "megabytes": 2,
          "gb": 3, "gib": 3, "gigabytes": 3}  # fmt: skip
_MISSING = object()


def fit(data: Any, schema: Mapping[str, Any], similar: Similarity | None = None) -> Any:
    """``data`` in the shape of ``schema``. Raises LookupError where no rule leads there."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), None)
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(data, schema, similar)
    if kind == "array":
        return _array(data, schema, similar)
    return _scalar(data, schema, str(kind) if kind else "")


def _array(data: Any, schema: Mapping[str, Any], similar: Similarity | None) -> list[Any]:
    items = schema.get("items")
    items = items if isinstance(items, Mapping) else {}
    if isinstance(data, Mapping):
        lists = [v for v in data.values() if isinstance(v, list)]
        rows = lists[0] if len(lists) == 1 else [data]
    elif isinstance(data, list):
        rows = data
    else:
        rows = data.splitlines() if isinstance(data, str) else [data]
    if not items:
        return list(rows)
    if rows and isinstance(rows[0], Mapping) and ("properties" in items):
        columns = _match(items.get("properties", {}), rows, similar)
        return [_row(row, items, columns, similar) for row in rows]
    return [fit(row, items, similar) for row in rows]


def _object(data: Any, schema: Mapping[str, Any], similar: Similarity | None) -> dict[str, Any]:
    properties: Mapping[str, Any] = schema.get("properties") or {}
    if isinstance(data, Mapping):
        if not properties:
            return dict(data)
        return _row(data, schema, _match(properties, [data], similar), similar)
    if isinstance(data, list):
        rows = data
        if len(rows) == 1 and isinstance(rows[0], Mapping) and not _arrays(properties):
            return _object(rows[0], schema, similar)
        return _around(rows, schema, similar)
    alone = list(properties) if len(properties) == 1 else list(schema.get("required", ()))
    if len(alone) != 1 or alone[0] not in properties:
        raise LookupError("one value, and no single property to hold it")
    return {alone[0]: fit(data, properties[alone[0]], similar)}


def _arrays(properties: Mapping[str, Any]) -> list[str]:
    return [n for n, p in properties.items() if isinstance(p, Mapping) and p.get("type") == "array"]


def _around(
    rows: list[Any], schema: Mapping[str, Any], similar: Similarity | None
) -> dict[str, Any]:
    """Rows inside an object: into its one array, beside counts and sums of them."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    arrays = _arrays(properties)
    if len(arrays) != 1:
        raise LookupError("rows, and not exactly one array property to hold them")
    value: dict[str, Any] = {arrays[0]: fit(rows, properties[arrays[0]], similar)}
    for name, prop in properties.items():
        if name in value or not isinstance(prop, Mapping):
            continue
        about = _about(rows, name, prop)
        if about is not _MISSING:
            value[name] = about
        elif name in schema.get("required", ()):
            raise LookupError(f"nothing tells {name}")
    return value


def _about(rows: list[Any], name: str, prop: Mapping[str, Any]) -> Any:
    if prop.get("type") not in ("integer", "number"):
        return _MISSING
    words = _words(name)
    if words & {"total", "sum"} and words & {"bytes", "size"}:
        sizes = [r.get("bytes") for r in rows if isinstance(r, Mapping)]
        return sum(s for s in sizes if isinstance(s, int)) if sizes else _MISSING
    if words & {"count", "total", "number", "n", "length"}:
        return len(rows)
    return _MISSING


def _row(
    row: Mapping[str, Any],
    schema: Mapping[str, Any],
    columns: Mapping[str, str],
    similar: Similarity | None,
) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, prop in schema.get("properties", {}).items():
        column = columns.get(name)
        if column is None or column not in row:
            if name in schema.get("required", ()):
                raise LookupError(f"no column for {name}")
            continue
        value[name] = _converted(row[column], name, prop, column, columns, similar)
    return value


def _converted(
    cell: Any,
    name: str,
    prop: Mapping[str, Any],
    column: str,
    columns: Mapping[str, str],
    similar: Similarity | None,
) -> Any:
    """A cell as its property wants it: in its unit, or as a bare file name."""
    words = _words(f"{name} {prop.get('description', '')}")
    power = next((p for unit, p in _UNITS.items() if unit in words), 0)
    if power and column in ("bytes", "size") and isinstance(cell, (int, float)):
        scaled = cell / 1024**power
        return round(scaled) if prop.get("type") == "integer" else round(scaled, 2)
    twice = list(columns.values()).count(column) > 1
    bare = _plain(name) in ("filename", "basename") or (twice and _plain(name) == "name")
    if bare and isinstance(cell, str):
        return PurePosixPath(cell).name
    return fit(cell, prop, similar)


def _match(
    properties: Mapping[str, Any], rows: Sequence[Any], similar: Similarity | None
) -> dict[str, str]:
    """The column for each property that has one."""
    sample = [r for r in rows if isinstance(r, Mapping)][:20]
    columns = list(dict.fromkeys(k for r in sample for k in r))
    chosen: dict[str, str] = {}

    def fits(name: str, column: str) -> bool:
        return all(_suits(r[column], properties[name]) for r in sample if column in r)

    for name in properties:  # the same name, however it is spelled
        same = [c for c in columns if _plain(c) == _plain(name) and fits(name, c)]
        if same:
            chosen[name] = same[0]
    for name in properties:  # another word for the same thing
        if name in chosen:
            continue
        alike = [
            c for c in columns
            if any(_plain(c) in g and _words_in(name, g) for g in _PLAIN_SAME) and fits(name, c)
        ]  # fmt: skip
        if alike:
            chosen[name] = next((c for c in alike if c not in chosen.values()), alike[0])
    _match_by_words(properties, columns, chosen, fits, similar)
    rest = [n for n in properties if n not in chosen]
    for name in rest:  # the only column left that can hold it
        free = [c for c in columns if c not in chosen.values() and fits(name, c)]
        if len(free) == 1 and len(rest) == 1:
            chosen[name] = free[0]
    return chosen


def _match_by_words(
    properties: Mapping[str, Any],
    columns: Sequence[str],
    chosen: dict[str, str],
    fits: Callable[[str, str], bool],
    similar: Similarity | None,
) -> None:
    names = [n for n in properties if n not in chosen]
    free = [c for c in columns if c not in chosen.values()]
    if not names or not free or similar is None:
        return
    texts = [f"{n.replace('_', ' ')} {properties[n].get('description', '')}".strip() for n in names]
    cosines = similar(texts, [c.replace("_", " ") for c in free])
    pairs = sorted(
        ((cosines[i][j], n, c) for i, n in enumerate(names) for j, c in enumerate(free)),
        reverse=True,
    )
    for cosine, name, column in pairs:
        if cosine < LEAST_SIMILARITY or name in chosen or column in chosen.values():
            continue
        if fits(name, column):
            chosen[name] = column


def _suits(cell: Any, prop: Mapping[str, Any]) -> bool:
    kind = prop.get("type") if isinstance(prop, Mapping) else None
    if kind in ("integer", "number"):
        if isinstance(cell, str):
            return bool(re.fullmatch(r"-?\d+(?:\.\d+)?", cell.strip()))
        return isinstance(cell, (int, float)) and not isinstance(cell, bool)
    if kind == "boolean":
        return isinstance(cell, bool)
    if kind == "string":
        return not isinstance(cell, (list, dict))
    return True


def _scalar(data: Any, schema: Mapping[str, Any], kind: str) -> Any:
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if isinstance(data, Mapping) and kind:
        cells = [v for v in data.values() if _suits(v, schema)]
        # a column that is text already is meant before one that could be written as text
        cells = [v for v in cells if isinstance(v, str) == (kind == "string")] or cells
        if len(cells) != 1:
            raise LookupError(f"{len(cells)} values could be the one {kind}")
        data = cells[0]
    if kind in ("integer", "number"):
        return _number(data, kind)
    if kind == "string":
        if isinstance(data, (list, Mapping)):
            raise LookupError("several values, and one text to hold them")
        return data if isinstance(data, str) else str(data)
    if kind == "boolean" and not isinstance(data, bool):
        raise LookupError("nothing here is true or false")
    return data


def _number(data: Any, kind: str) -> int | float:
    if isinstance(data, str) and re.fullmatch(r"\s*-?\d+(?:\.\d+)?\s*", data):
        data = float(data) if "." in data else int(data)
    if isinstance(data, bool) or not isinstance(data, (int, float)):
        raise LookupError("no number")
    if kind == "integer" and data != int(data):
        raise LookupError(f"{data} is no integer")
    return int(data) if kind == "integer" else data


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)).lower()


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()))


_PLAIN_SAME = tuple(frozenset(_plain(w) for w in group) for group in _SAME)


def _words_in(name: str, group: frozenset[str]) -> bool:
    return _plain(name) in group or bool(_words(name) & group)
