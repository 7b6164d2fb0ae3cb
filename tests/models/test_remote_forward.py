"""A client's request, handed on: what arrives, what comes back, and when it is given up."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.breaker import Breaker
from models.errors import Denied
from models.forwarding import Forwarded
from models.remote import Permit, RemoteGenerator
from models.remote_failures import Unanswered
from models.retry import Patience
from tests.fakes import Asked, FakeGeneral, completion
from tests.fault_server import (
    Huge,
    busy,
    cut,
    hang,
    hang_up,
    raw,
    refused_url,
    status,
    stream,
)

AUTO = Permit("auto", "policy")
CHAT = "/chat/completions"
BODY = b'{"model":"m", "seed": 1e2, "messages":[]}'


async def at_once(seconds: float) -> None:
    """Waits for nothing."""


def remote(url: str, **how: Any) -> RemoteGenerator:
    made: dict[str, Any] = {"sleep": at_once, "timeout_s": 20.0}
    return RemoteGenerator(base_url=url, model="m", **made | how)


async def whole(answer: Forwarded) -> bytes:
    return b"".join([chunk async for chunk in answer.chunks])


async def fails(general: RemoteGenerator, match: str, **how: Any) -> Unanswered:
    with pytest.raises(Unanswered, match=match) as caught:
        await general.forward(CHAT, BODY, AUTO, **how)
    return caught.value


# ---- what arrives


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(min_size=1, max_size=3000), answer=st.binary(min_size=1, max_size=3000))
async def test_bytes_arrive_as_they_are_in_both_directions(body: bytes, answer: bytes) -> None:
    with FakeGeneral([status(200, {"Content-Length": str(len(answer))}, "")]) as server:
        server.replies[0] = reply_of(answer, "application/x-any; v=1")
        async with general_at(server) as general:
            got = await general.forward(CHAT, body, AUTO)
            assert await whole(got) == answer
    assert server.received == [body]
    assert (got.status, got.content_type) == (200, "application/x-any; v=1")


def reply_of(data: bytes, kind: str = "application/json", code: int = 200, **headers: str) -> Any:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return reply


@contextlib.asynccontextmanager
async def general_at(server: FakeGeneral, **how: Any) -> AsyncIterator[RemoteGenerator]:
    general = remote(server.base_url, **how)
    try:
        yield general
    finally:
        await general.close()


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/embeddings"])
async def test_the_path_is_put_under_the_base_url(path: str) -> None:
    with FakeGeneral(["hello"]) as server:
        for base in (server.base_url, f"{server.base_url}/"):
            answer = await remote(base).forward(path, BODY, AUTO)
            assert await whole(answer) == completion("hello").encode()
    assert server.paths == [f"/v1{path}"] * 2


async def test_the_clients_key_and_cookies_stay_here_and_ours_goes() -> None:
    headers = {
        "Authorization": "Bearer of-the-client",
        "Cookie": "a=b",
        "OpenAI-Organization": "org-of-the-client",
        "User-Agent": "client/1",
        "X-Forwarded-For": "10.0.0.7",
        "OpenAI-Beta": "responses=v1",
        "Idempotency-Key": "one",
    }
    with FakeGeneral([reply_of(b"{}", Set_Cookie="who=user; Path=/")]) as server:
        general = remote(server.base_url, api_key="ours")
        for _ in range(2):
            await whole(await general.forward(CHAT, BODY, AUTO, headers=headers))
    for head in server.heads:
        assert head["authorization"] == "Bearer ours"
        assert (head["openai-beta"], head["idempotency-key"]) == ("responses=v1", "one")
        assert head["user-agent"] == "aidecamp"
        assert not {"cookie", "openai-organization", "x-forwarded-for"} & head.keys()


async def test_without_a_key_of_ours_none_goes() -> None:
    with FakeGeneral(["x"]) as server:
        await whole(
            await remote(server.base_url).forward(
                CHAT, BODY, AUTO, headers={"authorization": "Bearer of-the-client"}
            )
        )
    assert "authorization" not in server.heads[0]


async def test_headers_that_help_the_client_come_back_and_the_accounts_name_does_not() -> None:
    reply = reply_of(
        b"{}",
        X_Request_ID="req-1",
        OpenAI_Processing_MS="12",
        X_RateLimit_Remaining_Requests="7",
        OpenAI_Organization="the-user",
        Set_Cookie="a=b",
    )
    with FakeGeneral([reply]) as server:
        answer = await remote(server.base_url).forward(CHAT, BODY, AUTO)
        await answer.aclose()
    assert answer.headers == {
        "x-request-id": "req-1",
        "openai-processing-ms": "12",
        "x-ratelimit-remaining-requests": "7",
    }


async def test_privacy_local_opens_no_connection() -> None:
    with FakeGeneral(["never"]) as server, pytest.raises(Denied):
        await remote(server.base_url).forward(CHAT, BODY, Permit("local", "user"))
    assert (server.received, server.connections) == ([], 0)


async def test_what_left_and_how_long_it_took_is_accounted_for() -> None:
    with FakeGeneral([(503, "busy"), "hello"]) as server:
        answer = await remote(server.base_url).forward(CHAT, BODY, AUTO)
        assert answer.ms is None
        await whole(answer)
    assert (answer.bytes_sent, answer.attempts) == (2 * len(BODY), 2)
    assert answer.sent == f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    assert answer.ms is not None
    assert 0 < answer.first_byte_ms <= answer.ms


# ---- what comes back


async def test_a_stream_comes_back_byte_for_byte_as_it_grows() -> None:
    go_on = threading.Event()

    def waits(handler: BaseHTTPRequestHandler) -> None:
        assert go_on.wait(30)
        raw(b": a comment\r\n\r\ndata: [DONE]\n\n")(handler)

    with FakeGeneral([stream("first", then=waits)]) as server:
        answer = await remote(server.base_url).forward(CHAT, BODY, AUTO, streamed=True)
        got = await anext(answer.chunks)
        assert b"first" in got  # although the end is not there yet
        go_on.set()
        got += await whole(answer)
    event = b'data: {"model": "fake-general", "choices": [{"index": 0, "delta": '
    assert got == event + b'{"content": "first"}}]}\n\n: a comment\r\n\r\ndata: [DONE]\n\n'
    assert answer.content_type == "text/event-stream"


@pytest.mark.parametrize("code", [400, 404, 405, 409, 413, 415, 422])
async def test_an_error_that_the_request_caused_comes_back_as_it_is(code: int) -> None:
    body = '{"error": {"message": "no", "param": "seed", "code": "x"}}'
    with FakeGeneral([status(code, {"X-Request-ID": "r"}, body)]) as server:
        general = remote(server.base_url, breaker=Breaker(failures=1))
        for _ in range(2):
            answer = await general.forward(CHAT, BODY, AUTO)
            assert (answer.status, await whole(answer)) == (code, body.encode())
            assert answer.headers == {"x-request-id": "r"}
    assert len(server.received) == 2
    assert general.breaker.state == "closed"


@pytest.mark.parametrize("code", [401, 402, 403, 408, 429, 500, 502, 503, 504, 529])
async def test_an_error_that_is_ours_or_the_servers_can_be_answered_otherwise(code: int) -> None:
    with FakeGeneral(
        [status(code, {"Retry-After": "0"}, '{"error": {"message": "no"}}')]
    ) as server:
        failure = await fails(remote(server.base_url), "API key" if code == 401 else f"{code}: no")
    assert failure.status == code
    assert failure.attempts == len(server.received)
    assert failure.attempts == (3 if code in (429, 500, 502, 503, 504) else 1)


async def test_how_long_the_server_wants_to_be_left_alone_is_told() -> None:
    with FakeGeneral([busy("300")]) as server:
        general = remote(server.base_url)
        assert (await fails(general, "429")).wait_s == 300.0
        again = await fails(general, "is not asked now")
    assert again.wait_s == pytest.approx(300.0, abs=5.0)
    assert (again.bytes_sent, len(server.received)) == (0, 1)


async def test_a_redirect_takes_the_request_nowhere_else() -> None:
    with FakeGeneral(["never"]) as elsewhere:
        to = f"{elsewhere.base_url}{CHAT}"
        with FakeGeneral([status(307, {"Location": to})]) as server:
            await fails(remote(server.base_url), "which is not followed")
    assert elsewhere.received == []


async def test_an_empty_answer_is_one() -> None:
    with FakeGeneral([status(200)]) as server:
        answer = await remote(server.base_url).forward(CHAT, BODY, AUTO)
        assert (answer.status, await whole(answer)) == (200, b"")


# ---- what goes wrong


@pytest.mark.parametrize("fault", [hang_up, stream(then=hang_up)], ids=["no head", "no body"])
async def test_a_server_that_hangs_up_before_the_first_byte_is_not_asked_twice(fault: Any) -> None:
    with FakeGeneral([fault]) as server:
        failure = await fails(remote(server.base_url), "hung up before it answered")
    assert failure.attempts == len(server.received) == 1
    assert (failure.status, failure.bytes_sent) == (0, len(BODY))


async def test_a_refused_connection_is_tried_again_and_sent_nothing() -> None:
    failure = await fails(remote(refused_url()), "cannot be reached")
    assert (failure.attempts, failure.bytes_sent, failure.sent) == (3, 0, "")


BREAKS = {"reset": stream("half", then=hang_up), "short": cut()}


@pytest.mark.parametrize("name", BREAKS)
async def test_an_answer_that_breaks_off_raises_after_what_came(name: str) -> None:
    with FakeGeneral([BREAKS[name]]) as server:
        general = remote(server.base_url)
        got = bytearray()
        with pytest.raises(Unanswered, match="broke off after") as caught:
            async for chunk in (await general.forward(CHAT, BODY, AUTO)).chunks:
                got += chunk
    assert got
    assert caught.value.bytes_sent == len(BODY)
    assert len(server.received) == 1
    assert general.breaker.status.failures == 1


async def test_a_stream_must_begin_in_time() -> None:
    patience = Patience(first_token_timeout_s=0.2)
    with FakeGeneral([stream(then=hang)]) as server:
        general = remote(server.base_url, patience=patience)
        await fails(general, "0.2 s to the first of an answer", streamed=True)


async def test_an_answer_in_one_piece_has_until_the_deadline() -> None:
    patience = Patience(first_token_timeout_s=0.1)
    with FakeGeneral([hang]) as server:
        general = remote(server.base_url, patience=patience)
        await fails(general, "within 0.3 s", timeout_s=0.3)


async def test_a_stream_that_began_has_until_the_deadline() -> None:
    patience = Patience(first_token_timeout_s=0.1)
    with FakeGeneral([stream("half a", then=hang)]) as server:
        general = remote(server.base_url, patience=patience, timeout_s=0.4)
        answer = await general.forward(CHAT, BODY, AUTO, streamed=True)
        with pytest.raises(Unanswered, match=r"within 0\.4 s"):
            await whole(answer)


@pytest.mark.parametrize("code", [200, 400])
async def test_a_huge_answer_is_not_read_to_its_end(code: int) -> None:
    huge = Huge(code)
    with FakeGeneral([huge]) as server:
        general = remote(server.base_url, patience=Patience(most_forwarded_bytes=1 << 20))
        answer = await general.forward(CHAT, BODY, AUTO)
        with pytest.raises(Unanswered, match="longer than 1,048,576 bytes"):
            await whole(answer)
        assert huge.ended.wait(30)
    assert huge.written < 1 << 26


# ---- a client that goes away


class Endless:
    """A stream that goes on until the reader hangs up."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def __call__(self, handler: Asked) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write(b"data: {}\n\n")
        handler.rfile.read()  # returns when the connection is gone
        self.ended.set()


