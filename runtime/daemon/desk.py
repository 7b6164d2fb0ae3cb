"""What the routes work on: the ledger, the tasks that run, and who follows along."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sse_starlette.event import ServerSentEvent

from runtime.config import Config, DaemonConfig
from runtime.core import Privacy, Result
from runtime.daemon.agents import Agents
from runtime.daemon.errors import NoStaff
from runtime.daemon.follow import Follower
from runtime.daemon.proxy.issued import Issued
from runtime.daemon.runner import AgentFactory, Runner
from runtime.daemon.slots import Slots
from runtime.daemon.totals import Totals
from runtime.ledger import Ledger
from runtime.policy import Policy


@dataclass
class Desk:
    """What the routes work on: the ledger, the tasks that run, and who follows along."""

    ledger: Ledger
    make_agent: AgentFactory
    folder: Path
    """Work folder of tasks that name none."""
    privacy: Privacy = "ask"
    agents: Agents | None = None
    """The models and the team that proxied calls need."""
    addresses: tuple[str, ...] = ()
    """Where it listens: the Unix socket's path, then a URL on TCP."""
    started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.follower = Follower(self.ledger)
        self.runner = Runner(self.ledger, self.make_agent, self.follower.tick)
        daemon = self.agents.config.daemon if self.agents else DaemonConfig()
        self.slots = Slots(daemon.parallel, daemon.queue)
        self.issued = Issued()
        self._totals = Totals()
        self._totals_lock = asyncio.Lock()

    @property
    def staff(self) -> Agents:
        """Raises NoStaff where this daemon was started without models."""
        if self.agents is None:
            raise NoStaff("This daemon has no models to serve calls with.")
        return self.agents

    def take_over(self, config: Config, policy: Policy) -> None:
        """The user changed the configuration: from the next task and call on, it is in force."""
        self.privacy = config.privacy
        self.slots.resize(config.daemon.parallel, config.daemon.queue)
        if self.agents is not None:
            self.agents.reload(config, policy)

    async def stop(self) -> None:
        """Cancel and record what runs, then end every stream."""
        await self.runner.close()
        await self.follower.stop()

    async def close(self) -> None:
        """Let go of the connections to Generals, once nobody is answered any more."""
        team = self.agents.staffed if self.agents else None
        for seat in team.general.seats if team else ():
            await seat.remote.close()

    async def totals(self) -> Totals:
        """The sums so far; only what is new since the last time is read."""
        async with self._totals_lock:
            while batch := await self.follower.read(self._totals.last_event_id):
                for event in batch:
                    self._totals = self._totals.add(event)
        return self._totals

    def status(self, task_id: str, result: Result | None) -> str:
        if result is not None:
            return result.status
        if any(waiting.task_id == task_id for waiting in self.runner.waiting):
            return "waiting"
        return "running" if task_id in self.runner.running else "open"

    async def stream(self, after: int, task_id: str | None) -> AsyncIterator[ServerSentEvent]:
        """Ledger events after ``after``, as they come, and what waits whenever that changes."""
        told: object = None
        while not self.follower.stopped:
            ticks = self.follower.ticks
            for event in (batch := await self.follower.read(after, task_id)):
                yield ServerSentEvent(sse_line(event.to_json()), event=event.type, id=str(event.id))
                after = event.id
            if batch:
                continue
            if (waiting := self.runner.waiting) != told:
                told = waiting
                # No id: it is the state of now, not a line of the record to resume from.
                yield ServerSentEvent(sse_line([one.to_json() for one in waiting]), event="waiting")
            await self.follower.wait(ticks)


def sse_line(value: Any) -> str:
    """JSON for one ``data:`` line. ASCII only: some readers of SSE also break lines at U+0085 and
    U+2028."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
