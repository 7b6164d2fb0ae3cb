"""``aidecamp mcp``: a process that an MCP client starts, in front of the daemon."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp_types import ElicitResult, Implementation

from models.errors import UsageError
from runtime.core import Task
from runtime.daemon import launch, place
from tests.runtime.daemon.mcp_clients import MODES, Served, asked, daemon, words
from tests.runtime.daemon.scripted import ended

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with daemon(tmp_path) as one:
        yield one


def process(home: Path, *arguments: str) -> StdioServerParameters:
    """How an MCP client starts it, with its data in ``home``."""
    environment = {"AIDECAMP_HOME": str(home), "PYTHONPATH": os.fspath(ROOT)}
    command = ["-m", "runtime.cli", "mcp", *arguments]
    return StdioServerParameters(command=sys.executable, args=command, env=environment)


def connect(home: Path, *arguments: str, **options: Any) -> Client:
    name = Implementation(name="editor", version="1")
    return Client(process(home, *arguments), client_info=name, **options)


async def test_it_offers_the_daemons_tools_with_the_scope_act(
    served: Served, tmp_path: Path, mode: str
) -> None:
    async with connect(tmp_path, mode=mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert "do_task" in names and "decisions" not in names
        refused = await client.call_tool("decisions", {})
        assert refused.is_error and words(refused).startswith("ScopeMissing")


async def test_a_task_runs_in_the_daemon_and_tells_how_far_it_is(
    served: Served, tmp_path: Path, mode: str
) -> None:
    told: list[str] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    async with connect(tmp_path, mode=mode) as client:
        calling = asyncio.create_task(
            client.call_tool("do_task", {"task": "one"}, progress_callback=heard)
        )
        task_id, waiting_id = await asked(served.api)
        await served.api.approve(task_id, waiting_id)
        result = await calling
    assert result.structured_content["status"] == "done"
    task = next(iter(served.ledger.events(task_id))).record
    assert isinstance(task, Task) and task.client == "mcp:editor" and task.session
    assert any("make one" in line for line in told)


async def test_a_client_that_cancels_stops_the_task_in_the_daemon(
    served: Served, tmp_path: Path, mode: str
) -> None:
    async with connect(tmp_path, mode=mode) as client:
        calling = asyncio.create_task(client.call_tool("do_task", {"task": "one"}))
        task_id, _ = await asked(served.api)
        calling.cancel()
        await asyncio.wait({calling})
        assert await ended(served.api, task_id) == "cancelled"


async def test_its_end_stops_the_task_in_the_daemon(served: Served, tmp_path: Path) -> None:
    async with connect(tmp_path) as client:
        calling = asyncio.create_task(client.call_tool("do_task", {"task": "one"}))
        task_id, _ = await asked(served.api)
    await asyncio.wait({calling})
    assert await ended(served.api, task_id) == "cancelled"
    calling.exception()


async def test_started_with_admin_the_clients_user_may_approve(
    served: Served, tmp_path: Path, mode: str
) -> None:
    questions: list[str] = []

    async def user(context: Any, params: Any) -> ElicitResult:
        questions.append(params.message)
        return ElicitResult(action="accept", content={"allow": True})

    async with connect(
        tmp_path, "--scope", "admin", mode=mode, elicitation_callback=user
    ) as client:
        result = await client.call_tool("do_task", {"task": "one"})
    assert result.structured_content["status"] == "done"
    assert len(questions) == 1 and "make one" in questions[0]


async def test_started_plainly_the_client_is_not_asked_to_approve_itself(
    served: Served, tmp_path: Path, mode: str
) -> None:
    async def eager(context: Any, params: Any) -> ElicitResult:
        raise AssertionError("asked")

    async with connect(tmp_path, mode=mode, elicitation_callback=eager) as client:
        calling = asyncio.create_task(client.call_tool("do_task", {"task": "one"}))
        await served.api.deny(*await asked(served.api))
        assert (await calling).structured_content["status"] == "denied"


async def test_a_client_without_questions_waits_for_the_daemons_watcher(
    served: Served, tmp_path: Path, mode: str
) -> None:
    async with connect(tmp_path, "--scope", "admin", mode=mode) as client:
        calling = asyncio.create_task(client.call_tool("do_task", {"task": "one"}))
        await served.api.approve(*await asked(served.api))
        assert (await calling).structured_content["status"] == "done"


def rpc(id_: int, method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}) + "\n"


async def test_nothing_but_the_protocol_is_written_on_standard_output(
    served: Served, tmp_path: Path
) -> None:
    parameters = process(tmp_path)
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
    running = await asyncio.create_subprocess_exec(
        parameters.command,
        *parameters.args,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(parameters.env or {})},
    )
    assert running.stdin is not None and running.stdout is not None
    said = [
        rpc(1, "initialize", clientInfo={"name": "raw", "version": "1"}, **hello),
        '{"jsonrpc": "2.0", "method": "notifications/initialized"}\n',
        "this is not JSON\n",
        rpc(2, "tools/list"),
        rpc(3, "tools/call", name="do_task", arguments={"task": "one", "dry_run": True}),
    ]
    running.stdin.write("".join(said).encode())
    answered: dict[Any, Any] = {}
    async with asyncio.timeout(30):
        while not {1, 2, 3} <= set(answered):
            message = json.loads(await running.stdout.readline())
            assert message["jsonrpc"] == "2.0"
            answered[message.get("id")] = message
    running.stdin.close()
    rest = await running.stdout.read()
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in rest.splitlines())
    assert await running.wait() == 0
    assert answered[3]["result"]["structuredContent"]["status"] == "done"


async def test_a_daemon_is_started_where_none_runs_and_again_where_it_went_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    monkeypatch.delenv("AIDECAMP_SOCKET", raising=False)
    (tmp_path / "config.toml").write_text("[daemon]\ntcp = false\n")
    socket = place.socket_path()
    try:
        async with connect(tmp_path) as client:
            first = await asyncio.to_thread(launch.stop, socket)
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert "do_task" in names
            assert await asyncio.to_thread(launch.running, socket) not in (None, first)
    finally:
        await asyncio.to_thread(launch.stop, socket)


def test_at_a_terminal_it_says_what_it_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    from runtime.commands.mcp import serve

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    with pytest.raises(UsageError, match="An MCP client starts this"):
        serve(context, "act")
    with pytest.raises(UsageError, match="--scope 'root'"):
        serve(context, "root")
