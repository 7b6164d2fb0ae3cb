"""Follows the ledger: wakes whoever streams from it when any process has committed.

The rows are read from SQLite each time, so a slow reader costs no memory and misses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from models.errors import StorageFailed
from runtime.core import Event
from runtime.ledger import Ledger

log = logging.getLogger(__name__)

POLL_S = 0.05
"""How often ``PRAGMA data_version`` is asked: 20 times a second, some microseconds each."""
BATCH = 500
"""Events read at once, so that a long catch-up stays small in memory."""

T = TypeVar("T")


class Follower:
    """A clock that ticks when the ledger, or what waits at the gate, has changed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        # One thread: data_version compares with what its own connection saw before.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="follow")
        self._poller: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self.ticks = 0
        self.stopped = False

    def start(self) -> None:
        self._poller = asyncio.create_task(self._poll(), name="follow")

    async def stop(self) -> None:
        """End every wait; streams end with it."""
        self.stopped = True
        self.tick()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    def close(self) -> None:
        self._thread.shutdown(wait=True)

    def tick(self) -> None:
        """Wake whoever waits. Called from the event loop's thread."""
        self.ticks += 1
        self._moved.set()
        self._moved = asyncio.Event()

    async def wait(self, since: int) -> None:
        """Until the count of ticks has moved on from ``since``, or the daemon stops."""
        while self.ticks == since and not self.stopped:
            await self._moved.wait()

    async def read(self, after: int, task_id: str | None = None) -> list[Event]:
        """The next events of any process after ``after``, at most ``BATCH``."""
        return await self._in_thread(
            lambda: list(self._ledger.events(task_id, after=after, limit=BATCH))
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _poll(self) -> None:
        version = -1
        while True:
            try:
                now = await self._in_thread(self._ledger.data_version)
                if now != version:
                    version = now
                    self.tick()
            except StorageFailed as error:
                log.error("the ledger cannot be followed: %s", error.message)
            await asyncio.sleep(POLL_S)
