"""A real HTTP server on a loopback port, and requests written byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from runtime.daemon.connection import http_settings

HANGS_S = 20.0
"""A request that has no answer by then hangs."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def error(self) -> dict[str, Any]:
        """What OpenAI's clients read of an error. Fails where the answer is none in its shape."""
        assert self.headers["content-type"] == "application/json", self
        error = json.loads(self.body)["error"]
        assert isinstance(error["message"], str) and error["message"], self
        assert isinstance(error["type"], str) and isinstance(error["code"], str), self
        assert error["param"] is None or isinstance(error["param"], str), self
        return dict(error)


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """The port on which ``app`` is served by uvicorn's protocol, with the daemon's limits."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", **http_settings()
    )
    config.load()
    state = ServerState()
    make: Any = config.http_protocol_class
    server = await asyncio.get_running_loop().create_server(
        lambda: make(config, state, {}), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await server.wait_closed()


def request(
    method: str = "GET",
    path: str = "/",
    headers: Mapping[str, str | None] | None = None,
    body: bytes = b"",
    token: str = "",
) -> bytes:
    """A request as bytes. A header that is None is left out."""
    given: dict[str, str | None] = {"Host": "localhost"}
    if token:
        given["Authorization"] = f"Bearer {token}"
    if body:
        given |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    given |= headers or {}
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in given.items() if value is not None]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        # The other end may have had enough of it: its answer is read all the same.
        with suppress(ConnectionError):
            await self.writer.drain()

    async def answer(self, method: str = "GET") -> Answer | None:
        """The next answer; None where the connection was closed without one."""
        async with asyncio.timeout(HANGS_S):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
            }
            status = int(first.split()[1])
            if status == 100:
                return await self.answer(method)
            size = 0 if method == "HEAD" else int(headers.get("content-length", 0))
            return Answer(status, headers, await self.reader.readexactly(size))

    async def closed(self) -> bool:
        """Waits until the other end has closed the connection."""
        async with asyncio.timeout(HANGS_S):
            with suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass
        return True


@asynccontextmanager
async def line(at: int | Path) -> AsyncIterator[Line]:
    """A connection to a loopback port or a Unix socket."""
    if isinstance(at, Path):
        reader, writer = await asyncio.open_unix_connection(at)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", at)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def ask(at: int | Path, data: bytes, method: str = "GET") -> Answer:
    """The answer to one request on a connection of its own."""
    async with line(at) as one:
        await one.send(data)
        answer = await one.answer(method)
        assert answer is not None, "closed without an answer"
        return answer
