"""A request as it leaves: the client's own bytes, but for the model, what is ours, and secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import UsageError
from runtime.daemon.proxy.outgoing import Outgoing
from runtime.redact import Redactor
from tests.runtime.daemon.proxy.test_spelling import KEYS, SPACE, STRINGS, TEXTS

MAIL = "ann@example.com"
PASSWORD = "tr0ub4dor&3xyz"
REDACTOR = Redactor()
OTHER_KEYS = KEYS.filter(lambda key: json.loads(key) not in ("model", "aidecamp"))
MEMBERS = st.lists(st.tuples(OTHER_KEYS, TEXTS), max_size=4)


def _spelled(pairs: list[tuple[str, str]], space: str) -> str:
    return f"{space},{space}".join(f"{key}{space}:{space}{value}" for key, value in pairs)


@given(MEMBERS, STRINGS, MEMBERS, SPACE)
def test_only_the_model_is_replaced(
    before: list[tuple[str, str]], model: str, after: list[tuple[str, str]], space: str
) -> None:
    def body(name: str) -> bytes:
        pairs = [*before, ('"model"', name), *after]
        return f"{space}{{{space}{_spelled(pairs, space)}{space}}}{space}".encode()

    sent = Outgoing.of(body(model)).body("the “General’s”")
    assert sent == body('"the “General’s”"')


@given(MEMBERS, MEMBERS, TEXTS, SPACE)
def test_what_is_ours_stays_here(
    before: list[tuple[str, str]], after: list[tuple[str, str]], ours: str, space: str
) -> None:
    pairs = [*before, ('"aidecamp"', ours), *after, ('"model"', '"m"')]
    sent = Outgoing.of(f"{{{_spelled(pairs, space)}}}".encode()).body("m")
    pairs.remove(('"aidecamp"', ours))
    assert sent == f"{{{_spelled(pairs, space)}}}".encode()


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (b"{}", b'{"model": "m"}'),
        (b'{"aidecamp": {"explain": true}}', b'{"model": "m"}'),
        (b'{"n":1,"aidecamp":{}}', b'{"model": "m", "n":1}'),
        (b'{"model":"a","model":"b"}', b'{"model":"m","model":"m"}'),
        (b'{"model":null}', b'{"model":"m"}'),
    ],
)
def test_a_model_is_always_named(raw: bytes, sent: bytes) -> None:
    assert Outgoing.of(raw).body("m") == sent


@given(MEMBERS, SPACE)
def test_a_redactor_that_finds_nothing_changes_nothing(
    pairs: list[tuple[str, str]], space: str
) -> None:
    said = '[{"role":"user",  "content":"\\u0068ello"}]'
    pairs = [*pairs, ('"messages"', said), ('"model"', '"m"')]
    raw = f"{{{_spelled(pairs, space)}}}".encode()
    outgoing = Outgoing.of(raw, REDACTOR)
    assert (outgoing.body("m"), dict(outgoing.originals)) == (raw, {})


@pytest.mark.parametrize("raw", [b"", b"[]", b'"x"', b"{", b'{"a":\xff}', b"\xff\xfe{\x00}\x00"])
def test_what_is_no_json_object_is_the_clients_error(raw: bytes) -> None:
    with pytest.raises(UsageError, match="not a JSON object in UTF-8"):
        Outgoing.of(raw)


# ---- redaction


def sent_of(request: Any) -> tuple[Any, Outgoing]:
    outgoing = Outgoing.of(json.dumps({"model": "x", **request}).encode(), REDACTOR)
    return json.loads(outgoing.body("x")), outgoing


def messages(*items: Any) -> dict[str, Any]:
    return {"messages": list(items)}


SAID: dict[str, Any] = {
    "a message": messages({"role": "user", "content": f"write to {MAIL}"}),
    "a part": messages({"role": "user", "content": [{"type": "text", "text": MAIL}]}),
    "a tool's result": messages({"role": "tool", "tool_call_id": "c", "content": f"<{MAIL}>"}),
    "arguments": messages(
        {"role": "assistant", "tool_calls": [{"function": {"arguments": json.dumps({"a": MAIL})}}]}
    ),
    "broken arguments": messages(
        {"role": "assistant", "tool_calls": [{"function": {"arguments": '{"a": "' + MAIL}}]}
    ),
    "a field that nobody knows": messages({"role": "user", "content": "x", "aside": MAIL}),
    "input": {"input": f"write to {MAIL}"},
    "a list of inputs": {"input": ["x", MAIL]},
    "an item of input": {"input": [{"role": "user", "content": [{"text": MAIL}]}]},
    "a call's output": {"input": [{"type": "function_call_output", "output": MAIL}]},
    "instructions": {"instructions": f"you work for {MAIL}"},
    "a variable of a prompt": {"prompt": {"id": "p", "variables": {"to": MAIL}}},
    "a prediction": {"prediction": {"type": "content", "content": MAIL}},
    "metadata, whatever its key": {"metadata": {"user_id": MAIL}},
    "the user": {"user": MAIL},
    "a choice on offer": {
        "tools": [
            {"function": {"name": "f", "parameters": {"properties": {"to": {"enum": [MAIL]}}}}}
        ]
    },
    "a description": {"tools": [{"function": {"name": "f", "description": f"writes to {MAIL}"}}]},
}


@pytest.mark.parametrize("name", SAID)
def test_a_secret_is_replaced_wherever_somebody_said_it(name: str) -> None:
    sent, outgoing = sent_of(SAID[name])
    assert MAIL not in json.dumps(sent)
    assert dict(outgoing.originals) == {"<EMAIL_1>": MAIL}
    assert dict(outgoing.found) == {"EMAIL": 1}
    assert json.loads(json.dumps(sent).replace("<EMAIL_1>", MAIL)) == {"model": "x"} | SAID[name]


LEFT: dict[str, Any] = {
    "an image": messages(
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": f"http://x/{MAIL}"}}],
        }
    ),
    "an image of /v1/responses": {"input": [{"content": [{"image_url": f"http://x/{MAIL}"}]}]},
    "an id": messages({"role": "tool", "tool_call_id": MAIL, "content": "x"}),
    "a name": messages({"role": "user", "name": MAIL, "content": "x"}),
    "a key": messages({"role": "user", "content": "x", MAIL: 1}),
    "a property": {"tools": [{"function": {"parameters": {"properties": {MAIL: {}}}}}]},
    "another parameter": {"service_tier": MAIL},
    "encrypted reasoning": {"input": [{"type": "reasoning", "encrypted_content": MAIL}]},
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_no_words_is_left_alone(name: str) -> None:
    sent, outgoing = sent_of(LEFT[name])
    assert sent == {"model": "x"} | LEFT[name]
    assert not outgoing.originals


def test_one_value_has_one_placeholder_all_over_the_request() -> None:
    call = {"function": {"name": "f", "arguments": json.dumps({"to": MAIL, "n": 1.50})}}
    sent, outgoing = sent_of(
        messages(
            {"role": "system", "content": f"You serve {MAIL}."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": f"sent to {MAIL} and bob@example.com"},
        )
    )
    assert sent["messages"][0]["content"] == "You serve <EMAIL_1>."
    assert json.loads(sent["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {
        "to": "<EMAIL_1>",
        "n": 1.5,
    }
    assert sent["messages"][2]["content"] == "sent to <EMAIL_1> and <EMAIL_2>"
    assert dict(outgoing.found) == {"EMAIL": 2}


def test_a_key_of_arguments_tells_that_its_value_is_a_secret() -> None:
    text = json.dumps({"password": PASSWORD, "path": 'a "quoted" one'})
    call = {"function": {"name": "f", "arguments": text}}
    sent, outgoing = sent_of(messages({"role": "assistant", "tool_calls": [call]}))
    arguments = sent["messages"][0]["tool_calls"][0]["function"]["arguments"]
    placeholder = json.loads(arguments)["password"]
    assert arguments == text.replace(PASSWORD, placeholder)
    assert dict(outgoing.originals) == {placeholder: PASSWORD}


def test_what_surrounds_a_secret_stays_as_it_is_spelled() -> None:
    raw = (
        b'{ "temperature" : 1.0e+0,"seed":12345678901234567890123,\n'
        b' "messages":[{"content":"%s", "role":"\\u0075ser"}],"model":"auto", "x":[1.50]}'
    )
    sent = Outgoing.of(raw % MAIL.encode(), REDACTOR).body("m")
    assert sent == (raw % b"<EMAIL_1>").replace(b'"auto"', b'"m"')


# ---- what else is known of it


@pytest.mark.parametrize(
    ("request_", "is_json"),
    [
        ({}, False),
        ({"response_format": {"type": "text"}}, False),
        ({"response_format": {"type": "json_object"}}, True),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, True),
        ({"response_format": None}, False),
        ({"text": {"format": {"type": "json_schema"}}}, True),
        ({"text": {"verbosity": "low"}}, False),
    ],
)
def test_it_knows_whether_the_answer_is_to_be_json(request_: Any, is_json: bool) -> None:
    assert Outgoing.of(json.dumps(request_).encode()).json_answer is is_json


def test_it_knows_whether_the_answer_is_to_be_a_stream() -> None:
    assert Outgoing.of(b'{"stream" : true}').streamed
    assert not Outgoing.of(b'{"stream":false}').streamed
    assert not Outgoing.of(b"{}").streamed


def test_what_would_leave_is_shown_with_nothing_that_would_not() -> None:
    raw = json.dumps({"model": "auto", "aidecamp": {}, "instructions": MAIL, "input": ["a", "b"]})
    shown = Outgoing.of(raw.encode(), REDACTOR).shown("m")
    assert shown.body == {"model": "m", "instructions": "<EMAIL_1>", "input": ["a", "b"]}
    assert [m["content"] for m in shown.messages] == ["<EMAIL_1>", "a", "b"]
    assert dict(shown.found) == {"EMAIL": 1}


def test_the_originals_are_not_printed_by_accident() -> None:
    raw = json.dumps({"input": MAIL}).encode()
    assert MAIL not in repr(Outgoing.of(raw, REDACTOR))
