"""A General that misbehaves: what is tried again, what is given up, and when."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from email.utils import formatdate
from typing import Any

import pytest

from models.breaker import Breaker
from models.errors import GeneralFailed
from models.remote import Permit, RemoteGenerator, Reply
from models.remote_failures import Unanswered
from models.retry import Patience
from tests.fakes import FakeGeneral
from tests.fault_server import (
    Huge,
    busy,
    cut,
    event,
    garbage,
    hang,
    hang_up,
    raw,
    refused_url,
    status,
    stream,
)

QUESTION = ({"role": "user", "content": "plan it"},)
AUTO = Permit("auto", "policy")


class Naps:
    """A sleep that takes no time and remembers what it was asked for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def remote(url: str, naps: Naps | None = None, **settings: Any) -> RemoteGenerator:
    made: dict[str, Any] = {"sleep": naps or Naps(), "jitter": lambda: 0.5, "timeout_s": 20.0}
    return RemoteGenerator(base_url=url, model="m", **made | settings)


async def fails(general: RemoteGenerator, match: str, **how: Any) -> Unanswered:
    with pytest.raises(GeneralFailed, match=match) as caught:
        await general.complete(QUESTION, AUTO, **how)
    assert isinstance(caught.value, Unanswered)
    return caught.value


# ---- trying again


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
async def test_a_status_that_says_try_again_is_tried_again_with_full_jitter(code: int) -> None:
    naps = Naps()
    with FakeGeneral([status(code), status(code), "a plan"]) as server:
        reply = await remote(server.base_url, naps).complete(QUESTION, AUTO)
    assert (reply.text, reply.attempts) == ("a plan", 3)
    assert naps.seconds == [0.25, 0.5]
    assert reply.bytes_sent == sum(map(len, server.received))


@pytest.mark.parametrize("code", [400, 403, 404, 413, 422, 501])
async def test_any_other_status_is_final(code: int) -> None:
    with FakeGeneral([status(code, body='{"error": {"message": "no such thing"}}')]) as server:
        failure = await fails(remote(server.base_url), f"{code}: no such thing")
    assert failure.attempts == len(server.received) == 1


async def test_attempts_are_limited() -> None:
    with FakeGeneral([status(503)]) as server:
        failure = await fails(remote(server.base_url, patience=Patience(attempts=4)), "503")
    assert failure.attempts == len(server.received) == 4
    assert failure.bytes_sent == sum(map(len, server.received))


async def test_a_refused_connection_is_tried_again_and_sent_nothing() -> None:
    naps = Naps()
    failure = await fails(remote(refused_url(), naps), "cannot be reached")
    assert (failure.attempts, failure.bytes_sent, failure.sent) == (3, 0, "")
    assert len(naps.seconds) == 2


@pytest.mark.parametrize("fault", [hang_up, cut(), garbage], ids=["hang up", "cut", "garbage"])
async def test_what_may_have_been_served_is_never_asked_for_twice(fault: Any) -> None:
    with FakeGeneral([fault]) as server:
        failure = await fails(remote(server.base_url), "hung up|broke off|not JSON")
    assert failure.attempts == len(server.received) == 1
    assert failure.bytes_sent == len(server.received[0])


async def test_retry_after_in_seconds_is_obeyed() -> None:
    naps = Naps()
    with FakeGeneral([busy("7"), "a plan"]) as server:
        await remote(server.base_url, naps).complete(QUESTION, AUTO)
    assert naps.seconds == [7.0]


async def test_retry_after_as_a_date_is_obeyed() -> None:
    naps = Naps()
    patience = Patience(timeout_s=7200.0)
    with FakeGeneral([busy(formatdate(4_102_444_800, usegmt=True)), "never"]) as server:
        failure = await fails(remote(server.base_url, naps, patience=patience), "429")
    assert naps.seconds == []  # the year 2100 is beyond any deadline
    assert failure.attempts == 1


async def test_retry_after_beyond_the_deadline_fails_at_once_and_opens_the_circuit() -> None:
    naps = Naps()
    with FakeGeneral([busy("300")]) as server:
        general = remote(server.base_url, naps)
        await fails(general, "429: slow down, and 20 s are not enough to wait")
        assert naps.seconds == []
        assert general.breaker.state == "open"
        assert general.breaker.status.retry_in_s == pytest.approx(300.0, abs=5.0)
        await fails(general, "is not asked now")
    assert len(server.received) == 1


