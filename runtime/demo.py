"""The four demonstration tasks, each with a check of what it really did.

Shared by ``aidecamp demo`` and ``tests/bench/main_job.py``, so that what is shown is what is
measured.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runtime.core import Task, new_id

LINES = ("5 < 7 is true", "café für alle")
LARGEST_IN = Path("/usr/share")
LARGEST_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "files": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "bytes": {"type": "integer"}},
                "required": ["path", "bytes"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["files"],
    "additionalProperties": False,
}
NOW = datetime(2026, 11, 22, 15, 0)


@dataclass(frozen=True, slots=True)
class Demo:
    """One task. ``check`` reads the run's summary and the work folder: "" is right, else what
    is wrong."""

    title: str
    task: Callable[[Path], Task]
    check: Callable[[Mapping[str, Any], Path], str]


def _task(text: str, folder: Path, **more: Any) -> Task:
    return Task(new_id("task"), text, folder=str(folder), now=NOW.isoformat(), yes=True, **more)


def _gui(folder: Path) -> Task:
    return _task(
        f'In mousepad, type the two lines "{LINES[0]}" and "{LINES[1]}", '
        f"and save them to {folder}/notes.txt",
        folder,
    )


def _check_gui(summary: Mapping[str, Any], folder: Path) -> str:
    file = folder / "notes.txt"
    if not file.exists():
        return f"no file was saved ({summary['status']}: {summary['reason']})"
    wanted = "\n".join(LINES).encode()
    found = file.read_bytes()
    return "" if found in (wanted, wanted + b"\n") else f"the file holds {found!r}, not {wanted!r}"


def _shell(folder: Path) -> Task:
    return _task(
        f"which five files under {LARGEST_IN} are the largest?", folder, schema=LARGEST_SCHEMA
    )


def _check_shell(summary: Mapping[str, Any], folder: Path) -> str:
    sizes: list[int] = []
    for top, _, names in os.walk(LARGEST_IN):
        for name in names:
            path = Path(top) / name
            if path.is_file() and not path.is_symlink():
                sizes.append(path.stat().st_size)
    wanted = sorted(sizes, reverse=True)[:5]
    try:
        rows = summary["answer"]["files"]
        found = [row["bytes"] for row in rows]
        real = [Path(row["path"]).stat().st_size for row in rows]
    except (KeyError, TypeError, OSError) as error:
        return f"the answer is {summary['answer']!r} ({error!r})"
    return "" if found == wanted == real else f"sizes {found}, but the largest are {wanted}"


def _parse(folder: Path) -> Task:
    return _task("remind me tomorrow at nine to call Sam", folder)


def _check_parse(summary: Mapping[str, Any], folder: Path) -> str:
    wanted = {
        "name": "create_reminder",
        "arguments": {"text": "call Sam", "when": "2026-11-23T09:00:00"},
    }
    return "" if summary["answer"] == wanted else f"the call is {summary['answer']!r}"


def _plan(folder: Path) -> Task:
    return _task(
        "Plan how to move our team's 40 services from one cloud region to another within six "
        "weeks without downtime, and weigh the risks of two orders of migration",
        folder,
    )


def _check_plan(summary: Mapping[str, Any], folder: Path) -> str:
    decision = summary["steps"][-1]["decision"]
    if summary["status"] == "done" and summary["bytes_sent"] > 0:
        return ""
    if summary["status"] != "declined" or summary["bytes_sent"] != 0:
        return f"{summary['status']}, {summary['bytes_sent']} bytes sent"
    shown = decision["would_send"]
    return (
        "" if shown and shown["tokens_in_estimated"] > 0 else "it does not say what it would send"
    )


DEMOS: tuple[Demo, ...] = (
    Demo("GUI: type into a real editor, on a private display", _gui, _check_gui),
    Demo("Shell: a typed command, sandboxed, the answer by schema", _shell, _check_shell),
    Demo("Command parsing: words to one valid call", _parse, _check_parse),
    Demo("Hard planning: for the General only", _plan, _check_plan),
)
