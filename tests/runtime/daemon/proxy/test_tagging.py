"""What a call is tagged with: its words, its kind, its client, its session."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.core import Decision, Step
from runtime.daemon.proxy.issued import Issued
from runtime.daemon.proxy.parts import ToolCall
from runtime.daemon.proxy.record import without_words
from runtime.daemon.proxy.requests import ChatRequest, read_chat
from runtime.daemon.proxy.tagging import (
    client_of,
    last_words,
    plain_kind,
    session_of,
    text_of,
)

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def request(*messages: dict[str, Any], **body: Any) -> ChatRequest:
    whole = {"model": "auto", "messages": messages or ({"role": "user", "content": "hi"},), **body}
    return read_chat(json.dumps(whole).encode())


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def test_the_words_are_those_of_the_last_user_message_that_has_any() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "text", "text": "here"}]
    one = request(said("first"), {"role": "user", "content": parts})
    assert last_words(one) == "look\nhere"
    assert last_words(request(said("first"), said("  "))) == "first"
    assert text_of([{"type": "refusal", "refusal": "no"}, {"type": "image_url"}, 3]) == "no"


def test_an_agents_frame_is_no_part_of_what_its_user_said() -> None:
    assert last_words(request(said("New task:\nset a timer"))) == "set a timer"
    assert last_words(request(said("Task: set a timer"))) == "Task: set a timer"


def test_what_an_agent_marks_as_a_tools_output_is_not_the_users_order() -> None:
    answered = {"role": "assistant", "content": "Calling tools: f"}
    observed = request(said("do it"), answered, said("Observation:\ndelete all"), tools=[TOOL])
    assert last_words(observed) == "do it"
    assert plain_kind(observed) == "format"
    first = request(said("Observation: the sky is blue. Why?"), tools=[TOOL])
    assert last_words(first).startswith("Observation:") and plain_kind(first) == "tool"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "dialogue"),
        ({"tools": [TOOL]}, "tool"),
        ({"tools": [TOOL], "tool_choice": "none"}, "dialogue"),
        ({"response_format": {"type": "json_object"}}, "format"),
    ],
)
def test_the_form_of_a_request_tells_its_kind(body: dict[str, Any], kind: str) -> None:
    assert plain_kind(request(**body)) == kind


def test_what_a_tool_returned_is_to_be_put_into_words() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    after = request(
        said("do it"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "4"},
        tools=[TOOL],
    )
    assert plain_kind(after) == "format"


@pytest.mark.parametrize(
    ("headers", "token", "client"),
    [
        ({"x-aidecamp-client": " my agent\n<b>"}, "own", "my agentb"),
        ({"user-agent": "AsyncOpenAI/Python 3.57"}, "own", "AsyncOpenAI"),
        ({"user-agent": "curl/8"}, "ci-bot", "ci-bot"),
        ({"user-agent": "///"}, "own", "own"),
        ({"x-aidecamp-client": "n" * 999}, "own", "n" * 64),
    ],
)
def test_who_asks_is_named_by_header_token_or_product(
    headers: dict[str, str], token: str, client: str
) -> None:
    assert client_of(headers, token) == client


def test_later_turns_of_a_conversation_have_its_session_and_other_conversations_have_not() -> None:
    begun = request({"role": "system", "content": "be kind"}, said("one"))
    answer = {"role": "assistant", "content": "yes"}
    later = request({"role": "system", "content": "be kind"}, said("one"), answer, said("two"))
    other = request({"role": "system", "content": "be kind"}, said("two"))
    assert session_of({}, begun, "a") == session_of({}, later, "a")
    assert len({session_of({}, r, c) for r, c in ((begun, "a"), (other, "a"), (begun, "b"))}) == 3
    assert session_of({"x-aidecamp-session": "s1"}, begun, "a") == "s1"
    assert session_of({}, request(metadata={"session_id": "s2"}), "a") == "s2"


def test_what_tools_returned_is_told_once_of_calls_of_ours_alone() -> None:
    issued = Issued(kept=2)
    calls = [ToolCall(f"call_{n}", "f", "{}") for n in range(3)]
    issued.note(calls, "task", "step")

    def back(id_: str, words: str) -> dict[str, Any]:
        return {"role": "tool", "tool_call_id": id_, "content": words}

    sent = [back("call_0", "x"), back("call_1", '{"error": "no"}'), back("call_2", "the error is")]
    told = list(issued.outcomes([*sent, back("other", "y")]))
    assert [(o.action_id, o.status) for o in told] == [("call_1", "failed"), ("call_2", "done")]
    assert list(issued.outcomes(sent)) == []


def test_a_record_without_words_keeps_its_numbers() -> None:
    step = Step("s", "t", 1, "format", "my secret")
    decision = Decision(
        *("d", "t", "s", "format", "my secret", "general", (), 0.2, 0.5, "r", "a secret word", 3.0),
        given={"score_reason": "a secret", "general": True},
        would_send={"messages": ["my secret"]},
    )
    bare = without_words(decision)
    assert isinstance(bare, Decision)
    assert (bare.probability, bare.rule, dict(bare.given)) == (
        0.2,
        "r",
        {"score_reason": "", "general": True},
    )
    assert "secret" not in repr((bare, without_words(step)))
