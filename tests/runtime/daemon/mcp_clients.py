"""A daemon on loopback whose agent has fakes for models, and the SDK's own client of its MCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, Implementation

from runtime.agent import Agent, Approver, Team
from runtime.config import Config, DaemonConfig
from runtime.core import Action, Kind, Outcome, Task
from runtime.daemon.client import Client as Api
from runtime.daemon.server import serve
from runtime.daemon.tokens import Scope, TokenStore
from runtime.ledger import Ledger
from runtime.policy import Policy
from runtime.roles.general import General
from runtime.tools.base import Tool
from runtime.tools.gui.skills import SKILLS
from runtime.tools.shell.tool import ShellTool
from tests.fakes import (
    FakeFormatter,
    FakeGenerator,
    FakeRefiner,
    FakeRouter,
    FakeTool,
    FakeToolUser,
)
from tests.runtime.daemon.scripted import answering

Make = Callable[[Approver | None], Any]
PNG = b"\x89PNG\r\n\x1a\n and so on"
MODES = ["legacy", "auto"]
"""Protocols that the SDK's client can speak: with a session, and without one (2026-07-28)."""


class FakeScreen(FakeTool):
    """A GUI tool whose screen says what was put there."""

    def run(self, task: Task, action: Action) -> Outcome:
        self.done.append(action.recipe)
        box = {"kind": "text", "text": "Save", "box": [1, 2, 30, 10], "confidence": 0.9}
        data = {"text": "Save", "elements": [box], "title": "Notes"}
        return Outcome(action.id, task.id, action.step_id, "done", "Save", data)

    def prepare(self, task: Task, step: Any, proposal: Any) -> Action:
        recipe = proposal.recipe
        risk, id_ = recipe.risk, f"act_{step.id}"
        return Action(
            id_, task.id, step.id, "gui", recipe.id, proposal.arguments, f"do {recipe.id}", risk
        )

    def picture(self) -> bytes:
        return PNG


def team(**tools: Tool) -> Team:
    by_kind: dict[Kind, Tool] = {"shell": FakeTool(), "gui": FakeScreen("gui", SKILLS)}
    by_kind.update(tools)  # type: ignore[arg-type]
    return Team(
        router=FakeRouter(),
        refiner=FakeRefiner(),
        tool_user=FakeToolUser(),
        formatter=FakeFormatter(),
        general=General(
            None,
            model="big",
            price=None,
            max_tokens=100,
            count_tokens=FakeGenerator().count_tokens,
        ),
        tools=by_kind,
        functions=lambda task: (),
    )


def agents(**tools: Tool) -> Make:
    """Makes agents that share one team of fakes, but for ``tools``."""
    made = team(**tools)
    return lambda approver: Agent(made, Policy(), approver)


def sandboxed() -> Make:
    """Agents with the real shell."""
    return agents(shell=ShellTool())


@dataclass
class Served:
    """A daemon on loopback."""

    url: str
    folder: Path
    ledger: Ledger
    api: Api
    tokens: TokenStore
    stop: Callable[[], None]
    secrets: dict[str, str] = field(default_factory=dict)

    def token(self, scope: Scope, name: str = "") -> str:
        name = name or scope
        if name not in self.secrets:
            self.secrets[name] = self.tokens.add(name, scope)
        return self.secrets[name]

    @asynccontextmanager
    async def client(
        self,
        scope: Scope = "act",
        *,
        mode: str = "auto",
        name: str = "",
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> AsyncIterator[Client]:
        """The SDK's client with a token of ``scope``."""
        bearer = {"Authorization": f"Bearer {self.token(scope, name)}", **(headers or {})}
        async with (
            httpx2.AsyncClient(headers=bearer, timeout=30, trust_env=False) as http,
            Client(
                streamable_http_client(f"{self.url}/mcp", http_client=http),
                mode=mode,
                client_info=Implementation(name="tester", version="1"),
                **options,
            ) as client,
        ):
            yield client


@asynccontextmanager
async def daemon(folder: Path, make: Make | None = None) -> AsyncIterator[Served]:
    """A real daemon, on its Unix socket and on TCP, in this event loop."""
    ledger = Ledger(folder / "ledger.db")
    path, tokens, stop = folder / "run" / "daemon.sock", TokenStore(folder), asyncio.Event()
    listening: list[str] = []
    work = folder / "work"
    work.mkdir()
    serving = asyncio.create_task(
        serve(
            path,
            ledger,
            make or agents(),
            folder=work,
            config=Config(daemon=DaemonConfig(port=0)),
            ready=lambda where: listening.append(where.address or ""),
            until=stop,
        )
    )
    async with Api(path, tokens=tokens) as api:
        try:
            await answering(api, serving)
            yield Served(listening[0], work, ledger, api, tokens, stop.set)
        finally:
            stop.set()
            await serving
            ledger.close()


async def asked(api: Api, limit_s: float = 20.0) -> tuple[str, str]:
    """The task that waits for a person, and what of it waits, once one does."""
    async with asyncio.timeout(limit_s):
        while True:
            for task in await api.tasks():
                body = await api.task(task["id"])
                if body["waiting"]:
                    return str(task["id"]), str(body["waiting"][0]["id"])
            await asyncio.sleep(0.01)


def words(result: CallToolResult) -> str:
    """The text of a result."""
    return "".join(part.text for part in result.content if part.type == "text")
