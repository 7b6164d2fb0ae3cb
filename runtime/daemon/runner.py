"""The tasks that run in this daemon: started, asked about, cancelled, and always recorded.

An agent is made by a factory that is handed an :class:`Approver`: its questions wait here
until a client answers. ``runtime.drive`` commits each event before the agent goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.errors import AidecampError, UsageError
from runtime.agent import Approver
from runtime.core import Action, Event, Task, new_id
from runtime.daemon.errors import Conflict, NotFound
from runtime.daemon.waiting import Waiting
from runtime.drive import Runner as Agent
from runtime.drive import drive
from runtime.ledger import Ledger

log = logging.getLogger(__name__)

REMEMBERED = 256
"""Failures that can still be asked about; the record has the reason of every one."""

AgentFactory = Callable[[Approver | None], Agent]
"""Makes an agent; without an Approver, nobody can be asked."""


@dataclass(slots=True)
class _Run:
    task: Task
    begun: asyncio.Future[None]
    """Done when the first event is durable; fails where nothing was begun."""
    driver: asyncio.Task[Any] | None = None
    attended: bool = True
    hosted: bool = False
    """A proxied call: whoever sent it drives it."""
    owner: str = ""
    """The token whose holder may not approve it; empty: there is none."""
    asked: dict[str, tuple[Waiting, asyncio.Future[bool]]] = field(default_factory=dict)


class Runner:
    """Runs tasks. ``changed`` is called whenever a view is out of date."""

    def __init__(
        self, ledger: Ledger, make_agent: AgentFactory, changed: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._make_agent = make_agent
        self._changed = changed
        self._runs: dict[str, _Run] = {}
        self._failed: OrderedDict[str, AidecampError] = OrderedDict()
        self._closed = False

    def failure(self, task_id: str) -> AidecampError | None:
        """What ended a task that ran here and failed, for the last of them."""
        return self._failed.get(task_id)

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(self._runs)

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """Everything that waits for a person, the oldest first."""
        return tuple(one for run in self._runs.values() for one, _ in run.asked.values())

    async def start(self, task: Task, *, attended: bool = True) -> None:
        """Run ``task`` in the background; returns when its first event is durable.

        ``attended`` False: nobody can be asked, so what needs a person is denied. Raises whatever
        keeps it from starting (an empty task, a model that is missing).
        """
        if self._closed:
            raise Conflict("The daemon is stopping, so it takes no new task.")
        run = _Run(task, asyncio.get_running_loop().create_future(), attended=attended)
        self._runs[task.id] = run
        run.driver = asyncio.create_task(self._drive(run), name=task.id)
        await asyncio.shield(run.begun)

    def answer(self, task_id: str, allow: bool, waiting_id: str | None = None) -> Waiting:
        """Let what waits go on, or not. Raises NotFound, Conflict."""
        run = self._run(task_id)
        open_ = {id_: asked for id_, asked in run.asked.items() if not asked[1].done()}
        if not open_:
            raise Conflict("Nothing of this task waits for an answer.")
        if waiting_id is None:
            if len(open_) > 1:
                raise UsageError("Several actions of this task wait.", hint="Name one by its id.")
            waiting_id = next(iter(open_))
        if waiting_id not in open_:
            raise Conflict(
                f"{waiting_id!r} does not wait; {next(iter(open_))!r} does.",
                hint="Look again: what you saw is not what would be done.",
            )
        waiting, future = open_[waiting_id]
        future.set_result(allow)
        return waiting

    def owner(self, task_id: str) -> str:
        """The token whose holder may not approve what the task asks. Raises NotFound, Conflict."""
        return self._run(task_id).owner

    def cancel(self, task_id: str) -> None:
        """Stop a task; its end is recorded as ``cancelled``. Raises NotFound, Conflict."""
        driver = self._run(task_id).driver
        if driver is not None and not driver.cancelling():
            driver.cancel()

    @contextlib.contextmanager
    def hosting(self, task: Task, owner: str = "") -> Iterator[Approver]:
        """A proxied call, as long as the block: what it asks waits here as a task's questions do,
        and cancelling it cancels the asyncio task that entered the block. ``owner``: the token
        whose holder may not approve what it asks."""
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        begun.set_result(None)
        run = _Run(task, begun, asyncio.current_task(), hosted=True, owner=owner)
        self._runs[task.id] = run
        try:
            yield self._approver(run)
        finally:
            del self._runs[task.id]

    async def close(self) -> None:
        """Cancel the tasks that run, and wait until the ledger says so. Proxied calls go on."""
        self._closed = True
        tasks = {id_: run.driver for id_, run in self._runs.items() if not run.hosted}
        for task_id in tasks:
            self.cancel(task_id)
        drivers = [driver for driver in tasks.values() if driver is not None]
        await asyncio.gather(*drivers, return_exceptions=True)

    def _run(self, task_id: str) -> _Run:
        run = self._runs.get(task_id)
        if run is not None:
            return run
        if next(self._ledger.events(task_id, limit=1), None) is None:
            raise NotFound(f"There is no task {task_id!r}.", hint="GET /v1/tasks lists them.")
        raise Conflict("This task does not run here: it has ended, or another process runs it.")

    def _approver(self, run: _Run) -> Approver:
        async def ask_action(action: Action, reason: str) -> bool:
            return await self._ask(run, action=action, reason=reason)

        async def ask_send(preview: Mapping[str, Any]) -> bool:
            return await self._ask(run, send=preview, reason="it would leave this machine")

        return Approver(ask_action, ask_send)

    async def _ask(
        self,
        run: _Run,
        *,
        action: Action | None = None,
        send: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> bool:
        id_ = action.id if action else new_id("send")
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        run.asked[id_] = (
            Waiting(id_, run.task.id, run.task.text, reason, action, send),
            future,
        )
        self._changed()
        try:
            return await future
        finally:
            del run.asked[id_]
            self._changed()

    async def _drive(self, run: _Run) -> None:
        def committed(_: Event) -> None:
            if not run.begun.done():
                run.begun.set_result(None)
            self._changed()

        failure: AidecampError | None = None
        try:
            agent = await asyncio.to_thread(
                self._make_agent, self._approver(run) if run.attended else None
            )
            await drive(agent, run.task, self._ledger, committed)
        except asyncio.CancelledError:
            if not run.begun.done():
                failure = Conflict("The task was stopped before it began.")
        except AidecampError as error:
            failure = error
        except Exception as error:
            log.exception("task %s: the agent failed", run.task.id)
            says = f"A fault in Aidecamp itself: {type(error).__name__}: {error}"
            failure = AidecampError(says, hint="`aidecamp daemon logs` has the traceback.")
        finally:
            if failure is not None and run.begun.done():
                self._failed[run.task.id] = failure
                while len(self._failed) > REMEMBERED:
                    self._failed.popitem(last=False)
            if not run.begun.done():
                run.begun.set_exception(failure or Conflict("The task ended without an event."))
            del self._runs[run.task.id]
            self._changed()
