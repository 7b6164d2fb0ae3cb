"""The way back: originals in the place of placeholders, however the answer is cut into pieces."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.daemon.proxy.outgoing import Outgoing
from runtime.daemon.proxy.restoring import restoring

ORIGINALS = {
    "<SECRET_1>": 'pass"word\\\n{é}',
    "<EMAIL_1>": "ann@example.com",
    "<SECRET_11>": "token of <EMAIL_1>",
}
WHOLE = {**ORIGINALS, "<SECRET_11>": "token of ann@example.com"}
SSE = "text/event-stream"


def outgoing(*, json_answer: bool = False, originals: dict[str, str] | None = None) -> Outgoing:
    return Outgoing(
        text="{}",
        found={},
        originals=ORIGINALS if originals is None else originals,
        streamed=True,
        json_answer=json_answer,
    )


def restored(text: str) -> str:
    """What the client is to read, by another way than the code's."""
    for placeholder, original in WHOLE.items():
        text = text.replace(placeholder, original)
    return text


def passed(data: bytes, cuts: list[int], kind: str = SSE, **how: Any) -> bytes:
    """``data`` in pieces through what restores."""
    restore = restoring(outgoing(**how), kind)
    at, out = 0, b""
    for cut in [*sorted(c % (len(data) + 1) for c in cuts), len(data)]:
        out += restore.feed(data[at:cut])
        at = cut
    return out + restore.end()


def events(data: bytes) -> Iterator[Any]:
    """As a client reads them: an event at each blank line, its data lines joined."""
    for block in data.decode().replace("\r\n", "\n").split("\n\n"):
        said = [line[5:].strip() for line in block.split("\n") if line.startswith("data:")]
        if said and said != ["[DONE]"]:
            yield json.loads("\n".join(said))


Lane = tuple[Any, ...]


def texts_of(data: bytes) -> dict[Lane, str]:
    """What a client makes of a stream of chunks: each text of each choice."""
    texts: defaultdict[Lane, str] = defaultdict(str)
    ended = set()
    for record in events(data):
        for choice in record.get("choices", ()):
            assert choice["index"] not in ended, "a text goes on after its choice has ended"
            delta = choice["delta"]
            for name in ("content", "refusal", "reasoning_content"):
                texts[choice["index"], name] += delta.get(name) or ""
            for call in delta.get("tool_calls", ()):
                texts[choice["index"], call["index"]] += call["function"].get("arguments") or ""
            if choice.get("finish_reason"):
                ended.add(choice["index"])
    return {lane: text for lane, text in texts.items() if text}


# ---- chat chunks

TEXTS = st.lists(
    st.sampled_from(
        [*ORIGINALS, "<", "<SEC", "<SECRET_", "<SECRET_1", ">", "<SECRET_2>", "\\u003c"]
    )
    | st.text(max_size=5),
    max_size=6,
).map("".join)
CUTS = st.lists(st.integers(0, 10_000), max_size=8)
LANES = st.tuples(st.integers(0, 1), st.sampled_from(["content", "refusal", "reasoning_content"]))
SPELLINGS: list[Callable[[Any], str]] = [
    json.dumps,
    lambda record: json.dumps(record, ensure_ascii=False, separators=(",", ":")),
    lambda record: json.dumps(record).replace("<", "\\u003c").replace(">", "\\u003e"),
]


def delta_of(lane: Lane, piece: str) -> dict[str, Any]:
    if isinstance(lane[1], str):
        return {lane[1]: piece}
    return {"tool_calls": [{"index": lane[1], "function": {"arguments": piece}}]}


@st.composite
def streams(draw: st.DrawFn, texts: dict[Lane, str]) -> bytes:
    """``texts`` as chunks: each cut anywhere, and their pieces in any order among one another."""
    line_end, spell = draw(st.sampled_from(["\n", "\r\n"])), draw(st.sampled_from(SPELLINGS))
    pieces = {}
    for lane, text in texts.items():
        cuts = sorted(c % (len(text) + 1) for c in draw(CUTS))
        pieces[lane] = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    order = draw(st.permutations([lane for lane, parts in pieces.items() for _ in parts]))
    records = []
    for lane in order:
        choice = {"index": lane[0], "delta": delta_of(lane, pieces[lane].pop(0))}
        records.append({"id": "x", "created": 1.50, "choices": [choice]})
    for index in sorted({lane[0] for lane in texts}):
        last: dict[str, Any] = {"index": index, "delta": {}, "finish_reason": "stop"}
        if draw(st.booleans()):
            records.append({"choices": [last]})
    blocks = [f"data: {spell(record)}{line_end}{line_end}" for record in records]
    return "".join([*blocks, f": bye{line_end}{line_end}data: [DONE]{line_end}{line_end}"]).encode()


