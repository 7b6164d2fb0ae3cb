"""Who works on a task: the roles as the loop sees them, and how a person is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtime.core import Action, Call, Decision, Kind, Step, Task
from runtime.policy import Policy
from runtime.roles.general import General
from runtime.tools.base import Tool
from runtime.tools.recipe import Proposal, Recipe
from runtime.trust import Trust


class RouterRole(Protocol):
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


@dataclass(frozen=True, slots=True)
class Approver:
    """How a person is asked. ``action``: may this happen? ``send``: may exactly this leave?"""

    action: Callable[[Action, str], Awaitable[bool]]
    send: Callable[[Mapping[str, Any]], Awaitable[bool]]
