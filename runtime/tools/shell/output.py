"""What a command's output means: rows, a number, text or lines, as JSON values.

Bytes that are not UTF-8 (file names may hold any) are written as ``\\xNN``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

OutputKind = Literal["rows", "number", "text", "lines", "none"]
ColumnType = Literal[
    "text", "path", "integer", "number", "kib", "percent", "datetime", "filetype", "owner"
]
"""``kib`` is given in KiB and becomes bytes. ``owner`` is a user's name: inside the sandbox's
user namespace other users show as ``nobody``, so the row's path is asked again outside."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a row."""

    name: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class Output:
    """The shape of an output. ``separators[i]`` ends column i, the last one ends the record;
    a blank separator stands for any run of spaces."""

    kind: OutputKind
    columns: tuple[Column, ...] = ()
    separators: tuple[str, ...] = ()
    padded: bool = False
    """Records start with blanks to skip, as in ``uniq -c``, and separators count exactly."""

    @staticmethod
    def read(body: Mapping[str, Any]) -> Output:
        """From a recipe's ``output`` table: ``columns`` are ``name:type``, ``between`` and
        ``record`` the separators. Raises ValueError."""
        kind = body["kind"]
        if kind not in get_args(OutputKind):
            raise ValueError(f"recipes.toml: no output kind {kind!r}")
        columns = []
        for column in body.get("columns", ()):
            name, _, type_ = column.partition(":")
            if type_ not in get_args(ColumnType):
                raise ValueError(f"recipes.toml: no column type {type_!r}")
            columns.append(Column(name, type_))
        between = body.get("between", "\t")
        record = body.get("record", "\n")
        seconds = [between] * (len(columns) - 1) if isinstance(between, str) else list(between)
        return Output(kind, tuple(columns), (*seconds, record), body.get("padded", False))

    def parse(self, raw: str, folder: Path) -> Any:
        """The output as JSON values: a list of dicts, an int or float, a str, or a list of str.

        Raises ValueError where the output does not have the declared shape.
        """
        match self.kind:
            case "rows":
                return [self._row(fields, folder) for fields in self._records(raw)]
            case "number":
                return _number(raw.strip())
            case "text":
                return raw.removesuffix("\n")
            case "lines":
                return raw.removesuffix("\n").split("\n") if raw else []
            case _:
                return None

    def show(self, raw: str) -> str:
        """The output as a person reads it: records that end in NUL end in a newline."""
        return raw.replace("\0", "\n") if self.separators and "\0" in self.separators else raw

    def _records(self, raw: str) -> list[tuple[str, ...]]:
        pieces = [" *"] if self.padded else []
        for separator in self.separators[:-1]:
            run = separator == " " and not self.padded
            pieces.append(" *(.*?) +" if run else f"(.*?){re.escape(separator)}")
        last = re.escape(self.separators[-1])
        pattern = re.compile("".join(pieces) + f"(.*?)(?:{last}|\\Z)", re.DOTALL)
        found = []
        at = 0
        while at < len(raw):
            match = pattern.match(raw, at)
            if match is None or match.end() == at:
                raise ValueError(
                    f"the output is not as expected at byte {at}: {raw[at : at + 80]!r}"
                )
            found.append(tuple(match.groups()))
            at = match.end()
        return found

    def _row(self, fields: tuple[str, ...], folder: Path) -> dict[str, Any]:
        row = {
            column.name: _value(text, column.type)
            for column, text in zip(self.columns, fields, strict=True)
        }
        for column in self.columns:
            if column.type == "owner":
                row[column.name] = _owner(folder / str(row["path"]), str(row[column.name]))
        return row


def decode(raw: bytes) -> str:
    """Bytes as text; what is not UTF-8 is written as ``\\xNN``."""
    return raw.decode("utf-8", "backslashreplace")


def _value(text: str, type_: ColumnType) -> Any:
    match type_:
        case "integer":
            return int(text)
        case "number":
            return float(text)
        case "kib":
            return int(text) * 1024
        case "percent":
            return _number(text.strip().removesuffix("%"))
        case "path":
            return text[2:] if text.startswith("./") and len(text) > 2 else text
        case "filetype":
            return {"f": "file", "d": "folder", "l": "link"}.get(text, "other")
        case "datetime":
            return datetime.fromisoformat(text[:19]).isoformat()
        case _:
            return text


def _number(text: str) -> int | float:
    value = float(text)
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else value


def _owner(path: Path, seen: str) -> str:
    try:
        return path.owner()
    except (OSError, KeyError):
        return seen