def test_what_was_held_back_comes_whole_wherever_a_line_end_is_cut() -> None:
    blocks = [
        b'data: {"choices": [{"index": 0, "delta": {"content": "<"}}]}\r\n\r\n',
        b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\r\n\r\n',
        b"data: [DONE]\r\n\r\n",
    ]
    stream = b"".join(blocks)
    for cut in range(len(stream)):
        assert texts_of(passed(stream, [cut])) == {(0, "content"): "<"}, cut


@settings(max_examples=200, deadline=None)
@given(st.data(), st.dictionaries(LANES, TEXTS, max_size=3), CUTS)
def test_each_text_of_a_stream_gets_its_originals(
    data: st.DataObject, texts: dict[Lane, str], cuts: list[int]
) -> None:
    stream = data.draw(streams(texts))
    expected = {lane: restored(text) for lane, text in texts.items() if text}
    assert texts_of(passed(stream, cuts)) == expected


ARGUMENTS = st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=2), max_size=3)


def restored_in(value: dict[str, Any]) -> dict[str, Any]:
    return {
        restored(k): [restored(x) for x in v] if isinstance(v, list) else restored(v)
        for k, v in value.items()
    }


@settings(max_examples=200, deadline=None)
@given(st.data(), st.dictionaries(st.integers(0, 2), ARGUMENTS, min_size=1, max_size=3), CUTS)
def test_arguments_stay_json_with_the_originals_in_them(
    data: st.DataObject, calls: dict[int, dict[str, Any]], cuts: list[int]
) -> None:
    inner = data.draw(st.sampled_from(SPELLINGS))
    stream = data.draw(streams({(0, index): inner(one) for index, one in calls.items()}))
    got = texts_of(passed(stream, cuts))
    assert {lane[1]: json.loads(text) for lane, text in got.items()} == {
        index: restored_in(one) for index, one in calls.items()
    }


@settings(max_examples=100, deadline=None)
@given(st.data(), ARGUMENTS, CUTS)
def test_an_answer_that_is_to_be_json_stays_json(
    data: st.DataObject, value: dict[str, Any], cuts: list[int]
) -> None:
    text = json.dumps(value)
    stream = data.draw(streams({(0, "content"): f" {text}", (0, "reasoning_content"): text}))
    got = texts_of(passed(stream, cuts, json_answer=True))
    assert json.loads(got[0, "content"]) == restored_in(value)
    assert got[0, "reasoning_content"] == restored(text)


@settings(max_examples=100, deadline=None)
@given(TEXTS, CUTS)
def test_no_more_is_held_back_than_what_may_be_a_placeholder(text: str, cuts: list[int]) -> None:
    restore = restoring(outgoing(), SSE)
    at, shown = 0, b""
    for cut in sorted({c % (len(text) + 1) for c in cuts} | {len(text)}):
        choice = {"index": 0, "delta": {"content": text[at:cut]}}
        shown += restore.feed(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
        at = cut
        so_far = text[:at]
        held = next(
            (
                n
                for n in range(11, 0, -1)
                if any(p[:n] == so_far[-n:] for p in ORIGINALS if n < len(p))
            ),
            0,
        )
        expected = restored(so_far[: len(so_far) - held])
        assert texts_of(shown).get((0, "content"), "") == expected


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | TEXTS.map(str.encode), CUTS, st.sampled_from([SSE, "text/html"]))
def test_what_cannot_be_read_passes_as_it_came(data: bytes, cuts: list[int], kind: str) -> None:
    assert passed(data, cuts, kind) == data


@settings(max_examples=100, deadline=None)
@given(st.data(), st.dictionaries(LANES, st.text(max_size=9), max_size=3), CUTS)
def test_a_stream_without_placeholders_passes_byte_for_byte(
    data: st.DataObject, texts: dict[Lane, str], cuts: list[int]
) -> None:
    texts = {lane: text.replace("<", "") for lane, text in texts.items()}
    stream = data.draw(streams(texts))
    assert passed(stream, cuts) == stream


