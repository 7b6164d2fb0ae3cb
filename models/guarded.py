"""What every remote call is held to: leave to send, the server's health, time, and attempts.

The call itself is ``remote``'s: this file knows no connection.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from models.breaker import Breaker
from models.errors import Denied
from models.forwarding import RecordSent, Sent
from models.remote_failures import Failure, Unanswered
from models.retry import Patience, backoff_s

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one task's data out. ``privacy`` is the task's; ``by`` who allowed it."""

    privacy: str
    by: str


@dataclass
class Held:
    """One call while it lasts. Times are the event loop's, in seconds."""

    seconds: float
    deadline: float
    sent: Sent = field(default_factory=Sent)
    before: int = 0
    """What had left before the current attempt, in bytes."""
    started: float = field(default_factory=time.perf_counter)

    @property
    def ms(self) -> float:
        return (time.perf_counter() - self.started) * 1000

    def first_by(self, seconds: float | None) -> float:
        """When an attempt that starts now must have begun to answer; None: by the deadline."""
        if seconds is None:
            return self.deadline
        return min(asyncio.get_running_loop().time() + seconds, self.deadline)


class Guard:
    """Lets calls to one server pass, and keeps account of how they went."""

    def __init__(
        self,
        base_url: str,
        *,
        patience: Patience,
        timeout_s: float,
        breaker: Breaker,
        record_sent: RecordSent,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._base_url = base_url
        self._patience = patience
        self._timeout_s = timeout_s
        self._breaker = breaker
        self._record_sent = record_sent
        self._sleep = sleep
        self._jitter = jitter

    def admitted(
        self, permit: Permit, timeout_s: float | None, *, ready: Callable[[], object]
    ) -> Held:
        """Raises Denied, Unanswered. Whoever gets past it tells the breaker how it went.

        ``ready`` is called before the clock runs. ``timeout_s``: less than the usual.
        """
        if permit.privacy not in ("ask", "auto"):
            raise Denied(
                "Privacy mode 'local': nothing may leave this machine, so nothing was sent.",
                hint="Use --privacy ask or --privacy auto to let the General help.",
            )
        ready()
        if not self._breaker.admit():
            status = self._breaker.status
            raise Unanswered(
                f"The General at {self._base_url} is not asked now: it failed "
                f"{status.failures} times in a row, at last because {status.problem}.",
                hint=f"It is tried again in {status.retry_in_s:.0f} s.",
                wait_s=status.retry_in_s,
            )
        seconds = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        return Held(seconds, asyncio.get_running_loop().time() + seconds)

    def failed(self, failure: Failure, call: Held) -> Unanswered:
        """What the caller meets; the breaker is told."""
        if failure.sick:
            self._breaker.failed(failure.what, wait_s=failure.wait_s)
        else:
            self._breaker.succeeded()
        return Unanswered(
            f"The General at {self._base_url} {failure.what}.",
            hint=failure.hint,
            bytes_sent=call.sent.total,
            sent=call.sent.recorded(self._record_sent),
            attempts=call.sent.attempts,
            status=failure.status,
            wait_s=failure.wait_s,
        )

    async def tried(self, attempt: Callable[[], Awaitable[T]], call: Held) -> T:
        """As many attempts as are safe and fit into the call's time. Raises Failure."""
        clock = asyncio.get_running_loop().time
        while True:
            call.sent.attempts += 1
            try:
                return await attempt()
            except Failure as failure:
                if not failure.again or call.sent.attempts >= self._patience.attempts:
                    raise
                pause = backoff_s(call.sent.attempts, self._patience, self._jitter)
                pause = max(pause, failure.wait_s or 0.0)
                if clock() + pause >= call.deadline:
                    failure.what += (
                        f", and {round(call.seconds, 2):g} s are not enough to wait and try again"
                    )
                    raise
            await self._sleep(pause)
