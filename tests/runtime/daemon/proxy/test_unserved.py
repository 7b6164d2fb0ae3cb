"""What a local model cannot honour is named; what it can, and what changes no answer, is not."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.daemon.errors import body_of
from runtime.daemon.proxy.unserved import refused, unserved
from tests.runtime.daemon.proxy.test_requests import CALL, USER, WEATHER, read

SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def names(*, sampling: bool = True, **changes: Any) -> list[str]:
    return [one.partition(": ")[0] for one in unserved(read(**changes), sampling=sampling)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 1.3, "top_p": 0.4, "seed": 7, "n": 3, "stop": ["x"], "max_tokens": 5},
        {"presence_penalty": 1, "frequency_penalty": 1, "logprobs": True, "top_logprobs": 20},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
        {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": True},
        {"tools": [WEATHER], "tool_choice": "required", "stop": ["Observation:"]},
        {"response_format": SCHEMA},
        {"response_format": SCHEMA, "tools": [WEATHER], "tool_choice": "none"},
        {"response_format": {"type": "json_object"}},
        {"user": "u", "metadata": {"a": "b"}, "safety_identifier": "s", "prompt_cache_key": "k"},
        {"store": False, "service_tier": "auto", "modalities": ["text"], "logit_bias": {}},
        {"reasoning_effort": "none"},
        {"messages": [USER | {"content": [{"type": "text", "text": "a"}]}]},
        {
            "messages": [
                USER,
                {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
                {"role": "tool", "tool_call_id": "call_1", "content": "sunny", "name": "weather"},
            ]
        },
        # What an SDK's message holds when a client sends it back:
        {
            "messages": [
                USER,
                {"role": "assistant", "content": "a", "audio": None, "annotations": []},
            ]
        },
    ],
)
def test_what_a_local_model_can_do_is_served(changes: dict[str, Any]) -> None:
    assert names(**changes) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"logit_bias": {"50256": -100}}, ["logit_bias"]),
        ({"modalities": ["text", "audio"], "audio": {"voice": "x"}}, ["modalities", "audio"]),
        ({"web_search_options": {}}, ["web_search_options"]),
        ({"prediction": {"type": "content", "content": "x"}}, ["prediction"]),
        ({"service_tier": "priority"}, ["service_tier"]),
        ({"store": True}, ["store"]),
        ({"reasoning_effort": "high"}, ["reasoning_effort"]),
        ({"verbosity": "low"}, ["verbosity"]),
        ({"moderation": {"model": "m"}}, ["moderation"]),
        ({"functions": [{"name": "f"}], "function_call": "auto"}, ["functions", "function_call"]),
        ({"top_k": 40, "min_p": 0.1}, ["top_k", "min_p"]),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            ["stream_options.include_obfuscation"],
        ),
        (
            {"messages": [USER | {"content": [{"type": "image_url", "image_url": {"url": "u"}}]}]},
            ["messages[0].content[0].type"],
        ),
        (
            {
                "messages": [
                    USER
                    | {
                        "content": [
                            {"type": "text", "text": "t"},
                            {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
                            {"type": "file", "file": {"file_id": "f"}},
                            {"type": "video_url", "video_url": {}},
                        ]
                    }
                ]
            },
            [f"messages[0].content[{index}].type" for index in (1, 2, 3)],
        ),
        (
            {"messages": [{"role": "function", "name": "f", "content": "x"}, USER]},
            ["messages[0].role", "messages[0].name"],
        ),
        ({"messages": [USER | {"name": "Ann"}]}, ["messages[0].name"]),
        (
            {"messages": [{"role": "assistant", "content": "x", "reasoning_content": "hm"}, USER]},
            ["messages[0].reasoning_content"],
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [CALL | {"type": "custom"}]},
                    USER,
                ]
            },
            ["messages[0].tool_calls[0].type"],
        ),
        ({"tools": [{"type": "web_search"}]}, ["tools[0].type"]),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
            ["tool_choice.type"],
        ),
        ({"tools": [WEATHER | {"cache_control": {"x": 1}}]}, ["tools[0].cache_control"]),
        ({"tools": [WEATHER], "logprobs": True}, ["logprobs"]),
        ({"tools": [WEATHER], "response_format": SCHEMA}, ["response_format"]),
        ({"response_format": SCHEMA, "stop": "x"}, ["stop"]),
        (
            {
                "tools": [WEATHER],
                "tool_choice": "required",
                "messages": [
                    USER,
                    {"role": "assistant", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
                ],
            },
            ["tool_choice"],
        ),
    ],
)
def test_what_a_local_model_cannot_do_is_named(changes: dict[str, Any], named: list[str]) -> None:
    assert names(**changes) == named


def test_a_model_that_cannot_sample_says_so() -> None:
    sampled = {"temperature": 0.7, "n": 2, "presence_penalty": 1, "frequency_penalty": 1}
    assert sorted(names(sampling=False, **sampled)) == sorted(sampled)
    assert names(sampling=False, temperature=0, seed=3) == []


def test_a_refusal_names_the_first_parameter_and_tells_all() -> None:
    found = unserved(read(logit_bias={"1": 2}, verbosity="low"))
    error = refused(found, "local/small")
    assert (error.param, error.http_status) == ("logit_bias", 400)
    assert "verbosity" in error.message and "local/small" in error.message
    assert body_of(error)["error"]["param"] == "logit_bias"
