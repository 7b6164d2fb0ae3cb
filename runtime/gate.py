"""The gate: whether an action may happen, by its risk class and what the user allowed.

Pure. It reads the action's class and the task's flags; what stands on a screen, in a file or
in a tool's output is never an input, so it can never grant anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runtime.core import Action, Task


@dataclass(frozen=True, slots=True)
class Verdict:
    """``ask`` means that a person must say yes; with nobody to ask it becomes ``deny``."""

    verdict: Literal["allow", "deny", "ask"]
    reason: str


def judge(action: Action, task: Task, *, sure: bool) -> Verdict:
    """Allow, deny or ask. ``sure`` is False where the local answer did not pass its threshold.

    An unknown risk class is treated as sensitive.
    """
    if task.dry_run:
        return Verdict("deny", "dry run: nothing is executed")
    if action.risk == "read":
        if sure:
            return Verdict("allow", "reading is allowed")
        if task.yes:
            return Verdict("allow", "unsure, but --yes covers reading")
        return Verdict("ask", "unsure about this read")
    if action.risk == "write":
        if not sure:
            return Verdict("ask", "unsure writes are never automatic")
        if task.yes:
            return Verdict("allow", "--yes covers writing in the work folder")
        return Verdict("ask", "it writes")
    return Verdict("ask", "sensitive actions always need a person")
