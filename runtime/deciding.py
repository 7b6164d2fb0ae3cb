"""Making a step's decisions: the score, what it is given, and the policy on top of both.

Gathers what ``decisions.decide`` is pure in: who could be asked, what the General was shown and
could cost, what was spent. Asks nobody but the ledger and, where the policy says so, the user.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from models.base import Message
from runtime.budgets import Amount, Spending, excess
from runtime.calibration import family
from runtime.core import Action, Decision, Kind, Privacy, Step, Task, new_id
from runtime.decisions import (
    budgets_of,
    decide,
    judged_of,
    mode,
    repair_of,
    verdict,
    without_general,
)
from runtime.explain import flip
from runtime.given import Given, Side
from runtime.keeping import weighed
from runtime.outcomes import NO_HISTORY, History
from runtime.policy import EVEN, Policy
from runtime.progress import Progress
from runtime.roster import Approver, Team
from runtime.tools.recipe import Proposal
from runtime.trust import Judged, digests, evidence_of, signals_of


class Deciding:
    """Decisions for one team under one policy."""

    def __init__(
        self,
        team: Team,
        policy: Policy,
        approver: Approver | None,
        spending: Spending,
        history: History = NO_HISTORY,
    ) -> None:
        self.team = team
        self.policy = policy
        self.approver = approver
        self.spending = spending
        self.history = history

    async def first(self, task: Task, step: Step, progress: Progress) -> Decision:
        """Who serves the step, before anybody has tried."""
        general = self.team.general
        name = general.model if general.remote is not None and task.privacy != "local" else None
        scored = self.team.router.route(task, step, self.policy, general=name)
        kind, model = family(task, step), digests(self.team)
        signals = signals_of(task, scored)
        judged = self.team.trust.before(kind, model, signals)
        return await self.of(scored, task, step, progress, judged=judged)

    async def judged(
        self, first: Decision, task: Task, step: Step, proposal: Proposal, progress: Progress
    ) -> Decision:
        """Whether the local answer under ``first`` is kept: its calibrated score against what is
        certified, or the verifier's word."""
        judged = self._weighed(first, task, step, proposal)
        scored = judged_of(first, proposal, judged)
        return await self.of(scored, task, step, progress, judged=judged)

    async def repair(
        self,
        first: Decision,
        task: Task,
        step: Step,
        second: Proposal,
        progress: Progress,
        *,
        failure: str,
        problem: str,
    ) -> Decision:
        """Whether ``second`` is tried here after the action under ``first`` failed. Thresholds are
        certified for first answers, and promise nothing of a repair: it must be likelier right
        than wrong, and is marked unsure where something is promised."""
        judged = self._weighed(first, task, step, second)
        threshold = EVEN if judged.calibrated else self.policy.accepts(step.kind)
        local = not second.problems and judged.probability >= threshold
        scored = repair_of(first, judged.probability, threshold, failure, local=local)
        signals = {**first.signals, **evidence_of(second)}
        scored = replace(scored, signals=signals, effects=judged.effects)
        return await self.of(scored, task, step, progress, problem=problem, judged=judged)

    def _weighed(self, first: Decision, task: Task, step: Step, proposal: Proposal) -> Judged:
        signals = signals_of(task, first, proposal)
        # What a server's tool would do is as unknown as what a task's own functions do.
        kind = "tool" if proposal.recipe.kind == "tool" else family(task, step)
        return self.team.trust.after(kind, digests(self.team), signals, proposal.confidence)

    async def of(
        self,
        scored: Decision,
        task: Task,
        step: Step,
        progress: Progress,
        *,
        problem: str = "",
        judged: Judged | None = None,
    ) -> Decision:
        """A score as the policy has it. ``problem``: what the General would be told went wrong;
        ``judged``: what the score rests on, where it is that of a local answer."""
        kinds: tuple[Kind, ...] = (step.kind,)
        if scored.kind == "repair":
            kinds = (step.kind, "repair")
        given = Given(
            kinds=kinds,
            score_rule=scored.rule,
            score_local=scored.chosen.startswith("local:"),
            score_reason=scored.reason,
            privacy=task.privacy,
            general=self.team.general.remote is not None,
            person=self.approver is not None,
            incumbent=progress.incumbent(step),
            window=progress.window,
            budget_usd=task.budget_usd,
            failed=progress.failed.get(step.id, ""),
        )
        if judged is not None:
            told = self.history.general(family(task, step))
            scored, given = weighed(scored, given, judged, told, digests(self.team))
        return await self._made(scored, task, step, given, progress, problem=problem)

    async def failing(
        self, first: Decision, task: Task, step: Step, progress: Progress, *, problem: str = ""
    ) -> Decision:
        """``first`` chose the General, and it failed (``progress.failed`` says how)."""
        given = Given.from_json(first.given)
        scored, given = without_general(first, given)
        given = replace(given, failed=progress.failed[step.id])
        asks = self.policy.general_failed == "ask" and self.approver is not None
        # Only where there is a local answer to choose.
        hopes = replace(given, answer="local")
        if asks and verdict(scored, task, hopes, self.policy).chosen.startswith("local:"):
            given = replace(given, answer=await self._local_instead(task, step, given.failed))
        return await self._made(scored, task, step, given, progress, problem=problem)

    async def overdrawn(
        self, committed: Decision, task: Task, step: Step, progress: Progress, *, problem: str = ""
    ) -> Decision | None:
        """The decision that overrules a ``committed`` one to ask the General, where somebody else
        announced a call before it and both would pass a budget; None where it may go ahead."""
        given = Given.from_json(committed.given)
        if given.worst is None or all(b.scope == "task" for b in self.policy.budgets):
            return None
        spent = await self._spent(progress, before=committed.id)
        over = excess(budgets_of(given, self.policy), spent, given.worst)
        if all(e.action == "warn" for e in over):
            return None
        scored, given = without_general(committed, replace(given, spent=spent))
        return await self._made(scored, task, step, given, progress, problem=problem, account=False)

    async def _made(
        self,
        scored: Decision,
        task: Task,
        step: Step,
        given: Given,
        progress: Progress,
        *,
        problem: str,
        account: bool = True,
    ) -> Decision:
        if verdict(scored, task, given, self.policy).wanted:
            preview = await self.preview(task, step, problem)
            scored = replace(scored, would_send=preview)
            if account:
                spent = await self._spent(progress)
                given = replace(given, spent=spent, worst=self._worst(preview))
        made = decide(scored, task, given, self.policy)
        return replace(made, flip=flip(scored, task, given, self.policy))

    def messages(self, task: Task, step: Step, problem: str = "") -> tuple[Message, ...]:
        """What the General would be sent for the step."""
        recipes = self.team.offer(task, step)
        return self.team.general.messages(task, step, recipes=recipes, problem=problem)

    async def preview(self, task: Task, step: Step, problem: str = "") -> Mapping[str, Any]:
        """Exactly what would be sent, with its estimated tokens and price."""
        return self.team.general.preview(self.messages(task, step, problem))

    def mode(self, task: Task, decision: Decision) -> Privacy:
        """The privacy mode in force for a decision made here."""
        given = replace(Given.from_json(decision.given), privacy=task.privacy)
        return mode(task, given, decision.text, self.policy)

    async def _spent(self, progress: Progress, before: str | None = None) -> Mapping[str, Amount]:
        spent = {"task": progress.spent}
        if any(b.scope != "task" for b in self.policy.budgets):
            spent |= await asyncio.to_thread(self.spending.spent, time.time(), before)
        return spent

    def _worst(self, preview: Mapping[str, Any]) -> Amount:
        tokens = preview["tokens_in_estimated"] + preview["tokens_out_at_most"]
        usd = preview["usd_at_most_estimated"]
        return Amount(usd, tokens, self.policy.general_timeout_s)

    async def _local_instead(self, task: Task, step: Step, failure: str) -> Side:
        """Ask the user whether the best local answer will do."""
        assert self.approver is not None  # noqa: S101 (callers look first)
        action = Action(
            id=new_id("act"),
            task_id=task.id,
            step_id=step.id,
            tool="general",
            recipe="answer_locally",
            arguments={},
            preview=f"answer on this machine instead, marked unsure: {step.text}",
            risk="read",
        )
        return "local" if await self.approver.action(action, failure) else "general"
