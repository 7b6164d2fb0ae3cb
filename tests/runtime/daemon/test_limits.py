"""How much of a request the daemon takes, over real sockets: what is too much is told in JSON."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from models.errors import UsageError
from runtime.config import DaemonConfig
from runtime.daemon import connection, limits
from runtime.daemon.limits import MAX_HEAD_BYTES, MAX_HEADERS, Limits, check_body, too_deep
from tests.runtime.daemon.wire import ask, line, request, serving

LIMIT = 1_000


@dataclass
class Behind:
    port: int = 0
    settings: DaemonConfig = field(
        default_factory=lambda: DaemonConfig(max_body_bytes=LIMIT, max_depth=8, body_timeout_s=20)
    )
    came: list[bytes] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def limited() -> AsyncIterator[Behind]:
    behind = Behind()

    async def echo(request: Request) -> JSONResponse:
        behind.came.append(await request.body())
        return JSONResponse({"bytes": len(behind.came[-1])})

    async def stream(request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 1_000
                    await asyncio.sleep(0.001)
            finally:
                behind.left.set()

        return StreamingResponse(pieces())

    async def early(request: Request) -> JSONResponse:
        return JSONResponse({"read": False})

    methods = ["GET", "HEAD", "POST", "DELETE"]
    app = Starlette(
        routes=[
            Route("/", echo, methods=methods),
            Route("/stream", stream, methods=methods),
            Route("/early", early, methods=methods),
        ]
    )
    app.add_middleware(Limits, settings=lambda: behind.settings)
    async with serving(app) as behind.port:
        yield behind


@pytest.fixture
async def behind() -> AsyncIterator[Behind]:
    async with limited() as one:
        yield one


def chunked(*parts: bytes, path: str = "/") -> bytes:
    head = request("POST", path, {"Transfer-Encoding": "chunked"})
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def padded(size: int) -> bytes:
    return b'"' + b"x" * (size - 2) + b'"'


async def test_a_body_of_the_limit_reaches_the_route_once_and_whole(behind: Behind) -> None:
    body = padded(LIMIT)
    for data in (request("POST", body=body), chunked(body[:1], body[1:500], body[500:])):
        answer = await ask(behind.port, data)
        assert (answer.status, json.loads(answer.body)) == (200, {"bytes": LIMIT})
    assert behind.came == [body, body]


async def test_a_body_over_the_limit_is_413_announced_or_not(behind: Behind) -> None:
    body = padded(LIMIT + 1)
    announced = request("POST", headers={"Content-Length": "99999999999999999999"})
    for data in (request("POST", body=body), chunked(body), chunked(*[body[:100]] * 11), announced):
        answer = await ask(behind.port, data)
        assert (answer.status, answer.error()["code"]) == (413, "TooLarge")
        assert "1,000" in answer.error()["message"]
    assert behind.came == []


async def test_whoever_sends_far_too_much_still_reads_why_and_goes_on(behind: Behind) -> None:
    """The rest of the body is read and thrown away; a reset would take the answer with it."""
    async with line(behind.port) as one:
        await one.send(request("POST", body=b"x" * 4_000_000))
        answer = await one.answer()
        assert answer is not None and answer.status == 413
        await one.send(request("POST", body=b"1"))
        answer = await one.answer()
        assert answer is not None and answer.status == 200


@pytest.mark.parametrize("framing", ["Content-Length", "Transfer-Encoding"])
async def test_the_answer_is_read_also_where_the_connection_ends_with_it(
    behind: Behind, framing: str
) -> None:
    """A client that says `Connection: close` and goes on sending what was refused."""
    value = "chunked" if framing == "Transfer-Encoding" else "4000000"
    chunk = b"%x\r\n%s\r\n" % (2_000_000, b"x" * 2_000_000)
    async with line(behind.port) as one:
        await one.send(request("POST", headers={"Connection": "close", framing: value}))
        await one.send(chunk[:1_000_000])
        await one.send(chunk[1_000_000:])
        answer = await one.answer()
        assert answer is not None and answer.status == 413
        assert answer.headers["connection"] == "close"
        await one.send(chunk)
        assert await one.closed()


@pytest.mark.parametrize("ends", ["close", "keep-alive"])
async def test_a_refused_body_that_never_ends_is_not_read_for_ever(
    behind: Behind, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.05)
    head = {"Content-Length": "5000000", "Connection": ends}
    async with line(behind.port) as one:
        await one.send(request("POST", headers=head))
        answer = await one.answer()
        assert answer is not None and answer.status == 413
        # Until the other end does not take it any more.
        async with asyncio.timeout(20):
            await _trickle(one.writer, b"x")


async def _trickle(writer: asyncio.StreamWriter, data: bytes) -> None:
    while not writer.is_closing():
        writer.write(data)
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_body_that_comes_too_slowly_is_408(behind: Behind, framing: str) -> None:
    behind.settings = behind.settings.model_copy(update={"body_timeout_s": 0.1})
    async with line(behind.port) as one:
        await one.send(f"POST / HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n".encode())
        trickle = asyncio.create_task(
            _trickle(one.writer, b" " if "Length" in framing else b"1\r\n \r\n")
        )
        answer = await one.answer()
        trickle.cancel()
        assert answer is not None
        assert (answer.status, answer.error()["code"]) == (408, "BodyLate")
        assert await one.closed()
    assert behind.came == []


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\nHost: local", b"GET / HTT"])
async def test_headers_that_come_too_slowly_are_408(
    behind: Behind, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
    async with line(behind.port) as one:
        await one.send(begun)
        answer = await one.answer()
        assert answer is not None
        assert (answer.status, answer.error()["code"]) == (408, "BodyLate")
        assert await one.closed()


async def test_a_second_request_that_stops_half_way_is_408_too(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
    async with line(behind.port) as one:
        await one.send(request("POST", body=b"1"))
        answer = await one.answer()
        assert answer is not None and answer.status == 200
        await one.send(b"POST / HTTP/1.1\r\n")
        answer = await one.answer()
        assert answer is not None and answer.status == 408


async def test_a_connection_on_which_nothing_is_asked_is_closed(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
    async with line(behind.port) as one:
        assert await one.answer() is None


async def test_an_answer_that_takes_long_is_not_cut_by_the_limit_on_headers(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.02)
    monkeypatch.setattr(connection, "LINGER_S", 0.02)
    async with line(behind.port) as one:
        await one.send(request("GET", "/stream"))
        async with asyncio.timeout(20):
            await one.reader.readexactly(100_000)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
        (b'{"a": "\xc0\xaf"}', "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "zero byte"),
        ('{"a": 1}'.encode("utf-32-le"), "zero byte"),
        (b'{"a": "\0"}', "zero byte"),
        (b"[" * 9 + b"]" * 9, "nested"),
        (b'{"a":' * 9 + b"1" + b"}" * 9, "nested"),
        (b"[" * 900, "nested"),
    ],
)
async def test_what_no_route_can_read_is_400(behind: Behind, body: bytes, says: str) -> None:
    for data in (request("POST", body=body), chunked(body)):
        answer = await ask(behind.port, data)
        assert answer.status == 400
        assert says in answer.error()["message"]
    assert behind.came == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_body_where_there_is_none_is_400(behind: Behind, method: str) -> None:
    answer = await ask(behind.port, request(method, body=b"{}"), method)
    assert answer.status == 400
    answer = await ask(behind.port, request(method, headers={"Content-Length": "0"}), method)
    assert answer.status == 200
    deleted = await ask(behind.port, request("DELETE", body=b"{}"))
    assert deleted.status == 200
    assert behind.came == [b"", b"{}"]


async def test_a_compressed_body_is_415(behind: Behind) -> None:
    for coding in ("gzip", "br", "zstd, gzip"):
        answer = await ask(
            behind.port, request("POST", headers={"Content-Encoding": coding}, body=b"{}")
        )
        assert (answer.status, answer.error()["code"]) == (415, "Unsupported")


HUGE = "x" * MAX_HEAD_BYTES
HEADS = {
    "one long header": request(headers={"X-Long": HUGE}),
    "a long path": request(path=f"/{HUGE}"),
    "a long query": request(path=f"/?q={HUGE}"),
    "a long method": HUGE.encode() + b" / HTTP/1.1\r\n",
    "many headers": request(headers={f"X-{n}": "1" for n in range(MAX_HEADERS)}),
    "a header without end": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + HUGE.encode(),
    "many long headers": request(headers={f"X-{n}": "x" * 5_000 for n in range(50)}),
}


@pytest.mark.parametrize("name", HEADS)
async def test_headers_over_the_limit_are_431(behind: Behind, name: str) -> None:
    answer = await ask(behind.port, HEADS[name])
    assert (answer.status, answer.error()["code"]) == (431, "HeadTooLarge")
    assert behind.came == []


BROKEN = {
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "bytes in the path": (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a header without a colon": (b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n", 400),
    "a folded header": (b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", 400),
    "a zero byte in a header": (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
    "a length that is no number": (request("POST", headers={"Content-Length": "x"}), 400),
    "a negative length": (request("POST", headers={"Content-Length": "-1"}), 400),
    "two lengths": (request("POST", headers={"Content-Length": "1, 2"}), 400),
    "an unknown transfer": (request("POST", headers={"Transfer-Encoding": "gzip"}), 501),
    "a bad chunk": (request("POST", headers={"Transfer-Encoding": "chunked"}) + b"zz\r\n", 400),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_http_is_answered_in_json(
    behind: Behind, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, status = BROKEN[name]
    with caplog.at_level(logging.ERROR):
        async with line(behind.port) as one:
            await one.send(data)
            answer = await one.answer()
            assert answer is not None
            assert answer.status == status
            assert answer.error()["type"] in ("invalid_request_error", "server_error")
            assert await one.closed()
    assert caplog.messages == []
    assert behind.came == []


async def test_nonsense_after_an_answer_has_begun_ends_the_connection_quietly(
    behind: Behind, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with line(behind.port) as one:
            await one.send(request("POST", "/stream"))
            await one.reader.readuntil(b"\r\n\r\n")
            await one.send(b"\x00 nonsense\r\n\r\n")
            await one.reader.readexactly(10_000)
        async with asyncio.timeout(20):
            await behind.left.wait()
    assert caplog.messages == []


async def test_a_client_that_leaves_while_it_sends_ends_quietly(
    behind: Behind, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        for begun in (
            request("POST", headers={"Content-Length": "100"}) + b"half",
            request("POST", headers={"Transfer-Encoding": "chunked"}) + b"5\r\nhal",
        ):
            async with line(behind.port) as one:
                await one.send(begun)
        answer = await ask(behind.port, request("POST", body=b"1"))
    assert answer.status == 200
    assert (behind.came, caplog.messages) == ([b"1"], [])


async def test_a_route_that_streams_learns_that_its_reader_left(behind: Behind) -> None:
    for data in (request("GET", "/stream"), request("POST", "/stream", body=b"{}")):
        behind.left.clear()
        async with line(behind.port) as one:
            await one.send(data)
            await one.reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(20):
            await behind.left.wait()


async def test_who_asks_before_it_sends_is_told_to_go_on_or_why_not(behind: Behind) -> None:
    async with line(behind.port) as one:
        await one.send(request("POST", headers={"Expect": "100-continue", "Content-Length": "2"}))
        assert b"100" in await one.reader.readuntil(b"\r\n\r\n")
        await one.send(b"{}")
        answer = await one.answer()
        assert answer is not None and answer.status == 200
    async with line(behind.port) as one:
        await one.send(
            request("POST", headers={"Expect": "100-continue", "Content-Length": "2000"})
        )
        answer = await one.answer()
        assert answer is not None and answer.status == 413


async def test_a_route_that_reads_after_its_client_left_is_told_so() -> None:
    """What follows the body is passed on as the server says it."""
    messages: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.request", "body": b"}", "more_body": False},
        {"type": "http.disconnect"},
    ]
    came: list[object] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        came.append(await request.body())
        came.append(await receive())

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"transfer-encoding", b"chunked")],
    }
    await Limits(app, DaemonConfig)(scope, receive, send)
    assert came == [b"{}", {"type": "http.disconnect"}]


def depth_of(value: object) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 0


VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}"\\ab,:é\n', max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(alphabet='[]{}"\\a', max_size=4), inner, max_size=4)
    ),
    max_leaves=40,
)


@pytest.mark.parametrize("few", [0, limits.FEW_BRACKETS])
@given(value=VALUES, ascii_=st.booleans(), limit=st.integers(1, 12))
def test_the_depth_of_valid_json_is_found_without_parsing_it(
    few: int, value: object, ascii_: bool, limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "FEW_BRACKETS", few)
        check_depth(value, ascii_, limit)


def check_depth(value: object, ascii_: bool, limit: int) -> None:
    body = json.dumps(value, ensure_ascii=ascii_).encode()
    assert too_deep(body, limit) == (depth_of(value) > limit)


@given(st.text(alphabet='[]{}"\\a:,', max_size=200))
def test_text_that_is_no_json_gets_no_deeper_than_the_limit_either(text: str) -> None:
    if not too_deep(text.encode(), 10):
        depth = most = 0
        inside = escaped = False
        for sign in text:
            if escaped:
                escaped = False
            elif inside:
                escaped, inside = sign == "\\", sign != '"'
            elif sign == '"':
                inside = True
            elif sign in "[{":
                depth += 1
                most = max(most, depth)
            elif sign in "]}":
                if not depth:
                    break  # A parser stops here.
                depth -= 1
        assert most <= 10


def test_large_bodies_are_told_apart_by_their_depth_alone() -> None:
    for deep in (b"[" * 5_000_000, b'{"a":' * 1_000_000):
        with pytest.raises(UsageError, match="nested"):
            check_body(deep, "POST", 64)
    check_body(b"[" + b"[]," * 1_000_000 + b"1]", "POST", 64)
    check_body(b'["' + b"[" * 5_000_000 + b'"]', "POST", 64)
