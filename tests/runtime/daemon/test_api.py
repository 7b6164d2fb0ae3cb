"""The daemon's routes, over a real Unix socket and a real ledger."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.errors import AidecampError, ModelMissing, UsageError
from runtime.agent import Approver
from runtime.core import Outcome, Record, Result, Task
from runtime.daemon.client import OwnToken
from runtime.daemon.errors import Conflict, NotFound, TooLarge, Unreadable
from runtime.daemon.story import Story
from runtime.daemon.tokens import TokenStore
from tests.runtime.daemon.scripted import (
    Daemon,
    asking,
    call,
    daemon,
    decision,
    ended,
    endless,
    plain,
    step,
    waiting,
)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with daemon(tmp_path, plain) as one:
        yield one


JSON = {"Content-Type": "application/json"}


def raw(served: Daemon) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(served.path)),
        base_url="http://aidecamp",
        auth=OwnToken(TokenStore(served.folder)),
    )


async def test_a_task_is_durable_when_it_is_accepted_and_ends_with_its_result(
    served: Daemon,
) -> None:
    task_id = await served.client.start_task("how many files?", folder=str(served.folder))
    first = next(served.ledger.events(task_id))
    assert isinstance(first.record, Task) and first.record.text == "how many files?"
    assert await ended(served.client, task_id) == "done"
    body = await served.client.task(task_id)
    assert body["result"]["answer"] == 4
    assert [event.id for event in body["events"]] == [
        event.id for event in served.ledger.events(task_id)
    ]
    assert (await served.client.tasks())[0]["status"] == "done"


async def test_a_decision_is_told_with_its_calls_action_and_outcome(served: Daemon) -> None:
    task_id = await served.client.start_task("how many files?")
    await ended(served.client, task_id)
    page = await served.client.decisions(task_id=task_id)
    (row,) = page.rows
    assert (row.outcome, row.calls, row.tokens_in, row.tokens_out) == ("done", 1, 60, 12)
    assert row.ms == pytest.approx(6.5 + 61 + 180 + 3)
    story = await served.client.decision(row.id)
    assert story.row == row
    assert story.calls[0].answer == '{"folder":"/tmp"}'
    (deed,) = story.deeds
    assert deed.action.preview == "mkdir x"
    assert deed.gate is not None and deed.gate.by == "rule"
    assert isinstance(deed.outcome, Outcome) and deed.outcome.data == 4
    assert story.step is not None and story.step.text == "how many files?"


async def test_decisions_are_filtered(served: Daemon) -> None:
    for text in ("count the apples", "count the pears"):
        await ended(served.client, await served.client.start_task(text))
    assert len((await served.client.decisions()).rows) == 2
    assert [r.decision.text for r in (await served.client.decisions(text="PEARS")).rows] == [
        "count the pears"
    ]
    assert (await served.client.decisions(kind="gui")).rows == ()
    assert len((await served.client.decisions(kind="shell", limit=1)).rows) == 1
    assert (await served.client.decisions(chosen="general")).rows == ()


async def test_an_overruled_decision_names_the_one_that_overruled_it(tmp_path: Path) -> None:
    async def escalated(task: Task, approver: Approver) -> AsyncIterator[Record]:
        yield task
        one = step(task)
        yield one
        first = decision(one)
        yield first
        yield call(first)
        second = decision(one, id="dec_second", previous=first.id, chosen="general")
        yield second
        yield call(second, id="call_second", bytes_sent=900, cost_usd=0.004)
        yield Result(task.id, "done", "ok")

    async with daemon(tmp_path, escalated) as served:
        task_id = await served.client.start_task("hard")
        await ended(served.client, task_id)
        newest, oldest = (await served.client.decisions()).rows
        assert (oldest.outcome, newest.outcome) == ("escalated", "done")
        first, second = await _stories(served, oldest.id, newest.id)
        assert (first.before, first.after, first.overruled_by) == (None, newest.id, newest.id)
        assert (second.before, second.after, second.overruled_by) == (oldest.id, None, None)
        totals = await served.client.savings()
        assert (totals.calls, totals.local_calls, totals.escalated) == (2, 1, 1)
        assert totals.local_share == 0.5
        assert totals.cost_usd == pytest.approx(0.004)
        assert totals.bytes_sent == 900
        assert totals.by_kind["shell"].calls == 2


async def _stories(served: Daemon, *ids: str) -> list[Story]:
    return [await served.client.decision(id_) for id_ in ids]


@pytest.mark.parametrize(("allow", "status"), [(True, "done"), (False, "denied")])
async def test_an_action_waits_until_it_is_approved_or_denied(
    tmp_path: Path, allow: bool, status: str
) -> None:
    async with daemon(tmp_path, asking) as served:
        client = served.client
        task_id = await client.start_task("make a folder")
        waiting_id = await waiting(client, task_id)
        assert (await client.task(task_id))["status"] == "waiting"
        with pytest.raises(Conflict, match="does not wait"):
            await client.approve(task_id, "act_other")
        await (client.approve if allow else client.deny)(task_id, waiting_id)
        assert await ended(client, task_id) == status
        with pytest.raises(Conflict):
            await client.approve(task_id, waiting_id)


async def test_words_for_the_general_wait_too_and_show_what_would_leave(tmp_path: Path) -> None:
    async def sending(task: Task, approver: Approver) -> AsyncIterator[Record]:
        yield task
        preview = {"to": "http://127.0.0.1:1", "messages": [{"role": "user", "content": "hi"}]}
        sent = await approver.send(preview)
        yield Result(task.id, "done" if sent else "declined", sent)

    async with daemon(tmp_path, sending) as served:
        task_id = await served.client.start_task("plan")
        waiting_id = await waiting(served.client, task_id)
        (one,) = (await served.client.task(task_id))["waiting"]
        assert one["action"] is None
        assert one["send"]["messages"][0]["content"] == "hi"
        await served.client.deny(task_id, waiting_id)
        assert await ended(served.client, task_id) == "declined"


async def test_a_cancelled_task_is_recorded_as_cancelled(tmp_path: Path) -> None:
    async with daemon(tmp_path, endless) as served:
        task_id = await served.client.start_task("wait for ever")
        assert await served.client.cancel_all() == 1
        assert await ended(served.client, task_id) == "cancelled"
        assert (await served.client.health())["running"] == []
        with pytest.raises(Conflict, match="has ended"):
            await served.client.cancel(task_id)


async def test_what_keeps_a_task_from_starting_is_answered_with_its_own_error(
    tmp_path: Path,
) -> None:
    async def without_model(task: Task, approver: Approver) -> AsyncIterator[Record]:
        if task.text:
            raise ModelMissing("No model.", hint="aidecamp models pull")
        yield task

    async with daemon(tmp_path, without_model) as served:
        with pytest.raises(ModelMissing) as caught:
            await served.client.start_task("anything")
        assert caught.value.hint == "aidecamp models pull"
        assert served.ledger.last_id() == 0


async def test_a_fault_in_the_agent_ends_the_task_and_leaves_the_daemon_up(
    tmp_path: Path,
) -> None:
    async def faulty(task: Task, approver: Approver) -> AsyncIterator[Record]:
        yield task
        raise ZeroDivisionError("oh")

    async with daemon(tmp_path, faulty, plain) as served:
        task_id = await served.client.start_task("break")
        assert await ended(served.client, task_id) == "failed"
        assert "ZeroDivisionError" in (await served.client.task(task_id))["result"]["reason"]
        assert await ended(served.client, await served.client.start_task("go on")) == "done"


async def test_decisions_are_found_by_what_came_of_them(tmp_path: Path) -> None:
    async with daemon(tmp_path, plain, asking) as served:
        done = await served.client.start_task("count files")
        assert await ended(served.client, done) == "done"
        denied = await served.client.start_task("make a folder")
        await served.client.deny(denied, await waiting(served.client, denied))
        assert await ended(served.client, denied) == "denied"
        for outcome, task_id in (("done", done), ("denied", denied)):
            rows = (await served.client.decisions(outcome=outcome)).rows
            assert [(r.outcome, r.decision.task_id) for r in rows] == [(outcome, task_id)]
        assert (await served.client.decisions(outcome="escalated")).rows == ()
        with pytest.raises(Unreadable):
            await served.client.decisions(outcome="nonsense")


async def test_unknown_ids_are_404(served: Daemon) -> None:
    with pytest.raises(NotFound):
        await served.client.task("task_none")
    with pytest.raises(NotFound):
        await served.client.decision("dec_none")
    with pytest.raises(NotFound):
        await served.client.cancel("task_none")
    async with raw(served) as http:
        answer = await http.get("/v1/nothing")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "NotFound"


async def test_bad_bodies_are_refused_in_words_that_name_the_field(served: Daemon) -> None:
    async with raw(served) as http:
        answer = await http.post("/v1/tasks", content=b'{"text": ', headers=JSON)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "UsageError")
        assert "JSON" in answer.json()["error"]["message"]
        for body, field in (
            ({}, "text"),
            ({"text": "   "}, "text"),
            ({"text": "x", "surface": "cinema"}, "surface"),
            ({"text": "x", "colour": "red"}, "colour"),
            ({"text": "x", "folder": "relative"}, "folder"),
            ({"text": "x", "budget_usd": -1}, "budget_usd"),
            ({"text": "x", "schema": [1]}, "schema"),
        ):
            answer = await http.post("/v1/tasks", json=body)
            assert answer.status_code == 422, body
            assert field in answer.json()["error"]["message"], answer.json()
        half = await http.post("/v1/tasks", content=b'{"text": "\\ud83d"}', headers=JSON)
        assert half.status_code == 422
        assert (await http.get("/v1/decisions?limit=0")).status_code == 422
        assert (await http.delete("/v1/tasks")).status_code == 405
    assert served.ledger.last_id() == 0


async def test_a_body_over_the_limit_is_413_announced_or_not(served: Daemon) -> None:
    with pytest.raises(TooLarge, match="8,000,000"):
        await served.client.start_task("x" * 8_000_001)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(90):
            yield b"x" * 100_000

    async with raw(served) as http:
        answer = await http.post("/v1/tasks", content=pieces())
        assert answer.status_code == 413
    assert served.ledger.last_id() == 0
    assert (await served.client.health())["status"] == "ok"


async def test_errors_come_back_as_their_own_class(served: Daemon) -> None:
    with pytest.raises(Unreadable) as caught:
        await served.client.start_task("x", privacy="secret")
    assert isinstance(caught.value, UsageError) and isinstance(caught.value, AidecampError)
    assert caught.value.exit_code == 2


async def test_a_task_that_nobody_attends_is_denied_what_needs_a_person(tmp_path: Path) -> None:
    async with daemon(tmp_path, asking) as served:
        task_id = await served.client.start_task("make a folder", attended=False)
        assert await ended(served.client, task_id) == "denied"
        assert (await served.client.health())["waiting"] == 0


async def test_a_task_that_failed_here_tells_the_error_that_ended_it(tmp_path: Path) -> None:
    async def without_display(task: Task, approver: Approver) -> AsyncIterator[Record]:
        yield task
        raise ModelMissing("No model.", hint="Pull it.")

    async with daemon(tmp_path, without_display, plain) as served:
        task_id = await served.client.start_task("click")
        assert await ended(served.client, task_id) == "failed"
        error = (await served.client.task(task_id))["error"]
        assert (error["code"], error["hint"], error["exit_code"]) == ("ModelMissing", "Pull it.", 3)
        well = await served.client.start_task("go on")
        await ended(served.client, well)
        assert (await served.client.task(well))["error"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"text": "x", "tools": [{"function": {"name": "\ud83d"}}]},
        {"text": "x", "schema": {"\ud83d": 1}},
        {"text": "x", "yes": "true"},
        {"text": "x", "now": 12},
        {"text": "x", "budget_usd": "1"},
    ],
)
async def test_what_could_not_be_told_again_is_not_taken(
    served: Daemon, body: dict[str, Any]
) -> None:
    async with raw(served) as http:
        answer = await http.post("/v1/tasks", content=json.dumps(body), headers=JSON)
        assert answer.status_code == 422, answer.text
        endless_number = await http.post(
            "/v1/tasks", content=b'{"text": "x", "schema": {"a": 1e999}}', headers=JSON
        )
        assert endless_number.status_code == 422
    assert served.ledger.last_id() == 0
