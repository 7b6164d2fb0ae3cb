"""The daemon's agents: one team for all tasks, put together when the first task needs it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from runtime.agent import Agent, Approver

if TYPE_CHECKING:
    from models.pool import Pool
    from runtime.agent import Team
    from runtime.config import Config


class Agents:
    """Makes an agent for each task. Called from worker threads; models load once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._policy = config.make_policy()
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._team: Team | None = None

    def __call__(self, approver: Approver) -> Agent:
        """Raises ModelMissing where the default pack was not pulled."""
        from models.pool import Pool
        from runtime.ledger import Ledger
        from runtime.outcomes import History
        from runtime.team import build_team, ledger_path, prefixes_path

        with self._lock:
            if self._pool is None:
                self._pool = Pool(cache_folder=prefixes_path())
            if self._team is None:
                self._team = build_team(self._config, self._policy, self._pool)
            team = self._team
        ledger = Ledger(ledger_path())
        history = History.of(ledger.told())
        ledger.close()
        return Agent(team, self._policy, approver, history=history)

    def close(self) -> None:
        """Stop what the tools started, and unload the models."""
        with self._lock:
            for tool in self._team.tools.values() if self._team else ():
                tool.close()
            if self._pool is not None:
                self._pool.close()
            self._team = self._pool = None
