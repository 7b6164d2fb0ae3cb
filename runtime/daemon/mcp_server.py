"""``/mcp``: the MCP server over streamable HTTP, behind the daemon's guard like every route.

Host, Origin and token are the guard's; a session belongs to the token that began it; the scope is
asked for each tool. The session manager starts with the first request and ends with the daemon.
"""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send

from runtime.daemon.declared import declared
from runtime.daemon.desk import Desk
from runtime.daemon.errors import Unsupported
from runtime.daemon.guard import caller
from runtime.daemon.mcp.service import Service

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

log = logging.getLogger(__name__)

MAX_SESSIONS = 256
IDLE_S = 1800.0
MAX_BODY_BYTES = 2**30
"""The daemon's own limit is far below, and has the say."""


def routes(desk: Desk, *, patience_s: float | None = None) -> APIRouter:
    """``patience_s``: how long an action of a client waits for a person before it is denied; by
    default ``daemon.deadline_s``."""
    router = APIRouter(tags=["mcp"])
    sessions = Sessions(desk, patience_s)

    # MCP has a schema of its own, and answers in its own form: it is no part of the OpenAPI one.
    @router.api_route(
        "/mcp", methods=["GET", "POST", "DELETE"], include_in_schema=False, **declared("infer")
    )
    async def mcp(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            # The SDK would refuse it too, but in plain text.
            raise Unsupported(
                "A message of MCP is JSON.", hint="Send it with Content-Type: application/json."
            )
        return _Handover(await sessions.manager(), caller(request).name)

    return router


class Sessions:
    """The session manager, from the first request until the daemon stops."""

    def __init__(self, desk: Desk, patience_s: float | None) -> None:
        self._desk = desk
        self._patience_s = patience_s
        self._started: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._holder: asyncio.Task[None] | None = None

    async def manager(self) -> StreamableHTTPSessionManager:
        if self._started is None:
            self._started = asyncio.get_running_loop().create_future()
            self._holder = asyncio.create_task(self._hold(self._started), name="mcp sessions")
        return await asyncio.shield(self._started)

    async def _hold(self, started: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        try:
            # The SDK takes a third of a second to import, which nobody else should wait for.
            await asyncio.to_thread(import_module, "mcp.server.lowlevel.server")
            from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

            service = Service(self._desk, patience_s=self._patience_s)
            manager = StreamableHTTPSessionManager(
                app=service.server,
                session_idle_timeout=IDLE_S,
                max_sessions=MAX_SESSIONS,
                max_request_body_size=MAX_BODY_BYTES,
            )
            async with manager.run():
                started.set_result(manager)
                follower = self._desk.follower
                while not follower.stopped:
                    await follower.wait(follower.ticks)
                await service.close()
        except Exception as error:
            log.exception("the MCP server failed")
            if not started.done():
                started.set_exception(error)


class _Handover(Response):
    """A response that the session manager writes. The session becomes the caller's own."""

    def __init__(self, manager: StreamableHTTPSessionManager, name: str) -> None:
        super().__init__()
        self._manager = manager
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
        from mcp.server.auth.provider import AccessToken

        # The token itself is not handed on: its name is enough to tell callers apart.
        owner = AccessToken(token="", client_id=self._name, scopes=[])
        await self._manager.handle_request(
            {**scope, "user": AuthenticatedUser(owner)}, receive, send
        )
