"""What the daemon refuses before a route sees it: bodies that are too large."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.daemon.errors import TooLarge, body_of

Scope_ = Literal["infer", "act", "admin"]

MAX_BODY_BYTES = 1_000_000


def needs(scope: Scope_) -> Any:
    """A dependency: the caller's token must have ``scope``."""

    async def check(request: Request) -> None:
        """Placeholder until tokens are there."""

    return Depends(check)


class BodyLimit:
    """ASGI middleware: answers 413 to a body over ``limit`` bytes, announced or not."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._limit:
                await self._refuse(scope, receive, send, int(value))
                return
        # Held whole, since an answer cannot be taken back once a route has begun it.
        body = b""
        more = scope["method"] not in ("GET", "HEAD")
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._limit:
                await self._refuse(scope, receive, send, len(body))
                return
        if scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        first = True

        async def replay() -> Message:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self._app(scope, replay, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, size: int) -> None:
        error = TooLarge(
            f"The body has {size:,} bytes or more; the daemon reads at most {self._limit:,}.",
            hint="Put large input into a file in the task's folder, and name it in the task.",
        )
        answer = JSONResponse(body_of(error), error.http_status, headers={"Connection": "close"})
        await answer(scope, receive, send)
