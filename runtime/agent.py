"""The loop: one task from words to outcome, as a stream of events.

``Agent.run`` yields each record before what it announces happens, and is resumed only when
that record is committed (``runtime.drive`` does both). It does no storage of its own. Given
the events of an earlier run that was cut off, it goes on from there and repeats no action.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from models.errors import GeneralFailed
from models.remote import Permit
from runtime.accept import check_task
from runtime.budgets import LedgerSpending, Spending
from runtime.config import data_dir
from runtime.core import (
    Action,
    Decision,
    Event,
    Gate,
    Outcome,
    Record,
    Result,
    Status,
    Step,
    Task,
    new_id,
)
from runtime.deciding import Deciding
from runtime.decisions import is_unsure, role_decision
from runtime.gate import judge
from runtime.given import Given
from runtime.keeping import acceptance
from runtime.ledger import open_actions, records
from runtime.outcomes import NO_HISTORY, History
from runtime.policy import Policy
from runtime.progress import Progress, Stop
from runtime.resume import outcome_of, recorded_steps
from runtime.roles.general import call_of, words_from
from runtime.roster import Approver, Team
from runtime.tools.recipe import Proposal

__all__ = ["Agent", "Approver", "Team"]

CALL_SCHEMA: Mapping[str, Any] = {"type": "object", "required": ["recipe"]}
Emit = AsyncIterator[Record]


class Agent:
    """Runs tasks with one team under one policy."""

    def __init__(
        self,
        team: Team,
        policy: Policy,
        approver: Approver | None = None,
        spending: Spending | None = None,
        history: History = NO_HISTORY,
    ) -> None:
        """``approver`` None: nobody can be asked, so what needs a person is denied.
        ``spending``: what budgets of days and months are checked against; the user's ledger.
        ``history``: what became of past answers."""
        self.team = team
        self.policy = policy
        self.approver = approver
        self.deciding = Deciding(
            team,
            policy,
            approver,
            spending or LedgerSpending(data_dir() / "ledger.db"),
            history,
        )

    async def run(self, task: Task, history: Sequence[Event] = ()) -> AsyncIterator[Event]:
        """The task's events, in order; the last one holds its Result.

        ``history``: the committed events of this task's earlier run, when it is resumed.
        Raises UsageError or SchemaRefused before the first event where the task itself cannot
        be accepted; any other AidecampError where this machine cannot do what is needed.
        """
        check_task(task, self.policy)
        if not history:
            yield _event(task.id, task)
        progress = Progress.of(history)
        try:
            async for record in self._steps(task, history, progress):
                progress.note(record)
                yield _event(task.id, record)
            status: Status = "unsure" if progress.unsure else "done"
            result = Result(task.id, status, progress.data, "; ".join(progress.unsure))
        except Stop as stop:
            answer = stop.answer if stop.answer is not None else progress.data
            result = Result(task.id, stop.status, answer, stop.reason)
        yield _event(task.id, result)

    async def _steps(self, task: Task, history: Sequence[Event], progress: Progress) -> Emit:
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
                raise Stop("failed", f"{len(steps)} steps; at most {self.policy.max_steps} allowed")
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
        self, task: Task, step: Step, history: Sequence[Event], progress: Progress
    ) -> Emit:
        await self.team.ready(task, step)
        outcome = outcome_of(step, history)
        if outcome is None:
            for action in open_actions(history):
                if action.step_id == step.id:
                    outcome = await asyncio.to_thread(self.team.look, task, action)
                    yield outcome
        decided = [d for d in records(history, Decision) if d.step_id == step.id]
        if outcome is not None:
            progress.unsure += [d.reason for d in decided[-1:] if is_unsure(d)]
            progress.settle(step, outcome)
            return
        if decided and decided[-1].chosen != "general":
            decision = decided[-1]
        else:
            # What was allowed to leave once may not be now: that is decided again.
            decision = await self.deciding.first(task, step, progress)
            yield decision
        async for record in self._serve(task, step, decision, progress):
            yield record

    async def _serve(
        self,
        task: Task,
        step: Step,
        decision: Decision,
        progress: Progress,
        *,
        proposal: Proposal | None = None,
        problem: str = "",
    ) -> Emit:
        """Whoever was chosen does the step. ``proposal``: the local answer, where there is one
        already; ``problem``: why an action failed, where the step is being repaired."""
        if decision.chosen == "general":
            async for record in self._ask_general(
                task, step, decision, progress, proposal=proposal, problem=problem
            ):
                yield record
        elif decision.chosen == "declined" and problem:
            raise Stop("failed", f"{problem}; {decision.reason}")
        elif decision.chosen == "declined":
            raise Stop("declined", decision.reason)
        elif step.kind in ("format", "dialogue", "refine"):
            async for record in self._format(task, step, progress, step.text, decision):
                yield record
        else:
            async for record in self._act_locally(task, step, decision, progress, proposal):
                yield record

    async def _act_locally(
        self,
        task: Task,
        step: Step,
        decision: Decision,
        progress: Progress,
        proposal: Proposal | None,
    ) -> Emit:
        judged = proposal is not None
        if proposal is None:
            recipes = self.team.offer(task, step)
            proposal, calls = await self.team.tool_user.propose(task, step, decision, recipes)
            for call in calls:
                yield replace(call, step_id=step.id, decision_id=decision.id)
        sure = not is_unsure(decision)
        if sure and not judged and step.id not in progress.failed:
            decision = await self.deciding.judged(decision, task, step, proposal, progress)
            yield decision
            if not decision.chosen.startswith("local:"):
                async for record in self._serve(task, step, decision, progress, proposal=proposal):
                    yield record
                return
            sure = not is_unsure(decision)
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
        progress: Progress,
        *,
        sure: bool,
        repaired: bool = False,
    ) -> Emit:
        """Gate, act, observe; one local repair, then the General sees the error."""
        tool = self.team.acts(step, proposal.recipe)
        if tool is None:
            progress.add(step, {"name": proposal.recipe.id, "arguments": dict(proposal.arguments)})
            return
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
        progress.settle(step, outcome)

    async def _repair(
        self,
        task: Task,
        step: Step,
        decision: Decision,
        progress: Progress,
        *,
        proposal: Proposal,
        outcome: Outcome,
        sure: bool,
    ) -> Emit:
        """A failed action: another recipe once, if one fits; then the General; then give up."""
        others = [r for r in self.team.offer(task, step) if r.id != proposal.recipe.id]
        second, calls = await self.team.tool_user.propose(task, step, decision, others)
        failure = f"{proposal.recipe.id} failed: {outcome.error[:200]}"
        repair = await self.deciding.repair(
            decision, task, step, second, progress, failure=failure, problem=outcome.error
        )
        yield repair
        for call in calls:
            yield replace(call, step_id=step.id, decision_id=repair.id, kind="repair")
        if repair.chosen.startswith("local:"):
            if self.policy.risk_alpha > 0:
                progress.unsure.append(f"a repair, of which nothing is promised: {failure}")
            async for record in self._perform(
                task, step, repair, second, progress, sure=sure, repaired=True
            ):
                yield record
        elif repair.chosen == "general":
            async for record in self._serve(task, step, repair, progress, problem=outcome.error):
                yield record
        else:
            raise Stop("failed", outcome.error)

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
            try:
                by, allowed = "user", await self.approver.action(action, verdict.reason)
            except TimeoutError as late:  # Who was to be asked did not answer.
                reason = f"{verdict.reason}; {late}"
                return Gate(action.id, task.id, "deny", "nobody-to-ask", reason)
        return Gate(action.id, task.id, "allow" if allowed else "deny", by, verdict.reason)

    async def _ask_general(
        self,
        task: Task,
        step: Step,
        decision: Decision,
        progress: Progress,
        *,
        proposal: Proposal | None,
        problem: str,
    ) -> Emit:
        overdrawn = await self.deciding.overdrawn(decision, task, step, progress, problem=problem)
        if overdrawn is not None:
            yield overdrawn
            async for record in self._serve(
                task, step, overdrawn, progress, proposal=proposal, problem=problem
            ):
                yield record
            return
        general, recipes = self.team.general, self.team.offer(task, step)
        messages = self.deciding.messages(task, step, problem)
        privacy = self.deciding.mode(task, decision)
        if privacy == "ask":
            if self.approver is None or not await self.approver.send(general.preview(messages)):
                raise Stop("declined", "sending to the General was not approved")
            permit = Permit(privacy, "user")
        else:
            permit = Permit(privacy, "policy")
        found: Proposal | None = None
        try:
            call = await general.ask(
                task, step, decision, messages, permit, schema=CALL_SCHEMA if recipes else None
            )
        except GeneralFailed as error:
            yield general.failed_call(task, step, decision, messages, error)
            failure = f"{error.message} {error.hint}"
        else:
            yield call
            failure = ""
            if recipes:
                found, failure = call_of(call.answer, recipes)
        if failure:
            progress.failed[step.id] = failure.strip().rstrip(".")
            second = await self.deciding.failing(decision, task, step, progress, problem=problem)
            yield second
            async for record in self._serve(
                task, step, second, progress, proposal=proposal, problem=problem
            ):
                yield record
        elif found is not None:
            async for record in self._perform(
                task, step, decision, found, progress, sure=True, repaired=True
            ):
                yield record
        elif recipes:
            said = words_from(call.answer)
            if not said:
                raise Stop("failed", "the General found no tool here that fits this step")
            if problem:  # words mend no failed action
                raise Stop("failed", f"{problem}; the General says: {said}")
            if step.kind in ("gui", "shell"):
                progress.unsure.append("the General answered in words, and nothing was done here")
            progress.add(step, said)
        elif task.schema is not None:
            async for record in self._format(task, step, progress, call.answer, decision):
                yield record
        else:
            progress.add(step, call.answer)

    async def _format(
        self,
        task: Task,
        step: Step,
        progress: Progress,
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
        threshold, promise = self.policy.accepts("format"), ""
        if decision.given and decision.chosen.startswith("local:"):
            threshold, promise = acceptance(Given.from_json(decision.given), self.policy)
        if is_unsure(decision):
            progress.unsure.append(decision.reason)
        elif confidence < threshold:
            why = promise or f"below {threshold:.2f}"
            progress.unsure.append(f"formatting confidence {confidence:.2f}: {why}")
        if step.index > step.total:
            progress.results.clear()  # the formatting of everything so far replaces it
        progress.add(step, value)


def _event(task_id: str, record: Record) -> Event:
    return Event(task_id, time.time(), record)
