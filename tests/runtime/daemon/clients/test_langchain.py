"""LangChain's ChatOpenAI, untouched, against the daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.pool import Pool
from runtime.core import Outcome, Task
from runtime.ledger import records
from tests.runtime.daemon.clients.running import program
from tests.runtime.daemon.proxy.proxied import proxied


async def test_it_chats_streams_and_embeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = await program(daemon).python(
            "langchain_chat", "chat", "stream", "responses", "embeddings"
        )
        assert got["chat"]["text"] == got["stream"]["text"] != ""
        assert got["chat"]["finish"] == "length"
        assert got["chat"]["model"] == "local/smollm2-135m"
        assert got["chat"]["usage"]["output_tokens"] == 8
        assert got["stream"]["usage"]["output_tokens"] == 8
        assert got["responses"]["text"].startswith(got["chat"]["text"])
        assert got["embeddings"] == [384, 384]
        tasks = records(list(daemon.ledger.events()), Task)
        assert {task.client for task in tasks} == {"OpenAI"}
        assert len({task.session for task in tasks[:3]}) == 1


async def test_its_tools_are_called_and_what_they_return_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = (await program(daemon).python("langchain_chat", "tools"))["tools"]
        assert got["calls"] == [{"city": "Paris"}]
        assert got["results"] == ["18 degrees and sunny in Paris"]
        assert got["answer"]
        assert got["both"] == [{"city": "Paris"}, {"city": "Rome"}]
        (outcome,) = records(list(daemon.ledger.events()), Outcome)
        assert outcome.status == "done"


async def test_structured_output_is_its_own_type_by_schema_by_function_and_any_object_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        got = (await program(daemon).python("langchain_chat", "structured"))["structured"]
        for method in ("json_schema", "function_calling"):
            assert got[method]["colour"] in ("blue", "green")
            assert isinstance(got[method]["shade"], int)
        assert isinstance(got["json_mode"], dict)
