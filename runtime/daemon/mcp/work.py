"""One tool call's task: it runs, tells how far it is, and waits for a person where it must.

It runs in an asyncio task of its own, since it may outlive the request that began it: a client
that is asked for its user's word answers with a request of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import AidecampError
from runtime.agent import Agent, Approver
from runtime.core import Action, Call, Decision, Event, Gate, Outcome, Step, Task, new_id
from runtime.daemon.desk import Desk
from runtime.daemon.errors import fault
from runtime.drive import Runner, drive
from runtime.plain import plain

log = logging.getLogger(__name__)

MAX_WORDS_CHARS = 300

Wrap = Callable[[Runner], Runner]
"""Makes the agent that the task needs from the one that the daemon makes."""


@dataclass(frozen=True, slots=True)
class Question:
    """Something that the client's user may be asked. ``answer`` gets True, False, or None where
    the client did not say."""

    id: str
    says: str
    answer: asyncio.Future[bool | None]


class Work:
    """``begin`` it once; ``done`` gives its outcome. ``owner`` is whose token began it."""

    def __init__(
        self,
        desk: Desk,
        task: Task,
        wrap: Wrap,
        *,
        owner: str,
        patience_s: float,
        asks_client: bool = False,
    ) -> None:
        """``patience_s``: how long a person may take to answer. ``asks_client``: the client may be
        asked for its user's word, besides whoever watches the daemon."""
        self.id = new_id("call")
        self.task = task
        self.owner = owner
        self.agent: Runner | None = None
        self.events: list[Event] = []
        self.question: Question | None = None
        self._desk, self._wrap = desk, wrap
        self._patience_s, self._asks_client = patience_s, asks_client
        self._moved = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._running = asyncio.create_task(self._run(), name=self.task.id)
        self._running.add_done_callback(lambda _: self._move())

    @property
    def ended(self) -> bool:
        return self._running is not None and self._running.done()

    async def follow(self, told: Callable[[int, str], Awaitable[None]]) -> Question | None:
        """Until the task has ended (None) or the client is to be asked. ``told`` gets each event's
        number and what it says in words."""
        seen = 0
        while True:
            moved = self._moved
            while seen < len(self.events):
                seen += 1
                if words := in_words(self.events[seen - 1]):
                    await told(seen, words)
            if self.ended:
                return None
            if self.question is not None and not self.question.answer.done():
                return self.question
            await moved.wait()

    def result(self) -> list[Event]:
        """The task's events. Raises whatever kept it from being done."""
        if self._running is None or not self._running.done():
            raise RuntimeError("the work has not ended")
        if not self._running.cancelled() and (error := self._running.exception()) is not None:
            if isinstance(error, AidecampError):
                raise error
            log.error("task %s failed", self.task.id, exc_info=error)
            raise fault(error)
        return self.events

    def answer(self, allowed: bool | None) -> None:
        """What the client's user said; None: nothing. Nothing waits any more: not heard."""
        if self.question is not None and not self.question.answer.done():
            self.question.answer.set_result(allowed)

    def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def over(self) -> None:
        """Until it has ended, and the record says how."""
        if self._running is not None:
            await asyncio.wait({self._running})

    async def _run(self) -> None:
        with self._desk.runner.hosting(self.task, self.owner) as approver:
            try:
                mine = Approver(self._asking(approver), self._sending(approver))
                agent = await asyncio.to_thread(self._desk.make_agent, mine)
                self.agent = self._wrap(agent)
                await drive(self.agent, self.task, self._desk.ledger, self._heard)
            finally:
                self._desk.follower.tick()

    def _heard(self, event: Event) -> None:
        self.events.append(event)
        self._desk.follower.tick()
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _asking(self, approver: Approver) -> Callable[[Action, str], Awaitable[bool]]:
        async def ask(action: Action, reason: str) -> bool:
            shown = plain(action.preview, lines=True)
            says = f"Allow this {action.risk} action? {reason}.\n{shown}"
            return await self._asked(approver.action(action, reason), says)

        return ask

    def _sending(self, approver: Approver) -> Callable[[Mapping[str, Any]], Awaitable[bool]]:
        async def ask(preview: Mapping[str, Any]) -> bool:
            said = "\n".join(str(message["content"]) for message in preview.get("messages", ()))
            says = f"Send this to {preview.get('to')}?\n{plain(said, lines=True)}"
            try:
                return await self._asked(approver.send(preview), says)
            except TimeoutError:
                return False

        return ask

    async def _asked(self, there: Awaitable[bool], says: str) -> bool:
        """The word of whoever answers first. Raises TimeoutError where nobody does in time."""
        asked = asyncio.ensure_future(there)
        try:
            async with asyncio.timeout(self._patience_s):
                if self._asks_client:
                    answer: asyncio.Future[bool | None] = asyncio.Future()
                    self.question = Question(new_id("ask"), says, answer)
                    self._move()
                    both: set[asyncio.Future[Any]] = {asked, answer}
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                    if answer.done() and (allowed := answer.result()) is not None:
                        return allowed
                return await asked
        except TimeoutError as error:
            raise TimeoutError(f"nobody answered within {self._patience_s:g} s") from error
        finally:
            self.question = None
            asked.cancel()
            self._move()


def in_words(event: Event) -> str:
    """An event as one line of progress; empty where it says nothing to a person."""
    match event.record:
        case Step() as step if step.index:
            words = f"Step {step.index} of {step.total}, {step.kind}: {step.text}"
        case Decision() as decision:
            words = f"{decision.chosen}: {decision.reason}"
        case Call() as call:
            words = f"{call.role} answered in {call.ms:.0f} ms"
        case Action() as action:
            words = f"About to do, {action.risk}: {action.preview}"
        case Gate() as gate:
            words = f"{gate.verdict} by {gate.by}: {gate.reason}"
        case Outcome() as outcome:
            words = f"{outcome.status} {outcome.error}".strip()
        case _:
            words = ""
    words = plain(words)
    return words if len(words) <= MAX_WORDS_CHARS else f"{words[: MAX_WORDS_CHARS - 1]}…"


def as_agent(runner: Runner) -> Agent:
    """The agent with its team. Raises TypeError where the daemon makes something else."""
    if not isinstance(runner, Agent):
        raise TypeError(f"{type(runner).__name__} is no agent with a team")
    return runner
