"""The ledger's calls as the rows that ``models.specialize`` works on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from models.specialize.rows import Outcome as Told
from models.specialize.rows import Row
from runtime.core import Action, Call, Decision, Event, Judgement, Outcome, Step, Task

TYPES = ("task", "step", "decision", "call", "action", "outcome", "judgement")
"""Types of the events that are read."""
CONVERSED = ("general", "generator")
"""Roles that are sent a conversation: its last message is what was asked."""
OWN = "aidecamp"
"""The client of a task that came through no other program."""


def rows_of(events: Iterable[Event], *, client: str | None = None, since: float = 0.0) -> list[Row]:
    """One row for each call that was part of an answer, oldest first.

    ``client``: its calls only. ``since``: Unix time in seconds of the oldest call.
    """
    record = _Record(events)
    return [
        record.row(at, call)
        for at, call in record.calls
        if call.serves and at >= since and (client is None or record.client(call) == client)
    ]


class _Record:
    """What the events tell of each task, step and decision."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.calls: list[tuple[float, Call]] = []
        self._tasks: dict[str, Task] = {}
        self._steps: dict[str, Step] = {}
        self._last: dict[str, str] = {}
        """The decision in force on each step: its answer is the one that was used."""
        self._actions: dict[str, list[str]] = defaultdict(list)
        """Recipes that each step came to."""
        self._failed: set[str] = set()
        """Steps of which an action failed."""
        self._judged: dict[str, bool] = {}
        for event in events:
            self._note(event)

    def _note(self, event: Event) -> None:
        match event.record:
            case Task() as task:
                self._tasks[task.id] = task
            case Step() as step:
                self._steps[step.id] = step
            case Decision() as decision:
                self._last[decision.step_id] = decision.id
            case Call() as call:
                self.calls.append((event.at, call))
            case Action() as action:
                self._actions[action.step_id].append(action.recipe)
            case Outcome(status="failed") as outcome:
                self._failed.add(outcome.step_id)
            case Judgement() as judgement:
                self._judged[judgement.decision_id] = judgement.right

    def client(self, call: Call) -> str:
        task = self._tasks.get(call.task_id)
        return task.client if task is not None and task.client else OWN

    def row(self, at: float, call: Call) -> Row:
        task = self._tasks.get(call.task_id)
        offered = task.tools if task is not None else ()
        names = tuple(str(tool.get("function", {}).get("name", "")) for tool in offered)
        return Row(
            at=at,
            request=call.step_id or call.id,
            client=self.client(call),
            session=task.session if task is not None else "",
            kind=call.kind,
            role=call.role,
            model=call.model,
            local=call.local,
            tokens_in=call.tokens_in,
            tokens_out=call.tokens_out,
            cost_usd=call.cost_usd,
            latency_ms=call.ms,
            prompt=self._prompt(call),
            answer=call.answer,
            offered=names,
            called=_called(call.answer) or tuple(self._actions.get(call.step_id, ())),
            outcome=self._told(call),
        )

    def _prompt(self, call: Call) -> str:
        if call.role in CONVERSED and call.messages:
            return str(call.messages[-1].get("content", ""))
        step = self._steps.get(call.step_id)
        return step.text if step is not None else ""

    def _told(self, call: Call) -> Told:
        """As a person said, else wrong where its action failed or it brought no answer. That an
        action ran to its end does not make it the right one."""
        if (right := self._judged.get(call.decision_id)) is not None:
            return "right" if right else "wrong"
        in_force = self._last.get(call.step_id) in (None, call.decision_id)
        if _unanswered(call) or (in_force and call.step_id in self._failed):
            return "wrong"
        return "unknown"


def _unanswered(call: Call) -> bool:
    """The General did not answer, broke off, or refused."""
    found = call.parameters
    status = found.get("status")
    refused = isinstance(status, int) and status >= 400
    return call.role == "general" and ("error" in found or "cut" in found or refused)


def _called(answer: str) -> tuple[str, ...]:
    """Names of the functions that an answer calls, as the proxy records them: a list with
    ``{"name": …, "arguments": …}`` for each."""
    if not answer.startswith("["):
        return ()
    try:
        items: Any = json.loads(answer)
    except (ValueError, RecursionError):
        return ()
    calls = [one for one in items if isinstance(one, dict) and one.keys() == {"name", "arguments"}]
    return tuple(str(one["name"]) for one in calls)
