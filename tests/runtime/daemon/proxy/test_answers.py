"""The proxy's chat completions are the objects that OpenAI's own SDK reads."""

from __future__ import annotations

import json
import math
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from models.base import Alternative, Token
from runtime.daemon.proxy import answers
from runtime.daemon.proxy.answers import ChunkWriter, Json, completion, sse

USAGE = answers.usage_of(10, 4, 8)


def whole(choices: list[Json], **changes: Any) -> Json:
    made = completion("chatcmpl-1", 1_700_000_000, "local/small", choices, USAGE, **changes)
    ChatCompletion.model_validate(made, strict=True)
    return made


def writer(**changes: Any) -> ChunkWriter:
    return ChunkWriter("chatcmpl-1", 1_700_000_000, "local/small", "fp_1", **changes)


def checked(chunks: list[Json]) -> list[ChatCompletionChunk]:
    return [ChatCompletionChunk.model_validate(one, strict=True) for one in chunks]


def token(piece: bytes, logprob: float, *top: Alternative) -> Token:
    return Token(1, piece, logprob, margin=0.5, forced=False, top=top)


def test_a_completion_is_read_by_the_sdk_with_every_field_known() -> None:
    made = whole([answers.choice(0, "hello", "stop")], fingerprint="fp_1")
    read = ChatCompletion.model_validate(made)
    assert read.choices[0].message.content == "hello"
    assert read.model_dump(exclude_unset=True) == made
    assert not read.model_extra
    assert read.usage is not None
    assert read.usage.total_tokens == 14
    assert read.usage.prompt_tokens_details is not None
    assert read.usage.prompt_tokens_details.cached_tokens == 8


def test_a_tool_call_comes_without_words() -> None:
    call = answers.tool_call(answers.call_id(), "weather", '{"city":"Bern"}')
    read = ChatCompletion.model_validate(whole([answers.choice(0, None, "tool_calls", [call])]))
    message = read.choices[0].message
    assert message.content is None
    assert message.tool_calls is not None
    assert message.tool_calls[0].model_dump() == call


def test_an_answer_in_words_has_no_tool_calls_at_all() -> None:
    assert "tool_calls" not in whole([answers.choice(0, "x", "stop")])["choices"][0]["message"]


def test_what_is_ours_stands_beside_what_is_openais() -> None:
    made = whole([answers.choice(0, "x", "length")], extra={"aidecamp": {"decision": "d"}})
    read = ChatCompletion.model_validate(made)
    assert read.model_extra == {"aidecamp": {"decision": "d"}}


def test_log_probabilities_tell_bytes_and_alternatives() -> None:
    half = token(b"\xf0\x9f", -0.5, Alternative(1, b"\xf0\x9f", -0.5), Alternative(2, b"x", -1.0))
    logprobs = answers.logprobs_of([half, token(b"x", -math.inf), token(b"", 0.0)])
    made = whole([answers.choice(0, "x", "stop", logprobs=logprobs)])
    first, second = made["choices"][0]["logprobs"]["content"]
    assert first["bytes"] == [0xF0, 0x9F]
    assert [(one["token"], one["logprob"]) for one in first["top_logprobs"]] == [
        ("\ufffd", -0.5),
        ("x", -1.0),
    ]
    assert (second["token"], second["logprob"], second["top_logprobs"]) == ("x", -9999.0, [])


def test_a_stream_of_words_begins_with_the_role_and_ends_with_the_reason() -> None:
    out = writer()
    chunks = [*out.content("he"), *out.content("llo"), *out.finish("stop"), *out.usage(USAGE)]
    read = checked(chunks)
    assert [one.choices[0].delta.role for one in read] == ["assistant", None, None, None]
    assert [one.choices[0].delta.content for one in read] == ["", "he", "llo", None]
    assert [one.choices[0].finish_reason for one in read] == [None, None, None, "stop"]
    assert not any("usage" in one for one in chunks)


def test_usage_that_was_asked_for_comes_last_and_is_null_before() -> None:
    out = writer(include_usage=True)
    chunks = [*out.content("x"), *out.finish("stop"), *out.usage(USAGE)]
    checked(chunks)
    assert [one["usage"] for one in chunks] == [None, None, None, USAGE]
    assert [len(one["choices"]) for one in chunks] == [1, 1, 1, 0]


def test_tool_calls_stream_their_name_first_and_then_their_arguments() -> None:
    out = writer()
    chunks = [
        *out.tool_call(0, "call_a", "weather"),
        *out.arguments(0, '{"city":'),
        *out.arguments(0, '"Bern"}'),
        *out.tool_call(1, "call_b", "time"),
        *out.arguments(1, "{}"),
        *out.finish("tool_calls"),
    ]
    checked(chunks)
    deltas = [one["choices"][0]["delta"] for one in chunks]
    assert deltas[0] == {"role": "assistant", "content": None, "refusal": None}
    assert [delta["tool_calls"][0]["index"] for delta in deltas[1:-1]] == [0, 0, 0, 1, 1]
    assert deltas[1]["tool_calls"][0] == {
        "index": 0,
        "id": "call_a",
        "type": "function",
        "function": {"name": "weather", "arguments": ""},
    }
    assert "id" not in deltas[2]["tool_calls"][0]
    assert deltas[-1] == {}


def test_each_choice_of_a_stream_has_its_own_role_and_end() -> None:
    out = writer(extra={"aidecamp": {"decision": "d"}})
    chunks = [
        *out.content("a", choice=0),
        *out.content("b", choice=1),
        *out.finish("stop", choice=1),
        *out.finish("stop", choice=0),
    ]
    checked(chunks)
    roles = [one["choices"][0]["index"] for one in chunks if "role" in one["choices"][0]["delta"]]
    assert roles == [0, 1]
    assert ["aidecamp" in one for one in chunks] == [True, *[False] * 5]


def test_an_empty_stream_still_tells_its_role() -> None:
    assert writer().finish("length")[0]["choices"][0]["delta"]["role"] == "assistant"


def test_a_line_of_a_stream_breaks_nowhere_but_at_its_end() -> None:
    data = {"content": "a\u2028b\u0085c\nd\r\x0b\u00e9"}
    line = sse(data)
    assert line.startswith(b"data: ") and line.endswith(b"\n\n")
    assert line.decode("ascii").splitlines() == [line.decode("ascii").strip(), ""]
    assert json.loads(line.removeprefix(b"data: ")) == data
    assert sse({}, "response.created") == b"event: response.created\ndata: {}\n\n"


def test_ids_differ_and_fingerprints_follow_the_file() -> None:
    assert answers.completion_id() != answers.completion_id()
    assert answers.completion_id().startswith("chatcmpl-")
    assert answers.call_id().startswith("call_")
    digest = "sha256:0123456789abcdef"
    assert answers.fingerprint_of(digest) == answers.fingerprint_of(digest) == "fp_0123456789"
