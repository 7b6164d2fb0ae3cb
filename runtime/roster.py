"""Who works on a task: the roles as the loop sees them, and how a person is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from runtime.core import Action, Call, Decision, Kind, Outcome, Step, Task
from runtime.policy import Policy
from runtime.roles.general import General
from runtime.tools.base import Tool
from runtime.tools.recipe import Proposal, Recipe
from runtime.trust import Trust


class RouterRole(Protocol):
    def kinds(self, text: str) -> Mapping[Kind, float]: ...

    def route(
        self,
        task: Task,
        step: Step,
        policy: Policy,
        *,
        general: str | None,
        previous: Decision | None = None,
    ) -> Decision: ...


class RefinerRole(Protocol):
    async def refine(self, task: Task) -> tuple[list[Step], list[Call]]: ...


class ToolUserRole(Protocol):
    @property
    def models(self) -> tuple[str, str]: ...

    async def propose(
        self, task: Task, step: Step, decision: Decision, recipes: Sequence[Recipe]
    ) -> tuple[Proposal, list[Call]]: ...


class FormatterRole(Protocol):
    async def format(
        self, task: Task, step: Step, decision: Decision, data: Any
    ) -> tuple[Any, float, list[Call]]: ...


@runtime_checkable
class Starts(Protocol):
    """A tool whose recipes are known once something was started."""

    def ready(self, task: Task | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Team:
    """Who does what. ``functions`` turns the task's function tools into recipes."""

    router: RouterRole
    refiner: RefinerRole
    tool_user: ToolUserRole
    formatter: FormatterRole
    general: General
    tools: Mapping[Kind, Tool]
    functions: Callable[[Task], tuple[Recipe, ...]]
    trust: Trust = field(default_factory=Trust)
    """What is known of how often local answers are right."""

    def offer(self, task: Task, step: Step) -> tuple[Recipe, ...]:
        """The recipes that a step of this kind can use."""
        if step.kind in ("parse", "tool"):
            return self.functions(task)
        tool = self.tools.get(step.kind)
        return tool.recipes if tool is not None and step.kind != "plan" else ()

    async def ready(self, task: Task, step: Step) -> None:
        """Start what has to run before the recipes for this step are known."""
        tool = self.tools.get("tool")
        if step.kind in ("parse", "tool") and not task.tools and isinstance(tool, Starts):
            await asyncio.to_thread(tool.ready, task)

    def acts(self, step: Step, recipe: Recipe) -> Tool | None:
        """Who acts a proposal out; None where the call itself is the answer, since whoever offered
        the functions executes it. A recipe of kind ``tool`` is one of a tool here."""
        if step.kind in ("parse", "tool"):
            return self.tools.get("tool") if recipe.kind == "tool" else None
        return self.tools[step.kind]

    def look(self, task: Task, action: Action) -> Outcome:
        """Whether an action that was cut off happened, as far as its tool can tell. Blocks."""
        for tool in self.tools.values():
            if tool.name == action.tool:
                return tool.look(task, action)
        gone = f"{action.tool} is not set up any more, so nobody can tell whether it happened."
        return Outcome(action.id, task.id, action.step_id, "interrupted", error=gone)


@dataclass(frozen=True, slots=True)
class Approver:
    """How a person is asked. ``action``: may this happen? ``send``: may exactly this leave?"""

    action: Callable[[Action, str], Awaitable[bool]]
    send: Callable[[Mapping[str, Any]], Awaitable[bool]]
