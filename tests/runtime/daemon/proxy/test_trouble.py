"""Proxied calls in trouble: clients and Generals that go away, deadlines, rules, budgets, and a
daemon that is told to stop. Every one has a whole record of what left, and one end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.core import Decision, Result, Task
from runtime.daemon import server
from runtime.daemon.proxy.asking import headers_of
from runtime.daemon.proxy.parts import Head
from runtime.ledger import Ledger, records
from tests.fakes import FakeGeneral
from tests.fault_server import hang, hang_up, status, stream
from tests.runtime.daemon.proxy.proxied import Proxied, Start
from tests.runtime.daemon.proxy.test_serving import LOCAL, MAIL, PLAN, WEATHER

GENERAL = "general/fake-general"
AUTO = 'privacy = "auto"'


def sent_to(*generals: FakeGeneral) -> int:
    return sum(len(body) for general in generals for body in general.received)


def recorded(daemon: Proxied) -> int:
    """Bytes that left, by the record."""
    return sum(call.bytes_sent for call in all_of(daemon, "call"))


def all_of(daemon: Proxied, type_: str) -> list[Any]:
    return [event.record for event in daemon.ledger.events(types=[type_])]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def one_end_each(daemon: Proxied) -> None:
    """Every task has exactly one Result, and every Result a task."""
    events = list(daemon.ledger.events())
    tasks = [task.id for task in records(events, Task)]
    assert sorted(tasks) == sorted(result.task_id for result in records(events, Result))
    made = [decision.id for decision in records(events, Decision)]
    assert len(made) == len(set(made))


async def settled(daemon: Proxied) -> None:
    """Nothing runs any more, and nothing holds a slot."""
    await daemon.health(lambda said: not said["running"])
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not [name for name in names if name.startswith(("call of", "client"))]


# ---- Generals


async def test_a_stream_that_the_general_breaks_off_says_so_and_is_counted_once(
    start: Start,
) -> None:
    with FakeGeneral([stream("one", "two", then=hang_up)]) as general:
        async with start(general) as daemon:
            answer = await daemon.chat("hello", model=GENERAL, stream=True)
            assert answer.status_code == 200
            *_, last = [line for line in answer.text.splitlines() if line]
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "GeneralFailed"
            assert "[DONE]" not in answer.text
            (result,) = await daemon.ended(1)
            assert result.status == "failed"
            (call,) = daemon.calls(answer)
            assert (call.parameters["cut"], call.answer) == (True, "onetwo")
            assert recorded(daemon) == sent_to(general)
            one_end_each(daemon)


async def test_what_went_to_generals_that_failed_counts_along_with_the_one_that_answered(
    start: Start,
) -> None:
    with FakeGeneral([(500, "{}")]) as first, FakeGeneral(["a plan"]) as second:
        more = f'[[generals]]\nname = "second"\nbase_url = "{second.base_url}"\nmodel = "m2"\n'
        async with start(config=f"{AUTO}\n{seat(first)}{more}") as daemon:
            answer = await daemon.chat(PLAN, model="auto")
            assert answer.status_code == 200, answer.text
            assert len(first.received) > 0 and len(second.received) == 1
            assert recorded(daemon) == sent_to(first, second)
            by_name = await daemon.chat("hello", model="general/second")
            assert by_name.status_code == 200
            assert len(second.received) == 2
            one_end_each(daemon)


def seat(general: FakeGeneral) -> str:
    return f'[general]\nbase_url = "{general.base_url}"\nmodel = "fake-general"\napi_key = "k"\n'


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_client_that_leaves_before_the_general_answers_is_recorded_with_what_left(
    start: Start, streaming: bool
) -> None:
    with FakeGeneral([hang]) as general:
        async with start(general) as daemon:
            gone = asyncio.create_task(daemon.chat("hello", model=GENERAL, stream=streaming))
            await until(lambda: general.received)
            gone.cancel()
            (result,) = await daemon.ended(1)
            assert result.status == "cancelled"
            assert recorded(daemon) == sent_to(general) > 0
            one_end_each(daemon)
            await settled(daemon)


async def test_a_client_that_leaves_a_forwarded_stream_ends_it(start: Start) -> None:
    with FakeGeneral([stream("one", then=hang)]) as general:
        async with start(general) as daemon:
            body = {
                "model": GENERAL,
                "stream": True,
                "messages": [{"role": "user", "content": "hello"}],
            }
            async with daemon.http.stream(
                "POST", f"{daemon.url}/chat/completions", json=body
            ) as answer:
                async for line in answer.aiter_lines():
                    if "one" in line:
                        break
            (result,) = await daemon.ended(1)
            assert result.status == "cancelled"
            (call,) = daemon.calls(answer)
            assert (call.answer, call.bytes_sent) == ("one", sent_to(general))
            one_end_each(daemon)
            await settled(daemon)


async def test_a_client_that_leaves_a_whole_answer_half_way_ends_it(start: Start) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def half(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        handler.wfile.write(b'{"choices": [')
        handler.wfile.flush()
        loop.call_soon_threadsafe(begun.set)
        hang(handler)

    with FakeGeneral([half]) as general:
        async with start(general) as daemon:
            gone = asyncio.create_task(daemon.chat("hello", model=GENERAL))
            await begun.wait()
            gone.cancel()
            (result,) = await daemon.ended(1)
            assert result.status == "cancelled"
            assert recorded(daemon) == sent_to(general)
            await settled(daemon)


@pytest.mark.parametrize("says", ["no JSON at all", "[1, 2]", ""])
async def test_a_decision_in_the_body_breaks_no_answer_that_is_no_object(
    start: Start, says: str
) -> None:
    with FakeGeneral([status(200, body=says)]) as general:
        async with start(general) as daemon:
            answer = await daemon.chat("hello", model=GENERAL, aidecamp={"explain": True})
            assert (answer.status_code, answer.text) == (200, says)


async def test_a_forwarded_stream_tells_its_decision_first_where_that_is_asked_for(
    start: Start,
) -> None:
    with FakeGeneral([stream("a plan")]) as general:
        async with start(general) as daemon:
            explained = await daemon.streamed("hi", model=GENERAL, aidecamp={"explain": True})
            plain = await daemon.streamed("hi", model=GENERAL)
            assert explained[0]["aidecamp"]["decision"]["chosen"] == "general"
            assert explained[0]["choices"] == []
            assert explained[1:] == plain


async def test_the_generals_429_reaches_the_client_with_its_wait(start: Start) -> None:
    with FakeGeneral([status(429, {"Retry-After": "77"}, "{}")]) as general:
        async with start(general) as daemon:
            answer = await daemon.chat("hello", model=GENERAL)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "77")
            one_end_each(daemon)


# ---- deadlines and stopping


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_deadline_ends_a_call_whether_or_not_it_has_begun_to_answer(
    start: Start, streaming: bool
) -> None:
    reply = stream("one", then=hang) if streaming else hang
    with FakeGeneral([reply]) as general:
        async with start(general, config="[daemon]\ndeadline_s = 1.0\n") as daemon:
            answer = await daemon.chat("hello", model=GENERAL, stream=streaming)
            assert answer.status_code == (200 if streaming else 504)
            assert "DeadlineMissed" in answer.text and "[DONE]" not in answer.text
            (result,) = await daemon.ended(1)
            assert result.status == "failed"
            assert recorded(daemon) == sent_to(general) > 0
            one_end_each(daemon)
            await settled(daemon)


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_daemon_that_stops_records_the_end_of_a_call_that_runs(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    monkeypatch.setattr(server, "GRACE_S", 0.1)
    reply = stream("one", then=hang) if streaming else hang
    with FakeGeneral([reply]) as general:
        async with start(general) as daemon:
            call = asyncio.create_task(daemon.chat("hello", model=GENERAL, stream=streaming))
            await until(lambda: general.received)
            if streaming:
                await until(lambda: all_of(daemon, "decision"))
        await asyncio.gather(call, return_exceptions=True)
        daemon.ledger = Ledger(tmp_path / "ledger.db")
        one_end_each(daemon)
        (result,) = daemon.results()
        assert result.status == "cancelled"
        assert recorded(daemon) == sent_to(general) > 0
        daemon.ledger.close()


async def test_a_client_that_leaves_while_a_person_is_asked_waits_no_longer(start: Start) -> None:
    with FakeGeneral(["never"]) as general:
        async with start(general, "ask") as daemon:
            gone = asyncio.create_task(daemon.chat(PLAN, model="auto"))
            await daemon.health(lambda said: said["waiting"])
            gone.cancel()
            (result,) = await daemon.ended(1)
            assert result.status == "cancelled"
            said = await daemon.health(lambda said: not said["running"])
            assert not said["waiting"]
            assert general.received == []


# ---- rules and budgets


RULES: Mapping[str, tuple[dict[str, Any], int]] = {
    "a parameter beyond local models": ({"model": "auto", "logit_bias": {"5": 1}}, 400),
    "the General by name": ({"model": GENERAL}, 403),
}


@pytest.mark.parametrize("asked", RULES)
async def test_a_rule_that_keeps_a_call_here_never_leaves_out_what_it_asks_for(
    start: Start, asked: str
) -> None:
    body, expected = RULES[asked]
    with FakeGeneral(["never"]) as general:
        async with start(
            general, policy='[[rule]]\nname = "here"\nkeyword = "hello"\nroute = "local"\n'
        ) as daemon:
            answer = await daemon.chat("hello", max_tokens=4, **body)
            assert answer.status_code == expected, answer.text
            assert general.received == []
            free = await daemon.chat("hello", max_tokens=4, model="auto")
            assert free.headers["x-aidecamp-route"].startswith("local:")
            one_end_each(daemon)


async def test_a_rule_declines_whatever_was_asked_for(start: Start) -> None:
    with FakeGeneral(["never"]) as general:
        async with start(
            general, policy='[[rule]]\nname = "no"\nkeyword = "hello"\nroute = "decline"\n'
        ) as daemon:
            asked: list[dict[str, Any]] = [
                {"model": "auto"},
                {"model": LOCAL},
                {"model": GENERAL},
                {"model": "auto", "logit_bias": {"5": 1}},
            ]
            for body in asked:
                answer = await daemon.chat("hello", **body)
                assert answer.status_code == 403, (body, answer.text)
            assert general.received == []
            assert {r.status for r in await daemon.ended(len(asked))} == {"declined"}
            one_end_each(daemon)


@pytest.mark.parametrize("action", ["block", "local-only"])
@pytest.mark.parametrize("scope", ["task", "day"])
async def test_a_budget_holds_for_proxied_calls(start: Start, action: str, scope: str) -> None:
    with FakeGeneral(["never"]) as general:
        async with start(
            general, policy=f'[budget.{scope}]\ntokens = 10\naction = "{action}"\n'
        ) as daemon:
            pinned = await daemon.chat("hello", model=GENERAL)
            assert pinned.status_code == 403, pinned.text
            auto = await daemon.chat("what time is it", model="auto", max_tokens=4)
            assert auto.status_code == (403 if action == "block" else 200), auto.text
            if action == "local-only":
                assert "budget" in auto.headers["x-aidecamp-unsure"]
            assert general.received == []
            one_end_each(daemon)


# ---- beyond local models


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"content": "word " * 20_000}, 413),
        ({"schema": {"type": "string", "pattern": "(?<!x)y"}}, 400),
    ],
)
async def test_what_no_local_model_can_hold_goes_to_the_general_or_is_refused(
    start: Start, body: dict[str, Any], expected: int
) -> None:
    ask: dict[str, Any] = {"max_tokens": 4}
    if "schema" in body:
        format_ = {"name": "s", "schema": body["schema"]}
        ask["response_format"] = {"type": "json_schema", "json_schema": format_}
    words = body.get("content", "hello")
    with FakeGeneral(["done there"]) as general:
        async with start(general, policy="risk_alpha = 0.0") as daemon:
            answer = await daemon.chat(words, model="auto", **ask)
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-aidecamp-route"] == "general"
            pinned = await daemon.chat(words, model=LOCAL, **ask)
            assert pinned.status_code == expected, pinned.text
            one_end_each(daemon)


async def test_a_call_that_is_refused_before_any_decision_is_on_record_all_the_same(
    start: Start,
) -> None:
    async with start() as daemon:
        answer = await daemon.chat("hi", model=LOCAL, logit_bias={"5": 10})
        assert answer.status_code == 400
        (result,) = await daemon.ended(1)
        assert result.status == "failed"
        one_end_each(daemon)


async def test_a_tool_call_that_is_not_kept_here_has_each_decision_once(start: Start) -> None:
    with FakeGeneral(["done there"]) as general:
        async with start(general) as daemon:
            words = "What is the weather in Paris in celsius?"
            answer = await daemon.chat(words, model="auto", tools=[WEATHER, MAIL])
            assert answer.headers["x-aidecamp-route"] == "general"
            assert len(daemon.decisions(answer)) > 1
            one_end_each(daemon)


# ---- forms of requests


@pytest.mark.parametrize("streaming", [False, True])
async def test_log_probabilities_are_of_the_text_that_is_given_and_no_more(
    start: Start, streaming: bool
) -> None:
    async with start() as daemon:
        ask = {"model": LOCAL, "max_tokens": 24, "logprobs": True}
        words = "Write the alphabet in small letters, with spaces."
        whole = (await daemon.chat(words, **ask)).json()["choices"][0]
        text = whole["message"]["content"]
        pieces = [one["token"] for one in whole["logprobs"]["content"]]
        assert "".join(pieces) == text
        # A stop text that begins in one token and ends in a later one.
        stop = "".join(pieces[4:7])[:-1] or pieces[4]
        assert text.count(stop) >= 1
        if streaming:
            chunks = await daemon.streamed(words, stop=stop, **ask)
            said = [c["choices"][0] for c in chunks]
            shown = "".join(c["delta"].get("content") or "" for c in said)
            told = [t for c in said if c["logprobs"] for t in c["logprobs"]["content"]]
        else:
            choice = (await daemon.chat(words, stop=stop, **ask)).json()["choices"][0]
            shown, told = choice["message"]["content"], choice["logprobs"]["content"]
        assert shown == text.partition(stop)[0]
        assert "".join(one["token"] for one in told) == shown


async def test_unusual_conversations_are_served(start: Start) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": "{no json"},
    }
    conversations: list[list[dict[str, Any]]] = [
        [{"role": "system", "content": "Only instructions."}],
        [{"role": "developer", "content": "Be short."}, {"role": "user", "content": ""}],
        [{"role": "assistant", "content": "I began."}],
        [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "y"}]},
        ],
        [{"role": "tool", "tool_call_id": "never", "content": "late"}],
    ]
    async with start() as daemon:
        for messages in conversations:
            for more in ({}, {"tools": [WEATHER]}, {"tools": [WEATHER], "tool_choice": "none"}):
                for model in (LOCAL, "auto"):
                    body = {"model": model, "max_tokens": 3, "messages": messages, **more}
                    answer = await daemon.post("/chat/completions", body)
                    assert answer.status_code in (200, 503), (body, answer.text)
                    assert answer.status_code == 200 or model == "auto", (body, answer.text)
        one_end_each(daemon)


def test_a_reason_with_any_character_fits_into_a_header() -> None:
    decision = Decision(
        "dec_1", "task_1", "step_1", "tool", "x", "local:tool_user", (), 0.5, 0.5, "r", "r", 0.0
    )
    reason = "quotes \x01\x7f\r\nSet-Cookie: x\u2028 and ü " + "y" * 2_000
    value = headers_of(Head(decision, "local/x", unsure=reason))["x-aidecamp-unsure"]
    assert value.isascii() and value.isprintable()
    assert "ü" not in value and httpx.Headers({"x": value})["x"] == value
