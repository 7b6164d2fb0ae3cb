"""How much of a request the daemon takes: head, body, nesting of JSON, and time.

``Limits`` checks what an HTTP server has parsed; ``Protocol`` does the same for what comes before,
where uvicorn alone would answer in plain text or wait for ever.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from models.errors import AidecampError, UsageError
from runtime.config import DaemonConfig
from runtime.daemon.answers import answer
from runtime.daemon.errors import BodyLate, HeadTooLarge, TooLarge, Unsupported, body_of

MAX_HEAD_BYTES = 32_768
"""Request line and headers together."""
MAX_HEADERS = 100
HEAD_TIMEOUT_S = 10.0
"""From a connection's first byte of a request, or from its opening, to the end of the headers."""
LINGER_S = 5.0
"""How long what is left of a refused body is read and thrown away, so that its sender sees the
answer instead of a reset connection."""

FEW_BRACKETS = 4_096
"""So many are counted faster one by one."""

_STRINGS = re.compile(rb'"[^"]*"')
_NO_BRACKET = bytes(set(range(256)) - set(b'[]{}"'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


class Limits:
    """ASGI middleware: what is too much, too late or unreadable is answered here, and the rest
    reaches the route whole. ``settings`` is asked at every request."""

    def __init__(self, app: ASGIApp, settings: Callable[[], DaemonConfig]) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        settings = self._settings()
        try:
            _check_head(scope)
            length, comes = _announced(scope["headers"])
            if length > settings.max_body_bytes:
                raise _too_large(settings.max_body_bytes)
            # Held whole, since an answer cannot be taken back once a route has begun it.
            body = await _read(receive, settings) if comes else b""
            if body:
                check_body(body, scope["method"], settings.max_depth)
        except AidecampError as error:
            late = {"Connection": "close"} if isinstance(error, BodyLate) else {}
            await answer(error, headers=late)(scope, receive, send)
            return
        except _GoneError:
            return
        await self._app(scope, _replaying(body, receive) if comes else receive, send)


class _GoneError(Exception):
    """The client left while its body was read."""


async def _read(receive: Receive, settings: DaemonConfig) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _GoneError
                part = message.get("body", b"")
                size += len(part)
                if size > settings.max_body_bytes:
                    raise _too_large(settings.max_body_bytes)
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError as error:
        raise BodyLate(
            f"The body did not come whole within {settings.body_timeout_s:g} s.",
            hint="Send it at once; daemon.body_timeout_s is the limit.",
        ) from error


def _replaying(body: bytes, receive: Receive) -> Receive:
    """The whole body as one message; what follows (that the client left) comes as it does."""
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _check_head(scope: Scope) -> None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    size += sum(len(name) + len(value) + 4 for name, value in headers)
    if size > MAX_HEAD_BYTES or len(headers) > MAX_HEADERS:
        raise _head_too_large()


def _announced(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, bool]:
    """The body's length in bytes as far as it is told, and whether there is a body at all."""
    length, comes = 0, False
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
            comes = comes or length > 0
        elif name == b"transfer-encoding":
            comes = True
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise Unsupported(
                "The daemon reads no compressed bodies.", hint="Leave Content-Encoding out."
            )
    return length, comes


def check_body(body: bytes, method: str, max_depth: int) -> None:
    """Raises UsageError on what no route can read: not UTF-8, too deeply nested, or with GET."""
    if method in ("GET", "HEAD"):
        raise UsageError(f"A {method} has no body here.", hint="Use the query.")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"The body is not valid UTF-8: byte {error.start:,} cannot be read.",
            hint="Send JSON in UTF-8.",
        ) from error
    if b"\0" in body:
        # No JSON text holds one, and Python would take it for a sign of UTF-16.
        raise UsageError("The body holds a zero byte.", hint="Send JSON in UTF-8.")
    if too_deep(body, max_depth):
        raise UsageError(
            f"The body is nested more than {max_depth} deep.",
            hint="daemon.max_depth is the limit.",
        )


def too_deep(body: bytes, limit: int) -> bool:
    """Whether the JSON in ``body`` nests arrays and objects more than ``limit`` deep. Text that is
    no JSON is taken for at least as deep as a parser would get in it."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    # No quote that is left then is an escaped one, and what stands between two is text.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_BRACKET)
    brackets = _STRINGS.sub(b"", plain).translate(_ONE_KIND, b'"')
    if len(brackets) <= FEW_BRACKETS:
        return max(accumulate(92 - sign for sign in brackets), default=0) > limit
    import numpy as np

    # "[" is 91 and "]" is 93.
    steps = 92 - np.frombuffer(brackets, np.int8).astype(np.int8)
    return bool(np.cumsum(steps, dtype=np.int64).max() > limit)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The daemon reads at most {limit:,} bytes of a body.",
        hint="Put large input into a file in the task's folder, and name it in the task."
        " daemon.max_body_bytes is the limit.",
    )


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"The daemon reads at most {MAX_HEAD_BYTES:,} bytes and {MAX_HEADERS} lines of headers.",
        hint="Send fewer or shorter headers, and long text in the body.",
    )


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1, with JSON for what it cannot parse, and a limit on waiting for headers
    and for the rest of a body that was refused."""

    _head_timer: asyncio.TimerHandle | None = None
    _linger_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(opening=True)

    def connection_lost(self, exc: Exception | None) -> None:
        _stop(self._head_timer)
        _stop(self._linger_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def _watch(self, opening: bool = False) -> None:
        """Start and stop the two clocks by the state that the connection is in."""
        theirs, closing = self.conn.their_state, self.transport.is_closing()
        begun = theirs is h11.IDLE and (opening or bool(self.conn.trailing_data[0]))
        if closing or not (begun or (theirs is h11.IDLE and self.cycle is None)):
            _stop(self._head_timer)
            self._head_timer = None
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_late)
        answered = self.conn.our_state is h11.DONE and theirs is h11.SEND_BODY
        if closing or not answered:
            _stop(self._linger_timer)
            self._linger_timer = None
        elif self._linger_timer is None:
            self._linger_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _head_late(self) -> None:
        if self.transport.is_closing():
            return
        if not self.conn.trailing_data[0]:
            self.transport.close()  # It was opened, and nothing was ever asked.
            return
        self._refuse(
            BodyLate(
                f"The headers did not come whole within {HEAD_TIMEOUT_S:g} s.",
                hint="Send the request at once.",
            )
        )

    def send_400_response(self, msg: str) -> None:
        # uvicorn calls this while it handles h11's error, and passes its own words alone.
        problem = sys.exc_info()[1]
        status = getattr(problem, "error_status_hint", 400)
        if status == HeadTooLarge.http_status:
            self._refuse(_head_too_large())
            return
        said = f": {problem}" if isinstance(problem, h11.RemoteProtocolError) else ""
        self._refuse(
            UsageError(f"This is no HTTP request that can be read{said}.", hint="Use HTTP/1.1."),
            status,
        )

    def _refuse(self, error: AidecampError, status: int | None = None) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # An answer has begun, and cannot be taken back.
            return
        status = status or error.http_status
        body = json.dumps(body_of(error)).encode()
        head = h11.Response(
            status_code=status,
            headers=[
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ],
            reason=STATUS_PHRASES[status],
        )
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def http_settings() -> dict[str, Any]:
    """What ``uvicorn.Config`` needs, so that the limits hold before the app is asked."""
    return {
        "http": Protocol,
        "ws": "none",
        "h11_max_incomplete_event_size": MAX_HEAD_BYTES,
        "server_header": False,
    }
