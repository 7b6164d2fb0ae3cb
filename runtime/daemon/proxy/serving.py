"""Serves one proxied call: decide, answer here or forward, escalate or degrade, and record it all.

Each decision is durable before anything leaves under it: a byte to the General, or one of an
answer to the client. The answer's record is durable before its end is sent. What goes wrong here
for lack of means goes to the General where it may; what goes wrong there comes back as the best
local answer, marked unsure, where there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace

from models.errors import AidecampError, ContextOverflow, DeadlineMissed, Denied, SchemaRefused
from models.remote_failures import Unanswered
from runtime.agent import Team
from runtime.core import GENERAL, KINDS, Decision, Kind, Result, Step, new_id
from runtime.daemon.desk import Desk
from runtime.daemon.errors import Declined, NoGeneral, fault
from runtime.daemon.proxy import local
from runtime.daemon.proxy.case import Asked, Case
from runtime.daemon.proxy.choosing import Choosing
from runtime.daemon.proxy.exchange import Exchange
from runtime.daemon.proxy.here import answer_here
from runtime.daemon.proxy.record import Recorder
from runtime.daemon.proxy.tagging import after_tools, last_words, plain_kind
from runtime.daemon.proxy.there import answer_there, unanswered_call
from runtime.daemon.proxy.unserved import refused, unserved
from runtime.decisions import DECLINED
from runtime.roster import Approver

log = logging.getLogger(__name__)

NEVER_ASKED: tuple[Kind, ...] = ("repair", "refine", "embed")
"""Kinds that no request of a client is."""


class Serving:
    """One call. ``run`` is what an :class:`Exchange` runs."""

    def __init__(self, desk: Desk, asked: Asked) -> None:
        self._desk = desk
        self._staff = desk.staff
        self._asked = asked
        self._beyond = unserved(asked.request)
        self._task = replace(
            asked.task(last_words(asked.request)),
            tools=asked.request.tools,
            schema=local.schema_of(asked.request),
        )
        self._recorder = Recorder(desk, self._task)
        self._deadline_s = self._staff.config.daemon.deadline_s

    async def run(self, exchange: Exchange) -> None:
        """Serve the call, and record how it ended. Raises AidecampError."""
        result = Result(self._task.id, "interrupted", None, "the daemon ended")
        try:
            with self._desk.runner.hosting(self._task) as approver:
                async with asyncio.timeout(self._deadline_s):
                    result = await self._served(exchange, approver)
        except TimeoutError as error:
            reason = f"the call took longer than {self._deadline_s:g} s"
            result = Result(self._task.id, "failed", None, reason)
            raise DeadlineMissed(
                f"{reason.capitalize()}.", hint="Ask for less, or raise daemon.deadline_s."
            ) from error
        except asyncio.CancelledError:
            reason = "the client went away, or somebody stopped the call"
            result = Result(self._task.id, "cancelled", None, reason)
            raise
        except AidecampError as error:
            barred = isinstance(error, Declined | Denied)
            result = Result(self._task.id, "declined" if barred else "failed", None, error.message)
            raise
        except Exception as error:
            log.exception("call %s failed", self._task.id)
            result = Result(self._task.id, "failed", None, f"a bug: {error!r}")
            raise fault(error) from error
        finally:
            # A call that was refused before any decision has had nothing on record.
            ends = (result,) if self._recorder.opened else (self._task, result)
            with contextlib.suppress(AidecampError):
                await asyncio.shield(self._recorder.note(*ends))

    async def _served(self, exchange: Exchange, approver: Approver) -> Result:
        asked, task, recorder = self._asked, self._task, self._recorder
        if self._beyond and asked.target.side == "local":
            raise refused(self._beyond, asked.request.model)
        if outcomes := list(self._desk.issued.outcomes(asked.request.messages)):
            await recorder.note_outcomes(outcomes)
        team = self._staff.staffed
        if team is None:
            team = await asyncio.to_thread(self._staff.team)
        history = self._staff.recent
        if history is None:
            history = await asyncio.to_thread(self._staff.history)
        step = Step(new_id("step"), task.id, 1, await self._kind(team), task.text)
        choosing = Choosing(
            team,
            self._staff.policy,
            approver,
            self._staff.spending(),
            history,
            request=asked.request,
            target=asked.target,
        )
        first = await choosing.chosen(task, step, recorder.progress, self._beyond)
        if first.chosen.startswith("local:"):
            recorder.begin(task, step, first)
        else:
            await recorder.note(task, step, first)
        case = Case(
            self._desk, asked, exchange, team, task, step, recorder, choosing, approver,
            self._deadline_s,
        )  # fmt: skip
        return await _follow(case, first)

    async def _kind(self, team: Team) -> Kind:
        """What the call is: its form says so where a model was named, else the Router does."""
        plain = self._asked.kind or plain_kind(self._asked.request)
        if self._asked.target.pinned or after_tools(self._asked.request):
            return plain
        chances = await asyncio.to_thread(team.router.kinds, self._task.text)
        best = max((k for k in KINDS if k not in NEVER_ASKED), key=lambda k: chances.get(k, 0.0))
        return best if plain == "dialogue" or best == "plan" else plain


async def _follow(case: Case, decision: Decision) -> Result:
    """Decision after decision, each on record, until one brings the answer."""
    while True:
        if decision.chosen == DECLINED:
            raise declined(case, decision)
        serve = _there if decision.chosen == GENERAL else _here
        found = await serve(case, decision)
        if isinstance(found, Result):
            return found
        await case.recorder.note(found)
        decision = found


async def _here(case: Case, decision: Decision) -> Result | Decision:
    """The local answer, or the decision that takes the call elsewhere."""
    try:
        return await answer_here(case, decision)
    except (ContextOverflow, SchemaRefused) as error:
        if case.exchange.begun or case.asked.target.pinned:
            raise
        why = f"no local answer: {error.message}"
        second = await case.choosing.beyond(
            decision, case.task, case.step, case.recorder.progress, why
        )
        if second.chosen == DECLINED:
            await case.recorder.note(second)
            raise
        return second


async def _there(case: Case, decision: Decision) -> Result | Decision:
    """The General's answer, or the decision what to do without it."""
    progress = case.recorder.progress
    if over := await case.choosing.overdrawn(decision, case.task, case.step, progress):
        return over
    try:
        return await answer_there(case, decision)
    except Unanswered as error:
        if case.exchange.begun:  # what came of the answer is on record
            raise
        await case.recorder.note(unanswered_call(case, decision, error))
        progress.failed[case.step.id] = error.message.rstrip(".")
        second = await case.choosing.failing(decision, case.task, case.step, progress)
        if second.chosen == DECLINED:
            await case.recorder.note(second)
            raise
        return second


def declined(case: Case, decision: Decision) -> AidecampError:
    """Why nobody serves the call, as the client is told."""
    wanted = decision.would_send is not None
    if wanted and (found := unserved(case.request)):
        return refused(found, f"A local model ({decision.reason})")
    ours = f"Decision {decision.id}: aidecamp decisions show {decision.id}."
    if wanted and case.task.privacy != "local" and not decision.given.get("general"):
        return NoGeneral(
            f"Only the General could serve this call: {decision.reason}.",
            hint=f"Configure one, or ask for local/NAME. {ours}",
        )
    return Declined(f"The call was declined: {decision.reason}.", hint=ours)