@given(st.binary(max_size=100), st.sampled_from([SSE, "application/json"]))
def test_where_nothing_was_redacted_each_piece_passes_at_once(data: bytes, kind: str) -> None:
    restore = restoring(outgoing(originals={}), kind)
    assert (restore.feed(data), restore.end()) == (data, b"")


def chunk(delta: Any, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'c', 'choices': [choice], **more})}\n\n".encode()


def test_all_else_in_an_event_stays_as_it_is_spelled() -> None:
    data = (
        b'id: 7\ndata: { "n":1.50, "n":1e2,"choices":[ {"delta":{"content":"\\u0061 %s"},'
        b' "index":0, "x":"\\u0062"}],"usage":null }\r\n\r\n'
    )
    assert passed(data % b"<EMAIL_1>", []) == data.replace(b"\\u0061 %s", b"a ann@example.com")


def test_what_was_held_back_comes_with_the_event_that_ends_its_choice() -> None:
    data = chunk({"content": "a <SEC"}) + chunk({"content": "!"}, "stop")
    assert [r["choices"][0]["delta"] for r in events(passed(data, []))] == [
        {"content": "a "},
        {"content": "<SEC!"},
    ]
    data = chunk({"content": "a <SEC"}) + chunk({"content": "RET"}, "length")
    assert len(list(events(passed(data, [])))) == 2
    assert texts_of(passed(data, [])) == {(0, "content"): "a <SECRET"}


def test_what_was_held_back_comes_before_an_end_that_has_no_room_for_it() -> None:
    data = chunk({"content": "a <SEC"}, model="m") + chunk({}, "length") + b"data: [DONE]\n\n"
    records = list(events(passed(data, [])))
    assert records[1] == {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "<SEC"}, "finish_reason": None}],
    }
    assert records[2]["choices"][0]["finish_reason"] == "length"


def test_the_end_of_one_choice_is_not_the_end_of_another() -> None:
    def of(index: int, delta: Any, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()

    data = of(1, {"content": "<EMA"}) + of(0, {}, "stop") + of(1, {"content": "IL_1>"})
    assert texts_of(passed(data, [])) == {(1, "content"): "ann@example.com"}


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"", b"data: [DONE]"])
def test_what_was_held_back_comes_when_the_stream_ends_without_a_reason(end: bytes) -> None:
    got = passed(chunk({"content": "a <SEC"}) + end, [])
    assert texts_of(got) == {(0, "content"): "a <SEC"}
    assert got.endswith(end)


def test_a_name_and_a_key_that_stands_twice_are_no_reason_to_fail() -> None:
    data = (
        b'data: {"choices":[{"delta":{"content":"<EMAIL_1>"}}],"choices":7}\n\n'
        b'data: {"choices":{"0":{"delta":{"content":"x"}}}}\n\n'
        b'data: 7\n\ndata: {"choices":[[]]}\n\n'
    )
    assert passed(data, []) == data.replace(b"<EMAIL_1>", b"ann@example.com")


# ---- JSON in one piece


def answer(message: Any) -> dict[str, Any]:
    return {"object": "chat.completion", "choices": [{"index": 0, "message": message}], "n": 1.50}


@given(TEXTS, TEXTS, CUTS, st.sampled_from(SPELLINGS))
def test_a_whole_answer_gets_its_originals(
    text: str, argument: str, cuts: list[int], spell: Callable[[Any], str]
) -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": json.dumps({"a": argument})}}
    body = spell(answer({"content": text, "tool_calls": [call]})).encode()
    got = json.loads(passed(body, cuts, "application/json; charset=utf-8"))
    message = got["choices"][0]["message"]
    assert message["content"] == restored(text)
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {
        "a": restored(argument)
    }
    assert got["n"] == 1.5


def test_a_whole_answer_that_is_to_be_json_stays_json() -> None:
    body = json.dumps(answer({"content": '{"a": "<SECRET_1>"}'})).encode()
    got = json.loads(passed(body, [], "application/json", json_answer=True))
    assert json.loads(got["choices"][0]["message"]["content"]) == {"a": ORIGINALS["<SECRET_1>"]}


