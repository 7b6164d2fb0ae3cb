"""One proxied call while it is served: first its head, then its parts, in order.

Whoever serves runs as an asyncio task of its own, so that it can be cancelled as one thing when
the client goes away, when a person stops it, or when the daemon ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import ClientDisconnect, Request

from models.errors import AidecampError, Interrupted
from runtime.daemon.proxy.parts import Head, Part

WAITING_PARTS = 256
"""Parts that a slow reader may leave waiting before whoever serves is held up."""


class Exchange:
    """What passes from whoever serves to whoever sends."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._head: asyncio.Future[Head] = loop.create_future()
        self._parts: asyncio.Queue[Part | AidecampError | None] = asyncio.Queue(WAITING_PARTS)
        self._server: asyncio.Task[None] | None = None

    # ---- whoever serves

    @property
    def begun(self) -> bool:
        """The head is out: what goes wrong now cannot change the status any more."""
        return self._head.done()

    def begin(self, head: Head) -> None:
        self._head.set_result(head)

    async def put(self, part: Part) -> None:
        await self._parts.put(part)

    # ---- whoever sends

    def start(self, serve: Callable[[Exchange], Awaitable[None]], name: str) -> None:
        """Run ``serve`` to its end, in the background."""
        self._server = asyncio.create_task(self._run(serve), name=name)

    async def head(self) -> Head:
        """Raises whatever kept the answer from beginning."""
        return await asyncio.shield(self._head)

    async def parts(self) -> AsyncIterator[Part]:
        """Raises whatever broke the answer off. Leaving early ends whoever serves."""
        try:
            while (part := await self._parts.get()) is not None:
                if isinstance(part, AidecampError):
                    raise part
                yield part
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End whoever serves, and wait until what happened is recorded."""
        if self._server is not None and not self._server.done():
            self._server.cancel()
            await asyncio.gather(self._server, return_exceptions=True)

    async def _run(self, serve: Callable[[Exchange], Awaitable[None]]) -> None:
        ending: AidecampError | None = None
        try:
            await serve(self)
        except AidecampError as error:
            ending = error
        except asyncio.CancelledError:
            ending = Interrupted("The call was stopped.", hint="What was done is on record.")
        finally:
            if not self._head.done():
                self._head.set_exception(ending or Interrupted("The call ended without an answer."))
                self._head.exception()  # Nobody may be there any more to look at it.
            self._finish(ending)

    def _finish(self, ending: AidecampError | None) -> None:
        """Tell the reader that this is the end, even where its queue is full: then nobody reads."""
        with contextlib.suppress(asyncio.QueueFull):
            self._parts.put_nowait(ending)


@contextlib.asynccontextmanager
async def while_there(request: Request, exchange: Exchange) -> AsyncIterator[None]:
    """The block, for as long as the client is there: the call is stopped when it goes away."""

    async def watch() -> None:
        with contextlib.suppress(ClientDisconnect):
            while (await request.receive())["type"] != "http.disconnect":
                pass
        await exchange.stop()

    watcher = asyncio.create_task(watch(), name="client")
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
