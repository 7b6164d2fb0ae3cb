"""Steps in words with the call that is right for each: what local answers are judged against.

The rows are in ``models/specialists/acceptance/data``, written for this project by authors who saw
the tools' descriptions and none of the examples, code or tests (``card.md`` there). About one in
six asks for something that no tool does: there, whatever is kept is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from runtime.tools.recipe import Recipe, Slot
from runtime.tools.shell.recipes import ShellRecipe

Part = Literal["train", "calibration"]
DATA = Path(__file__).parents[1] / "models" / "specialists" / "acceptance" / "data"
NOW = "2026-10-14T10:30:00"
"""The moment, a Wednesday, that words such as "tomorrow" were resolved against."""
_ARTICLE = re.compile(r"^(?:the|a|an|my|our|to)\s+", re.IGNORECASE)
_ENDS = " \t\n.,;:!?\"'“”‘’`"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call that is right."""

    recipe: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Labelled:
    """One step. ``wanted`` is empty where no tool on offer does what is asked."""

    id: str
    text: str
    wanted: tuple[Wanted, ...]
    files: tuple[str, ...] = ()
    """What must lie in the work folder; a name with a slash at its end is a folder."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Functions on offer; empty: the agent's own tools."""

    def prepare(self, folder: Path) -> None:
        """Lay empty files of the right names down."""
        for name in self.files:
            path = folder / name
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def accepts(self, recipe: Recipe, arguments: Mapping[str, Any]) -> bool:
        """Whether this call is one of those that are right."""
        counted = recipe.counted if isinstance(recipe, ShellRecipe) else None
        if counted is not None and arguments.get(counted.slot) is None:
            arguments = {**arguments, counted.slot: counted.count(self.text)}
        return any(
            recipe.id == one.recipe and same(recipe, arguments, one.arguments)
            for one in self.wanted
        )


def load(part: Part, folder: Path = DATA) -> list[Labelled]:
    """The rows of one part, file by file. Raises OSError, ValueError or KeyError where a file is
    broken."""
    by_name = {
        tool["function"]["name"]: tool
        for path in sorted(folder.glob("functions*.json"))
        for tool in json.loads(path.read_text("utf-8"))
    }
    found = []
    for path in sorted((folder / part).glob("*.jsonl")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            body = json.loads(line)
            calls = [body, *body.get("also", ())] if body["recipe"] else []
            found.append(
                Labelled(
                    id=f"{path.stem}-{number:03}",
                    text=body["text"],
                    wanted=tuple(Wanted(c["recipe"], c["arguments"]) for c in calls),
                    files=tuple(body.get("files", ())),
                    tools=tuple(by_name[name] for name in body.get("tools", ())),
                )
            )
    return found


def same(recipe: Recipe, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether two sets of arguments mean the same call.

    A slot's default counts as said. Capitals, a leading article and punctuation around words make
    no difference, except in text that is typed as it stands.
    """
    for slot in recipe.slots:
        mine = found.get(slot.name, slot.default)
        theirs = wanted.get(slot.name, slot.default)
        if theirs is None and slot.name == "count":
            continue  # "the largest files": how many is anybody's guess
        if _plain(mine, slot) != _plain(theirs, slot):
            return False
    return set(found) <= {slot.name for slot in recipe.slots}


def _plain(value: Any, slot: Slot) -> Any:
    if isinstance(value, bool) or value is None:
        return value or None  # an option that is off was not asked for
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str):
        if slot.type == "lines":
            return value.strip()
        text = _ARTICLE.sub("", value.casefold().strip(_ENDS))
        if slot.type in ("path", "new_path") and text:
            return str(PurePath(text))
        return text
    if isinstance(value, Mapping):
        return {k: _plain(v, slot) for k, v in value.items()}
    if isinstance(value, Sequence):
        return [_plain(v, slot) for v in value]
    return value
