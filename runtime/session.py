"""A team at work in this process: config, models, tools and ledger, opened and closed together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.base import Encoder
from models.errors import UsageError
from models.pool import Pool
from runtime.accept import check_task
from runtime.agent import Agent, Approver, Team
from runtime.budgets import LedgerSpending
from runtime.config import Config, load_config
from runtime.core import Event, Task
from runtime.drive import drive
from runtime.ledger import Ledger
from runtime.outcomes import History
from runtime.policy import Policy
from runtime.recall import recalibrate
from runtime.report import summary
from runtime.team import build_team, ledger_path, prefixes_path
from runtime.trust import digests


@dataclass(frozen=True, slots=True)
class Session:
    """Runs tasks one after another with the same loaded models and the same private display."""

    config: Config
    policy: Policy
    ledger: Ledger
    team: Team
    agent: Agent
    encoder: Encoder
    drifted: Mapping[str, str] = field(default_factory=dict)
    """Kinds whose answers went wrong more often than promised when the session began, and why it
    is thought so: they want calibrating again."""

    async def run(
        self,
        task: Task,
        on_event: Callable[[Event], None] = lambda event: None,
        *,
        resume: bool = False,
    ) -> dict[str, Any]:
        """Run ``task`` to its end and return its summary (``runtime.report``).

        Raises UsageError or SchemaRefused on a task that cannot be accepted, and what the agent
        raises once the record says so.
        """
        check_task(task, self.policy)
        try:
            await drive(self.agent, task, self.ledger, on_event, resume=resume)
        except asyncio.CancelledError:
            # What still runs in a worker thread must end, or the process waits for it.
            for tool in self.team.tools.values():
                tool.close()
            raise
        return summary(list(self.ledger.events(task.id)))

    def recorded(self, task_id: str) -> Task:
        """A task of the record, to be resumed. Raises UsageError where there is none."""
        event = self.ledger.record(task_id)
        if event is None or not isinstance(event.record, Task):
            raise UsageError(
                f"There is no task {task_id}.", hint="aidecamp decisions list shows task ids."
            )
        return event.record


@contextlib.contextmanager
def open_session(
    *,
    privacy: str | None = None,
    general: str | None = None,
    approver: Approver | None = None,
    watch: Path | None = None,
    own_display: bool = False,
    ledger_file: Path | None = None,
) -> Iterator[Session]:
    """Everything that a task needs. Tools, models and ledger are closed at the end.

    ``ledger_file``: another record than the user's own, for benchmarks.

    Raises ModelMissing, StorageFailed, UsageError.
    """
    config = load_config(privacy=privacy)
    if general is not None:
        config = config.asking(general)
    policy = config.make_policy()
    with contextlib.ExitStack() as stack:
        ledger = Ledger(ledger_file or ledger_path())
        stack.callback(ledger.close)
        pool = Pool(cache_folder=prefixes_path())
        stack.callback(pool.close)
        team = build_team(config, policy, pool, watch=watch, own_display=own_display)
        for tool in team.tools.values():
            stack.callback(tool.close)
        told = ledger.told()
        agent = Agent(team, policy, approver, LedgerSpending(ledger.path), History.of(told))
        drifted = recalibrate(
            told, policy.risk_alpha, team.trust.calibration, lambda: digests(team)
        )
        yield Session(config, policy, ledger, team, agent, pool.encoder(), drifted)
