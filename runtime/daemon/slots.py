"""Who is worked for next: at most so many calls at once, and the waiting ones client by client.

A client that sends a thousand calls waits behind its own, not before those of others.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from models.errors import DeadlineMissed, Overloaded

REMEMBERED = 32
"""Service times that the estimate of a wait is made of."""
MIN_RETRY_S = 1.0
MAX_RETRY_S = 60.0

_Place = asyncio.Future[bool]
"""True: it may go on. False: it had to make room in the queue."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one client has of the slots and of the queue."""

    running: int = 0
    waiting: int = 0


class Slots:
    """Fair admission, for one event loop.

    ``parallel`` calls hold a slot; ``queue`` more may wait. Clients are served in turn, and each
    one's calls in the order in which they came. Where the queue is full, a call of a client that
    has fewer waiting than another takes the place of that other's newest.
    """

    def __init__(
        self, parallel: int, queue: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.parallel = parallel
        self.queue = queue
        self._now = now
        self._running: Counter[str] = Counter()
        self._lines: OrderedDict[str, deque[_Place]] = OrderedDict()
        """The waiting by client; the first client is the next one served."""
        self._served_s: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def running(self) -> int:
        return self._running.total()

    @property
    def waiting(self) -> int:
        return sum(len(line) for line in self._lines.values())

    @property
    def by_client(self) -> Mapping[str, Load]:
        """Clients that have a slot, or wait for one."""
        names = dict.fromkeys((*self._running, *self._lines))
        return {name: Load(self._running[name], len(self._lines.get(name, ()))) for name in names}

    def resize(self, parallel: int, queue: int) -> None:
        """From now on. Nobody who has a slot or waits already loses it."""
        self.parallel, self.queue = parallel, queue
        self._serve()

    @asynccontextmanager
    async def taken(self, client: str, deadline_s: float | None = None) -> AsyncIterator[None]:
        """A slot, as long as the block. ``deadline_s``: how long to wait for it; None: for ever.

        Raises Overloaded where the queue is full, with the seconds after which it is worth
        another try; DeadlineMissed.
        """
        await self._enter(client, deadline_s)
        begun = self._now()
        try:
            yield
        finally:
            self._served_s.append(self._now() - begun)
            self._leave(client)

    @property
    def retry_after_s(self) -> float:
        """Until a call that came now and waited would be through, by the last service times."""
        if not self._served_s:
            return MIN_RETRY_S
        one_s = sum(self._served_s) / len(self._served_s)
        estimate = one_s * (self.waiting + 1) / self.parallel
        return min(max(estimate, MIN_RETRY_S), MAX_RETRY_S)

    async def _enter(self, client: str, deadline_s: float | None) -> None:
        if self.running < self.parallel and not self._lines:
            self._running[client] += 1
            return
        if self.waiting >= self.queue:
            self._make_room(client)
        place: _Place = asyncio.get_running_loop().create_future()
        self._lines.setdefault(client, deque()).append(place)
        self._serve()
        try:
            async with asyncio.timeout(deadline_s):
                granted = await self._wait(client, place)
        except TimeoutError as error:
            raise DeadlineMissed(
                f"No slot came free within {deadline_s:g} s.",
                hint="Try again later, or raise daemon.parallel or daemon.deadline_s.",
            ) from error
        if not granted:
            raise self._overloaded()

    async def _wait(self, client: str, place: _Place) -> bool:
        try:
            return await place
        except asyncio.CancelledError:
            # It may have been served in the same moment: then the slot goes on to the next.
            if place.done() and not place.cancelled() and place.result():
                self._leave(client)
            else:
                self._remove(client, place)
            raise

    def _make_room(self, client: str) -> None:
        mine = len(self._lines.get(client, ()))
        longest = max(self._lines, key=lambda one: len(self._lines[one]), default=None)
        if longest is None or len(self._lines[longest]) <= mine + 1:
            raise self._overloaded()
        place = self._lines[longest][-1]
        self._remove(longest, place)
        place.set_result(False)

    def _remove(self, client: str, place: _Place) -> None:
        line = self._lines.get(client)
        if line is None or place not in line:
            return
        line.remove(place)
        if not line:
            del self._lines[client]

    def _leave(self, client: str) -> None:
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]
        self._serve()

    def _serve(self) -> None:
        while self._lines and self.running < self.parallel:
            client, line = next(iter(self._lines.items()))
            place = line.popleft()
            if line:
                self._lines.move_to_end(client)
            else:
                del self._lines[client]
            if not place.done():
                self._running[client] += 1
                place.set_result(True)

    def _overloaded(self) -> Overloaded:
        wait_s = self.retry_after_s
        return Overloaded(
            f"{self.running} calls run and {self.waiting} wait already.",
            hint=f"Try again in {wait_s:.0f} s, or raise daemon.queue.",
            retry_after_s=wait_s,
        )
