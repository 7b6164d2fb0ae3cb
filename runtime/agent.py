"""The loop: one task from words to outcome, as a stream of events.

``Agent.run`` yields each record before what it announces happens, and is resumed only when
that record is committed (``runtime.drive`` does both). It does no storage of its own. Given
the events of an earlier run that was cut off, it goes on from there and repeats no action.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from models.errors import GeneralFailed
from models.remote import Permit
from runtime.accept import check_task
from runtime.core import (
    Action,
    Call,
    Decision,
    Event,
    Gate,
    Kind,
    Outcome,
    Record,
    Result,
    Status,
    Step,
    Task,
    new_id,
)
from runtime.decisions import escalation_of, role_decision
from runtime.gate import judge
from runtime.ledger import open_actions, records
from runtime.policy import Policy
from runtime.resume import outcome_of, recorded_steps
from runtime.roles.general import General, proposal_from
from runtime.tools.base import Tool
from runtime.tools.recipe import Proposal, Recipe

CALL_SCHEMA: Mapping[str, Any] = {"type": "object", "required": ["recipe"]}


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


@dataclass(frozen=True, slots=True)
class Approver:
    """How a person is asked. ``action``: may this happen? ``send``: may exactly this leave?"""

    action: Callable[[Action, str], Awaitable[bool]]
    send: Callable[[Mapping[str, Any]], Awaitable[bool]]


@dataclass
class _Progress:
    """What the loop has learned so far about one task."""

    results: list[tuple[Kind, Any]] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    spent_usd: float = 0.0

    def add(self, step: Step, data: Any) -> None:
        self.results.append((step.kind, data))

    @property
    def data(self) -> Any:
        """What the answer is made of: the result, or a list of them where several were asked
        for. GUI steps are stages of one piece of work, so only the last one's counts."""
        if not self.results:
            return None
        asked = [data for kind, data in self.results if kind != "gui"]
        if not asked:
            return self.results[-1][1]
        return asked[0] if len(asked) == 1 else asked


