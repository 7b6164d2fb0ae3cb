"""The tools of the configured MCP servers, as recipes that are acted out through the gate.

Servers start when a step first could use them. Each call first asks the server for its tools
again: so a dead server is found before anything is sent, and is started once more; and a tool
that says something else than what was approved is not called.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import AidecampError, ToolFailed, UsageError
from models.schemas import violations
from runtime.config import McpServerConfig
from runtime.core import Action, Outcome, Step, Task, new_id
from runtime.tools.mcp.connection import CLOSE_S, Connection, ServerGone
from runtime.tools.mcp.known import Known
from runtime.tools.mcp.lane import Lane
from runtime.tools.mcp.offer import Offer, digest_of, is_remote, offers, place
from runtime.tools.mcp.results import bounded, data_of, said_wrong, text_of
from runtime.tools.recipe import Proposal, Recipe

if TYPE_CHECKING:
    from mcp_types import CallToolResult

log = logging.getLogger(__name__)

RETRY_S = 60.0
"""How long a server that did not start is left alone."""
PREPARED = 256
SERVER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAYBE = "It may have happened, and is not repeated."


@dataclass
class _Server:
    name: str
    config: McpServerConfig
    connection: Connection | None = None
    offers: Mapping[str, Offer] = field(default_factory=dict)
    problem: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    failed_at: float = float("-inf")
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class McpTool:
    """``servers`` by name. ``known``: what was said of each tool when it was taken on.

    Raises UsageError on a name that no server can have.
    """

    name = "mcp"

    def __init__(
        self,
        servers: Mapping[str, McpServerConfig],
        known: Known | Path,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = {name: _Server(name, config) for name, config in servers.items()}
        for name in [n for n in self._servers if not SERVER_NAME.fullmatch(n)]:
            raise UsageError(
                f"[mcp.{name}] in config.toml: {name!r} cannot name an MCP server.",
                hint="Use letters, digits, dashes and underscores.",
            )
        self._known = Known(known) if isinstance(known, Path) else known
        self._now = now
        self._lane = Lane("mcp")
        self._approved: OrderedDict[str, str] = OrderedDict()
        """Digests of the tools that actions were prepared for, by action id."""
        self._running: dict[str, concurrent.futures.Future[CallToolResult]] = {}

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """Of the servers that run; ``ready`` starts them."""
        return tuple(o.recipe for s in self._servers.values() for o in s.offers.values())

    def offered(self, task: Task) -> tuple[Recipe, ...]:
        """The recipes that ``task`` may use: none that would leave the machine where its privacy
        mode is ``local``."""
        return tuple(o.recipe for s in self._open_to(task) for o in s.offers.values())

    def ready(self, task: Task | None = None) -> None:
        """Start what does not run yet, and look again where tools changed. Blocks; a server that
        cannot start is noted in ``problems``, and the others go on."""
        now = self._now()
        due = [
            server
            for server in self._open_to(task)
            if (server.connection is None and now - server.failed_at >= RETRY_S)
            or (server.connection is not None and server.connection.stale)
        ]
        if due:
            self._lane.send(self._ready(due)).result()

    @property
    def problems(self) -> Mapping[str, str]:
        """Why a server cannot be used, by its name; and why a tool cannot, by ``server.tool``."""
        found = {s.name: s.problem for s in self._servers.values() if s.problem}
        for server in self._servers.values():
            found |= {f"{server.name}.{tool}": why for tool, why in server.refused.items()}
        return found

    @property
    def offers(self) -> Mapping[str, Offer]:
        return {id_: o for s in self._servers.values() for id_, o in s.offers.items()}

    def accept(self, id_: str) -> Offer:
        """Take a tool on as its server describes it now. Raises ToolFailed on one not there."""
        offer = self._offer(id_)
        self._known.accept(offer.server, {offer.tool: offer.digest})
        self._lane.send(self._ready([self._servers[offer.server]])).result()
        return self._offer(id_)

    def prepare(self, task: Task, step: Step, proposal: Proposal) -> Action:
        offer = self._offer(proposal.recipe.id)
        config, arguments = self._servers[offer.server].config, dict(proposal.arguments)
        if wrong := violations(offer.schema, arguments):
            says = "; ".join(f"{'.'.join(map(str, e.path))}: {e.message}"[:160] for e in wrong[:3])
            raise ToolFailed(f"{offer.recipe.id} does not take these arguments: {says}.")
        risk, where = offer.risk, place(config)
        if is_remote(config):
            where = f"{where}, which is not this machine"
            if task.privacy == "local":
                raise ToolFailed(
                    f"{offer.recipe.id} would leave this machine, and this task is local.",
                    hint="Run it with --privacy ask to be asked.",
                )
            risk = "sensitive" if task.privacy == "ask" else risk
        action = Action(
            id=new_id("act"),
            task_id=task.id,
            step_id=step.id,
            tool=self.name,
            recipe=offer.recipe.id,
            arguments=arguments,
            preview=offer.preview(arguments, where),
            risk=risk,
            sandbox=f"none: MCP server {offer.server}, tool sha256:{offer.digest[:16]}",
        )
        self._approved[action.id] = offer.digest
        while len(self._approved) > PREPARED:
            self._approved.popitem(last=False)
        return action

    def run(self, task: Task, action: Action) -> Outcome:
        begun = time.perf_counter()

        def ended(status: Any, error: str = "", output: str = "", data: Any = None) -> Outcome:
            ms = round((time.perf_counter() - begun) * 1000, 1)
            return Outcome(
                action.id, action.task_id, action.step_id, status, output, data, error, ms
            )

        server_name, _, tool = action.recipe.partition(".")
        server = self._servers.get(server_name)
        approved = self._approved.pop(action.id, None)
        if server is None or approved is None:
            return ended("failed", f"{action.recipe} was not prepared here.")
        work = self._call(server, tool, approved, action.arguments)
        running = self._running[action.id] = self._lane.send(work)
        unclear = "failed" if action.risk == "read" else "interrupted"
        maybe = "It only reads." if action.risk == "read" else MAYBE
        try:
            result = running.result()
        except concurrent.futures.CancelledError:
            return ended("interrupted", f"Stopped by the user. {maybe}")
        except TimeoutError as error:
            return ended(unclear, f"{error} {maybe}")
        except ServerGone as error:
            if error.sent:
                return ended(unclear, f"{error.message} {maybe}")
            return ended("failed", error.message)
        except AidecampError as error:
            return ended("failed", f"{error.message} {error.hint}".strip())
        finally:
            self._running.pop(action.id, None)
        if result.is_error:
            return ended("failed", bounded(said_wrong(result)))
        return ended("done", output=text_of(result.content), data=data_of(result))

    def look(self, task: Task, action: Action) -> Outcome:
        error = "It only reads, and may run again." if action.risk == "read" else MAYBE
        return Outcome(
            action.id, action.task_id, action.step_id, "interrupted", error=f"Cut off. {error}"
        )

    def stop(self, action: Action) -> None:
        running = self._running.get(action.id)
        if running is not None:
            running.cancel()

    def close(self) -> None:
        async def close_all() -> None:
            open_ = [s.connection for s in self._servers.values() if s.connection is not None]
            await asyncio.gather(*(one.close() for one in open_), return_exceptions=True)

        if any(s.connection is not None for s in self._servers.values()):
            try:
                self._lane.send(close_all()).result(2 * CLOSE_S)
            except TimeoutError:
                log.warning("mcp: a server did not end in time")
        for server in self._servers.values():
            server.connection, server.offers, server.busy = None, {}, asyncio.Lock()
        self._lane.close()

    # In the lane

    async def _ready(self, servers: list[_Server]) -> None:
        await asyncio.gather(*(self._try(server) for server in servers))

    async def _try(self, server: _Server) -> None:
        try:
            await self._look_at(server)
        except AidecampError as error:
            log.warning("%s %s", error.message, error.hint)

    async def _look_at(self, server: _Server) -> Connection:
        """The connection with what it offers now, started again once where it had died."""
        async with server.busy:
            if server.connection is not None:
                try:
                    await self._list(server, server.connection)
                    return server.connection
                except ServerGone as error:
                    log.warning("%s It is started again.", error.message)
                    await server.connection.close()
                    server.connection, server.offers = None, {}
            connection = Connection(server.name, server.config)
            try:
                await connection.open()
                await self._list(server, connection)
            except AidecampError as error:
                await connection.close()
                server.problem = f"{error.message} {error.hint}".strip()
                server.failed_at = self._now()
                raise
            server.connection, server.problem = connection, ""
            return connection

    async def _list(self, server: _Server, connection: Connection) -> None:
        tools = await connection.tools()
        digests = {tool.name: digest_of(tool) for tool in tools}
        changed = await asyncio.to_thread(self._known.changed, server.name, digests)
        server.offers, refused = offers(server.name, server.config, tools, changed)
        for tool, why in refused.items() - server.refused.items():
            log.warning("mcp %s: its tool %r is not used: %s", server.name, tool, why)
        server.refused = refused

    async def _call(
        self, server: _Server, tool: str, approved: str, arguments: Mapping[str, Any]
    ) -> CallToolResult:
        connection = await self._look_at(server)
        now = server.offers.get(f"{server.name}.{tool}")
        if now is None or now.digest != approved:
            raise ToolFailed(
                f"{server.name}.{tool} changed after it was approved, and was not called.",
                hint="Run the task again to be asked about what it says now.",
            )
        return await connection.call(tool, arguments)

    # Anywhere

    def _open_to(self, task: Task | None) -> list[_Server]:
        local = task is not None and task.privacy == "local"
        return [s for s in self._servers.values() if not (local and is_remote(s.config))]

    def _offer(self, id_: str) -> Offer:
        server = self._servers.get(id_.partition(".")[0])
        offer = server.offers.get(id_) if server is not None else None
        if offer is None:
            raise ToolFailed(
                f"No MCP server offers {id_!r} now.",
                hint=(server.problem if server else "") or "`aidecamp mcp tools` lists them.",
            )
        return offer
