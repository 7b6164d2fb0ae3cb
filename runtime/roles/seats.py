"""The Generals in their order of preference: who is asked, for how long, and at what price."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from models.breaker import BreakerStatus
from models.remote import RemoteGenerator
from models.remote_failures import Unanswered
from runtime.config import Price

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seat:
    """One remote LLM in the order of preference. ``price`` None: not known."""

    name: str
    remote: RemoteGenerator
    price: Price | None

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """US dollars by the configured price; 0.0 where none is known."""
        return 0.0 if self.price is None else self.price.cost(tokens_in, tokens_out)

    @property
    def status(self) -> BreakerStatus:
        return self.remote.breaker.status


async def first_answer(
    seats: Sequence[Seat],
    timeout_s: float | None,
    ask: Callable[[Seat, float | None], Awaitable[T]],
) -> tuple[Seat, T, list[tuple[Seat, Unanswered]]]:
    """Who answered, the answer, and how those before it failed. ``ask(seat, left_s)`` asks one.

    ``timeout_s`` bounds all of them together: what remains is shared with those who come after.
    Raises Unanswered where nobody answers.
    """
    started = time.monotonic()
    failures: list[tuple[Seat, Unanswered]] = []
    for number, seat in enumerate(seats):
        left_s = None
        if timeout_s is not None:
            remains = timeout_s - (time.monotonic() - started)
            if failures and remains <= 0:
                break
            left_s = remains / (len(seats) - number)
        try:
            return seat, await ask(seat, left_s), failures
        except Unanswered as failure:
            failures.append((seat, failure))
    raise unanswered(failures)


def offered(
    seats: Sequence[Seat],
    tokens_in: int,
    most_tokens_out: int,
    *,
    model: str = "",
    price: Price | None = None,
) -> dict[str, Any]:
    """Who would be sent something, and at what price, as estimates that say so.

    ``to`` is asked first, ``then`` names everybody who may get the same where it fails. The price
    is the highest among them, None where one is not known. ``model`` and ``price``: where there is
    nobody.
    """
    first = seats[0] if seats else None
    prices = [s.price for s in seats] or [price]
    known = [p for p in prices if p is not None]
    return {
        "to": first.remote.base_url if first else None,
        "model": first.remote.model if first else model,
        "then": [{"to": s.remote.base_url, "model": s.remote.model} for s in seats[1:]],
        "tokens_in_estimated": tokens_in,
        "tokens_out_at_most": most_tokens_out,
        "usd_at_most_estimated": (
            max(p.cost(tokens_in, most_tokens_out) for p in known)
            if len(known) == len(prices)
            else None
        ),
        "price_as_of": min((p.as_of for p in known), default=None),
    }


def failed_at(seat: Seat, failure: Unanswered) -> dict[str, Any]:
    """How one of several failed, for the record."""
    return {
        "general": seat.name,
        "to": seat.remote.base_url,
        "model": seat.remote.model,
        "error": failure.message,
        "attempts": failure.attempts,
        "bytes_sent": failure.bytes_sent,
        "sent": failure.sent,
    }


def unanswered(failures: Sequence[tuple[Seat, Unanswered]]) -> Unanswered:
    """One error for all who were asked."""
    last = failures[-1][1]
    if len(failures) == 1:
        return last
    return Unanswered(
        "No General answered. " + " ".join(f.message for _, f in failures),
        hint=last.hint,
        bytes_sent=sum(f.bytes_sent for _, f in failures),
        sent=next((f.sent for _, f in failures if f.sent), ""),
        attempts=sum(f.attempts for _, f in failures),
        failures=[failed_at(s, f) for s, f in failures],
        status=last.status,
        wait_s=last.wait_s,
    )