async def test_a_reader_that_stops_ends_the_connection_at_once() -> None:
    endless = Endless()
    with FakeGeneral([endless]) as server:
        general = remote(server.base_url, breaker=Breaker(failures=1))
        answer = await general.forward(CHAT, BODY, AUTO, streamed=True)
        assert await anext(answer.chunks)
        await answer.aclose()
        assert await asyncio.to_thread(endless.ended.wait, 30)
        await answer.aclose()  # again is once
    assert general.breaker.status.failures == 0
    assert answer.ms is not None


async def test_an_answer_that_nobody_began_to_read_can_be_left() -> None:
    endless = Endless()
    with FakeGeneral([endless]) as server:
        answer = await remote(server.base_url).forward(CHAT, BODY, AUTO, streamed=True)
        await answer.aclose()
        assert await asyncio.to_thread(endless.ended.wait, 30)


async def test_a_cancelled_reader_ends_the_connection_at_once() -> None:
    endless = Endless()
    with FakeGeneral([endless]) as server:
        general = remote(server.base_url)
        began = asyncio.Event()

        async def read() -> None:
            async for _ in (await general.forward(CHAT, BODY, AUTO, streamed=True)).chunks:
                began.set()

        reader = asyncio.create_task(read())
        await began.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert await asyncio.to_thread(endless.ended.wait, 30)
    assert general.breaker.status.failures == 0


