"""OpenAI's Node SDK, untouched, against the daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.pool import Pool
from runtime.core import Outcome, Task
from runtime.ledger import records
from tests.fakes import FakeGeneral
from tests.runtime.daemon.clients.running import program
from tests.runtime.daemon.proxy.proxied import proxied

LOCAL = "local/smollm2-135m"


def cities(answer: Any) -> list[str]:
    calls = answer["choices"][0]["message"]["tool_calls"]
    return [json.loads(call["function"]["arguments"])["city"] for call in calls]


async def test_chat_whole_and_streamed_is_one_answer_with_its_usage_and_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = await program(daemon).node("openai_node", "chat", "stream", "choices", "embeddings")
        assert got["chat"]["route"] == "local:generator"
        assert got["chat"]["answer"]["usage"]["completion_tokens"] == 8
        assert daemon.ledger.record(got["chat"]["decision"]) is not None
        stream = got["stream"]
        assert stream["text"] == stream["whole"] == stream["helped"] != ""
        assert stream["usage"] == [stream["used"]] == [8]
        assert stream["helpedUsage"] == 8
        choices = got["choices"]["choices"]
        assert len({choice["message"]["content"] for choice in choices}) > 1
        for choice in choices:
            tokens = choice["logprobs"]["content"]
            assert len(tokens) == 8 and all(len(t["top_logprobs"]) == 2 for t in tokens)
        assert got["embeddings"]["sizes"] == [384, 384]
        assert got["embeddings"]["apart"] < 1e-6
        tasks = records(list(daemon.ledger.events()), Task)
        assert {task.client for task in tasks} == {"OpenAI"}


async def test_tools_are_called_told_of_and_called_in_parallel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = await program(daemon).node("openai_node", "tools", "parallel")
        assert cities(got["tools"]["first"]) == ["Paris"]
        assert got["tools"]["second"]["choices"][0]["message"]["content"]
        assert cities(got["parallel"]["two"]) == ["Paris", "Rome"]
        assert cities(got["parallel"]["streamed"]) == ["Paris", "Rome"]


async def test_the_sdks_own_loop_of_tools_comes_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = (await program(daemon).node("openai_node", "runner"))["runner"]
        assert got["called"] == [{"city": "Paris", "unit": "celsius"}]
        assert got["text"]
        (outcome,) = records(list(daemon.ledger.events()), Outcome)
        assert outcome.status == "done"


async def test_parse_and_responses_give_the_clients_own_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = await program(daemon).node("openai_node", "parse", "responses")
        responses = got["responses"]
        for paint in (*got["parse"].values(), responses["parsed"], responses["final"]):
            assert paint["colour"] in ("blue", "green") and isinstance(paint["shade"], int)
        assert responses["text"] == responses["deltas"] != ""
        assert responses["status"] == "incomplete"
        assert responses["kinds"][0] == "response.created"
        assert responses["kinds"][-1] == "response.incomplete"


async def test_models_are_listed_and_retrieved_and_refusals_have_the_sdks_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    with FakeGeneral(["never"]) as general:
        async with proxied(
            tmp_path, monkeypatch, pool, general=general.base_url, config='privacy = "local"'
        ) as daemon:
            got = await program(daemon).node("openai_node", "models", "errors")
            assert {"auto", LOCAL, "general/fake-general"} <= set(got["models"]["listed"])
            assert got["models"]["one"]["id"] == LOCAL
            short = {n: (e["class"], e["status"], e["param"]) for n, e in got["errors"].items()}
            assert short == {
                "model": ("NotFoundError", 404, "model"),
                "token": ("AuthenticationError", 401, None),
                "stays": ("PermissionDeniedError", 403, None),
                "param": ("BadRequestError", 400, "logit_bias"),
                "streamed": ("NotFoundError", 404, "model"),
            }
            assert general.connections == 0


async def test_aborted_streams_free_their_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool, config="[daemon]\nparallel = 1") as daemon:
        got = (await program(daemon).node("openai_node", "cancelled"))["cancelled"]
        assert got["short"] == "length"
        statuses = [r.status for r in await daemon.ended(3)]
        assert sorted(statuses) == ["cancelled", "cancelled", "done"]
