"""One proxied call while it is served: first its head, then its parts, in order.

Whoever serves runs as an asyncio task of its own, so that it can be cancelled as one thing when
the client goes away, when a person stops it, or when the daemon ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from models.errors import AidecampError, Interrupted
from runtime.daemon.proxy.parts import Head, Part, Raw

log = logging.getLogger(__name__)

WAITING_PARTS = 256
"""Parts that a slow reader may leave waiting before the General is read no further."""


class Exchange:
    """What passes from whoever serves to whoever sends."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._head: asyncio.Future[Head] = loop.create_future()
        self._parts: asyncio.Queue[Part | AidecampError | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(WAITING_PARTS)
        self._held: list[Raw] = []
        self._server: asyncio.Task[None] | None = None

    # ---- whoever serves

    @property
    def begun(self) -> bool:
        """The head is out: what goes wrong now cannot change the status any more."""
        return self._head.done()

    def begin(self, head: Head) -> None:
        self._head.set_result(head)

    async def put(self, part: Raw) -> None:
        """Hand on bytes, once a slow reader has taken enough of those before them."""
        await self._room.acquire()
        self._parts.put_nowait(part)

    def hold(self, part: Raw) -> None:
        """``part`` ends the answer: it is handed on once whoever serves is through, so that a
        reader who leaves at the end leaves a call that is on record as done."""
        self._held.append(part)

    def add(self, part: Part) -> None:
        """Hand ``part`` on at once: a local answer is short, and its slot does not wait for a slow
        reader."""
        self._parts.put_nowait(part)

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
                if isinstance(part, Raw):
                    self._room.release()
                yield part
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End whoever serves, and wait until what happened is recorded."""
        server = self._server
        if server is None or server.done():
            return
        # Once: a second cancel would cut short what the first makes it write down.
        if not server.cancelling():
            server.cancel()
        await asyncio.wait([server])  # which leaves it alone where the one who waits is cancelled

    async def _run(self, serve: Callable[[Exchange], Awaitable[None]]) -> None:
        ending: AidecampError | None = Interrupted("The call ended without an answer.")
        try:
            await serve(self)
            ending = None
            for part in self._held:
                self._parts.put_nowait(part)
        except AidecampError as error:
            ending = error
        except asyncio.CancelledError:
            ending = Interrupted("The call was stopped.", hint="What was done is on record.")
        except Exception:
            log.exception("a call failed")
        finally:
            if not self._head.done():
                self._head.set_exception(ending or Interrupted("The call ended without an answer."))
                self._head.exception()  # Nobody may be there any more to look at it.
            self._parts.put_nowait(ending)


class Streamed(StreamingResponse):
    """An answer that is sent as its parts come. When it ends, for whatever reason (its reader may
    be gone before its first part), the call ends too."""

    def __init__(
        self,
        exchange: Exchange,
        content: AsyncIterator[bytes],
        status: int,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        super().__init__(content, status, headers, media_type)
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._exchange.stop()


@contextlib.asynccontextmanager
async def while_there(request: Request, exchange: Exchange) -> AsyncIterator[None]:
    """The block, for as long as the client is there: the call is stopped when it goes away, and
    where the block itself is left by an error or a cancel."""

    async def watch() -> None:
        with contextlib.suppress(ClientDisconnect):
            while (await request.receive())["type"] != "http.disconnect":
                pass
        await exchange.stop()

    watcher = asyncio.create_task(watch(), name="client")
    try:
        yield
    except BaseException:
        await exchange.stop()
        raise
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