class _Stop(Exception):
    """Ends the task with a status that is no error."""

    def __init__(self, status: Status, reason: str, answer: Any = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.answer = answer


Emit = AsyncIterator[Record]


class Agent:
    """Runs tasks with one team under one policy."""

    def __init__(self, team: Team, policy: Policy, approver: Approver | None = None) -> None:
        """``approver`` None: nobody can be asked, so what needs a person is denied."""
        self.team = team
        self.policy = policy
        self.approver = approver

    async def run(self, task: Task, history: Sequence[Event] = ()) -> AsyncIterator[Event]:
        """The task's events, in order; the last one holds its Result.

        ``history``: the committed events of this task's earlier run, when it is resumed.
        Raises UsageError or SchemaRefused before the first event where the task itself cannot
        be accepted; any other AidecampError where this machine cannot do what is needed.
        """
        check_task(task, self.policy)
        if not history:
            yield _event(task.id, task)
        progress = _Progress(spent_usd=sum(c.cost_usd for c in records(history, Call)))
        try:
            async for record in self._steps(task, history, progress):
                yield _event(task.id, record)
            status: Status = "unsure" if progress.unsure else "done"
            result = Result(task.id, status, progress.data, "; ".join(progress.unsure))
        except _Stop as stop:
            answer = stop.answer if stop.answer is not None else progress.data
            result = Result(task.id, stop.status, answer, stop.reason)
        yield _event(task.id, result)

    async def _steps(self, task: Task, history: Sequence[Event], progress: _Progress) -> Emit:
        steps = recorded_steps(history)
        if not steps:
            step = Step(new_id("step"), task.id, 0, "refine", task.text)
            decision = role_decision(task, step, "refiner", "splitting a request is local work")
            yield step
            yield decision
            steps, calls = await self.team.refiner.refine(task)
            for call in calls:
                yield replace(call, step_id=step.id, decision_id=decision.id)
            steps = [replace(s, index=i + 1, total=len(steps)) for i, s in enumerate(steps)]
            if len(steps) > self.policy.max_steps:
                raise _Stop(
                    "failed", f"{len(steps)} steps; at most {self.policy.max_steps} allowed"
                )
            for step in steps:
                yield step
        for step in steps:
            async for record in self._step(task, step, history, progress):
                yield record
        needs_format = task.schema is not None or task.template is not None
        if needs_format and steps[-1].kind not in ("plan", "format"):
            step = Step(
                new_id("step"), task.id, len(steps) + 1, "format", "format the answer", len(steps)
            )
            yield step
            async for record in self._format(task, step, progress, progress.data):
                yield record

    async def _step(
        self, task: Task, step: Step, history: Sequence[Event], progress: _Progress
    ) -> Emit:
        outcome = outcome_of(step, history)
        if outcome is None:
            for action in open_actions(history):
                if action.step_id == step.id:
                    outcome = await asyncio.to_thread(self.team.tools[step.kind].look, task, action)
                    yield outcome
        decided = [d for d in records(history, Decision) if d.step_id == step.id]
        if outcome is not None:
            progress.unsure += [d.reason for d in decided[-1:] if d.rule == "no-general"]
            _settle(step, outcome, progress)
            return
        if decided:
            decision = decided[-1]
        else:
            decision = self._afford(task, step, self._route(task, step), progress)
            yield decision
        if decision.chosen == "general":
            async for record in self._ask_general(task, step, decision, progress):
                yield record
        elif decision.chosen == "declined":
            raise _Stop("declined", decision.reason)
        elif step.kind in ("format", "dialogue", "refine"):
            async for record in self._format(task, step, progress, step.text, decision):
                yield record
        else:
            async for record in self._act_locally(task, step, decision, progress):
                yield record

    def _route(self, task: Task, step: Step) -> Decision:
        general = self.team.general
        name = general.model if general.remote is not None and task.privacy != "local" else None
        return self.team.router.route(task, step, self.policy, general=name)

    def _afford(
        self,
        task: Task,
        step: Step,
        decision: Decision,
        progress: _Progress,
        *,
        problem: str = "",
    ) -> Decision:
        """The decision with what would be sent where it escalates; declined where it cannot.

        A step that only the General could do is declined; any other falls to the best local
        worker, marked unsure.
        """
        if decision.chosen != "general":
            return decision
        general = self.team.general
        recipes = () if step.kind == "plan" else self._offer(task, step)
        preview = general.preview(general.messages(task, step, recipes=recipes, problem=problem))
        decision = replace(decision, would_send=preview)
        usd = preview["usd_at_most_estimated"]
        why = ""
        if task.privacy == "local":
            why = "privacy mode 'local' keeps every byte here"
        elif general.remote is None:
            why = "no General is configured"
        elif task.privacy == "ask" and self.approver is None:
            why = "privacy mode 'ask', and nobody is there to ask"
        elif task.budget_usd is not None and usd is None:
            why = "its price is not known, and the task has a budget"
        elif task.budget_usd is not None and progress.spent_usd + usd > task.budget_usd:
            why = (
                f"it could cost ${usd:.4f} on top of ${progress.spent_usd:.4f} spent, over the "
                f"task's budget of ${task.budget_usd:.4f}"
            )
        if not why:
            return decision
        if step.kind == "plan" or decision.rule == "out-of-scope":
            return replace(
                decision, chosen="declined", reason=f"{decision.reason}; declined: {why}"
            )
        worker = next(
            (c.worker for c in decision.candidates if c.worker.startswith("local:")),
            "local:tool_user",
        )
        return replace(
            decision,
            chosen=worker,
            rule="no-general",
            reason=f"{decision.reason}; best local answer, unsure: {why}",
        )

    def _offer(self, task: Task, step: Step) -> tuple[Recipe, ...]:
        """The recipes that a step of this kind can use."""
        if step.kind in ("parse", "tool"):
            return self.team.functions(task)
        tool = self.team.tools.get(step.kind)
        return tool.recipes if tool is not None else ()

    async def _act_locally(
        self, task: Task, step: Step, decision: Decision, progress: _Progress
    ) -> Emit:
        recipes = self._offer(task, step)
        proposal, calls = await self.team.tool_user.propose(task, step, decision, recipes)
        for call in calls:
            yield replace(call, step_id=step.id, decision_id=decision.id)
        threshold = self.policy.accept_threshold.get(step.kind, 0.5)
        sure = decision.rule != "no-general"
        if proposal.problems or proposal.confidence < threshold:
            escalation = escalation_of(decision, proposal, threshold)
            second = self._afford(task, step, escalation, progress)
            yield second
            if second.chosen == "general":
                async for record in self._ask_general(task, step, second, progress):
                    yield record
                return
            if second.chosen == "declined":
                raise _Stop("declined", second.reason)
            sure, decision = False, second
        if not sure:
            progress.unsure.append(decision.reason)
        async for record in self._perform(task, step, decision, proposal, progress, sure=sure):
            yield record

    async def _perform(
        self,
        task: Task,
        step: Step,
        decision: Decision,
        proposal: Proposal,
        progress: _Progress,
        *,
        sure: bool,
        repaired: bool = False,
    ) -> Emit:
        """Gate, act, observe; one local repair, then the General sees the error."""
        if step.kind in ("parse", "tool"):
            # The call is the answer: whoever offered the functions executes it.
            progress.add(step, {"name": proposal.recipe.id, "arguments": dict(proposal.arguments)})
            return
        tool = self.team.tools[step.kind]
        action = await asyncio.to_thread(tool.prepare, task, step, proposal)
        yield action
        gate = await self._gate(task, action, sure=sure)
        yield gate
        if gate.verdict == "deny":
            dry = gate.by == "dry-run"
            outcome = Outcome(
                action.id,
                task.id,
                step.id,
                "skipped" if dry else "denied",
                data={"would_run": action.preview} if dry else None,
                error=gate.reason,
            )
        else:
            try:
                outcome = await asyncio.to_thread(tool.run, task, action)
            except asyncio.CancelledError:
                tool.stop(action)
                raise
        yield outcome
        if outcome.status == "failed" and not repaired:
            async for record in self._repair(
                task, step, decision, progress, proposal=proposal, outcome=outcome, sure=sure
            ):
                yield record
            return
        _settle(step, outcome, progress)

    async def _repair(
        self,
        task: Task,
        step: Step,
        decision: Decision,
        progress: _Progress,
        *,
        proposal: Proposal,
        outcome: Outcome,
        sure: bool,
    ) -> Emit:
        """A failed action: another recipe once, if one fits; then the General; then give up."""
        others = [r for r in self._offer(task, step) if r.id != proposal.recipe.id]
        second, calls = await self.team.tool_user.propose(task, step, decision, others)
        threshold = self.policy.accept_threshold.get(step.kind, 0.5)
        local = not second.problems and second.confidence >= threshold
        repair = replace(
            decision,
            id=new_id("dec"),
            previous=decision.id,
            kind="repair",
            chosen="local:tool_user" if local else "general",
            probability=second.confidence,
            threshold=threshold,
            rule="repair",
            reason=f"{proposal.recipe.id} failed: {outcome.error[:200]}",
            would_send=None,
        )
        if not local:
            repair = self._afford(task, step, repair, progress, problem=outcome.error)
            if repair.chosen != "general":
                repair = replace(repair, chosen="declined")
        yield repair
        for call in calls:
            yield replace(call, step_id=step.id, decision_id=repair.id, kind="repair")
        if local:
            async for record in self._perform(
                task, step, repair, second, progress, sure=sure, repaired=True
            ):
                yield record
        elif repair.chosen == "general":
            async for record in self._ask_general(
                task, step, repair, progress, problem=outcome.error
            ):
                yield record
        else:
            raise _Stop("failed", outcome.error)

    async def _gate(self, task: Task, action: Action, *, sure: bool) -> Gate:
        verdict = judge(action, task, sure=sure)
        by: Literal["rule", "user", "dry-run", "nobody-to-ask"]
        if verdict.verdict == "allow":
            by, allowed = "rule", True
        elif verdict.verdict == "deny":
            by, allowed = "dry-run", False
        elif self.approver is None:
            by, allowed = "nobody-to-ask", False
        else:
            by, allowed = "user", await self.approver.action(action, verdict.reason)
        return Gate(action.id, task.id, "allow" if allowed else "deny", by, verdict.reason)

    async def _ask_general(
        self,
        task: Task,
        step: Step,
        decision: Decision,
        progress: _Progress,
        *,
        problem: str = "",
    ) -> Emit:
        general = self.team.general
        recipes = () if step.kind == "plan" else self._offer(task, step)
        messages = general.messages(task, step, recipes=recipes, problem=problem)
        if task.privacy == "ask":
            if self.approver is None or not await self.approver.send(general.preview(messages)):
                raise _Stop("declined", "sending to the General was not approved")
            permit = Permit(task.privacy, "user")
        else:
            permit = Permit(task.privacy, "policy")
        try:
            call = await general.ask(
                task, step, decision, messages, permit, schema=CALL_SCHEMA if recipes else None
            )
        except GeneralFailed as failure:
            yield general.failed_call(task, step, decision, messages, failure)
            raise
        progress.spent_usd += call.cost_usd
        yield call
        if not recipes:
            if task.schema is not None:
                async for record in self._format(task, step, progress, call.answer, decision):
                    yield record
            else:
                progress.add(step, call.answer)
            return
        proposal = proposal_from(call.answer, recipes)
        if proposal is None:
            raise _Stop("failed", "the General found no tool here that fits this step")
        if proposal.problems:
            raise GeneralFailed(f"The General's call does not fit: {'; '.join(proposal.problems)}.")
        async for record in self._perform(
            task, step, decision, proposal, progress, sure=True, repaired=True
        ):
            yield record

    async def _format(
        self,
        task: Task,
        step: Step,
        progress: _Progress,
        data: Any,
        decision: Decision | None = None,
    ) -> Emit:
        if decision is None:
            decision = role_decision(
                task, step, "formatter", "formatting to a schema or template is local work"
            )
            yield decision
        value, confidence, calls = await self.team.formatter.format(task, step, decision, data)
        for call in calls:
            yield replace(call, step_id=step.id, decision_id=decision.id)
        threshold = self.policy.accept_threshold["format"]
        if confidence < threshold:
            progress.unsure.append(f"formatting confidence {confidence:.2f} < {threshold:.2f}")
        if step.index > step.total:
            progress.results.clear()  # the formatting of everything so far replaces it
        progress.add(step, value)


def _event(task_id: str, record: Record) -> Event:
    return Event(task_id, time.time(), record)


def _settle(step: Step, outcome: Outcome, progress: _Progress) -> None:
    """Take the outcome's data over, or end the task."""
    if outcome.status == "denied":
        raise _Stop("denied", f"not allowed: {outcome.error}")
    if outcome.status == "interrupted":
        raise _Stop(
            "interrupted",
            outcome.error or "it was cut off in the middle, and is not repeated",
        )
    if outcome.status == "failed":
        raise _Stop("failed", outcome.error)
    progress.add(step, outcome.data if outcome.data is not None else outcome.output)
