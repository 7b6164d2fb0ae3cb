"""From a recipe and its arguments to one exact command line.

Values become quoted words, so nothing in a file name or a phrase is ever read as Bash. Paths
are resolved against the work folder, and ``~`` is the home folder. What a value may not be
(a NUL byte, a number out of range, a choice that is none) raises ToolFailed.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.errors import ToolFailed
from runtime.tools.recipe import Slot
from runtime.tools.shell.recipes import PLACEHOLDER, SEGMENT, ShellRecipe

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " ", "colon": ":", "pipe": "|"}


def _escape(characters: str) -> Callable[[str], str]:
    pattern = re.compile(f"[{re.escape(characters)}]")
    return lambda text: pattern.sub(lambda m: "\\" + m.group(), text)


FORMS: dict[str, Callable[[str], str]] = {
    "glob": _escape("*?[]\\"),
    "bre": _escape("\\/.*[]^$"),
    "ere": _escape("\\/.*[]^$+?(){}|"),
    "sedto": lambda text: _escape("\\/&")(text).replace("\n", "\\\n"),
    "delimiter": lambda text: DELIMITERS.get(text, text),
    "lower": str.lower,
}
"""Other forms of a value inside a template: as literal text in a glob, in a basic or extended
regular expression (delimited by ``/``), or as the replacement of a sed ``s`` command."""


def resolve(value: str, folder: Path) -> Path:
    """The absolute path that a person means by ``value``; ``..`` and ``.`` are folded."""
    path = Path(value).expanduser() if value.startswith("~") else Path(value)
    return Path(os.path.normpath(folder / path))


def shown(path: Path, folder: Path) -> str:
    """The path as the command line spells it: relative inside the work folder."""
    if path == folder:
        return "."
    if path.is_relative_to(folder):
        text = str(path.relative_to(folder))
        # find reads names that start with one of these as an expression, others as options.
        return f"./{text}" if text[0] in "-+()!,=" else text
    return str(path)


def inside(path: Path, folder: Path) -> bool:
    """True where writing to ``path`` changes something in ``folder``: links are followed for
    its parents, since the last part is what would be made or replaced."""
    parent = Path(os.path.realpath(path.parent)) / path.name
    real = Path(os.path.realpath(path)) if path.is_dir() else parent
    root = Path(os.path.realpath(folder))
    return real.is_relative_to(root)


def complete(recipe: ShellRecipe, arguments: Mapping[str, Any], request: str) -> dict[str, Any]:
    """The arguments with defaults filled in, and the count that the request's wording means.

    Raises ToolFailed on a missing or unknown argument.
    """
    names = {s.name for s in recipe.slots}
    if unknown := set(arguments) - names:
        raise ToolFailed(f"{recipe.id} takes no {', '.join(sorted(unknown))}.")
    filled: dict[str, Any] = {}
    for slot in recipe.slots:
        value = arguments.get(slot.name)
        if value is None or value == "":
            value = slot.default
        if value is None and recipe.counted and slot.name == recipe.counted.slot:
            value = recipe.counted.count(request)
        if value is None and slot.required:
            raise ToolFailed(
                f"{recipe.id} needs {slot.name}: {slot.does}.", hint="Say it in the task."
            )
        if value is not None:
            filled[slot.name] = value
    return filled


def paths(recipe: ShellRecipe, arguments: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """The absolute path of every path slot that has a value."""
    found: dict[str, Path] = {}
    for slot in recipe.slots:
        if slot.type not in ("path", "new_path") or slot.name not in arguments:
            continue
        value = str(arguments[slot.name])
        anchor = recipe.beside.get(slot.name)
        if anchor is not None and "/" not in value and anchor in found:
            found[slot.name] = found[anchor].parent / value
        else:
            found[slot.name] = resolve(value, folder)
    return found


def build(recipe: ShellRecipe, arguments: Mapping[str, Any], folder: Path) -> str:
    """The command line for completed arguments (see ``complete``). Raises ToolFailed."""
    words: dict[str, str] = {}
    resolved = paths(recipe, arguments, folder)
    for slot in recipe.slots:
        if slot.name not in arguments:
            continue
        if slot.name in resolved:
            words[slot.name] = shown(resolved[slot.name], folder)
            _refuse_nul(words[slot.name], slot)
        elif slot.type == "boolean":
            if arguments[slot.name] is True:
                words[slot.name] = ""
        else:
            words[slot.name] = _text(arguments[slot.name], slot)

    def fill(match: re.Match[str]) -> str:
        name, form = match.groups()
        if recipe.slot(name).type == "boolean":
            return ""
        text = words[name]
        return shlex.quote(FORMS[form](text) if form else text)

    def segment(match: re.Match[str]) -> str:
        inner = match.group(1)
        if all(name in words for name, _ in PLACEHOLDER.findall(inner)):
            return PLACEHOLDER.sub(fill, inner).strip()
        return ""

    # One pass over template and segments together: a value is never scanned for braces.
    both = re.compile(f"{SEGMENT.pattern}|{PLACEHOLDER.pattern}")
    line = both.sub(
        lambda m: segment(m) if m.group(0).startswith("[") else fill_bare(m, fill),
        recipe.template(resolved),
    )
    return _squeeze(line)


def fill_bare(match: re.Match[str], fill: Callable[[re.Match[str]], str]) -> str:
    """Fill a placeholder that stands outside any segment."""
    inner = PLACEHOLDER.fullmatch(match.group(0))
    assert inner is not None  # noqa: S101  (the combined pattern ends in PLACEHOLDER)
    return fill(inner)


def _squeeze(line: str) -> str:
    """Double spaces that a dropped segment left outside quotes become one."""
    out: list[str] = []
    quote = ""
    for c in line.strip():
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c == " " and out and out[-1] == " ":
            continue
        out.append(c)
    return "".join(out)


def _refuse_nul(text: str, slot: Slot) -> None:
    if "\0" in text:
        raise ToolFailed(f"{slot.name} holds a NUL byte, which no command line can carry.")


def _text(value: Any, slot: Slot) -> str:
    """A value as text, checked against its slot. Raises ToolFailed."""
    match slot.type:
        case "integer" | "size" | "duration" | "number":
            return _number(value, slot)
        case "choice":
            text = str(value)
            if text not in slot.choices:
                raise ToolFailed(
                    f"{slot.name} cannot be {text!r}.",
                    hint=f"It is one of: {', '.join(slot.choices)}.",
                )
            return text
        case "extension":
            text = str(value).lstrip("*").lstrip(".")
            if not text or "/" in text:
                raise ToolFailed(f"{value!r} is no file extension.")
        case "name":
            text = str(value)
            if text.startswith("-") or not text.strip():
                raise ToolFailed(f"{value!r} is no name.")
        case _:
            text = str(value)
            if not text:
                raise ToolFailed(f"{slot.name} is empty.")
    _refuse_nul(text, slot)
    return text


def _number(value: Any, slot: Slot) -> str:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError as error:
            raise ToolFailed(f"{slot.name} must be a number, not {value!r}.") from error
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ToolFailed(f"{slot.name} must be a number, not {value!r}.")
    if slot.type != "number":
        if value != int(value):
            raise ToolFailed(f"{slot.name} must be a whole number, not {value}.")
        value = int(value)
    low = slot.minimum if slot.minimum is not None else 0
    if value < low or (slot.maximum is not None and value > slot.maximum):
        most = f" and at most {slot.maximum:g}" if slot.maximum is not None else ""
        raise ToolFailed(f"{slot.name} must be at least {low:g}{most}, not {value}.")
    return str(value)