async def test_a_cancelled_scope_ends_the_connection_at_once() -> None:
    """anyio's scopes, which Starlette uses, cancel at every await until they are left."""
    endless = Endless()
    with FakeGeneral([endless]) as server:
        general = remote(server.base_url)

        async def read(scope: anyio.CancelScope) -> None:
            async for _ in (await general.forward(CHAT, BODY, AUTO, streamed=True)).chunks:
                scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(read, group.cancel_scope)
        assert await asyncio.to_thread(endless.ended.wait, 30)


async def test_a_client_that_goes_before_the_answer_says_nothing_about_the_server() -> None:
    taken = threading.Event()
    gone = threading.Event()

    def take(handler: BaseHTTPRequestHandler) -> None:
        taken.set()
        hang(handler)
        gone.set()

    with FakeGeneral([take]) as server:
        general = remote(server.base_url, breaker=Breaker(failures=1))
        call = asyncio.create_task(general.forward(CHAT, BODY, AUTO))
        assert await asyncio.to_thread(taken.wait, 30)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(gone.wait, 30)
    assert general.breaker.status.failures == 0


# ---- the circuit


async def test_an_open_circuit_is_closed_by_the_first_bytes_of_an_answer() -> None:
    now = 0.0
    breaker = Breaker(failures=1, open_s=30.0, clock=lambda: now)
    endless = Endless()
    with FakeGeneral([hang_up, endless]) as server:
        general = remote(server.base_url, breaker=breaker)
        await fails(general, "hung up")
        await fails(general, "is not asked now")
        now = 30.0
        answer = await general.forward(CHAT, BODY, AUTO, streamed=True)
        assert breaker.state == "closed"
        await answer.aclose()
        assert await asyncio.to_thread(endless.ended.wait, 30)


