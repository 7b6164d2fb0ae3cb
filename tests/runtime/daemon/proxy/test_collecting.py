"""What is read of an answer while it passes: whole or cut anywhere, sound or not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.daemon.proxy.collecting import MOST_READ_BYTES, Collected, Collector
from runtime.daemon.proxy.parts import ToolCall

JSON, SSE = "application/json; charset=utf-8", "text/event-stream"
CUTS = st.lists(st.integers(0, 10_000), max_size=6)


def collected(data: bytes, cuts: list[int], kind: str) -> Collected:
    collector = Collector(kind)
    at = 0
    for cut in [*sorted(c % (len(data) + 1) for c in cuts), len(data)]:
        collector.feed(data[at:cut])
        at = cut
    return collector.end()


def lines(*records: Any, end: str = "\n") -> bytes:
    return "".join(f"data: {json.dumps(r)}{end}{end}" for r in records).encode()


def chunk(delta: Any, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "model": "big", "choices": [choice], **more}


USAGE = {
    "prompt_tokens": 50,
    "completion_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 40},
}
CALLS = (ToolCall("a", "look", '{"x": 1}'), ToolCall("b", "tap", "{}"))
WHOLE = Collected(
    text="hello you",
    more=("hi",),
    reasoning="hm",
    calls=CALLS,
    finish="tool_calls",
    model="big",
    tokens_in=50,
    tokens_out=7,
    tokens_cached=40,
)


@given(CUTS, st.sampled_from(["\n", "\r\n"]))
def test_a_stream_of_chunks_is_read_however_it_is_cut(cuts: list[int], end: str) -> None:
    def call(index: int, id_: str | None, name: str | None, arguments: str) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        return {"tool_calls": [{"index": index, "id": id_, "function": function}]}

    data = lines(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "hello "}),
        chunk({"content": "hi"}, index=1),
        chunk({"content": "you"}),
        chunk(call(0, "a", "look", "")),
        chunk(call(0, None, None, '{"x"')),
        chunk(call(1, "b", "tap", "{}")),
        chunk(call(0, None, None, ": 1}")),
        chunk({}, "stop", index=1),
        chunk({}, "tool_calls"),
        {"choices": [], "usage": USAGE},
        end=end,
    )
    assert collected(data + b"data: [DONE]\n\n", cuts, SSE) == WHOLE


@given(CUTS)
def test_a_whole_answer_is_read(cuts: list[int]) -> None:
    calls = [{"id": c.id, "function": {"name": c.name, "arguments": c.arguments}} for c in CALLS]
    message = {"content": "hello you", "reasoning_content": "hm", "tool_calls": calls}
    choices = [
        {"index": 0, "message": message, "finish_reason": "tool_calls"},
        {"index": 1, "message": {"content": "hi"}, "finish_reason": "stop"},
    ]
    body = {"object": "chat.completion", "model": "big", "choices": choices, "usage": USAGE}
    assert collected(json.dumps(body).encode(), cuts, JSON) == WHOLE


RESPONSE = {
    "object": "response",
    "status": "completed",
    "model": "big",
    "output": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "hello you"}]},
        {"type": "function_call", "call_id": "a", "name": "look", "arguments": '{"x": 1}'},
        {"type": "function_call", "call_id": "b", "name": "tap", "arguments": "{}"},
    ],
    "usage": {
        "input_tokens": 50,
        "output_tokens": 7,
        "input_tokens_details": {"cached_tokens": 40},
    },
}
OF_RESPONSE = Collected(
    text="hello you",
    reasoning="hm",
    calls=CALLS,
    finish="tool_calls",
    model="big",
    tokens_in=50,
    tokens_out=7,
    tokens_cached=40,
)


def test_a_whole_response_is_read() -> None:
    assert collected(json.dumps(RESPONSE).encode(), [], JSON) == OF_RESPONSE


EVENTS: tuple[Any, ...] = (
    {"type": "response.created", "response": {"object": "response", "model": "big", "output": []}},
    {"type": "response.reasoning_summary_text.delta", "delta": "hm"},
    {"type": "response.output_text.delta", "delta": "hello "},
    {"type": "response.output_text.delta", "delta": "you"},
    {"type": "response.output_item.done", "item": RESPONSE["output"][2]},  # type: ignore[index]
    {"type": "response.output_item.done", "item": RESPONSE["output"][3]},  # type: ignore[index]
)


@given(CUTS)
def test_the_events_of_a_response_are_read_once(cuts: list[int]) -> None:
    data = lines(*EVENTS, {"type": "response.completed", "response": RESPONSE})
    assert collected(data, cuts, SSE) == OF_RESPONSE


def test_a_response_that_broke_off_is_read_as_far_as_it_came() -> None:
    assert collected(lines(*EVENTS), [], SSE) == Collected(
        text="hello you", reasoning="hm", calls=CALLS, model="big"
    )


@pytest.mark.parametrize(
    ("status", "details", "finish"),
    [
        ("incomplete", {"reason": "max_output_tokens"}, "length"),
        ("incomplete", {"reason": "content_filter"}, "content_filter"),
        ("failed", None, "error"),
        ("completed", None, "stop"),
    ],
)
def test_a_response_ends_for_the_reasons_of_a_chat(status: str, details: Any, finish: str) -> None:
    body = {"object": "response", "status": status, "incomplete_details": details, "output": []}
    assert collected(json.dumps(body).encode(), [], JSON).finish == finish


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"error": {"message": "no"}}', JSON),
        (lines(chunk({"content": "x"}), {"error": {"message": "no"}}), SSE),
        (lines({"type": "error", "message": "no"}), SSE),
    ],
)
def test_an_error_is_an_end_of_its_own(data: bytes, kind: str) -> None:
    assert collected(data, [], kind).finish == "error"


def test_an_answer_that_broke_off_gives_no_reason() -> None:
    assert collected(lines(chunk({"content": "half"})), [], SSE) == Collected(
        text="half", model="big"
    )


def test_the_last_line_counts_without_its_end() -> None:
    data = lines(chunk({"content": "x"}, "stop")).rstrip()
    assert collected(data, [], SSE).finish == "stop"


@pytest.mark.parametrize("padding", [0, MOST_READ_BYTES])
def test_the_tokens_of_embeddings_are_counted_however_many_there_are(padding: int) -> None:
    body = {
        "object": "list",
        "data": [{"embedding": "A" * padding, "index": 0}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }
    found = collected(json.dumps(body).encode(), list(range(0, padding, 65_536)), JSON)
    assert (found.tokens_in, found.tokens_out) == (8, 0)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "delta", "message", "content", "tool_calls", "function", "index"),
                    *("arguments", "usage", "prompt_tokens", "prompt_tokens_details", "item"),
                    *("response", "output", "status", "incomplete_details", "summary", "error"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
KINDS = st.sampled_from(
    [None, "response.output_text.delta", "response.completed", "response.output_item.done", 7]
)


@given(ANY, KINDS, st.sampled_from([JSON, SSE]))
def test_a_record_of_any_shape_is_no_error(value: Any, type_: Any, kind: str) -> None:
    if isinstance(value, dict) and type_ is not None:
        value = {**value, "type": type_}
    data = json.dumps(value).encode() if kind == JSON else lines(value)
    assert isinstance(collected(data, [], kind), Collected)


@given(st.binary(max_size=100), CUTS, st.sampled_from([JSON, SSE, ""]))
def test_bytes_of_any_kind_are_no_error(data: bytes, cuts: list[int], kind: str) -> None:
    assert collected(data, cuts, kind).calls == ()
