"""What goes wrong with a General, as replies of ``tests.fakes.FakeGeneral``.

Each fault is written to the socket itself: a real HTTP server that hangs, hangs up, or lies.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.fakes import completion

Reply = Callable[[BaseHTTPRequestHandler], None]


def hang(handler: BaseHTTPRequestHandler) -> None:
    """Takes the request and says nothing until the client has gone."""
    handler.rfile.read()


def drip(handler: BaseHTTPRequestHandler) -> None:
    """An answer of which a byte comes every so often, and the end never."""
    _head(handler, 200, {})
    gone = threading.Event()
    while _write(handler, b" "):
        gone.wait(0.05)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Resets the connection."""
    linger = struct.pack("ii", 1, 0)  # closing now discards what is on its way, with a RST
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    os.close(handler.connection.detach())


def status(code: int, headers: Mapping[str, str] | None = None, body: str = "") -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        _respond(handler, code, body.encode(), headers)

    return reply


def busy(retry_after: str) -> Reply:
    """429 with a ``Retry-After`` header."""
    return status(429, {"Retry-After": retry_after}, '{"error": {"message": "slow down"}}')


def garbage(handler: BaseHTTPRequestHandler) -> None:
    """200, called JSON, and none."""
    _respond(handler, 200, b"\x00\xff<html>it works!</html>")


class Huge:
    """A body that goes on until the client hangs up, or ``most`` bytes are written."""

    def __init__(self, code: int = 200, most: int = 1 << 30) -> None:
        self.code = code
        self.most = most
        self.written = 0
        self.ended = threading.Event()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        block = b'{"choices": [' + b" " * 65_536
        _head(handler, self.code, {"Content-Length": str(self.most)})
        while self.written < self.most and _write(handler, block):
            self.written += len(block)
        self.ended.set()


def cut(text: str = "a plan") -> Reply:
    """A whole answer is announced, and half of it comes."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        body = completion(text).encode()
        _head(handler, 200, {"Content-Length": str(len(body))})
        _write(handler, body[: len(body) // 2])
        hang_up(handler)

    return reply


def stream(
    *parts: str,
    finish: str | None = "stop",
    usage: bool = True,
    then: Reply | None = None,
) -> Reply:
    """Server-sent events, one for each part. ``finish`` None: it ends without saying so.
    ``then`` comes after the parts, instead of the end."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, {}, kind="text/event-stream")
        for part in parts:
            event(handler, {"choices": [{"index": 0, "delta": {"content": part}}]})
        if then is not None:
            then(handler)
            return
        if finish is not None:
            event(handler, {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
            if usage:
                counts = {"prompt_tokens": 50, "completion_tokens": len(parts)}
                event(handler, {"choices": [], "usage": counts})
            _write(handler, b"data: [DONE]\n\n")

    return reply


def event(handler: BaseHTTPRequestHandler, record: Any) -> None:
    if isinstance(record, dict):
        record = {"model": "fake-general", **record}
    _write(handler, b"data: " + json.dumps(record).encode() + b"\n\n")


def raw(data: bytes) -> Reply:
    """Bytes in the place of an event."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        _write(handler, data)

    return reply


def refused_url() -> str:
    """The URL of a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def _respond(
    handler: BaseHTTPRequestHandler,
    code: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
) -> None:
    _head(handler, code, {"Content-Length": str(len(body)), **(headers or {})})
    _write(handler, body)


def _head(
    handler: BaseHTTPRequestHandler,
    code: int,
    headers: Mapping[str, str],
    kind: str = "application/json",
) -> None:
    handler.send_response(code)
    handler.send_header("Content-Type", kind)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def _write(handler: BaseHTTPRequestHandler, data: bytes) -> bool:
    """False where the client has gone."""
    try:
        handler.wfile.write(data)
        handler.wfile.flush()
    except OSError:
        return False
    return True
