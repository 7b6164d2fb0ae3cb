"""The daemon's staff: one pool of models and one team for all, put together at first need.

Tasks get agents from here, proxied calls the team itself. What the user changes in the
configuration while the daemon runs is taken over by :meth:`Agents.reload`.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import TYPE_CHECKING

from runtime.agent import Agent, Approver
from runtime.outcomes import NO_HISTORY, History

if TYPE_CHECKING:
    from models.pool import Pool
    from models.pooled import PooledGenerator
    from models.residency import Residency
    from models.store import Store
    from runtime.agent import Team
    from runtime.budgets import Spending
    from runtime.config import Config
    from runtime.ledger import Ledger
    from runtime.policy import Policy
    from runtime.roster import ToolUserRole
    from runtime.tools.base import Tool

HISTORY_S = 5.0
"""How old what became of past answers may be, for a decision."""


class Agents:
    """Makes agents and hands out what they are made of. Safe to call from several threads; models
    load once."""

    def __init__(self, config: Config, ledger: Ledger, pool: Pool | None = None) -> None:
        """``ledger``: what became of past answers is read from it. ``pool``: models that are
        somebody else's to close; None: ones of its own."""
        self._config = config
        self._ledger = ledger
        self._policy = config.make_policy()
        self._lock = threading.Lock()
        self._building = threading.Lock()
        self._reading = threading.Lock()
        self._pool = pool
        self._lent = pool is not None
        self._team: Team | None = None
        self._store: Store | None = None
        self._generators: dict[str, PooledGenerator] = {}
        self._tool_users: dict[str, ToolUserRole] = {}
        self._retired: list[Tool] = []
        """MCP servers of settings that are no longer in force."""
        self._history = NO_HISTORY
        self._history_read = float("-inf")

    @property
    def config(self) -> Config:
        return self._config

    @property
    def policy(self) -> Policy:
        return self._policy

    def __call__(self, approver: Approver | None) -> Agent:
        """An agent for one task. Raises ModelMissing where the default pack was not pulled."""
        return Agent(self.team(), self._policy, approver, history=self.history())

    def pool(self) -> Pool:
        """The models of this process. Nothing is loaded yet."""
        from models.pool import Pool
        from runtime.team import prefixes_path

        with self._lock:
            if self._pool is None:
                self._pool = Pool(cache_folder=prefixes_path())
            return self._pool

    def team(self) -> Team:
        """Everyone who is needed to run tasks. Loads the default pack where it is not loaded.

        Raises ModelMissing, ModelCorrupt, StorageFailed.
        """
        from runtime.team import build_team

        pool = self.pool()
        # A lock of its own: models load meanwhile, and nobody else waits for them.
        with self._building:
            while (team := self._team) is None:
                config, policy = self._config, self._policy
                built = build_team(config, policy, pool)
                with self._lock:
                    if config is self._config:  # else they changed meanwhile
                        self._team = built
            return team

    @property
    def resident(self) -> list[Residency]:
        """The models that are loaded; none before the first was needed."""
        return self._pool.status() if self._pool is not None else []

    @property
    def staffed(self) -> Team | None:
        """The team, if it was needed yet."""
        return self._team

    @property
    def store(self) -> Store:
        """What was pulled."""
        if self._store is None:
            from models.store import Store

            self._store = Store()
        return self._store

    def generator(self, model: str) -> PooledGenerator:
        """The local model ``model``, loaded where this is its first use; later calls load it
        again where it was let go. Raises ModelMissing, ModelCorrupt, StorageFailed."""
        if model not in self._generators:
            self._generators[model] = self.pool().generator(model)
        return self._generators[model]

    def loaded(self, model: str) -> PooledGenerator | None:
        """The local model, if it was used before: then nothing has to be waited for."""
        return self._generators.get(model)

    def tool_user(self, model: str) -> ToolUserRole:
        """A Tool User whose slots the local model ``model`` fills; the team's own for its model."""
        from runtime.reach import Reach
        from runtime.roles.tool_user import ToolUser

        if model in self._tool_users:
            return self._tool_users[model]
        team, pool = self.team(), self.pool()
        generator, encoder = self.generator(model), pool.encoder()
        own = team.tool_user
        with self._lock:
            if model not in self._tool_users:
                its_own = isinstance(own, ToolUser) and own.generator is generator
                reach = Reach.load(encoder.model)
                made = own if its_own else ToolUser(generator, encoder, reach=reach)
                self._tool_users[model] = made
            return self._tool_users[model]

    @property
    def recent(self) -> History | None:
        """What became of past answers, where that was read within ``HISTORY_S``."""
        fresh = time.monotonic() - self._history_read <= HISTORY_S
        return self._history if fresh else None

    def history(self) -> History:
        """What became of past answers, at most ``HISTORY_S`` old. Reads the ledger."""
        with self._reading:
            if self.recent is None:
                self._history = History.of(self._ledger.told())
                self._history_read = time.monotonic()
            return self._history

    def spending(self) -> Spending:
        """What budgets of days and months are checked against."""
        from runtime.budgets import LedgerSpending

        return LedgerSpending(self._ledger.path)

    def reload(self, config: Config, policy: Policy) -> None:
        """Take over what the user changed: from the next task and call on."""
        from runtime.team import build_general, calibration_path, functions_of, mcp_tool
        from runtime.tools.shell.tool import ShellTool
        from runtime.trust import Trust

        pool = self.pool()
        with self._lock:
            other_servers = config.mcp != self._config.mcp
            mcp = mcp_tool(config) if other_servers else None
            self._config, self._policy = config, policy
            if self._team is not None:
                tools = {**self._team.tools, "shell": ShellTool(policy)}
                functions = self._team.functions
                if other_servers:
                    # Tasks that run go on with the servers that they began with.
                    if (old := tools.pop("tool", None)) is not None:
                        self._retired.append(old)
                    if mcp is not None:
                        tools["tool"] = mcp
                    functions = functions_of(mcp)
                self._team = dataclasses.replace(
                    self._team,
                    general=build_general(config, policy, pool),
                    tools=tools,
                    functions=functions,
                    trust=Trust.load(calibration_path()),
                )

    def close(self) -> None:
        """Stop what the tools started, and unload the models."""
        with self._lock:
            for tool in (*self._retired, *(self._team.tools.values() if self._team else ())):
                tool.close()
            self._retired.clear()
            if self._pool is not None and not self._lent:
                self._pool.close()
            self._team = self._pool = None
            self._tool_users.clear()
            self._generators.clear()
