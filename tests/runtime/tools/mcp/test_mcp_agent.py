"""An agent with a real MCP server, over stdio and over HTTP: the gate stands before every call."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from models.pool import Pool
from models.remote import RemoteGenerator
from runtime.agent import Agent, Approver, Team
from runtime.config import Config, McpServerConfig
from runtime.core import Action, Event, Gate, Outcome, Result, Task, new_id
from runtime.daemon.agents import Agents
from runtime.drive import drive
from runtime.ledger import Ledger, records
from runtime.policy import Policy
from runtime.roles.general import General
from runtime.tools.mcp.tool import McpTool
from tests.fakes import (
    FakeFormatter,
    FakeGeneral,
    FakeGenerator,
    FakeRefiner,
    FakeRouter,
    FakeTool,
    FakeToolUser,
    recipe,
)
from tests.runtime.tools.mcp.conftest import Make, notes
from tests.runtime.tools.mcp.server import make as make_server
from tests.runtime.tools.mcp.test_mcp_tool import alive, lines


def general(url: str = "") -> General:
    remote = RemoteGenerator(base_url=url, model="big", timeout_s=5.0) if url else None
    count = FakeGenerator().count_tokens
    return General(remote, model="big", price=None, max_tokens=100, count_tokens=count)


def team(tool: McpTool, wanted: str, **changes: Any) -> Team:
    """A team whose Tool User picks ``wanted``, a recipe of ``tool`` or the assistant's own."""
    own = (recipe("remind", "parse", "write"),)

    def functions(task: Task) -> tuple[Any, ...]:
        offered = (*own, *(() if task.tools else tool.offered(task)))
        return tuple(sorted(offered, key=lambda r: r.id != wanted))

    made = Team(
        router=FakeRouter(),
        refiner=FakeRefiner("parse"),
        tool_user=FakeToolUser(),
        formatter=FakeFormatter(),
        general=general(),
        tools={"shell": FakeTool(), "tool": tool},
        functions=functions,
    )
    return replace(made, **changes)


class Person:
    """Answers every question the same way, and keeps what it was asked."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.asked: list[Action] = []

    @property
    def approver(self) -> Approver:
        async def action(action: Action, reason: str) -> bool:
            self.asked.append(action)
            return self.answer

        async def send(preview: Mapping[str, Any]) -> bool:
            return self.answer

        return Approver(action, send)


async def done(
    tool: McpTool, wanted: str, path: Path, person: Person | None = None, **changes: Any
) -> tuple[Result, list[Event]]:
    task = Task(new_id("task"), "tea", **changes)
    agent = Agent(team(tool, wanted), Policy(), person.approver if person else None)
    ledger = Ledger(path / "ledger.db")
    try:
        return await drive(agent, task, ledger), list(ledger.events(task.id))
    finally:
        ledger.close()


@contextmanager
def over_http(folder: Path) -> Iterator[str]:
    """The notes server behind uvicorn on loopback; its address."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = uvicorn.Config(make_server(folder).streamable_http_app(), log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


async def test_a_tool_that_reads_is_used_and_its_result_is_the_answer(
    make: Make, tmp_path: Path
) -> None:
    tool = make(risk={"find": "read"})
    result, events = await done(tool, "notes.find", tmp_path)
    assert (result.status, result.answer) == ("done", {"name": "tea"})
    (action,) = records(events, Action)
    assert (action.tool, action.recipe, action.risk) == ("mcp", "notes.find", "read")
    assert lines(tmp_path / "done") == ["find tea"]


async def test_a_sensitive_tool_asks_and_runs_when_allowed(make: Make, tmp_path: Path) -> None:
    person = Person(True)
    result, events = await done(make(), "notes.remove", tmp_path, person, yes=True)
    assert result.status == "done"
    (asked,) = person.asked
    assert asked.preview.startswith('notes.remove {"name": "tea"}')
    (gate,) = records(events, Gate)
    assert (gate.verdict, gate.by) == ("allow", "user")
    assert lines(tmp_path / "done") == ["remove tea"]


async def test_a_denied_tool_does_not_run(make: Make, tmp_path: Path) -> None:
    result, events = await done(make(), "notes.remove", tmp_path, Person(False), yes=True)
    assert result.status == "denied"
    assert records(events, Outcome)[0].status == "denied"
    assert lines(tmp_path / "done") == []


async def test_a_tool_that_says_it_needs_no_asking_is_denied_where_nobody_can_be_asked(
    make: Make, tmp_path: Path
) -> None:
    result, events = await done(make(), "notes.remove", tmp_path, None, yes=True)
    assert result.status == "denied"
    assert records(events, Gate)[0].by == "nobody-to-ask"
    assert lines(tmp_path / "done") == []


async def test_nobody_answering_in_time_is_recorded_as_nobody_to_ask(
    make: Make, tmp_path: Path
) -> None:
    async def late(action: Action, reason: str) -> bool:
        raise TimeoutError("nobody answered within 1 s")

    async def send(preview: Mapping[str, Any]) -> bool:
        return False

    task = Task(new_id("task"), "tea")
    agent = Agent(team(make(), "notes.note"), Policy(), Approver(late, send))
    ledger = Ledger(tmp_path / "ledger.db")
    result = await drive(agent, task, ledger)
    (gate,) = records(list(ledger.events(task.id)), Gate)
    ledger.close()
    assert (result.status, gate.by, gate.verdict) == ("denied", "nobody-to-ask", "deny")
    assert "nobody answered within 1 s" in gate.reason
    assert lines(tmp_path / "done") == []


