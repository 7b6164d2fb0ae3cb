"""A circuit breaker: who failed again and again is left alone for a while, then tried once.

Closed: calls pass. Open: they fail at once, without touching the network. Half-open: one call
may try; it closes the circuit or opens it again (M. Nygard, *Release It!*, 2007). The libraries
looked at measure by the wall clock and let every waiting call through a half-open circuit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

BreakerState = Literal["closed", "open", "half-open"]

FAILURES = 3
"""Calls in a row that fail before the circuit opens."""
OPEN_S = 30.0
MOST_OPEN_S = 900.0
"""A server that asks to be left alone for longer is tried again after this, in seconds."""


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """What a UI shows: the state, failures in a row, the last of them, seconds until a try."""

    state: BreakerState
    failures: int
    retry_in_s: float
    problem: str


class Breaker:
    """The circuit to one server, used from one event loop. ``clock`` is monotonic, in seconds."""

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        open_s: float = OPEN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = failures
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._problem = ""
        self._closes_at: float | None = None
        self._trying = False

    @property
    def state(self) -> BreakerState:
        if self._closes_at is None:
            return "closed"
        return "open" if self._clock() < self._closes_at else "half-open"

    @property
    def status(self) -> BreakerStatus:
        wait = 0.0 if self._closes_at is None else max(0.0, self._closes_at - self._clock())
        return BreakerStatus(self.state, self._failures, wait, self._problem)

    @property
    def would_admit(self) -> bool:
        """Whether a call made now would pass."""
        return self.state == "closed" or (self.state == "half-open" and not self._trying)

    def admit(self) -> bool:
        """Whether this call may pass. One that did is followed by ``succeeded``, ``failed`` or
        ``released``."""
        if not self.would_admit:
            return False
        self._trying = self.state == "half-open"
        return True

    def succeeded(self) -> None:
        self._failures, self._problem, self._closes_at, self._trying = 0, "", None, False

    def failed(self, problem: str, *, wait_s: float | None = None) -> None:
        """``wait_s``: the server itself asked to be left alone for so long."""
        was_trying, self._trying = self._trying, False
        self._failures += 1
        self._problem = problem
        if wait_s is not None:
            self._open(min(wait_s, MOST_OPEN_S))
        elif was_trying or self._failures >= self._allowed:
            self._open(self._open_s)

    def released(self) -> None:
        """The call ended without telling anything about the server, such as by a cancel."""
        self._trying = False

    def _open(self, seconds: float) -> None:
        until = self._clock() + seconds
        self._closes_at = max(until, self._closes_at or until)
