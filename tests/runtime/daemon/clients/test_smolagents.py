"""An agent loop of smolagents runs whole on ``model: auto``: its easy call is served here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.pool import Pool
from runtime.core import Call, Result, Task
from runtime.ledger import records
from tests.fakes import Asked, FakeGeneral
from tests.runtime.daemon.clients.running import program
from tests.runtime.daemon.proxy.proxied import proxied


def calling(name: str, **arguments: Any) -> dict[str, Any]:
    return {
        "id": f"call_{name}",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments)},
    }


def scripted(asked: Asked) -> None:
    """The General: after the first result it calls a tool, after the second it has the answer."""
    body = json.loads(asked.body)
    results = [
        part["text"]
        for message in body["messages"]
        if message["role"] == "user"
        for part in message["content"]
        if part["text"].startswith("Observation:")
    ]
    if len(results) == 1:
        call = calling("get_weather", city="Rome")
    else:
        timer, weather = (result.removeprefix("Observation:\n") for result in results)
        call = calling("final_answer", answer=f"{timer}; {weather}")
    _answer(asked, call, streamed=bool(body.get("stream")))


def _answer(asked: Asked, call: dict[str, Any], *, streamed: bool) -> None:
    usage = {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    head = {"id": "fake", "created": 0, "model": "fake-general"}
    end = {"index": 0, "finish_reason": "tool_calls"}
    if not streamed:
        whole = {"object": "chat.completion", "choices": [{**end, "message": message}]}
        asked.answer(json.dumps({**head, **whole, "usage": usage}))
        return
    delta = {**message, "tool_calls": [{"index": 0, **call}]}
    kind = {"object": "chat.completion.chunk"}
    chunks = [
        {**head, **kind, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, **kind, "choices": [{**end, "delta": {}}]},
        {**head, **kind, "choices": [], "usage": usage},
    ]
    asked.send_response(200)
    asked.send_header("Content-Type", "text/event-stream")
    asked.end_headers()
    lines = [json.dumps(chunk) for chunk in chunks]
    asked.wfile.write("".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode())


@pytest.mark.parametrize("how", ["whole", "stream"])
async def test_the_loop_ends_with_the_right_answer_of_local_and_general_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool, how: str
) -> None:
    with FakeGeneral([scripted]) as general:
        async with proxied(
            tmp_path,
            monkeypatch,
            pool,
            general=general.base_url,
            config='privacy = "auto"',
            policy="risk_alpha = 0.0",
        ) as daemon:
            got = await program(daemon).python("smolagents_loop", "set a timer for 5 minutes", how)
            assert got["answer"] == "timer T-35 is running; 18 degrees in Rome"
            assert got["given"] == {"set_timer": [5], "get_weather": ["Rome"]}
            results = await daemon.ended(3)
            assert [result.status for result in results] == ["done"] * 3
            events = list(daemon.ledger.events())
            served = [c for c in records(events, Call) if c.role in ("tool_user", "general")]
            assert [call.role for call in served] == ["tool_user", "general", "general"]
            assert [call.bytes_sent > 0 for call in served] == [False, True, True]
            assert [len(body) for body in general.received] == [c.bytes_sent for c in served[1:]]
            tasks = records(events, Task)
            assert {task.text for task in tasks} == {"set a timer for 5 minutes"}
            assert {task.client for task in tasks} == {"OpenAI"}
            assert len({task.session for task in tasks}) == 1
            assert tasks[0].session.startswith("ses_")
            local = records(list(daemon.ledger.events(tasks[0].id)), Result)
            assert local[0].answer == [{"name": "set_timer", "arguments": {"minutes": 5}}]
