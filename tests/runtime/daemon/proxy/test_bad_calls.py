"""Requests to the proxy's routes that are wrong somewhere, against real models and a General: each
has an answer, none is a fault of the daemon, and every call has one end on record."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import Counter
from typing import Any

import pytest

from models.pool import Pool
from runtime.core import Call, Decision, Result, Task
from runtime.ledger import records
from tests.fakes import FakeGeneral
from tests.runtime.daemon.bad_requests import CHAT, Bad, Maker
from tests.runtime.daemon.proxy.proxied import Proxied, Start
from tests.runtime.daemon.proxy.test_serving import COLOURS, FORMAT, LOCAL, MAIL, WEATHER
from tests.runtime.daemon.wire import line

COUNT = 300
SEED = 41
WORKERS = 16
ANYTHING = {
    "type": "function",
    "function": {
        "name": "f",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                "b": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": "x"},
                "c": {"type": "number", "minimum": 0, "maximum": 9},
                "d": {"$ref": "#/$defs/d"},
            },
            "required": ["a", "c"],
            "$defs": {"d": COLOURS},
        },
    },
}
USER = {"role": "user", "content": "the weather in Paris, 3"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1]}'}}
SAID = [
    {"role": "developer", "content": "short"},
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "Error: none"},
]
SHORT = {"max_tokens": 3}
BODIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("chat/completions", CHAT),
    ("chat/completions", {"model": LOCAL, "messages": [USER], "tools": [WEATHER, MAIL], **SHORT}),
    ("chat/completions", {"model": LOCAL, "messages": [USER], "tools": [ANYTHING], **SHORT}),
    ("chat/completions", {"model": "auto", "messages": [USER], "tools": [ANYTHING, WEATHER]}),
    ("chat/completions", {"model": LOCAL, "messages": SAID, "tools": [ANYTHING], **SHORT}),
    ("chat/completions", {"model": LOCAL, "messages": [USER], "response_format": FORMAT, **SHORT}),
    (
        "chat/completions",
        {
            "model": LOCAL,
            "messages": [USER],
            "n": 2,
            "stream": True,
            "stream_options": {"include_usage": True},
            "logprobs": True,
            "top_logprobs": 2,
            "stop": ["e"],
            "top_p": 0.9,
            "metadata": {"session_id": "s"},
            "aidecamp": {"explain": True},
            **SHORT,
        },
    ),
    ("chat/completions", {"model": "general", "messages": SAID, "stream": True, "seed": 1}),
    ("responses", {"model": LOCAL, "input": "hi", "max_output_tokens": 16, "stream": True}),
    (
        "responses",
        {
            "model": LOCAL,
            "instructions": "short",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
            "tools": [{"type": "function", **WEATHER["function"]}],  # type: ignore[dict-item]
            "max_output_tokens": 16,
        },
    ),
    ("embeddings", {"model": "auto", "input": ["one", "two"], "encoding_format": "base64"}),
    ("embeddings", {"model": "general", "input": "one"}),
)


class Calls(Maker):
    """Of the proxy's routes alone, from bodies that reach further than most."""

    def __init__(self, seed: int, token: str) -> None:
        super().__init__(seed, token)
        self.makers = (
            *(self.wrong_type,) * 8,
            *(self.fields, self.fields, self.bytes_, self.utf8, self.nesting, self.left),
        )

    def body(self) -> tuple[str, Any]:
        path, body = self.dice.choice(BODIES)
        return f"/v1/{path}", copy.deepcopy(body)


async def answered(daemon: Proxied, bad: Bad, statuses: Counter[int]) -> None:
    async with line(daemon.home / "run" / "daemon.sock") as one:
        await one.send(bad.data)
        if bad.leaves:
            return
        answer = await one.answer(bad.method)
    said = f"{bad.kind}: {answer} to {bad.data[-3_000:]!r}"
    assert answer is not None and answer.status != 500, said
    assert b"A fault in Aidecamp itself" not in answer.body, said
    statuses[answer.status] += 1
    if answer.status >= 400:
        try:
            answer.error()
        except (AssertionError, KeyError, ValueError) as error:
            raise AssertionError(said) from error


async def test_bad_calls_are_answered_and_each_has_one_end(
    start: Start, caplog: pytest.LogCaptureFixture, pool: Pool
) -> None:
    statuses: Counter[int] = Counter()
    with FakeGeneral(["there"]) as general:
        async with start(general) as daemon:
            maker, left = Calls(SEED, daemon.token), iter(range(COUNT))

            async def work() -> None:
                for _ in left:
                    await answered(daemon, maker.one(), statuses)

            with caplog.at_level(logging.ERROR):
                async with asyncio.TaskGroup() as group:
                    for _ in range(WORKERS):
                        group.create_task(work())
                said = await daemon.health(lambda said: not said["running"])
            assert caplog.messages == []
            assert said["status"] == "ok"
            events = list(daemon.ledger.events())
            tasks = [task.id for task in records(events, Task)]
            assert sorted(tasks) == sorted(result.task_id for result in records(events, Result))
            made = [decision.id for decision in records(events, Decision)]
            assert len(made) == len(set(made))
            sent = sum(call.bytes_sent for call in records(events, Call))
            assert sent == sum(map(len, general.received))
            counters = pool.generator().counters
            assert counters is not None and counters.running == 0
    assert {200, 400, 404} <= set(statuses), statuses
    assert statuses[200] > COUNT / 20, statuses