async def test_streams_that_break_again_and_again_open_the_circuit() -> None:
    with FakeGeneral([stream("half", then=hang_up)]) as server:
        general = remote(server.base_url, breaker=Breaker(failures=2))
        for _ in range(2):
            answer = await general.forward(CHAT, BODY, AUTO)
            with pytest.raises(Unanswered):
                await whole(answer)
    assert general.breaker.state == "open"


# ---- connections


async def test_one_connection_serves_one_call_after_another() -> None:
    with FakeGeneral(["one", (400, "{}"), "two"], keep_alive=True) as server:
        async with general_at(server) as general:
            for _ in range(3):
                await whole(await general.forward(CHAT, BODY, AUTO))
            await general.complete([{"role": "user", "content": "x"}], AUTO)
    assert (len(server.received), server.connections) == (4, 1)


async def test_calls_at_once_have_a_connection_each() -> None:
    with FakeGeneral(["hello"], keep_alive=True) as server:
        async with general_at(server) as general:
            answers = await asyncio.gather(*(general.forward(CHAT, BODY, AUTO) for _ in range(8)))
            bodies = await asyncio.gather(*map(whole, answers))
    assert bodies == [completion("hello").encode()] * 8
    assert len(server.received) == 8


def test_another_event_loop_gets_connections_of_its_own() -> None:
    with FakeGeneral(["hello"], keep_alive=True) as server:
        general = remote(server.base_url)

        async def once() -> bytes:
            try:
                return await whole(await general.forward(CHAT, BODY, AUTO))
            finally:
                await general.close()

        assert asyncio.run(once()) == asyncio.run(once()) == completion("hello").encode()


async def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    closed = threading.Event()

    def answers_and_hangs_up(handler: Asked) -> None:
        handler.answer(json.dumps({"last": True}))
        handler.close_connection = True
        handler.finish()
        handler.connection.shutdown(2)
        closed.set()

    with FakeGeneral([answers_and_hangs_up, "hello"], keep_alive=True) as server:
        async with general_at(server) as general:
            await whole(await general.forward(CHAT, BODY, AUTO))
            assert await asyncio.to_thread(closed.wait, 30)
            answer = await general.forward(CHAT, BODY, AUTO)
            assert await whole(answer) == completion("hello").encode()
    assert (server.connections, answer.attempts) == (2, 1)
