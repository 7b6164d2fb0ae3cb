"""The circuit breaker: who is left alone, for how long, and who is tried again."""

from __future__ import annotations

from models.breaker import MOST_OPEN_S, Breaker, BreakerStatus


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Clock, times: int = 3) -> Breaker:
    breaker = Breaker(failures=3, open_s=30.0, clock=clock)
    for _ in range(times):
        assert breaker.admit()
        breaker.failed("it is down")
        breaker.released()
    return breaker


def test_it_opens_after_failures_in_a_row_and_says_why() -> None:
    clock = Clock()
    assert broken(clock, 2).state == "closed"
    breaker = broken(clock)
    assert breaker.status == BreakerStatus("open", 3, 30.0, "it is down")
    assert not breaker.admit()


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = broken(Clock(), 2)
    breaker.succeeded()
    breaker.failed("it is down")
    assert (breaker.state, breaker.status.failures) == ("closed", 1)


def test_after_the_pause_one_call_alone_may_try() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += 30.0
    assert breaker.state == "half-open"
    assert breaker.would_admit
    assert breaker.admit()
    assert not breaker.would_admit
    assert not breaker.admit()


def test_the_try_closes_it_or_opens_it_for_as_long_again() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += 30.0
    assert breaker.admit()
    breaker.failed("still down")
    assert breaker.status == BreakerStatus("open", 4, 30.0, "still down")
    clock.now += 30.0
    assert breaker.admit()
    breaker.succeeded()
    assert breaker.status == BreakerStatus("closed", 0, 0.0, "")


def test_a_try_that_was_cancelled_leaves_the_next_one_free() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += 30.0
    assert breaker.admit()
    breaker.released()
    assert breaker.state == "half-open"
    assert breaker.admit()


def test_a_server_that_asks_for_a_pause_gets_it_at_its_first_failure() -> None:
    clock = Clock()
    breaker = Breaker(clock=clock)
    breaker.failed("answered 429", wait_s=120.0)
    assert breaker.status.retry_in_s == 120.0
    assert not breaker.admit()
    clock.now += 120.0
    assert breaker.admit()


def test_no_server_can_ask_to_be_left_alone_for_ever() -> None:
    breaker = Breaker(clock=Clock())
    breaker.failed("answered 429", wait_s=1e9)
    assert breaker.status.retry_in_s == MOST_OPEN_S