# ---- deadlines


async def test_a_server_that_hangs_is_left_at_the_deadline() -> None:
    with FakeGeneral([hang]) as server:
        failure = await fails(remote(server.base_url, timeout_s=0.3), "within 0.3 s")
    assert failure.attempts == 1
    assert failure.bytes_sent == len(server.received[0])


async def test_one_call_can_be_given_less_time() -> None:
    with FakeGeneral([hang]) as server:
        await fails(remote(server.base_url, timeout_s=60.0), "within 0.2 s", timeout_s=0.2)


async def test_a_stream_must_begin_in_time() -> None:
    patience = Patience(first_token_timeout_s=0.2)
    with FakeGeneral([stream(then=hang)]) as server:
        await fails(
            remote(server.base_url, patience=patience),
            "0.2 s to the first of an answer",
            on_text=print,
        )


async def test_a_stream_that_began_has_until_the_deadline() -> None:
    patience = Patience(first_token_timeout_s=0.2)
    with FakeGeneral([stream("half a", then=hang)]) as server:
        general = remote(server.base_url, patience=patience, timeout_s=0.5)
        await fails(general, "within 0.5 s", on_text=lambda text: None)


async def test_a_cancelled_call_says_nothing_about_the_server() -> None:
    taken = threading.Event()

    def take(handler: Any) -> None:
        taken.set()
        hang(handler)

    with FakeGeneral([take]) as server:
        general = remote(server.base_url)
        call = asyncio.create_task(general.complete(QUESTION, AUTO))
        assert await asyncio.to_thread(taken.wait, 30)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert general.breaker.status.failures == 0


# ---- the circuit


async def test_an_open_circuit_touches_no_network_until_its_pause_is_over() -> None:
    now = 0.0
    breaker = Breaker(failures=2, open_s=30.0, clock=lambda: now)
    with FakeGeneral([hang_up, hang_up, "a plan"]) as server:
        general = remote(server.base_url, breaker=breaker)
        for _ in range(2):
            await fails(general, "hung up")
        failure = await fails(general, "failed 2 times in a row, at last because hung up")
        assert (failure.bytes_sent, len(server.received)) == (0, 2)
        assert failure.hint == "It is tried again in 30 s."
        now = 30.0
        assert (await general.complete(QUESTION, AUTO)).text == "a plan"
    assert breaker.state == "closed"


async def test_a_request_that_the_server_does_not_like_is_no_sign_of_illness() -> None:
    with FakeGeneral([status(400)]) as server:
        general = remote(server.base_url, breaker=Breaker(failures=1))
        await fails(general, "400")
        await fails(general, "400")
    assert len(server.received) == 2


# ---- bodies


@pytest.mark.parametrize("code", [200, 500])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_huge_body_is_not_read_to_its_end(code: int, streamed: bool) -> None:
    huge = Huge(code)
    patience = Patience(attempts=1, most_answer_bytes=1 << 20)
    how = {"on_text": print} if streamed else {}
    with FakeGeneral([huge]) as server:
        match = "longer than 1,048,576 bytes" if code == 200 else "answered 500"
        await fails(remote(server.base_url, patience=patience), match, **how)
        assert huge.ended.wait(30)
    assert huge.written < 1 << 26  # what the socket buffers hold, not the gigabyte


async def test_a_redirect_takes_the_messages_nowhere_else() -> None:
    with FakeGeneral(["never"]) as elsewhere:
        to = f"{elsewhere.base_url}/chat/completions"
        with FakeGeneral([status(307, {"Location": to})]) as server:
            await fails(remote(server.base_url), f"{to}, which is not followed")
    assert elsewhere.received == []


SCHEMA = {"type": "object", "required": ["recipe"], "properties": {"recipe": {"type": "string"}}}


@pytest.mark.parametrize("answer", ["sure, I will", '{"name": "x"}', '{"recipe": 3}', "[" * 9999])
async def test_json_that_does_not_meet_the_schema_is_an_error_of_the_general(answer: str) -> None:
    with FakeGeneral([answer]) as server:
        await fails(remote(server.base_url), "does not fit|asked for JSON", schema=SCHEMA)


# ---- streams