@pytest.mark.parametrize("body", [b"", b"{", b"<SECRET_1>", b'"\xff"', b"[" * 100_000])
def test_a_body_that_is_no_json_passes_as_it_came(body: bytes) -> None:
    assert passed(body, [3], "application/json") == body


def test_an_error_that_repeats_the_request_gets_its_originals() -> None:
    body = b'{"error": {"message": "<EMAIL_1> is no model"}}'
    assert json.loads(passed(body, [], "application/json"))["error"]["message"] == (
        "ann@example.com is no model"
    )


# ---- responses


def event(kind: str, **fields: Any) -> bytes:
    record = {"type": kind, "sequence_number": 1, **fields}
    return f"event: {kind}\ndata: {json.dumps(record)}\n\n".encode()


AT = {"item_id": "i", "output_index": 0, "content_index": 0}


@given(TEXTS, CUTS, CUTS)
def test_the_text_of_a_response_gets_its_originals(
    text: str, pieces: list[int], cuts: list[int]
) -> None:
    ends = sorted({c % (len(text) + 1) for c in pieces} | {len(text)})
    starts = [0, *ends[:-1]]
    data = b"".join(
        event("response.output_text.delta", **AT, delta=text[a:b])
        for a, b in zip(starts, ends, strict=True)
    )
    data += event("response.output_text.done", **AT, text=text)
    data += event("response.completed", response={"output": [{"content": [{"text": text}]}]})
    records = list(events(passed(data, cuts)))
    kinds = [r["type"] for r in records]
    assert kinds[-2:] == ["response.output_text.done", "response.completed"]
    assert set(kinds[:-2]) == {"response.output_text.delta"}
    assert "".join(r["delta"] for r in records[:-2]) == restored(text) == records[-2]["text"]
    assert records[-1]["response"]["output"][0]["content"][0]["text"] == restored(text)


@given(ARGUMENTS, CUTS, CUTS)
def test_the_arguments_of_a_response_stay_json(
    value: dict[str, Any], pieces: list[int], cuts: list[int]
) -> None:
    text = json.dumps(value)
    ends = sorted({c % (len(text) + 1) for c in pieces} | {len(text)})
    kind = "response.function_call_arguments"
    data = b"".join(
        event(f"{kind}.delta", item_id="i", output_index=0, delta=text[a:b])
        for a, b in zip([0, *ends[:-1]], ends, strict=True)
    )
    data += event(f"{kind}.done", item_id="i", output_index=0, arguments=text)
    *deltas, done = events(passed(data, cuts))
    joined = "".join(r["delta"] for r in deltas)
    assert joined == done["arguments"]
    assert json.loads(joined) == restored_in(value)


def test_the_text_of_a_response_that_is_to_be_json_stays_json() -> None:
    text = '{"a": "<SECRET_1>"}'
    data = event("response.output_text.delta", **AT, delta=text[:12])
    data += event("response.output_text.delta", **AT, delta=text[12:])
    data += event("response.output_text.done", **AT, text=text)
    *deltas, done = events(passed(data, [], json_answer=True))
    assert "".join(r["delta"] for r in deltas) == done["text"]
    assert json.loads(done["text"]) == {"a": ORIGINALS["<SECRET_1>"]}


def test_an_event_that_is_put_in_is_a_whole_one_of_its_kind() -> None:
    data = event("response.output_text.delta", **AT, delta="a <SEC", logprobs=[1])
    data += event("response.output_text.done", **AT, text="a <SEC")
    blocks = passed(data, []).decode().split("\n\n")
    assert blocks[1].startswith("event: response.output_text.delta\ndata: ")
    assert json.loads(blocks[1].partition("data: ")[2]) == {
        "type": "response.output_text.delta",
        "sequence_number": 1,
        **AT,
        "delta": "<SEC",
        "logprobs": [],
    }
    assert blocks[2].startswith("event: response.output_text.done\n")


def test_texts_of_one_response_are_kept_apart() -> None:
    data = event("response.output_text.delta", **AT, delta="<EMA")
    data += event("response.output_text.delta", **AT | {"item_id": "j"}, delta="IL_1>")
    data += event("response.output_text.delta", **AT, delta="IL_1>")
    data += event("response.completed", response={})
    assert [r.get("delta") for r in events(passed(data, []))] == [
        "",
        "IL_1>",
        "ann@example.com",
        None,
    ]