async def test_a_dry_run_calls_nothing(make: Make, tmp_path: Path) -> None:
    result, events = await done(make(risk={"find": "read"}), "notes.find", tmp_path, dry_run=True)
    assert records(events, Outcome)[0].status == "skipped"
    assert lines(tmp_path / "done") == [] and result.status == "done"


async def test_an_own_function_is_still_answered_with_its_call(make: Make, tmp_path: Path) -> None:
    result, events = await done(make(), "remind", tmp_path)
    assert result.answer == {"name": "remind", "arguments": {"name": "tea"}}
    assert records(events, Action) == []


async def test_a_task_that_brings_functions_gets_no_tool_of_a_server(
    make: Make, tmp_path: Path
) -> None:
    function = {"type": "function", "function": {"name": "remind", "parameters": {}}}
    result, events = await done(make(), "notes.find", tmp_path, tools=(function,))
    assert result.answer["name"] == "remind"
    assert lines(tmp_path / "starts") == [] and records(events, Action) == []


async def test_over_http_the_same_gate_stands(make: Make, tmp_path: Path) -> None:
    with over_http(tmp_path) as url:
        tool = make({"notes": McpServerConfig(url=url, risk={"find": "read"})})
        person = Person(False)
        read, _ = await done(tool, "notes.find", tmp_path, person, privacy="local")
        assert (read.status, read.answer) == ("done", {"name": "tea"})
        denied, _ = await done(tool, "notes.remove", tmp_path, person)
        assert denied.status == "denied" and len(person.asked) == 1
        assert lines(tmp_path / "done") == ["find tea"]
        tool.close()


async def test_a_server_elsewhere_asks_for_each_call_that_would_leave(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with over_http(tmp_path) as url:
        tool = make({"notes": McpServerConfig(url=url, risk={"find": "read"})})
        monkeypatch.setattr("runtime.tools.mcp.tool.is_remote", lambda config: True)
        asking = Person(False)
        result, _ = await done(tool, "notes.find", tmp_path, asking, privacy="ask")
        assert result.status == "denied"
        assert "which is not this machine" in asking.asked[0].preview
        trusting, _ = await done(tool, "notes.find", tmp_path, asking, privacy="auto")
        assert trusting.status == "done" and len(asking.asked) == 1
        tool.close()


async def test_a_call_that_was_cut_off_by_a_crash_is_never_repeated(
    make: Make, tmp_path: Path
) -> None:
    tool = make(risk={"note": "write"})
    result, events = await done(tool, "notes.note", tmp_path, yes=True)
    crashed = Ledger(tmp_path / "crashed.db")
    for event in events:
        crashed.append(event)
        if isinstance(event.record, Gate):  # The process died while the call was made.
            break
    task = next(e.record for e in events if isinstance(e.record, Task))
    again = await drive(Agent(team(tool, "notes.note"), Policy()), task, crashed, resume=True)
    crashed.close()
    assert result.status == "done"
    assert again.status == "interrupted" and "not repeated" in again.reason
    assert lines(tmp_path / "done") == ["note tea"]


async def test_the_general_reads_descriptions_as_data_and_its_call_passes_the_gate(
    make: Make, tmp_path: Path
) -> None:
    answer = json.dumps({"recipe": "notes.remove", "arguments": {"name": "tea"}})
    with FakeGeneral([answer]) as fake:
        tool = make()
        made = team(tool, "remind", router=FakeRouter(0.1), general=general(fake.base_url))
        person = Person(True)
        task = Task(new_id("task"), "tea", privacy="auto", yes=True)
        ledger = Ledger(tmp_path / "ledger.db")
        result = await drive(Agent(made, Policy(), person.approver), task, ledger)
        ledger.close()
        system, user = json.loads(fake.received[0])["messages"]
    assert "notes." not in system["content"] and "remind" in system["content"]
    assert "<data>" in user["content"] and "notes.remove" in user["content"]
    assert "Ignore previous" not in user["content"]
    assert [a.recipe for a in person.asked] == ["notes.remove"]
    assert result.status == "done" and lines(tmp_path / "done") == ["remove tea"]


def test_the_configured_servers_join_the_team_and_start_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.team import mcp_tool

    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    assert mcp_tool(Config()) is None
    tool = mcp_tool(Config(mcp={"notes": notes(tmp_path)}))
    assert tool is not None and tool.recipes == () and lines(tmp_path / "starts") == []


def test_servers_that_are_set_up_while_the_daemon_runs_are_taken_over(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    ledger = Ledger(tmp_path / "ledger.db")
    agents = Agents(Config(), ledger, pool)
    task = Task("task_1", "tea")
    try:
        assert "tool" not in agents.team().tools
        agents.reload(Config(mcp={"notes": notes(tmp_path)}), Policy())
        first = agents.team()
        first.tools["tool"].ready(task)  # type: ignore[attr-defined]
        assert "notes.find" in {r.id for r in first.functions(task)}
        agents.reload(Config(mcp={"notes": notes(tmp_path, allow=["note"])}), Policy())
        agents.team().tools["tool"].ready(task)  # type: ignore[attr-defined]
        ids = {r.id for r in agents.team().functions(task)}
        assert "notes.note" in ids and "notes.find" not in ids
        agents.reload(Config(), Policy())
        assert "tool" not in agents.team().tools
        pids = [int(pid) for pid in lines(tmp_path / "starts")]
        assert len(pids) == 2 and all(map(alive, pids))
    finally:
        agents.close()
        ledger.close()
    assert not any(map(alive, pids))
