"""Proxied calls, served for real: on this machine, by a General on loopback, or not at all."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import numpy as np
import pytest

from models.pool import Pool
from runtime.core import Outcome
from runtime.ledger import records
from tests.fakes import Asked, FakeGeneral, completion
from tests.runtime.daemon.proxy.proxied import TIMER, Start

LOCAL = "local/smollm2-135m"
COLOURS: Mapping[str, Any] = {
    "type": "object",
    "properties": {"colour": {"enum": ["blue", "green"]}, "shade": {"type": "integer"}},
    "required": ["colour", "shade"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "c", "schema": COLOURS}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the current weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "the city"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    },
}
MAIL = {
    "type": "function",
    "function": {
        "name": "delete_mailbox",
        "description": "Deletes a mailbox with all of its messages.",
        "parameters": {"type": "object", "properties": {"mailbox": {"type": "string"}}},
    },
}
PLAN = "Plan a three-week trip through Asia and weigh the options against each other"
TRUSTING = "risk_alpha = 0.0"
"""What is likelier right than wrong is kept: nothing is promised of tools that clients bring."""


# ---- on this machine


async def test_a_pinned_call_is_answered_here_and_recorded(start: Start) -> None:
    async with start() as daemon:
        answer = await daemon.chat("Say hello.", model=LOCAL, max_tokens=8)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["model"] == LOCAL
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 8
        assert answer.headers["x-aidecamp-route"] == "local:generator"
        (call,) = daemon.calls(answer)
        assert call.answer == body["choices"][0]["message"]["content"]
        assert (call.bytes_sent, call.tokens_out) == (0, 8)
        assert daemon.task(answer).client == "python-httpx"
        assert [r.status for r in await daemon.ended(1)] == ["done"]


async def test_a_stream_says_what_the_whole_answer_says(start: Start) -> None:
    async with start() as daemon:
        ask = {"model": LOCAL, "max_tokens": 24, "stop": ["three"]}
        whole = (await daemon.chat("Count: one, two, three, four", **ask)).json()
        chunks = await daemon.streamed(
            "Count: one, two, three, four", stream_options={"include_usage": True}, **ask
        )
        deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
        text = "".join(d.get("content") or "" for d in deltas)
        assert text == whole["choices"][0]["message"]["content"]
        assert "three" not in text
        assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
        assert all(c["usage"] is None for c in chunks[:-1])


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_by_schema_meets_it(start: Start, stream: bool) -> None:
    async with start() as daemon:
        ask = {"model": LOCAL, "response_format": FORMAT}
        if stream:
            chunks = await daemon.streamed("The sky's colour, shade 3", **ask)
            text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)
        else:
            answer = await daemon.chat("The sky's colour, shade 3", **ask)
            text = answer.json()["choices"][0]["message"]["content"]
        jsonschema.validate(json.loads(text), COLOURS)


async def test_several_choices_differ_and_each_comes_to_its_end(start: Start) -> None:
    async with start() as daemon:
        answer = await daemon.chat(
            "Tell me about rivers.", model=LOCAL, n=3, max_tokens=16, seed=7, logprobs=True
        )
        choices = answer.json()["choices"]
        assert [c["index"] for c in choices] == [0, 1, 2]
        assert len({c["message"]["content"] for c in choices}) > 1
        assert all(len(c["logprobs"]["content"]) <= 16 for c in choices)
        assert len(daemon.calls(answer)) == 3
        joined = "".join(t["token"] for t in choices[0]["logprobs"]["content"])
        assert joined.startswith(choices[0]["message"]["content"][:10])


async def test_a_tool_is_called_and_what_it_returned_is_told_of_that_call(start: Start) -> None:
    async with start() as daemon:
        words = "What is the weather in Paris in celsius?"
        first = await daemon.chat(words, model=LOCAL, tools=[WEATHER, MAIL])
        choice = first.json()["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        (call,) = choice["message"]["tool_calls"]
        assert call["function"]["name"] == "get_weather"
        assert json.loads(call["function"]["arguments"]) == {"city": "Paris", "unit": "celsius"}
        second = await daemon.post(
            "/chat/completions",
            {
                "model": LOCAL,
                "max_tokens": 8,
                "tools": [WEATHER, MAIL],
                "messages": [
                    {"role": "user", "content": words},
                    choice["message"],
                    {"role": "tool", "tool_call_id": call["id"], "content": "Error: no such city"},
                ],
            },
        )
        assert second.status_code == 200, second.text
        assert second.json()["choices"][0]["message"]["content"]
        (outcome,) = records(daemon.events(first), Outcome)
        assert (outcome.action_id, outcome.status) == (call["id"], "failed")
        assert daemon.task(first).session == daemon.task(second).session


async def test_two_orders_are_two_calls_unless_the_client_takes_one_only(start: Start) -> None:
    async with start() as daemon:
        words = "Tell me the weather in Paris, and then tell me the weather in Rome."
        both = await daemon.chat(words, model=LOCAL, tools=[WEATHER])
        calls = both.json()["choices"][0]["message"]["tool_calls"]
        cities = [json.loads(c["function"]["arguments"])["city"] for c in calls]
        assert cities == ["Paris", "Rome"]
        assert len({c["id"] for c in calls}) == 2
        one = await daemon.chat(words, model=LOCAL, tools=[WEATHER], parallel_tool_calls=False)
        assert len(one.json()["choices"][0]["message"]["tool_calls"]) == 1


async def test_the_named_tool_is_the_one_that_is_called(start: Start) -> None:
    async with start() as daemon:
        chunks = await daemon.streamed(
            "Is it warm in Paris?",
            model=LOCAL,
            tools=[WEATHER, MAIL],
            tool_choice={"type": "function", "function": {"name": "delete_mailbox"}},
        )
        deltas = [d for c in chunks for d in c["choices"][0]["delta"].get("tool_calls", [])]
        assert deltas[0]["function"]["name"] == "delete_mailbox"
        json.loads("".join(d["function"]["arguments"] for d in deltas))


async def test_embeddings_are_the_encoders_whichever_form_is_asked_for(
    start: Start, pool: Pool
) -> None:
    async with start() as daemon:
        body = {"model": "auto", "input": ["a river", "the same river"]}
        plain = await daemon.post("/embeddings", body)
        packed = await daemon.post("/embeddings", {**body, "encoding_format": "base64"})
        vectors = np.array([one["embedding"] for one in plain.json()["data"]], np.float32)
        assert np.allclose(vectors, pool.encoder().embed(body["input"]))
        raw = base64.b64decode(packed.json()["data"][0]["embedding"])
        assert np.array_equal(np.frombuffer(raw, "<f4"), vectors[0])
        long = await daemon.post("/embeddings", {"model": "auto", "input": ["ok", "word " * 300]})
        assert (long.status_code, long.json()["error"]["param"]) == (400, "input[1]")
        (call,) = daemon.calls(plain)
        assert (call.kind, call.role) == ("embed", "encoder")


async def test_responses_are_served_like_chat(start: Start) -> None:
    async with start() as daemon:
        answer = await daemon.post(
            "/responses", {"model": LOCAL, "input": "Say hi.", "max_output_tokens": 6}
        )
        body = answer.json()
        assert (body["object"], body["status"]) == ("response", "incomplete")
        assert body["usage"]["output_tokens"] == 6
        refused = await daemon.post(
            "/responses", {"model": LOCAL, "input": "hi", "previous_response_id": "resp_1"}
        )
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "previous_response_id"


async def test_every_model_is_listed_and_an_unknown_one_is_404(start: Start) -> None:
    async with start("http://127.0.0.1:9/v1") as daemon:
        listed = [m["id"] for m in (await daemon.http.get(f"{daemon.url}/models")).json()["data"]]
        assert {"auto", LOCAL, "local/minilm-l6", "general/fake-general"} <= set(listed)
        one = await daemon.http.get(f"{daemon.url}/models/{LOCAL}")
        assert one.json()["id"] == LOCAL
        for path in ("gpt-4o", "local/nothing", "local/../../etc/passwd", "general/other"):
            assert (await daemon.chat("hi", model=path)).status_code == 404
            assert (await daemon.http.get(f"{daemon.url}/models/{path}")).status_code == 404
        assert daemon.results() == []


async def test_what_a_local_model_cannot_honour_is_a_400_that_names_it(start: Start) -> None:
    async with start() as daemon:
        answer = await daemon.chat("hi", model=LOCAL, logit_bias={"5": 10})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "logit_bias")
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
        body = {"model": LOCAL, "messages": [{"role": "user", "content": [picture]}]}
        answer = await daemon.post("/chat/completions", body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "messages[0].content[0].type"


# ---- the General


async def test_a_forwarded_call_arrives_and_returns_unchanged(start: Start) -> None:
    with FakeGeneral(["a plan"]) as general:
        async with start(general) as daemon:
            raw = (
                b'{ "model":"general/fake-general",  "messages":[{"role":"user",'
                b'"content":"Gr\\u00fc\xc3\x9fe"}],"temperature":1.0e0, "x_new": [1.50, null]}'
            )
            answer = await daemon.http.post(f"{daemon.url}/chat/completions", content=raw)
            assert answer.status_code == 200, answer.text
            assert general.received[0] == raw.replace(b"general/fake-general", b"fake-general")
            assert general.heads[0]["authorization"] == "Bearer k"
            assert answer.content == completion("a plan").encode()
            assert answer.headers["x-aidecamp-route"] == "general"
            (call,) = daemon.calls(answer)
            assert (call.role, call.tokens_in, call.tokens_out) == ("general", 50, 20)
            assert call.bytes_sent == len(general.received[0])


async def test_secrets_stay_here_and_come_back_in_the_answer(start: Start) -> None:
    def echo(asked: Asked) -> None:
        said = json.loads(asked.body)["messages"][-1]["content"]
        asked.answer(completion(f"You said: {said}"))

    with FakeGeneral([echo]) as general:
        async with start(general) as daemon:
            words = f"{PLAN}. Write to jane.doe@example.com about it."
            answer = await daemon.chat(words, model="auto")
            assert answer.status_code == 200, answer.text
            assert b"jane.doe@example.com" not in general.received[0]
            assert answer.json()["choices"][0]["message"]["content"] == f"You said: {words}"


async def test_auto_sends_a_plan_away_and_explains_it_on_request(start: Start) -> None:
    with FakeGeneral(["a plan"]) as general:
        async with start(general) as daemon:
            answer = await daemon.chat(PLAN, model="auto", aidecamp={"explain": True})
            decision = answer.json()["aidecamp"]["decision"]
            assert (decision["chosen"], decision["kind"]) == ("general", "plan")
            assert b"aidecamp" not in general.received[0]


async def test_auto_serves_a_tool_call_here_where_that_is_enough(start: Start) -> None:
    with FakeGeneral(["never"]) as general:
        async with start(general, policy=TRUSTING) as daemon:
            words = "set a timer for 5 minutes"
            answer = await daemon.chat(words, model="auto", tools=[TIMER, MAIL])
            assert answer.headers["x-aidecamp-route"] == "local:tool_user", answer.headers
            (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
            assert json.loads(call["function"]["arguments"]) == {"minutes": 5}
            assert general.received == []
            kept = daemon.decisions(answer)
            assert len(kept) == 2 and kept[1].previous == kept[0].id


async def test_a_parameter_beyond_local_models_takes_an_auto_call_to_the_general(
    start: Start,
) -> None:
    with FakeGeneral(["ok"]) as general:
        async with start(general) as daemon:
            answer = await daemon.chat("hello", model="auto", logit_bias={"5": 1})
            (decision,) = daemon.decisions(answer)
            assert decision.rule == "unserved:logit_bias"
            assert json.loads(general.received[0])["logit_bias"] == {"5": 1}
            private = await daemon.post(
                "/chat/completions",
                {
                    "model": "auto",
                    "logit_bias": {"5": 1},
                    "messages": [{"role": "user", "content": "hello"}],
                },
                **{"x-aidecamp-privacy": "local"},
            )
            assert (private.status_code, private.json()["error"]["param"]) == (400, "logit_bias")
            assert len(general.received) == 1


async def test_a_general_that_fails_gives_way_to_the_local_answer_marked_unsure(
    start: Start,
) -> None:
    with FakeGeneral([(500, "{}")]) as general:
        async with start(general) as daemon:
            words = "What is the weather in Paris in celsius?"
            answer = await daemon.chat(words, model="auto", tools=[WEATHER, MAIL])
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-aidecamp-route"] == "local:tool_user"
            assert "500" in answer.headers["x-aidecamp-unsure"]
            assert [r.status for r in await daemon.ended(1)] == ["unsure"]
            sent = [c for c in daemon.calls(answer) if c.role == "general"]
            assert sum(c.bytes_sent for c in sent) == sum(map(len, general.received))
            pinned = await daemon.chat(words, model="general/fake-general")
            assert pinned.status_code == 502


async def test_an_error_that_is_the_clients_own_passes_through(start: Start) -> None:
    says = '{"error": {"message": "no such parameter", "code": "bad"}}'
    with FakeGeneral([(400, says)]) as general:
        async with start(general) as daemon:
            answer = await daemon.chat("hello", model="general/fake-general")
            assert (answer.status_code, answer.text) == (400, says)
            assert [r.status for r in await daemon.ended(1)] == ["failed"]


async def test_nothing_leaves_in_privacy_local(start: Start) -> None:
    with FakeGeneral(["never"]) as general:
        async with start(general, "local") as daemon:
            for model in ("auto", "general/fake-general", "general"):
                answer = await daemon.chat(PLAN, model=model)
                assert answer.status_code == 403, answer.text
            embedded = await daemon.post("/embeddings", {"model": "general", "input": "x"})
            assert embedded.status_code == 403
            looser = await daemon.post(
                "/chat/completions",
                {"model": "auto", "messages": [{"role": "user", "content": PLAN}]},
                **{"x-aidecamp-privacy": "auto"},
            )
            assert looser.status_code == 403
            assert general.received == [] and general.connections == 0


async def test_ask_waits_for_a_person_and_sends_what_was_shown(start: Start) -> None:
    with FakeGeneral(["a plan"]) as general:
        async with start(general, "ask") as daemon:
            for verdict, status in (("approve", 200), ("deny", 403)):
                call = asyncio.create_task(daemon.chat(PLAN, model="auto"))
                health = await daemon.health(lambda said: said["waiting"])
                (task_id,) = health["running"]
                assert general.received == [] or verdict == "deny"
                one = (await daemon.http.get(f"{daemon.url}/tasks/{task_id}")).json()
                shown = one["waiting"][0]["send"]
                assert shown["messages"][0]["content"] == PLAN
                await daemon.http.post(f"{daemon.url}/tasks/{task_id}/{verdict}")
                answer = await call
                assert answer.status_code == status, answer.text
                if verdict == "approve":
                    assert json.loads(general.received[0]) == shown["body"]
            assert len(general.received) == 1
            assert [r.status for r in await daemon.ended(2)] == ["done", "declined"]


async def test_a_plan_with_no_general_says_what_to_do(start: Start) -> None:
    async with start() as daemon:
        answer = await daemon.chat(PLAN, model="auto")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "NoGeneral")
        assert "decisions show dec_" in answer.json()["error"]["message"]


# ---- clients


async def test_a_client_that_opted_out_leaves_numbers_and_no_words(start: Start) -> None:
    config = '[record]\nopt_out = ["quiet"]'
    async with start(config=config) as daemon:
        answer = await daemon.post(
            "/chat/completions",
            {
                "model": LOCAL,
                "max_tokens": 6,
                "messages": [{"role": "user", "content": "the word is xylophone"}],
            },
            **{"x-aidecamp-client": "quiet"},
        )
        assert answer.status_code == 200
        await daemon.ended(1)
        written = json.dumps([e.to_json() for e in daemon.ledger.events()])
        assert "xylophone" not in written
        said = answer.json()["choices"][0]["message"]["content"]
        assert said and said not in json.loads(json.dumps(written))
        (call,) = daemon.calls(answer)
        assert call.tokens_out == 6
        assert daemon.task(answer).client == "quiet"


async def test_a_client_that_goes_away_frees_its_slot(start: Start, pool: Pool) -> None:
    config = "[daemon]\nparallel = 1"
    async with start(config=config) as daemon:
        body = {
            "model": LOCAL,
            "max_tokens": 1000,
            "messages": [{"role": "user", "content": "Write a long story."}],
        }
        for stream in (True, False):
            async with daemon.http.stream(
                "POST", f"{daemon.url}/chat/completions", json={**body, "stream": True}
            ) as answer:
                async for line in answer.aiter_lines():
                    if '"content":"' in line and '"content":""' not in line:
                        break
            if not stream:
                gone = asyncio.create_task(daemon.post("/chat/completions", body))
                await daemon.health(lambda said: said["running"])
                gone.cancel()
            short = await daemon.chat("hi", model=LOCAL, max_tokens=1)
            assert short.status_code == 200
        statuses = [r.status for r in await daemon.ended(5)]
        assert sorted(statuses) == ["cancelled"] * 3 + ["done"] * 2
        counters = pool.generator().counters
        assert counters is not None and counters.running == 0
