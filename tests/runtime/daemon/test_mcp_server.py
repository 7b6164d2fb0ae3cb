"""The MCP server over streamable HTTP, spoken to by the SDK's own client."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp_types import ElicitResult, InputRequiredResult

from runtime.core import Action, Gate, Result, Task
from runtime.ledger import records
from tests.runtime.daemon.mcp_clients import (
    MODES,
    PNG,
    Served,
    asked,
    daemon,
    sandboxed,
    words,
)
from tests.runtime.daemon.scripted import ScriptedAgent, ended, endless

SCHEMA = {"type": "object", "properties": {"value": {}}, "required": ["value"]}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with daemon(tmp_path) as one:
        yield one


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_client_is_shown_the_tools_that_its_token_may_call(
    served: Served, mode: str
) -> None:
    shown = {}
    for scope in ("infer", "act", "admin"):
        async with served.client(scope, mode=mode) as client:
            shown[scope] = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(shown["infer"]) == {"format_to_schema", "route"}
    acting = {"look_at_screen", "act_on_screen", "run_in_sandbox", "do_task"}
    assert set(shown["act"]) == set(shown["infer"]) | acting
    assert set(shown["admin"]) == set(shown["act"]) | {"decisions"}
    for tool in shown["admin"].values():
        assert tool.description and tool.output_schema and tool.annotations
        assert tool.input_schema["additionalProperties"] is False
        reads = tool.name not in ("act_on_screen", "run_in_sandbox", "do_task")
        assert tool.annotations.read_only_hint is reads
        assert tool.annotations.destructive_hint is not reads


async def test_a_task_is_done_recorded_and_told_with_its_decisions(
    served: Served, mode: str
) -> None:
    told: list[str] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    async with served.client("admin", mode=mode) as client:
        result = await client.call_tool(
            "do_task", {"task": "one", "dry_run": True}, progress_callback=heard
        )
    assert not result.is_error
    report = result.structured_content
    assert report["status"] == "done" and json.loads(words(result)) == report
    (action,) = report["actions"]
    assert (action["recipe"], action["by"], action["status"]) == ("make", "dry-run", "skipped")
    assert any(d["chosen"] == "local:tool_user" for d in report["decisions"])
    task = next(iter(served.ledger.events(report["task_id"]))).record
    assert isinstance(task, Task) and task.client == "mcp:tester"
    assert any(line.startswith("About to do, write: make one") for line in told)
    assert (await served.api.tasks())[0]["status"] == "done"


async def test_a_token_without_the_scope_is_refused_and_nothing_is_recorded(
    served: Served, mode: str
) -> None:
    async with served.client("infer", mode=mode) as client:
        result = await client.call_tool("do_task", {"task": "one"})
        assert result.is_error and words(result).startswith("ScopeMissing")
        record = await client.call_tool("decisions", {})
        assert record.is_error and "needs 'admin'" in words(record)
    assert served.ledger.last_id() == 0


async def test_a_client_may_wish_for_less_than_its_token_and_never_for_more(
    served: Served,
) -> None:
    async with served.client("admin", headers={"x-aidecamp-scope": "infer"}) as client:
        assert (await client.call_tool("do_task", {"task": "one"})).is_error
    async with served.client("infer", headers={"x-aidecamp-scope": "admin"}) as client:
        assert (await client.call_tool("decisions", {})).is_error


async def test_the_guard_stands_before_mcp_too(served: Served) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    good = {"Authorization": f"Bearer {served.token('act')}"}
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
        for method in ("GET", "POST", "DELETE"):
            assert (await http.request(method, "/mcp")).status_code == 401
        wrong = {"Authorization": "Bearer adc_wrong"}
        assert (await http.post("/mcp", json=ping, headers=wrong)).status_code == 401
        for foreign in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            answer = await http.post("/mcp", json=ping, headers={**good, **foreign})
            assert answer.status_code == 403


async def test_what_a_tool_does_not_take_is_explained(served: Served) -> None:
    async with served.client() as client:
        for name, arguments, why in (
            ("do_task", {}, "task: Field required"),
            ("do_task", {"task": "x", "yes": True}, "yes: Extra inputs"),
            ("do_task", {"task": "x", "folder": "/no/such"}, "folder"),
            ("run_in_sandbox", {}, "either the step in words, or a name"),
            ("run_in_sandbox", {"step": "x", "recipe": "y"}, "either the step in words"),
            ("format_to_schema", {"data": "x", "output_schema": {"type": 7}}, "SchemaRefused"),
            ("no_such_tool", {}, "There is no tool 'no_such_tool'"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error and why in words(result), (name, words(result))


async def test_privacy_can_be_made_stricter_and_not_looser(served: Served) -> None:
    async with served.client() as client:
        loose = await client.call_tool("do_task", {"task": "one", "privacy": "auto"})
        assert loose.is_error and words(loose).startswith("Denied")
        strict = {"task": "one", "privacy": "local", "dry_run": True}
        result = await client.call_tool("do_task", strict)
    task = next(iter(served.ledger.events(result.structured_content["task_id"]))).record
    assert isinstance(task, Task) and task.privacy == "local"


@pytest.mark.parametrize(("allow", "status"), [(True, "done"), (False, "denied")])
async def test_an_action_waits_until_somebody_at_the_daemon_answers(
    served: Served, mode: str, allow: bool, status: str
) -> None:
    async with served.client(mode=mode) as client:
        calling = asyncio.create_task(client.call_tool("do_task", {"task": "one"}))
        task_id, waiting_id = await asked(served.api)
        await (served.api.approve if allow else served.api.deny)(task_id, waiting_id)
        result = await calling
    assert result.structured_content["status"] == status
    assert result.is_error is not allow
    assert result.structured_content["actions"][0]["verdict"] == ("allow" if allow else "deny")


async def test_what_nobody_answers_is_denied_at_the_deadline(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.daemon.mcp.service.Service._patience", lambda self: 0.05)
    async with served.client() as client:
        result = await client.call_tool("do_task", {"task": "one"})
    assert result.is_error and result.structured_content["status"] == "denied"
    events = list(served.ledger.events(result.structured_content["task_id"]))
    (gate,) = records(events, Gate)
    assert (gate.verdict, gate.by) == ("deny", "nobody-to-ask")
    assert "nobody answered within 0.05 s" in gate.reason


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (ElicitResult(action="accept", content={"allow": True}), "done"),
        (ElicitResult(action="accept", content={"allow": False}), "denied"),
        (ElicitResult(action="decline"), "denied"),
    ],
)
async def test_the_user_of_a_client_with_admin_is_asked_and_answers(
    served: Served, mode: str, answer: ElicitResult, status: str
) -> None:
    questions: list[str] = []

    async def user(context: Any, params: Any) -> ElicitResult:
        questions.append(params.message)
        return answer

    async with served.client("admin", mode=mode, elicitation_callback=user) as client:
        result = await client.call_tool("do_task", {"task": "one"})
    assert result.structured_content["status"] == status
    (question,) = questions
    assert "Allow this write action?" in question and "make one" in question


async def test_a_closed_question_leaves_the_word_to_whoever_watches_the_daemon(
    served: Served, mode: str
) -> None:
    async def user(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="cancel")

    async with served.client("admin", mode=mode, elicitation_callback=user) as client:
        calling = asyncio.create_task(client.call_tool("do_task", {"task": "one"}))
        await served.api.approve(*await asked(served.api))
        assert (await calling).structured_content["status"] == "done"


async def test_a_client_that_may_only_act_cannot_approve_its_own_action(
    served: Served, mode: str
) -> None:
    questions: list[str] = []

    async def eager(context: Any, params: Any) -> ElicitResult:
        questions.append(params.message)
        return ElicitResult(action="accept", content={"allow": True})

    async with served.client("act", mode=mode, elicitation_callback=eager) as client:
        calling = asyncio.create_task(client.call_tool("do_task", {"task": "one"}))
        await served.api.deny(*await asked(served.api))
        assert (await calling).structured_content["status"] == "denied"
    assert questions == []


async def test_not_even_over_the_api_may_a_client_approve_what_it_began(served: Served) -> None:
    async with served.client("act") as client:
        calling = asyncio.create_task(client.call_tool("do_task", {"task": "one"}))
        task_id, waiting_id = await asked(served.api)
        own, other = served.token("act"), served.token("act", "somebody-else")
        async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
            path, body = f"/v1/tasks/{task_id}/approve", {"id": waiting_id}
            for token, status in ((own, 403), (other, 200)):
                bearer = {"Authorization": f"Bearer {token}"}
                answer = await http.post(path, json=body, headers=bearer)
                assert answer.status_code == status, answer.text
        assert (await calling).structured_content["status"] == "done"


async def test_an_answer_with_another_token_is_not_heard(served: Served) -> None:
    async def user(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="cancel")

    yes = ElicitResult(action="accept", content={"allow": True})
    async with (
        served.client("admin", elicitation_callback=user) as owner,
        served.client("act") as other,
        served.client("admin", name="second") as second,
    ):
        first = await owner.session.call_tool("do_task", {"task": "one"}, allow_input_required=True)
        assert isinstance(first, InputRequiredResult)
        (question,) = first.input_requests or {}
        for thief in (other, second):
            result = await thief.call_tool(
                "do_task",
                {"task": "one"},
                input_responses={question: yes},
                request_state=first.request_state,
            )
            assert result.is_error and "No call waits for this answer" in words(result)
        task_id, waiting_id = await asked(served.api)
        await served.api.deny(task_id, waiting_id)
        assert await ended(served.api, task_id) == "denied"


async def test_a_session_belongs_to_the_token_that_began_it(served: Served) -> None:
    initialize = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "raw", "version": "1"},
        },
    }
    accept = {"Accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
        mine = {**accept, "Authorization": f"Bearer {served.token('act')}"}
        begun = await http.post("/mcp", json=initialize, headers=mine)
        session = {"mcp-session-id": begun.headers["mcp-session-id"]}
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        other = {**accept, "Authorization": f"Bearer {served.token('admin')}"}
        theirs = await http.post("/mcp", json=listing, headers={**other, **session})
        assert theirs.status_code == 404
        own = await http.post("/mcp", json=listing, headers={**mine, **session})
        assert own.status_code == 200


async def test_a_client_that_cancels_stops_its_task(served: Served, mode: str) -> None:
    async with served.client(mode=mode) as client:
        calling = asyncio.create_task(client.call_tool("do_task", {"task": "one"}))
        task_id, _ = await asked(served.api)
        calling.cancel()
        await asyncio.wait({calling})
        assert await ended(served.api, task_id) == "cancelled"
        assert (await served.api.health())["running"] == []


async def test_a_task_that_is_cancelled_at_the_daemon_is_told_as_cancelled(
    served: Served, mode: str
) -> None:
    async with served.client(mode=mode) as client:
        calling = asyncio.create_task(client.call_tool("do_task", {"task": "one"}))
        task_id, _ = await asked(served.api)
        await served.api.cancel(task_id)
        result = await calling
    assert result.is_error and result.structured_content["status"] == "cancelled"


async def test_a_daemon_that_stops_records_what_it_cancels_and_lets_clients_go(
    tmp_path: Path, mode: str
) -> None:
    def make(approver: Any) -> ScriptedAgent:
        return ScriptedAgent(endless, approver)

    async with daemon(tmp_path, make) as served, served.client(mode=mode) as client:
        calling = asyncio.create_task(client.call_tool("do_task", {"task": "one"}))
        event = await anext(served.api.events(after=0))
        served.stop()
        await asyncio.wait({calling}, timeout=10)
        assert calling.done()
        (result,) = records(list(served.ledger.events(event.task_id)), Result)
        assert result.status == "cancelled"
        calling.exception()


async def test_a_named_recipe_runs_in_the_sandbox(tmp_path: Path) -> None:
    async with daemon(tmp_path, sandboxed()) as served, served.client() as client:
        (served.folder / "a.txt").write_text("x")
        arguments = {"recipe": "count_files", "arguments": {"folder": "."}}
        counted = await client.call_tool("run_in_sandbox", arguments)
        assert not counted.is_error, words(counted)
        (action,) = counted.structured_content["actions"]
        assert (action["risk"], action["by"], action["status"]) == ("read", "rule", "done")
        assert "1" in json.dumps(counted.structured_content["answer"])
        calling = asyncio.create_task(
            client.call_tool(
                "run_in_sandbox", {"recipe": "make_folder", "arguments": {"folder": "new"}}
            )
        )
        task_id, waiting_id = await asked(served.api)
        assert not (served.folder / "new").exists()
        await served.api.approve(task_id, waiting_id)
        assert not (await calling).is_error
        assert (served.folder / "new").is_dir()


async def test_no_raw_command_line_is_taken(tmp_path: Path) -> None:
    async with daemon(tmp_path, sandboxed()) as served, served.client() as client:
        for arguments, why in (
            ({"recipe": "rm -rf ."}, "There is no recipe 'rm -rf .'"),
            ({"recipe": "count_files", "arguments": {"folder": ["."]}}, "does not take these"),
            ({"recipe": "count_files", "arguments": {"flags": "-delete"}}, "does not take these"),
            ({"command": "ls"}, "command: Extra inputs"),
        ):
            result = await client.call_tool("run_in_sandbox", arguments)
            assert result.is_error and why in words(result), words(result)
        quoted = {"recipe": "make_folder", "arguments": {"folder": "a; touch b"}}
        calling = asyncio.create_task(client.call_tool("run_in_sandbox", quoted))
        await served.api.approve(*await asked(served.api))
        await calling
        assert [path.name for path in served.folder.iterdir()] == ["a; touch b"]


async def test_the_screen_is_looked_at_through_a_recorded_action(served: Served) -> None:
    async with served.client() as client:
        result = await client.call_tool("look_at_screen", {"image": True})
        assert not result.is_error, words(result)
        seen = result.structured_content
        assert (seen["title"], seen["elements"][0]["box"]) == ("Notes", [1, 2, 30, 10])
        (image,) = [part for part in result.content if part.type == "image"]
        assert base64.b64decode(image.data) == PNG and image.mime_type == "image/png"
        plain = await client.call_tool("look_at_screen", {})
        assert [part.type for part in plain.content] == ["text"]
    actions = records(list(served.ledger.events(seen["task_id"])), Action)
    assert [(a.tool, a.recipe) for a in actions] == [("gui", "read_screen")]


async def test_a_named_skill_acts_on_the_screen_once_it_is_approved(served: Served) -> None:
    async with served.client() as client:
        typing = {"skill": "type_text", "arguments": {"lines": "tea"}}
        calling = asyncio.create_task(client.call_tool("act_on_screen", typing))
        task_id, waiting_id = await asked(served.api)
        assert not calling.done()
        await served.api.approve(task_id, waiting_id)
        assert not (await calling).is_error
        unknown = await client.call_tool("act_on_screen", {"skill": "steal"})
        assert unknown.is_error and "There is no recipe 'steal'" in words(unknown)


async def test_data_is_formatted_to_a_schema_by_a_token_that_may_only_infer(
    served: Served, mode: str
) -> None:
    async with served.client("infer", mode=mode) as client:
        asked_for = {"data": {"name": "tea"}, "output_schema": SCHEMA}
        result = await client.call_tool("format_to_schema", asked_for)
    assert not result.is_error, words(result)
    assert result.structured_content["value"] == {"value": {"name": "tea"}}
    events = list(served.ledger.events(result.structured_content["task_id"]))
    assert records(events, Action) == []
    (task,) = records(events, Task)
    assert task.privacy == "local"


async def test_the_record_is_told_to_a_token_with_admin(served: Served) -> None:
    async with served.client("admin") as client:
        await client.call_tool("do_task", {"task": "one", "dry_run": True})
        result = await client.call_tool("decisions", {"kind": "shell", "limit": 1})
    (line,) = result.structured_content["decisions"]
    assert (line["chosen"], line["text"], line["kind"]) == ("local:tool_user", "one", "shell")


async def test_routing_where_there_are_no_models_is_explained(served: Served) -> None:
    async with served.client("infer") as client:
        result = await client.call_tool("route", {"text": "count the files"})
    assert result.is_error and words(result).startswith("NoStaff")
