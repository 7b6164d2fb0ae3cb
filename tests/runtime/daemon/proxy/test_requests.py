"""A chat request is read by OpenAI's rules, and every fault names its parameter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.daemon.errors import BadRequest
from runtime.daemon.proxy.fields import MAX_DEPTH
from runtime.daemon.proxy.functions import ToolChoice
from runtime.daemon.proxy.requests import OURS, READ, ChatRequest, Format, read_chat

USER = {"role": "user", "content": "hello"}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def raw(**changes: Any) -> bytes:
    body = {"model": "auto", "messages": [USER]} | changes
    return json.dumps(body).encode()


def read(**changes: Any) -> ChatRequest:
    return read_chat(raw(**changes))


def fault(data: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read_chat(data)
    caught.value.message.encode("utf-8")  # An error can always be sent.
    (caught.value.param or "").encode("utf-8")
    return caught.value


def param(**changes: Any) -> str | None:
    return fault(raw(**changes)).param


def test_what_was_not_asked_for_is_told_from_what_was() -> None:
    plain = read()
    assert (plain.temperature, plain.seed, plain.max_tokens) == (None, None, None)
    assert (plain.n, plain.stream, plain.logprobs, plain.stop) == (1, False, False, ())
    assert plain.tool_choice == ToolChoice("none")
    assert plain.response_format == Format("text")
    assert read(temperature=0).temperature == 0.0


def test_every_parameter_of_a_full_request_is_read() -> None:
    request = read(
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        max_completion_tokens=9,
        temperature=0.5,
        top_p=0.9,
        seed=-3,
        presence_penalty=1,
        frequency_penalty=-1,
        stop=["a", "b"],
        n=2,
        stream=True,
        stream_options={"include_usage": True},
        logprobs=True,
        top_logprobs=3,
        user="u",
        metadata={"k": "v"},
        verbosity="low",
        logit_bias=None,
        aidecamp={"explain": True},
    )
    assert request.tools == (WEATHER,)
    assert request.tool_choice == ToolChoice("required", "weather")
    assert not request.parallel_tool_calls
    assert (request.max_tokens, request.temperature, request.top_p) == (9, 0.5, 0.9)
    assert (request.seed, request.presence_penalty, request.frequency_penalty) == (-3, 1.0, -1.0)
    assert (request.stop, request.n) == (("a", "b"), 2)
    assert request.stream and request.include_usage and request.logprobs
    assert request.top_logprobs == 3
    assert (request.user, request.metadata) == ("u", {"k": "v"})
    assert request.extra == {"verbosity": "low"}
    assert request.explain


def test_a_parameter_named_like_a_field_of_ours_is_not_lost() -> None:
    extra = {"raw": 1, "body": 2, "extra": 3, "beyond": 4, "include_usage": True}
    assert read(**extra).extra == extra


def test_null_counts_as_absent() -> None:
    names = "temperature top_p seed stop n stream stream_options tools tool_choice metadata user"
    assert read(**dict.fromkeys(names.split())).extra == {}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "wizard", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [3]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "messages[0].content[0].image_url",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": []}]}, "messages[0].content"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [CALL, CALL | {"id": None}]}]},
            "messages[0].tool_calls[1].id",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [CALL | {"function": {}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [CALL | {"function": {"name": "f", "arguments": {}}}],
                    }
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "0"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": 1.5}, "n"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_completion_tokens": "5"}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"stop": 3}, "stop"),
        ({"stop": list("abcde")}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": ["a", 2]}, "stop[1]"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"logprobs": 5}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"user": 3}, "user"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"k": 3}}, "metadata.k"),
        ({"metadata": {"k": "x" * 513}}, "metadata.k"),
        ({"metadata": {"x" * 65: "v"}}, "metadata"),
        ({"metadata": {str(i): "v" for i in range(17)}}, "metadata"),
        ({"tools": {}}, "tools"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
        ),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "strict": "yes"}}]},
            "tools[0].function.strict",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": 3}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        (
            {
                "tools": [WEATHER],
                "tool_choice": {"type": "function", "function": {"name": "time"}},
            },
            "tool_choice.function.name",
        ),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": ["text"]}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"aidecamp": {"explian": True}}, "aidecamp"),
        ({"aidecamp": {"explain": "yes"}}, "aidecamp.explain"),
        ({"aidecamp": True}, "aidecamp"),
    ],
)
def test_a_fault_names_its_parameter(changes: dict[str, Any], named: str) -> None:
    assert param(**changes) == named


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"[]",
        b"null",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"model": "auto", "messages": [{"role": "user", "content": "\xff"}]}',
        raw()[:-1] + b', "temperature": NaN}',
        raw()[:-1] + b', "temperature": -Infinity}',
        raw()[:-1] + b', "temperature": 1e999}',
        raw()[:-1] + b', "seed": ' + b"9" * 5000 + b"}",
        b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        raw(metadata={}, x=json.loads("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))),
    ],
    ids=lambda data: data[-30:].decode("latin-1"),
)
def test_a_body_that_is_no_plain_json_object_is_a_bad_request(data: bytes) -> None:
    assert fault(data).http_status == 400


def test_a_key_that_stands_twice_is_refused_by_name() -> None:
    assert fault(b'{"model": "a", "model": "b", "messages": []}').param == "model"
    assert "twice" in fault(b'{"\\ud800": 1, "\\ud800": 2}').message


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"model": "\\ud83d", "messages": []}', "model"),
        (b'{"messages": [{"content": "ab\\uDE00"}]}', "messages[0].content"),
        (b'{"metadata": {"\\ud83d": "x"}}', "metadata"),
    ],
)
def test_half_a_surrogate_pair_is_refused_where_it_stands(body: bytes, named: str) -> None:
    assert fault(body).param == named


def test_a_whole_surrogate_pair_is_text() -> None:
    data = raw().replace(b"hello", b"\\ud83d\\ude00")
    assert read_chat(data).messages[0]["content"] == "\U0001f600"


def test_tools_that_are_no_functions_are_left_to_whoever_knows_them() -> None:
    custom = {"type": "custom", "custom": {"name": "run"}}
    request = read(tools=[custom, WEATHER], tool_choice={"type": "custom", "custom": {}})
    assert request.tools == (WEATHER,)
    assert [name for name, _ in request.beyond] == ["tools[0].type", "tool_choice.type"]


def test_a_tool_choice_that_asks_for_nothing_needs_no_tools() -> None:
    assert read(tool_choice="auto", tools=[]).tool_choice == ToolChoice("none")
    assert read(tool_choice="none", tools=[WEATHER]).tool_choice == ToolChoice("none")
    assert read(tools=[WEATHER]).tool_choice == ToolChoice("auto")
    assert read(tools=[WEATHER], tool_choice="required").tool_choice == ToolChoice("required")


def test_the_schema_of_an_answer_is_read() -> None:
    schema = {"type": "object"}
    wanted = {"name": "answer", "schema": schema, "strict": True}
    request = read(response_format={"type": "json_schema", "json_schema": wanted})
    assert request.response_format == Format("json_schema", schema, "answer", True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
PARAMETERS = st.sampled_from(sorted({*READ, OURS}))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(PARAMETERS, JSON, max_size=4))
def test_no_value_of_any_parameter_is_a_fault_of_ours(changes: dict[str, Any]) -> None:
    try:
        read_chat(raw(**changes))
    except BadRequest as error:
        error.message.encode("utf-8")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_is_a_fault_of_ours(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read_chat(data)
