"""Text templates with ``{field}`` placeholders, and where their values come from.

Values come from data by name, or from a request that lists them: in order ("with Ada, 1042 and
Monday") or by name ("name: Ada, order = 1042, and the day is Monday").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_FIELD = re.compile(r"\{\s*([A-Za-z_][\w .-]*?)\s*\}")
_WITH = re.compile(
    r"\b(?:with(?:\s+the\s+values?)?|using|for|values?(?:\s+are)?|from)\b\s*:?\s*", re.IGNORECASE
)
_SEPARATOR = re.compile(r"\s*(?:,\s*and\s+|;\s*|,\s*|\s+and\s+|\n)\s*")


def fields(template: str) -> list[str]:
    """The placeholders of a template, each once, in order."""
    return list(dict.fromkeys(_FIELD.findall(template)))


def filled(template: str, values: Mapping[str, Any]) -> str:
    """The template with its placeholders put as ``values``. Raises KeyError on a missing one."""
    return _FIELD.sub(lambda m: str(values[m.group(1)]), template)


def find_template(text: str, quotations: Sequence[str]) -> str | None:
    """The quotation that is a template, where the request brings its own."""
    return next((q for q in quotations if fields(q)), None)


def values_from_data(names: Sequence[str], data: Any) -> dict[str, Any]:
    """What ``data`` says by name. Rows count where there is one of them."""
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, Mapping):
        return {names[0]: data} if len(names) == 1 and isinstance(data, (int, float)) else {}
    plain = {_plain(k): v for k, v in data.items()}
    return {n: plain[_plain(n)] for n in names if _plain(n) in plain}


def values_from_text(names: Sequence[str], text: str) -> dict[str, str]:
    """What the request says for each field, by name first, else in order where counts agree."""
    named = {n: v for n in names if (v := _named(n, names, text))}
    if len(named) == len(names):
        return named
    for match in reversed(list(_WITH.finditer(text))):
        parts = [_bare(p) for p in _SEPARATOR.split(text[match.end() :].strip().rstrip(".!"))]
        if len(parts) == len(names) and all(parts):
            return dict(zip(names, parts, strict=True))
    return named


def _named(name: str, names: Sequence[str], text: str) -> str:
    """The words after ``name =``, ``name:`` or ``name is``, up to the next field's."""
    words = re.escape(name).replace("_", r"[\s_]")
    others = "|".join(re.escape(n).replace("_", r"[\s_]") for n in names if n != name) or r"(?!)"
    match = re.search(
        rf"\b{words}\b\s*(?:=|:|\bis\b|\bto\b|\bas\b)\s*(?P<quote>[\"'“‘]?)(?P<value>.+?)"
        rf"(?=(?P=quote)\s*(?:[,;\n]|\band\s+(?:the\s+)?(?:{others})\b|$))",
        text,
        re.IGNORECASE,
    )
    return _bare(match.group("value")) if match else ""


def _bare(text: str) -> str:
    return text.strip().strip("\"'“”‘’").strip()


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
