"""OpenAI's Python SDK, untouched, against the daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from models.pool import Pool
from runtime.core import Call, Decision, Task
from runtime.ledger import records
from tests.fakes import Asked, FakeGeneral, completion
from tests.runtime.daemon.clients.running import program
from tests.runtime.daemon.proxy.proxied import Proxied, proxied

LOCAL = "local/smollm2-135m"
BEGUN = ["response.created", "response.in_progress"]
BEGIN = [*BEGUN, "response.output_item.added", "response.content_part.added"]
END = ["response.output_text.done", "response.content_part.done", "response.output_item.done"]


def cities(answer: Any) -> list[str]:
    calls = answer["choices"][0]["message"]["tool_calls"]
    assert len({call["id"] for call in calls}) == len(calls)
    return [json.loads(call["function"]["arguments"])["city"] for call in calls]


def tasks(daemon: Proxied) -> list[Task]:
    return records(list(daemon.ledger.events()), Task)


async def test_chat_whole_and_streamed_is_one_answer_with_its_usage_and_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = await program(daemon).python("openai_sync", "chat", "stream")
        chat, stream = got["chat"], got["stream"]
        assert chat["route"] == "local:generator"
        assert chat["answer"]["object"] == "chat.completion"
        assert chat["answer"]["usage"]["completion_tokens"] == 8
        made = daemon.ledger.record(chat["decision"])
        assert made is not None and isinstance(made.record, Decision)
        assert made.record.chosen == "local:generator"
        whole = stream["whole"]["choices"][0]
        assert stream["text"] == whole["message"]["content"] != ""
        assert stream["finish"] == whole["finish_reason"] == "stop"
        (usage,) = stream["usage"]
        assert usage == stream["whole"]["usage"] | {"prompt_tokens_details": ANY}
        assert usage["completion_tokens"] > 1
        assert stream["ids"] == 1
        assert {"chunk", "content.delta", "content.done"} <= set(stream["kinds"])
        assert stream["final"]["choices"][0]["message"]["content"] == stream["text"]
        assert stream["final"]["usage"]["completion_tokens"] == usage["completion_tokens"]
        assert [r.status for r in await daemon.ended(4)] == ["done"] * 4
        assert {task.client for task in tasks(daemon)} == {"OpenAI"}
        calls = records(list(daemon.ledger.events()), Call)
        assert calls[0].answer == chat["answer"]["choices"][0]["message"]["content"]


async def test_tools_are_called_told_of_and_called_in_parallel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = await program(daemon).python("openai_sync", "tools", "parallel")
        assert got["tools"]["first"]["choices"][0]["finish_reason"] == "tool_calls"
        assert cities(got["tools"]["first"]) == ["Paris"]
        assert got["tools"]["second"]["choices"][0]["message"]["content"]
        assert cities(got["parallel"]["two"]) == ["Paris", "Rome"]
        assert cities(got["parallel"]["streamed"]) == ["Paris", "Rome"]
        assert len(cities(got["parallel"]["one"])) == 1
        first, second, *others = tasks(daemon)
        assert first.session == second.session not in {task.session for task in others}


async def test_parse_gives_the_clients_own_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = (await program(daemon).python("openai_sync", "parse"))["parse"]
        assert got["type"] == "Paint"
        for paint in (got["paint"], got["streamed"]):
            assert paint["colour"] in ("blue", "green") and isinstance(paint["shade"], int)
        assert got["arguments"] == {"city": "Paris"}


async def test_several_choices_come_with_their_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = (await program(daemon).python("openai_sync", "choices"))["choices"]
        assert [choice["index"] for choice in got["choices"]] == [0, 1, 2]
        assert len({choice["message"]["content"] for choice in got["choices"]}) > 1
        for choice in got["choices"]:
            tokens = choice["logprobs"]["content"]
            assert len(tokens) == 8
            assert all(len(t["top_logprobs"]) == 2 and t["logprob"] <= 0 for t in tokens)
            assert "".join(t["token"] for t in tokens).startswith(choice["message"]["content"])


async def test_embeddings_are_the_same_in_base64_as_in_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = (await program(daemon).python("openai_sync", "embeddings"))["embeddings"]
        assert got["sizes"] == [384, 384]
        assert got["apart"] < 1e-6
        assert all(abs(square - 1) < 1e-3 for square in got["squares"])
        assert got["usage"]["prompt_tokens"] == got["usage"]["total_tokens"] > 0


async def test_responses_are_made_streamed_parsed_and_call_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = (await program(daemon).python("openai_sync", "responses"))["responses"]
        assert got["text"] == got["deltas"] != ""
        assert got["answer"]["status"] == "incomplete"
        assert got["answer"]["incomplete_details"] == {"reason": "max_output_tokens"}
        kinds = [kind for kind in got["kinds"] if kind != "response.output_text.delta"]
        assert kinds == [*BEGIN, *END, "response.incomplete"]
        assert got["parsed"] == got["final"]
        assert got["parsed"]["colour"] in ("blue", "green")
        (call,) = got["called"]
        assert (call["type"], call["name"]) == ("function_call", "get_weather")
        assert json.loads(call["arguments"]) == {"city": "Paris"}


async def test_models_are_listed_and_retrieved_and_refusals_have_the_sdks_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    with FakeGeneral(["never"]) as general:
        async with proxied(
            tmp_path, monkeypatch, pool, general=general.base_url, config='privacy = "local"'
        ) as daemon:
            got = await program(daemon).python("openai_sync", "models", "errors")
            assert {"auto", LOCAL, "general/fake-general"} <= set(got["models"]["listed"])
            assert got["models"]["one"]["id"] == LOCAL
            short = {
                name: (error["class"], error["status"], error["param"])
                for name, error in got["errors"].items()
            }
            assert short == {
                "model": ("NotFoundError", 404, "model"),
                "retrieve": ("NotFoundError", 404, "model"),
                "token": ("AuthenticationError", 401, None),
                "stays": ("PermissionDeniedError", 403, None),
                "param": ("BadRequestError", 400, "logit_bias"),
                "range": ("BadRequestError", 400, "temperature"),
                "streamed": ("NotFoundError", 404, "model"),
                "embedded": ("BadRequestError", 400, "input[0]"),
            }
            assert all(error["code"] and error["type"] for error in got["errors"].values())
            assert general.connections == 0


async def test_a_full_queue_is_a_rate_limit_and_a_closed_stream_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    config = "[daemon]\nparallel = 1\nqueue = 0"
    async with proxied(tmp_path, monkeypatch, pool, config=config) as daemon:
        got = (await program(daemon).python("openai_sync", "busy"))["busy"]
        assert got["first"]
        assert got["refused"]["status"] == 429 and float(got["refused"]["after"]) > 0
        assert got["again"] == "length"
        statuses = [r.status for r in await daemon.ended(3)]
        assert statuses.count("cancelled") == 1 and statuses.count("done") == 1


async def test_what_auto_sends_away_comes_back_whole_and_as_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    def reply(asked: Asked) -> None:
        if not json.loads(asked.body).get("stream"):
            asked.answer(completion("a plan"))
            return
        asked.send_response(200)
        asked.send_header("Content-Type", "text/event-stream")
        asked.end_headers()
        for content in ("a ", "plan"):
            chunk = {
                "id": "fake",
                "object": "chat.completion.chunk",
                "created": 0,
                "model": "fake-general",
                "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}],
            }
            asked.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        asked.wfile.write(b"data: [DONE]\n\n")

    with FakeGeneral([reply]) as general:
        async with proxied(
            tmp_path, monkeypatch, pool, general=general.base_url, config='privacy = "auto"'
        ) as daemon:
            got = (await program(daemon).python("openai_sync", "general"))["general"]
            assert got == {"route": "general", "text": "a plan", "streamed": "a plan"}
            calls = records(list(daemon.ledger.events()), Call)
            assert [call.answer for call in calls] == ["a plan", "a plan"]
            assert {task.client for task in tasks(daemon)} == {"OpenAI"}


async def test_the_asynchronous_half_gets_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        parts = ("chat", "parse", "together", "embeddings", "responses", "errors")
        got = await program(daemon).python("openai_async", *parts)
        assert got["chat"]["route"] == "local:generator"
        assert got["chat"]["text"] == got["chat"]["whole"] != ""
        assert got["chat"]["usage"] == [8]
        assert got["parse"]["colour"] in ("blue", "green")
        assert [json.loads(one) for one in got["together"]] == [{"id": n} for n in range(6)]
        assert got["embeddings"] == 384
        assert got["responses"]["text"] == got["responses"]["final"] != ""
        assert got["responses"]["kinds"][-1] == "response.incomplete"
        assert got["errors"] == {"param": "top_logprobs", "status": 400}
        assert {task.client for task in tasks(daemon)} == {"AsyncOpenAI"}


async def test_cancelled_streams_free_their_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool, config="[daemon]\nparallel = 1") as daemon:
        got = await program(daemon).python("openai_async", "cancelled")
        assert got["cancelled"] == "length"
        statuses = [r.status for r in await daemon.ended(3)]
        assert sorted(statuses) == ["cancelled", "cancelled", "done"]
