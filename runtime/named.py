"""Work that was already decided on: a recipe that a client named, or data to be formatted.

No model picks anything here, and everything else is as in any task: the decision is recorded, the
gate judges the action, the outcome is observed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from models.errors import UsageError
from models.schemas import violations
from runtime.agent import Agent
from runtime.core import Event, Kind, Record, Step, Task, new_id
from runtime.decisions import role_decision
from runtime.progress import Progress
from runtime.tools.recipe import Proposal, Recipe, Slot

MAX_TEXT_CHARS = 100_000
_NUMBERS = {"integer": "integer", "size": "integer", "duration": "integer", "number": "number"}


class Named(Agent):
    """An agent for tasks that are one recipe with its arguments."""

    def __init__(self, agent: Agent, kind: Kind, recipe: str, arguments: Mapping[str, Any]) -> None:
        """Like ``agent``. Raises UsageError on a recipe that is not there, or other arguments than
        it takes."""
        deciding = agent.deciding
        super().__init__(
            agent.team, agent.policy, agent.approver, deciding.spending, deciding.history
        )
        self._kind = kind
        self._recipe = find(self.team.tools[kind].recipes, recipe)
        self._arguments = dict(arguments)
        check_arguments(self._recipe, arguments)

    async def _steps(
        self, task: Task, history: Sequence[Event], progress: Progress
    ) -> AsyncIterator[Record]:
        step = Step(new_id("step"), task.id, 1, self._kind, task.text)
        yield step
        decision = role_decision(task, step, "tool_user", "the client named the recipe itself")
        yield decision
        proposal = Proposal(self._recipe, self._arguments, 1.0)
        # As after a repair: what a client named is not replaced by something else.
        async for record in self._perform(
            task, step, decision, proposal, progress, sure=True, repaired=True
        ):
            yield record


class Formatting(Agent):
    """An agent for tasks that are one piece of data to be put into the task's schema."""

    def __init__(self, agent: Agent, data: Any) -> None:
        deciding = agent.deciding
        super().__init__(
            agent.team, agent.policy, agent.approver, deciding.spending, deciding.history
        )
        self._data = data

    async def _steps(
        self, task: Task, history: Sequence[Event], progress: Progress
    ) -> AsyncIterator[Record]:
        step = Step(new_id("step"), task.id, 1, "format", task.text)
        yield step
        async for record in self._format(task, step, progress, self._data):
            yield record


def find(recipes: Sequence[Recipe], id_: str) -> Recipe:
    """Raises UsageError where none of ``recipes`` has this id."""
    for recipe in recipes:
        if recipe.id == id_:
            return recipe
    known = ", ".join(r.id for r in recipes)
    raise UsageError(f"There is no recipe {id_[:80]!r}.", hint=f"It is one of: {known}.")


def check_arguments(recipe: Recipe, arguments: Mapping[str, Any]) -> None:
    """Raises UsageError where ``arguments`` are not what the recipe's slots take."""
    if wrong := violations(schema_of(recipe), dict(arguments)):
        says = "; ".join(f"{'.'.join(map(str, e.path)) or recipe.id}: {e.message}" for e in wrong)
        raise UsageError(
            f"{recipe.id} does not take these arguments: {says[:400]}.", hint=signature(recipe)
        )


def schema_of(recipe: Recipe) -> dict[str, Any]:
    """The JSON Schema of a recipe's arguments, from the types of its slots."""
    return {
        "type": "object",
        "properties": {slot.name: _type(slot) for slot in recipe.slots},
        "required": [slot.name for slot in recipe.slots if slot.required and slot.default is None],
        "additionalProperties": False,
    }


def signature(recipe: Recipe) -> str:
    """``recipe(path: path, count?: integer)``: what a client may name."""
    slots = (f"{s.name}{'' if s.required else '?'}: {_short(s)}" for s in recipe.slots)
    return f"{recipe.id}({', '.join(slots)})"


def _short(slot: Slot) -> str:
    return "|".join(slot.choices) if slot.choices else slot.type


def _type(slot: Slot) -> dict[str, Any]:
    text = {"type": "string", "maxLength": MAX_TEXT_CHARS}
    if slot.type == "boolean":
        return {"type": "boolean"}
    if slot.type == "choice":
        return {"enum": list(slot.choices)}
    if slot.type == "lines":
        return {"anyOf": [text, {"type": "array", "items": text, "maxItems": 10_000}]}
    if slot.type == "json":
        return dict(slot.schema or {})
    if slot.type not in _NUMBERS:
        return text
    bounds = {"minimum": slot.minimum, "maximum": slot.maximum}
    return {"type": _NUMBERS[slot.type], **{k: v for k, v in bounds.items() if v is not None}}
