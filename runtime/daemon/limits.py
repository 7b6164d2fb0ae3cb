"""How much of a request the daemon takes: head, body, nesting of JSON, and time.

``Limits`` checks what an HTTP server has parsed; ``runtime.daemon.connection`` what comes before.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from itertools import accumulate

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import AidecampError, UsageError
from runtime.config import DaemonConfig
from runtime.daemon.answers import answer
from runtime.daemon.errors import BodyLate, HeadTooLarge, TooLarge, Unsupported

MAX_HEAD_BYTES = 32_768
"""Request line and headers together."""
MAX_HEADERS = 100

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
        raise head_too_large()


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


def head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"The daemon reads at most {MAX_HEAD_BYTES:,} bytes and {MAX_HEADERS} lines of headers.",
        hint="Send fewer or shorter headers, and long text in the body.",
    )
