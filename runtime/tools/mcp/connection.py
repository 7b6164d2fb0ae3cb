"""One connection to one MCP server: a process of its own over stdio, or a URL.

Everything here runs in one event loop. A process gets a session of its own (killed whole when it
does not end by itself), a handful of harmless environment variables, and its standard error goes
to the log. Servers may offer tools and nothing else: they cannot ask a model or the user.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ToolFailed
from runtime.config import McpServerConfig
from runtime.plain import plain

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult, Tool

log = logging.getLogger(__name__)

MAX_TOOLS = 500
MAX_PAGES = 50
MAX_LOG_CHARS = 400
CLOSE_S = 8.0
"""Longer than a process gets to end by itself, and then to be killed."""


class ServerGone(ToolFailed):
    """The connection ended. ``sent``: whether what was asked may have reached the server."""

    def __init__(self, message: str, *, hint: str = "", sent: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.sent = sent


class Connection:
    """``open`` first; ``close`` in any case. Raises ToolFailed, ServerGone."""

    def __init__(self, name: str, config: McpServerConfig) -> None:
        self.name = name
        self._config = config
        self._client: Client | None = None
        self._holder: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self.stale = False
        """The server said that its tools changed."""

    async def open(self) -> None:
        """Start the server, or reach it, and agree on a protocol.

        Raises ToolFailed where that does not work within the server's timeout.
        """
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._holder = asyncio.create_task(self._hold(ready), name=f"mcp {self.name}")
        try:
            async with asyncio.timeout(self._config.timeout_s):
                await asyncio.shield(ready)
        except TimeoutError:
            why = f"it did not answer within {self._config.timeout_s:g} s"
        except Exception as error:
            why = _words(error)
        else:
            return
        await self.close()
        raise ToolFailed(
            f"The MCP server {self.name!r} cannot be used: {why}.",
            hint=f"It is set up under [mcp.{self.name}] in config.toml; the daemon's log has what"
            " it wrote.",
        )

    async def _hold(self, ready: asyncio.Future[None]) -> None:
        """Keep the connection open until ``close``; it must end in the task that began it."""
        from mcp import Client
        from mcp_types import Implementation

        async def heard(message: Any) -> None:
            if getattr(message, "method", "") == "notifications/tools/list_changed":
                self.stale = True

        try:
            async with (
                self._transport() as transport,
                Client(
                    transport,
                    read_timeout_seconds=self._config.timeout_s,
                    message_handler=heard,
                    client_info=Implementation(name="aidecamp", version="1"),
                    cache=None,
                ) as client,
            ):
                self._client = client
                ready.set_result(None)
                await self._closing.wait()
        except Exception as error:
            if not ready.done():
                ready.set_exception(error)
                return
            log.warning("mcp %s: %s", self.name, _words(error))
        finally:
            self._client = None
            if not ready.done():
                ready.cancel()

    @contextlib.asynccontextmanager
    async def _transport(self) -> AsyncIterator[Any]:
        if self._config.command:
            from mcp.client.stdio import StdioServerParameters, stdio_client

            command, *arguments = self._config.command
            parameters = StdioServerParameters(
                command=command, args=arguments, env=self._config.env, cwd=Path.home()
            )
            with self._stderr() as errors:
                yield stdio_client(parameters, errlog=errors)
            return
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        # trust_env off: a proxy in the environment would see what goes to a server on loopback.
        async with httpx2.AsyncClient(
            timeout=httpx2.Timeout(self._config.timeout_s), trust_env=False
        ) as http:
            yield streamable_http_client(self._config.url, http_client=http)

    @contextlib.contextmanager
    def _stderr(self) -> Any:
        """A pipe whose lines go to the log, for as long as the process or its children live."""
        reading, writing = os.pipe()

        def pump() -> None:
            with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    log.info("mcp %s: %s", self.name, plain(line.rstrip())[:MAX_LOG_CHARS])

        threading.Thread(target=pump, daemon=True, name=f"mcp {self.name} stderr").start()
        with os.fdopen(writing, "w") as errors:
            yield errors

    @property
    def is_open(self) -> bool:
        return self._client is not None

    async def tools(self) -> list[Tool]:
        """What the server offers now. Raises ServerGone (nothing was acted on), ToolFailed."""
        client, found, cursor = self._open_client(), [], None
        self.stale = False
        for _ in range(MAX_PAGES):
            try:
                page = await client.list_tools(cursor=cursor)
            except Exception as error:
                raise self._failed(error, sent=False) from error
            found += page.tools
            cursor = page.next_cursor
            if cursor is None or len(found) >= MAX_TOOLS:
                break
        if len(found) > MAX_TOOLS or cursor is not None:
            log.warning("mcp %s: only its first %d tools are used", self.name, MAX_TOOLS)
        return found[:MAX_TOOLS]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """Raises ServerGone, ToolFailed; TimeoutError where it did not answer in time."""
        try:
            return await self._open_client().call_tool(
                tool, dict(arguments), self._config.timeout_s
            )
        except Exception as error:
            raise self._failed(error, sent=True) from error

    def _open_client(self) -> Client:
        if self._client is None:
            raise ServerGone(f"The MCP server {self.name!r} is not connected.", sent=False)
        return self._client

    def _failed(self, error: Exception, *, sent: bool) -> Exception:
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

        if isinstance(error, ToolFailed):
            return error
        if isinstance(error, MCPError) and error.error.code == REQUEST_TIMEOUT:
            return TimeoutError(
                f"The MCP server {self.name!r} did not answer within {self._config.timeout_s:g} s."
            )
        if isinstance(error, MCPError) and error.error.code != CONNECTION_CLOSED:
            return ToolFailed(f"The MCP server {self.name!r} refused: {_words(error)}.")
        if isinstance(error, RuntimeError):  # Its result does not meet its own output schema.
            return ToolFailed(f"The MCP server {self.name!r} answered wrongly: {_words(error)}.")
        return ServerGone(f"The MCP server {self.name!r} is gone: {_words(error)}.", sent=sent)

    async def close(self) -> None:
        """End the connection, and with it the server's process."""
        self._closing.set()
        if self._holder is None:
            return
        done, _ = await asyncio.wait({self._holder}, timeout=CLOSE_S if self.is_open else 0)
        if not done:
            self._holder.cancel()
            await asyncio.wait({self._holder}, timeout=CLOSE_S)


def _words(error: BaseException) -> str:
    """The first error in a group, in one short line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, FileNotFoundError):
        return f"there is no program {error.filename!r}"
    words = " ".join(plain(str(error)).split())[:300].rstrip(".")
    return words or type(error).__name__
