"""Who serves a proxied call: the agent's own decisions, made for a request that is the client's.

What differs from a task's step: a client may pin a model, a parameter may be beyond local models,
and what would be sent is the client's own request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from runtime.budgets import Spending
from runtime.core import GENERAL, Candidate, Decision, Step, Task, new_id
from runtime.daemon.proxy.local import MAX_TOKENS
from runtime.daemon.proxy.outgoing import Outgoing, Shown
from runtime.daemon.proxy.requests import ChatRequest
from runtime.daemon.proxy.tagging import after_tools, offers_tools
from runtime.daemon.proxy.targets import Target
from runtime.deciding import Deciding
from runtime.decisions import DECLINED, verdict
from runtime.given import Given
from runtime.outcomes import History
from runtime.policy import NEVER, Policy
from runtime.progress import Progress
from runtime.redact import Redactor
from runtime.roles.seats import Seat, offered
from runtime.roster import Approver, Team


class Choosing(Deciding):
    """Decisions for one request. ``target``: whom it asks for."""

    def __init__(
        self,
        team: Team,
        policy: Policy,
        approver: Approver,
        spending: Spending,
        history: History,
        *,
        request: ChatRequest,
        target: Target,
    ) -> None:
        super().__init__(team, policy, approver, spending, history)
        self.request, self.target = request, target
        self._outgoing: Outgoing | None = None

    def seats(self) -> list[Seat]:
        """Who is asked, in order: those that are left alone now come last."""
        named = self.target.name if self.target.side == GENERAL else ""
        seats = [s for s in self.team.general.seats if not named or s.name == named]
        return sorted(seats, key=lambda s: not s.remote.breaker.would_admit)

    async def chosen(
        self, task: Task, step: Step, progress: Progress, unserved: Sequence[str]
    ) -> Decision:
        """Who serves, before anybody has tried. ``unserved``: what no local model can honour."""
        if self.target.pinned:
            return await self._pinned(task, step, progress)
        if unserved:
            name, _, why = unserved[0].partition(": ")
            scored = _score(
                step, f"unserved:{name}", f"{name}: {why}", self.general_name(), local=False
            )
            return await self.of(scored, task, step, progress)
        scored = await asyncio.to_thread(
            self.team.router.route, task, step, self.policy, general=self.general_name()
        )
        words = not offers_tools(self.request) or after_tools(self.request)
        if words and scored.chosen != GENERAL:
            # No score says afterwards whether words are right: what is promised of them decides.
            scored = replace(scored, rule=f"accept:{step.kind}")
        return await self.of(scored, task, step, progress)

    async def beyond(
        self, first: Decision, task: Task, step: Step, progress: Progress, why: str
    ) -> Decision:
        """The local worker could not answer at all (too long, a schema that it cannot hold)."""
        scored = _score(step, "unserved:local", why, self.general_name(), local=False)
        return await self.of(replace(scored, previous=first.id), task, step, progress)

    async def _pinned(self, task: Task, step: Step, progress: Progress) -> Decision:
        side, name = self.target.side, self.target.name
        words = f"the client asked for {side}/{name}" if name else f"the client asked for {side}"
        local = side != GENERAL
        scored = _score(step, f"pinned:{side}", words, self.general_name(), local=local)
        if not local:
            return await self.of(scored, task, step, progress)
        # A client that keeps its call here outranks a rule that would send it away, not one that
        # declines it.
        given = Given((step.kind,), scored.rule, True, words, "local", general=False, person=False)
        ruled = verdict(scored, task, given, self.policy)
        if ruled.chosen != DECLINED:
            return replace(scored, given=given.to_json())
        return replace(
            scored,
            chosen=DECLINED,
            rule=ruled.rule,
            reason=ruled.reason,
            given=given.to_json(),
        )

    def general_name(self) -> str | None:
        seats = self.seats()
        return seats[0].remote.model if seats else None

    async def outgoing(self) -> Outgoing:
        """The request as it may leave: without secrets and personal data of known forms."""
        if self._outgoing is None:
            raw = self.request.raw
            self._outgoing = await asyncio.to_thread(Outgoing.of, raw, Redactor())
        return self._outgoing

    async def preview(self, task: Task, step: Step, problem: str = "") -> Mapping[str, Any]:
        """The request as it would leave, with tokens and price as estimates that say so."""
        seats = self.seats()
        count, model = self.team.general.count_tokens, self.general_name() or ""

        def prepared() -> tuple[Outgoing, Shown, int]:
            outgoing = self._outgoing or Outgoing.of(self.request.raw, Redactor())
            sent = outgoing.shown(model)
            return outgoing, sent, count(json.dumps(sent.body, ensure_ascii=False))

        # All of it at once beside the event loop: each way there and back takes its time too.
        self._outgoing, sent, tokens = await asyncio.to_thread(prepared)
        most = self.request.max_tokens or MAX_TOKENS
        return {
            **offered(seats, tokens, most),
            "messages": list(sent.said),
            "body": sent.body,
            "redacted": dict(sent.found),
        }


def _score(step: Step, rule: str, reason: str, general: str | None, *, local: bool) -> Decision:
    """A choice that no probability was needed for."""
    worker = "local:tool_user" if step.kind == "tool" else "local:generator"
    return Decision(
        id=new_id("dec"),
        task_id=step.task_id,
        step_id=step.id,
        kind=step.kind,
        text=step.text,
        chosen=worker if local else GENERAL,
        candidates=(
            Candidate(worker, "", None, None, 0.0),
            Candidate(GENERAL, general or "", None, None, None),
        ),
        probability=1.0 if local else 0.0,
        threshold=0.0 if local else NEVER,
        rule=rule,
        reason=reason,
        route_ms=0.0,
    )