async def test_a_stream_shows_the_text_as_it_grows_and_counts_tokens() -> None:
    seen: list[str] = []
    with FakeGeneral([stream("first ", "this, ", "then that")]) as server:
        reply = await remote(server.base_url).complete(QUESTION, AUTO, on_text=seen.append)
    assert seen[-1] == reply.text == "first this, then that"
    assert all(reply.text.startswith(text) for text in seen)
    assert (reply.tokens_in, reply.tokens_out, reply.finish) == (50, 3, "stop")
    assert reply.model == "fake-general"
    asked = json.loads(server.received[0])
    assert (asked["stream"], asked["stream_options"]) == (True, {"include_usage": True})


async def test_a_stream_without_usage_is_an_answer_all_the_same() -> None:
    with FakeGeneral([stream("a plan", usage=False)]) as server:
        reply = await remote(server.base_url).complete(QUESTION, AUTO, on_text=lambda text: None)
    assert (reply.text, reply.tokens_in) == ("a plan", 0)


async def test_a_server_that_does_not_stream_is_read_in_one_piece() -> None:
    seen: list[str] = []
    with FakeGeneral(["a plan"]) as server:
        reply = await remote(server.base_url).complete(QUESTION, AUTO, on_text=seen.append)
    assert seen == [reply.text] == ["a plan"]


DROPS = {
    "it ends": (stream("half a ", "plan", finish=None), "broke off after 11 characters"),
    "a reset": (stream("half a", then=hang_up), "broke off"),
    "no text": (stream(finish=None), "broke off before any text"),
    "an error": (
        stream("x", then=lambda h: event(h, {"error": {"message": "out of memory"}})),
        "out of memory",
    ),
    "nonsense": (stream("x", then=raw(b"data: {]\n\n")), "an event of its stream is not JSON"),
    "no object": (stream("x", then=raw(b"data: 7\n\n")), "is no chat completion"),
}


@pytest.mark.parametrize("name", DROPS)
async def test_a_stream_that_drops_is_no_answer_and_not_asked_for_again(name: str) -> None:
    fault, match = DROPS[name]
    with FakeGeneral([fault]) as server:
        failure = await fails(remote(server.base_url), match, on_text=lambda text: None)
    assert failure.attempts == len(server.received) == 1
    assert failure.bytes_sent == len(server.received[0])


async def test_a_lost_end_costs_nothing_once_the_answer_is_whole() -> None:
    whole = raw(b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n')
    with FakeGeneral([stream(then=whole)]) as server:
        reply = await remote(server.base_url).complete(QUESTION, AUTO, on_text=lambda text: None)
    assert reply.text == "a"


async def test_half_a_surrogate_pair_becomes_text_that_can_be_stored() -> None:
    body = b'{"choices": [{"message": {"content": "a \\ud83d plan \\ud83d\\ude00"}}]}'
    with FakeGeneral([(200, body.decode())]) as server:
        reply = await remote(server.base_url).complete(QUESTION, AUTO)
    assert reply.text == "a \ufffd plan 😀"


# ---- the record of what left


async def test_what_left_is_recorded_by_digest_or_byte_for_byte() -> None:
    import hashlib

    with FakeGeneral(["a plan"]) as server:
        digest = await remote(server.base_url).complete(QUESTION, AUTO)
        body = await remote(server.base_url, record_sent="body").complete(QUESTION, AUTO)
    assert digest.sent == f"sha256:{hashlib.sha256(server.received[0]).hexdigest()}"
    assert body.sent.encode() == server.received[1]


async def test_a_failed_call_says_what_left_too() -> None:
    with FakeGeneral([status(400)]) as server:
        failure = await fails(remote(server.base_url, record_sent="body"), "400")
    assert failure.sent.encode() == server.received[0]
    assert failure.as_dict()["error"] == "GeneralFailed"


async def test_an_answer_that_was_cut_says_so() -> None:
    with FakeGeneral([stream("half", finish="length")]) as server:
        reply: Reply = await remote(server.base_url).complete(
            QUESTION, AUTO, on_text=lambda text: None
        )
    assert reply.finish == "length"


def test_errors_name_the_server() -> None:
    """Every message begins alike, so that a list of Generals can be told apart."""
    with pytest.raises(GeneralFailed, match=re.escape("The General at http://127.0.0.1")):
        asyncio.run(remote(refused_url()).complete(QUESTION, AUTO))
