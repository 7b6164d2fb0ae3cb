"""The General among others: who is asked, what of it is on record, and what never leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from models.breaker import Breaker
from models.errors import GeneralFailed
from models.remote import Permit, RemoteGenerator
from models.remote_failures import Unanswered
from runtime.config import Price
from runtime.core import Call, Step, Task
from runtime.decisions import role_decision
from runtime.redact import Redactor
from runtime.roles.general import General
from runtime.roles.seats import Seat
from tests.fakes import FakeGeneral, FakeGenerator
from tests.fault_server import hang, refused_url, status, stream

TASK = Task("task_1", "plan it", privacy="auto")
STEP = Step("step_1", TASK.id, 1, "plan", TASK.text)
DECISION = role_decision(TASK, STEP, "general", "a test")
AUTO = Permit("auto", "policy")
CHEAP = Price(input=1.0, output=2.0, as_of="2026-05-04")
DEAR = Price(input=10.0, output=20.0, as_of="2026-06-01")


async def at_once(seconds: float) -> None:
    """Waits for nothing."""


def seat(name: str, url: str, price: Price | None = CHEAP, **settings: Any) -> Seat:
    made: dict[str, Any] = {"model": f"{name}-model", "timeout_s": 20.0, "sleep": at_once}
    return Seat(name, RemoteGenerator(base_url=url, **made | settings), price)


def general(*seats: Seat, **settings: Any) -> General:
    made: dict[str, Any] = {
        "model": "big",
        "price": CHEAP,
        "max_tokens": 100,
        "count_tokens": FakeGenerator().count_tokens,
    }
    return General(None, seats=seats, **made | settings)


async def ask(asked: General, task: Task = TASK, **how: Any) -> Call:
    step = replace(STEP, text=task.text)
    return await asked.ask(task, step, DECISION, asked.messages(task, step), AUTO, **how)


async def test_the_next_is_asked_when_one_fails_and_the_record_says_so() -> None:
    with FakeGeneral([status(500)]) as broken, FakeGeneral(["a plan"]) as server:
        team = general(seat("first", broken.base_url), seat("second", server.base_url, DEAR))
        call = await ask(team)
    assert call.answer == "a plan"
    assert (call.parameters["general"], call.parameters["to"]) == ("second", server.base_url)
    failed = call.parameters["failed"][0]
    assert (failed["general"], failed["attempts"]) == ("first", 3)
    assert "answered 500" in failed["error"]
    assert failed["sent"].startswith("sha256:")
    left = [*broken.received, *server.received]
    assert call.bytes_sent == sum(map(len, left))
    assert call.cost_usd == DEAR.cost(50, 20)


async def test_one_whose_circuit_is_open_is_passed_over() -> None:
    with FakeGeneral([status(500)]) as broken, FakeGeneral(["a plan"]) as server:
        first = seat("first", broken.base_url, breaker=Breaker(failures=1))
        team = general(first, seat("second", server.base_url))
        await ask(team)
        asked = len(broken.received)
        assert (first.status.state, team.first) == ("open", team.seats[1])
        preview = team.preview(team.messages(TASK, STEP))
        assert preview["to"] == server.base_url
        call = await ask(team)
        assert len(broken.received) == asked
    assert "failed" not in call.parameters


async def test_with_all_circuits_open_nothing_is_sent() -> None:
    with FakeGeneral([status(500)]) as broken:
        team = general(
            seat("first", broken.base_url, breaker=Breaker(failures=1)),
            seat("second", broken.base_url, breaker=Breaker(failures=1)),
        )
        with pytest.raises(GeneralFailed):
            await ask(team)
        asked = len(broken.received)
        with pytest.raises(GeneralFailed, match=r"No General answered.*not asked now") as caught:
            await ask(team)
        assert len(broken.received) == asked
    assert caught.value.bytes_sent == 0


async def test_when_all_fail_one_error_accounts_for_all_that_left() -> None:
    with FakeGeneral([status(400)]) as one, FakeGeneral([status(401)]) as two:
        team = general(seat("first", one.base_url), seat("second", two.base_url))
        messages = team.messages(TASK, STEP)
        with pytest.raises(GeneralFailed, match=r"answered 400.*refused the API key") as caught:
            await team.ask(TASK, STEP, DECISION, messages, AUTO)
        call = team.failed_call(TASK, STEP, DECISION, messages, caught.value)
    assert call.bytes_sent == sum(map(len, (*one.received, *two.received)))
    assert [f["general"] for f in call.parameters["failed"]] == ["first", "second"]
    assert call.sent.startswith("sha256:")
    assert not call.local


async def test_one_that_hangs_leaves_time_for_the_next() -> None:
    with FakeGeneral([hang]) as stuck, FakeGeneral(["a plan"]) as server:
        team = general(
            seat("first", stuck.base_url), seat("second", server.base_url), timeout_s=2.0
        )
        call = await ask(team)
    assert call.answer == "a plan"
    assert "did not answer within 1 s" in call.parameters["failed"][0]["error"]


async def test_the_only_general_has_all_the_time_there_is() -> None:
    with FakeGeneral([hang]) as stuck:
        team = general(seat("only", stuck.base_url), timeout_s=0.3)
        with pytest.raises(GeneralFailed, match=r"within 0\.3 s"):
            await ask(team)


def test_the_preview_names_all_who_may_be_asked_at_the_highest_price() -> None:
    url = refused_url()
    team = general(seat("first", url, CHEAP), seat("second", "http://other/v1", DEAR))
    preview = team.preview(team.messages(TASK, STEP))
    assert (preview["to"], preview["model"]) == (url, "first-model")
    assert preview["then"] == [{"to": "http://other/v1", "model": "second-model"}]
    tokens = preview["tokens_in_estimated"]
    assert preview["usd_at_most_estimated"] == DEAR.cost(tokens, 100)
    assert preview["price_as_of"] == CHEAP.as_of


def test_one_unknown_price_makes_the_whole_unknown() -> None:
    team = general(seat("first", refused_url()), seat("second", "http://other/v1", None))
    assert team.preview(team.messages(TASK, STEP))["usd_at_most_estimated"] is None


def test_without_a_general_the_preview_still_shows_what_would_be_sent() -> None:
    team = general()
    preview = team.preview(team.messages(TASK, STEP))
    assert (preview["to"], preview["model"], preview["then"]) == (None, "big", [])
    assert preview["usd_at_most_estimated"] > 0


# ---- redaction

SECRET = "ghp_1234567890abcdefghijklmnopqrstuvwxyz"
PRIVATE = replace(TASK, text=f"write to ann@example.com with the token {SECRET}")


async def test_what_is_previewed_is_what_leaves_without_secrets() -> None:
    with FakeGeneral(["done"]) as server:
        team = general(seat("first", server.base_url), redactor=Redactor())
        step = replace(STEP, text=PRIVATE.text)
        preview = team.preview(team.messages(PRIVATE, step))
        call = await ask(team, PRIVATE)
    body = server.received[0]
    assert json.loads(body)["messages"] == preview["messages"]
    assert SECRET.encode() not in body
    assert b"ann@example.com" not in body
    assert sum(preview["redacted"].values()) == 2
    assert SECRET not in json.dumps(call.messages)


async def test_the_answer_has_the_originals_back() -> None:
    def echo(handler: Any) -> None:
        said = json.loads(server.received[-1])["messages"][-1]["content"]
        stream(*said.split(" "), finish="stop")(handler)

    seen: list[str] = []
    with FakeGeneral([echo]) as server:
        team = general(seat("first", server.base_url), redactor=Redactor())
        call = await ask(team, PRIVATE, on_text=seen.append)
    assert call.answer == PRIVATE.text.replace(" ", "")
    assert seen[-1] == call.answer


async def test_an_original_with_a_quote_in_it_does_not_break_json() -> None:
    secret = 'pa"ss\\w0rd-Xy7!'
    task = replace(TASK, text=f"set password='{secret}' for the printer")
    redacted = Redactor().redact(({"role": "user", "content": task.text},))
    held = next(k for k, v in redacted.originals.items() if '"' in v)
    answer = json.dumps({"recipe": "make", "arguments": {"name": held}})
    with FakeGeneral([answer]) as server:
        team = general(seat("first", server.base_url), redactor=Redactor())
        call = await ask(team, task, schema={"type": "object", "required": ["recipe"]})
    assert json.loads(call.answer)["arguments"]["name"] == redacted.originals[held]


async def test_a_failed_call_is_recorded_without_secrets_too() -> None:
    with FakeGeneral([status(400)]) as server:
        remote = seat("first", server.base_url, record_sent="body")
        team = general(remote, redactor=Redactor())
        step = replace(STEP, text=PRIVATE.text)
        messages = team.messages(PRIVATE, step)
        with pytest.raises(Unanswered) as caught:
            await team.ask(PRIVATE, step, DECISION, messages, AUTO)
        call = team.failed_call(PRIVATE, step, DECISION, messages, caught.value)
    assert call.sent.encode() == server.received[0]
    assert SECRET not in json.dumps(call.messages) + call.sent


# ---- counts


async def test_a_server_that_counts_no_tokens_is_counted_by_estimate() -> None:
    with FakeGeneral([stream("one two ", "three", usage=False)]) as server:
        call = await ask(general(seat("first", server.base_url)), on_text=lambda text: None)
    assert (call.tokens_out, call.parameters["tokens"]) == (3, "estimated")
    assert call.cost_usd == CHEAP.cost(call.tokens_in, 3)


async def test_an_answer_cut_at_its_length_is_marked() -> None:
    with FakeGeneral([stream("half", finish="length")]) as server:
        call = await ask(general(seat("first", server.base_url)), on_text=lambda text: None)
    assert call.parameters["cut"] is True
