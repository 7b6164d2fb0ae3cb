"""The protocol that every tool meets: recipes to pick from, and a way to act one out."""

from __future__ import annotations

from typing import Protocol

from runtime.core import Action, Outcome, Step, Task
from runtime.tools.recipe import Proposal, Recipe


class Tool(Protocol):
    """A set of recipes with the means to act them out. Methods block; call them in a thread."""

    name: str

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """What this tool can do."""
        ...

    def prepare(self, task: Task, step: Step, proposal: Proposal) -> Action:
        """The proposal as an action with preview, risk class and isolation; nothing is done.

        Raises ToolFailed where the arguments cannot be acted out.
        """
        ...

    def run(self, task: Task, action: Action) -> Outcome:
        """Do it. A failure of the tool is an Outcome with status ``failed``, not an exception.

        Raises DisplayMissing or SandboxMissing where this machine cannot do it at all.
        """
        ...

    def look(self, task: Task, action: Action) -> Outcome:
        """After a crash: look whether the action happened. Never repeats it.

        ``done`` or ``failed`` where that can be told, else ``interrupted``.
        """
        ...

    def stop(self, action: Action) -> None:
        """End ``action`` now, where it runs in another thread; returns at once, and its ``run``
        soon after. What it had done by then stays done."""
        ...

    def close(self) -> None:
        """Stop whatever the tool started."""
        ...
