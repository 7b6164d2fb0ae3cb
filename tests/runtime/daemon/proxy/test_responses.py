"""A responses request becomes a chat request, and a chat's answer a response that the SDK reads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from models.errors import GeneralFailed
from runtime.daemon.errors import BadRequest
from runtime.daemon.proxy import answers
from runtime.daemon.proxy.answers import ChunkWriter, Json
from runtime.daemon.proxy.functions import ToolChoice
from runtime.daemon.proxy.requests import ChatRequest, Format, read_chat
from runtime.daemon.proxy.responses import (
    ResponsesRequest,
    events_from_chunks,
    from_completion,
    to_chat,
)
from runtime.daemon.proxy.unserved import unserved
from tests.runtime.daemon.proxy.test_requests import JSON

USAGE = answers.usage_of(10, 4, 8)
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object"},
    "strict": True,
}
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def raw(**changes: Any) -> bytes:
    return json.dumps({"model": "auto", "input": "hello"} | changes).encode()


def read(**changes: Any) -> ResponsesRequest:
    return to_chat(raw(**changes))


def names(**changes: Any) -> list[str]:
    return [one.partition(": ")[0] for one in unserved(read(**changes))]


def message(**changes: Any) -> Json:
    return {"type": "message", "role": "user", "content": "hi"} | changes


# ---- reading


def test_input_and_instructions_become_messages() -> None:
    assert read(instructions="Be brief.").messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
    )


def test_the_items_of_a_turn_with_tools_become_one_conversation() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
        message(role="assistant", content=[{"type": "output_text", "text": "I look."}]),
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "rain"}],
        },
        {"type": "function_call", "call_id": "c3", "name": "weather", "arguments": "{}"},
    ]
    request = read(input=items)
    assert [one["role"] for one in request.messages] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]
    assert [call["id"] for call in request.messages[1]["tool_calls"]] == ["c1", "c2"]
    assert request.messages[3] == {
        "role": "tool",
        "tool_call_id": "c2",
        "content": [{"type": "text", "text": "rain"}],
    }
    assert unserved(request) == []


def test_parameters_are_read_under_their_own_names() -> None:
    request = read(
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        max_output_tokens=20,
        temperature=0.2,
        top_p=0.5,
        stream=True,
        parallel_tool_calls=False,
        metadata={"a": "b"},
        user="u",
        store=False,
        include=["message.output_text.logprobs"],
        top_logprobs=2,
        text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
    )
    assert request.tools[0]["function"]["name"] == "weather"
    assert request.tool_choice == ToolChoice("required", "weather")
    assert (request.max_tokens, request.temperature, request.top_p) == (20, 0.2, 0.5)
    assert request.stream and request.include_usage and not request.parallel_tool_calls
    assert request.response_format == Format("json_schema", {"type": "object"}, "x")
    assert (request.logprobs, request.top_logprobs) == (True, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tools": [WEATHER], "tool_choice": "required", "instructions": "x"},
        {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}},
        {"text": {"format": {"type": "json_object"}}, "max_output_tokens": 5, "temperature": 0},
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "stream": True},
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": {}, "strict": True}}},
    ],
)
def test_its_body_reads_as_the_same_chat_request(changes: dict[str, Any]) -> None:
    request = read(**changes)
    chat = read_chat(json.dumps(request.body).encode())
    unlike = {"include_usage", "body", "raw"}
    for name in {one.name for one in dataclasses.fields(ChatRequest)} - unlike:
        assert getattr(chat, name) == getattr(request, name)


def test_the_decision_can_be_asked_for() -> None:
    assert read(aidecamp={"explain": True}).explain


@pytest.mark.parametrize(
    "changes",
    [
        {"store": False, "truncation": "disabled", "background": False, "reasoning": None},
        {"prompt_cache_key": "k", "safety_identifier": "s", "service_tier": "auto"},
        {
            "reasoning": {"effort": "none", "summary": None},
            "text": {"format": {"type": "text"}, "verbosity": None},
        },
        {"include": [], "stream": True, "stream_options": {"include_obfuscation": False}},
    ],
)
def test_what_asks_for_nothing_is_served(changes: dict[str, Any]) -> None:
    assert names(**changes) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"store": True}, ["store"]),
        ({"previous_response_id": "resp_1"}, ["previous_response_id"]),
        ({"previous_response_id": "resp_1", "input": None}, ["previous_response_id"]),
        ({"conversation": "conv_1"}, ["conversation"]),
        ({"background": True}, ["background"]),
        ({"truncation": "auto"}, ["truncation"]),
        ({"reasoning": {"effort": "low"}}, ["reasoning"]),
        ({"reasoning": 3}, ["reasoning"]),
        ({"max_tool_calls": 3}, ["max_tool_calls"]),
        ({"tools": [{"type": "web_search"}, WEATHER]}, ["tools[0].type"]),
        ({"tools": [WEATHER | {"defer_loading": True}]}, ["tools[0].defer_loading"]),
        ({"tools": [WEATHER], "tool_choice": {"type": "mcp"}}, ["tool_choice.type"]),
        ({"include": ["reasoning.encrypted_content"]}, ["include[0]"]),
        ({"text": {"verbosity": "low"}}, ["text.verbosity"]),
        ({"stream_options": {"include_obfuscation": True}}, ["stream_options.include_obfuscation"]),
        (
            {"input": [message(content=[{"type": "input_image", "image_url": "u"}])]},
            ["input[0].content[0].type"],
        ),
        ({"input": [message(), {"type": "reasoning", "summary": []}]}, ["input[1].type"]),
        ({"input": [message(), {"type": "item_reference", "id": "x"}]}, ["input[1].type"]),
    ],
)
def test_what_a_local_model_cannot_do_is_named(changes: dict[str, Any], named: list[str]) -> None:
    assert names(**changes) == named


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{}]}, "input[0].type"),
        ({"input": [{"type": "message"}]}, "input[0].role"),
        ({"input": [message(role="tool")]}, "input[0].role"),
        ({"input": [message(content=None)]}, "input[0].content"),
        ({"input": [message(content=[{"type": "input_text"}])]}, "input[0].content[0].text"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].arguments"),
        (
            {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
            "input[0].call_id",
        ),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"instructions": ["x"]}, "instructions"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}},
            "tool_choice.name",
        ),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"include": "x"}, "include"),
    ],
)
def test_a_fault_names_its_parameter(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**changes)
    assert caught.value.param == named


PARAMETERS = st.sampled_from(
    [
        *("input", "instructions", "tools", "tool_choice", "text", "include", "stream_options"),
        *("top_logprobs", "max_output_tokens", "metadata", "conversation", "reasoning", "aidecamp"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(PARAMETERS, JSON, max_size=4), st.lists(JSON, max_size=3))
def test_no_value_of_any_parameter_is_a_fault_of_ours(
    changes: dict[str, Any], items: list[Any]
) -> None:
    for body in (changes, changes | {"input": items}):
        try:
            unserved(read(**body))
        except BadRequest as error:
            error.message.encode("utf-8")


# ---- answering


def answered(choice: Json, **changes: Any) -> Json:
    made = answers.completion("chatcmpl-1", 1_700_000_000, "local/small", [choice], USAGE)
    response = from_completion(made, read(**changes))
    Response.model_validate(response)
    # The API tells store, the SDK's types do not.
    assert Response.model_validate(response).model_extra == {"store": False}
    return response


def test_words_become_a_message() -> None:
    response = answered(answers.choice(0, "hello", "stop"))
    read_back = Response.model_validate(response)
    assert (read_back.output_text, read_back.status) == ("hello", "completed")
    assert read_back.usage is not None
    assert read_back.usage.input_tokens_details.cached_tokens == 8
    assert read_back.usage.total_tokens == 14


def test_a_tool_call_becomes_an_item_of_its_own() -> None:
    calls = [answers.tool_call("call_a", "weather", "{}"), answers.tool_call("call_b", "x", "[]")]
    choice = answers.choice(0, None, "tool_calls", calls)
    response = answered(choice, tools=[WEATHER], tool_choice="required")
    assert [(one["type"], one["call_id"], one["arguments"]) for one in response["output"]] == [
        ("function_call", "call_a", "{}"),
        ("function_call", "call_b", "[]"),
    ]
    assert len({one["id"] for one in response["output"]}) == 2
    assert response["tool_choice"] == "required"
    assert response["tools"][0]["name"] == "weather"


def test_an_answer_that_was_cut_is_incomplete_and_says_why() -> None:
    response = answered(answers.choice(0, "hel", "length"), max_output_tokens=1)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"


def test_a_response_repeats_what_was_asked_and_says_that_nothing_is_stored() -> None:
    form = {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}
    asked = {"instructions": "i", "temperature": 0.5, "metadata": {"a": "b"}, "user": "u"}
    response = answered(answers.choice(0, "{}", "stop"), text={"format": form}, **asked)
    assert {name: response[name] for name in asked} == asked
    assert response["text"]["format"] == form
    assert response["store"] is False


# ---- streaming


def writer() -> ChunkWriter:
    return ChunkWriter("chatcmpl-1", 1_700_000_000, "local/small", include_usage=True)


async def events(chunks: list[Json], broken: bool = False, **changes: Any) -> list[Json]:
    async def feed() -> AsyncIterator[Mapping[str, Any]]:
        for chunk in chunks:
            yield chunk
        if broken:
            raise GeneralFailed("It broke off.", hint="Try again.")

    found = []
    async for line in events_from_chunks(feed(), read(stream=True, **changes)):
        head, _, data = line.decode("ascii").partition("\n")
        event = json.loads(data.removeprefix("data: "))
        assert head == f"event: {event['type']}"
        EVENTS.validate_python(event)
        found.append(event)
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    return found


async def test_words_stream_as_one_message() -> None:
    out = writer()
    chunks = [*out.content("he"), *out.content("llo"), *out.finish("stop"), *out.usage(USAGE)]
    found = await events(chunks)
    assert [one["type"].removeprefix("response.") for one in found] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert found[2]["item"]["content"] == []
    assert found[6]["text"] == "hello"
    final = Response.model_validate(found[-1]["response"])
    assert final.output_text == "hello"
    assert final.usage is not None
    assert final.usage.output_tokens == 4


async def test_a_stream_ends_with_the_same_response_as_the_whole_answer() -> None:
    out = writer()
    chunks = [
        *out.content("I look."),
        *out.tool_call(0, "call_a", "weather"),
        *out.arguments(0, '{"city":'),
        *out.arguments(0, '"Bern"}'),
        *out.tool_call(1, "call_b", "weather"),
        *out.arguments(1, "{}"),
        *out.finish("tool_calls"),
        *out.usage(USAGE),
    ]
    calls = [
        answers.tool_call("call_a", "weather", '{"city":"Bern"}'),
        answers.tool_call("call_b", "weather", "{}"),
    ]
    whole = answered(answers.choice(0, "I look.", "tool_calls", calls), stream=True)
    streamed = (await events(chunks))[-1]["response"]
    for response in (whole, streamed):
        response.pop("completed_at")
    assert streamed == whole


async def test_interleaved_tool_calls_each_get_their_own_arguments() -> None:
    out = writer()
    chunks = [
        *out.tool_call(0, "call_a", "weather"),
        *out.tool_call(1, "call_b", "weather"),
        *out.arguments(0, '{"a":'),
        *out.arguments(1, '{"b":2}'),
        *out.arguments(0, "1}"),
        *out.finish("tool_calls"),
    ]
    done = [one for one in await events(chunks) if one["type"].endswith("arguments.done")]
    assert [one["arguments"] for one in done] == ['{"a":1}', '{"b":2}']


async def test_log_probabilities_come_with_their_words() -> None:
    one = {"token": "he", "logprob": -0.5, "bytes": [104, 101], "top_logprobs": []}
    out = writer()
    chunks = [*out.content("he", {"content": [one]}), *out.content("llo"), *out.finish("stop")]
    found = await events(chunks, include=["message.output_text.logprobs"])
    deltas = [event["logprobs"] for event in found if event["type"].endswith("text.delta")]
    assert deltas == [[one], []]
    assert found[-1]["response"]["output"][0]["content"][0]["logprobs"] == [one]


async def test_a_stream_that_was_cut_is_incomplete() -> None:
    out = writer()
    last = (await events([*out.content("he"), *out.finish("length")]))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["output"][0]["status"] == "incomplete"


async def test_a_stream_without_words_still_holds_a_message() -> None:
    last = (await events(writer().finish("stop")))[-1]
    assert last["response"]["output"][0]["content"][0]["text"] == ""


async def test_a_stream_that_breaks_off_fails_and_keeps_what_came() -> None:
    last = (await events(writer().content("he"), broken=True))[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"]["message"] == "It broke off. Try again."
    assert last["response"]["output"][0]["content"][0]["text"] == "he"


async def test_what_goes_wrong_before_the_first_chunk_is_told_as_an_error() -> None:
    (event,) = await events([], broken=True)
    assert event["type"] == "error"
    assert event["message"] == "It broke off. Try again."


async def test_leaving_a_stream_early_closes_where_it_comes_from() -> None:
    closed = []

    async def feed() -> AsyncIterator[Mapping[str, Any]]:
        try:
            while True:
                for chunk in writer().content("x"):
                    yield chunk
        finally:
            closed.append(True)

    stream = events_from_chunks(feed(), read(stream=True))
    async for _ in stream:
        break
    await stream.aclose()  # type: ignore[attr-defined]
    assert closed == [True]
