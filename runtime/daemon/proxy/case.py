"""One proxied call and everything that serving it needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from runtime.core import Kind, Privacy, Step, Task, new_id
from runtime.daemon.proxy.exchange import Exchange
from runtime.daemon.proxy.record import Recorder
from runtime.daemon.proxy.requests import ChatRequest
from runtime.daemon.proxy.targets import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtime.agent import Team
    from runtime.daemon.desk import Desk
    from runtime.daemon.proxy.choosing import Choosing
    from runtime.roster import Approver


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as it came in."""

    request: ChatRequest
    target: Target
    path: str
    """Of the endpoint, below the base URL: ``/chat/completions``."""
    client: str
    session: str
    privacy: Privacy
    headers: Mapping[str, str]
    """Of the client."""
    kind: Kind | None = None
    """Where the endpoint says it."""

    def task(self, text: str) -> Task:
        """A task of the record for this call. ``text``: what it is about."""
        return Task(
            id=new_id("task"),
            text=text,
            privacy=self.privacy,
            now=datetime.now().replace(microsecond=0).isoformat(),
            client=self.client,
            session=self.session,
        )


@dataclass(frozen=True, slots=True)
class Case:
    """A call, who may serve it, and where its answer and its record go."""

    desk: Desk
    asked: Asked
    exchange: Exchange
    team: Team
    task: Task
    step: Step
    recorder: Recorder
    choosing: Choosing
    approver: Approver
    deadline_s: float

    @property
    def request(self) -> ChatRequest:
        return self.asked.request
