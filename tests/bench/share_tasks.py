"""Three workloads in the likeness of the paper's case studies, each task with its right answer.

Every workload has 60 tasks in the same mix, fixed before any of them was run: 30 routine steps,
10 requests of several routine steps, 20 that need planning or reasoning, of which 4 must also
change something (rewriting, translating, working out a value). The mix stands for no agent's
measured traffic; it is the same for all three so that it favours none of the paper's figures.
GUI work is done in a real editor (``share_gui``), terminal work in a sandbox (``share_shell``),
and command parsing is of words to calls and of messages to templates (``share_parse``).

What a right General would answer stands beside each task: the calls, in the order of the
steps, or the words. Nothing is tuned on these tasks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

NOW = datetime(2026, 11, 22, 15, 0)
MIX = {"routine": 30, "several": 10, "hard": 20}

Workload = Literal["gui", "shell", "parse"]
Level = Literal["routine", "several", "hard"]
Summary = Mapping[str, Any]
Check = Callable[[Summary, Path], bool]


@dataclass(frozen=True, slots=True)
class Act:
    """A call that a right General makes; ``about``: words by which its step is known."""

    recipe: str
    arguments: Mapping[str, Any]
    about: str = ""


@dataclass(frozen=True, slots=True)
class ShareTask:
    """One task. ``{folder}`` stands for the work folder's absolute path, in acts too."""

    id: str
    workload: Workload
    level: Level
    text: str
    check: Check
    acts: tuple[Act, ...] = ()
    words: str = ""
    """What a right General answers where no tools are on offer."""
    files: Mapping[str, str] | None = None
    """What lies in the work folder before, by name; a name with a slash at its end is a folder."""
    template: str | None = None

    def prepare(self, folder: Path) -> None:
        """Lay the task's files down."""
        for name, content in (self.files or {}).items():
            path = folder / name
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")


# What must be true after


def holds(**wanted: str) -> Check:
    """Files by name (``__`` for the dot) hold these texts, one newline at the end aside."""

    def check(summary: Summary, folder: Path) -> bool:
        for name, text in wanted.items():
            path = folder / name.replace("__", ".")
            if not path.is_file():
                return False
            if path.read_text("utf-8").removesuffix("\n") != text.removesuffix("\n"):
                return False
        return True

    return check


def entries(*names: str) -> Check:
    """Below the work folder there are exactly these (folders end in a slash)."""

    def check(summary: Summary, folder: Path) -> bool:
        found = {
            str(p.relative_to(folder)) + ("/" if p.is_dir() else "") for p in folder.rglob("*")
        }
        return found == set(names)

    return check


def number(wanted: float) -> Check:
    """The answer's only number is this one; a digit in a path or a sentence does not count."""

    def check(summary: Summary, folder: Path) -> bool:
        found: list[float] = []
        for leaf in _leaves(summary["answer"]):
            if isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
                found.append(leaf)
            elif isinstance(leaf, str) and re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", leaf):
                found.append(float(leaf))
        return found == [wanted]

    return check


def says(*parts: str, but: Sequence[str] = ()) -> Check:
    """The answer holds all of ``parts`` and none of ``but``, capitals aside."""

    def check(summary: Summary, folder: Path) -> bool:
        text = json.dumps(summary["answer"], ensure_ascii=False).casefold()
        return all(p.casefold() in text for p in parts) and not any(
            p.casefold() in text for p in but
        )

    return check


def is_text(wanted: str) -> Check:
    """The answer is this text, blanks at its ends aside."""
    return lambda summary, folder: str(summary["answer"]).strip() == wanted


def calls(*wanted: Act) -> Check:
    """The answer is these calls, in this order; capitals and a leading article aside."""

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"^(the|my|a|an) ", "", value.casefold().strip(" .!?\"'“”"))
        return value

    def check(summary: Summary, folder: Path) -> bool:
        answer = summary["answer"]
        found = answer if isinstance(answer, list) else [answer]
        return len(found) == len(wanted) and all(
            isinstance(call, Mapping)
            and call.get("name") == act.recipe
            and {k: plain(v) for k, v in call.get("arguments", {}).items()}
            == {k: plain(v) for k, v in act.arguments.items()}
            for call, act in zip(found, wanted, strict=True)
        )

    return check


def both(*checks: Check) -> Check:
    return lambda summary, folder: all(check(summary, folder) for check in checks)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [leaf for v in value.values() for leaf in _leaves(v)]
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in _leaves(v)]
    return [value]


def numbered(
    workload: Workload, tasks: Mapping[Level, Sequence[Mapping[str, Any]]]
) -> tuple[ShareTask, ...]:
    """The tasks with ids such as ``gui-hard-07``. Raises ValueError where the mix is another."""
    if {level: len(rows) for level, rows in tasks.items()} != MIX:
        counts = {level: len(rows) for level, rows in tasks.items()}
        raise ValueError(f"{workload}: the mix is {counts}, not {MIX}")
    return tuple(
        ShareTask(id=f"{workload}-{level}-{number:02}", workload=workload, level=level, **row)
        for level, rows in tasks.items()
        for number, row in enumerate(rows, 1)
    )
