"""Who is worked for next: in turn by client, in order within one, and never one too many."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import DeadlineMissed, Overloaded
from runtime.daemon.answers import answer
from runtime.daemon.slots import Load, Slots


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Caller:
    """A call that holds its slot until it is told to end."""

    def __init__(
        self, slots: Slots, client: str, served: list[str], name: str | None = None
    ) -> None:
        self.client = client
        self.name = name or client
        self.end = asyncio.Event()
        self.inside = False
        self.task = asyncio.create_task(self._run(slots, served))

    async def _run(self, slots: Slots, served: list[str]) -> None:
        async with slots.taken(self.client):
            self.inside = True
            served.append(self.name)
            try:
                await self.end.wait()
            finally:
                self.inside = False


async def settle() -> None:
    """Until every task has gone as far as it can."""
    for _ in range(12):
        await asyncio.sleep(0)


async def drain(slots: Slots, callers: list[Caller]) -> None:
    """End whoever has a slot, one by one, until nobody has or waits."""
    while slots.running:
        next(one for one in callers if one.inside).end.set()
        await settle()
    assert slots.waiting == 0


async def test_clients_are_served_in_turn_and_each_in_its_order() -> None:
    slots, served = Slots(1, 100), list[str]()
    callers = [Caller(slots, "first", served)]
    await settle()
    for name in ("a1", "a2", "a3", "b1", "c1", "a4", "b2"):
        callers.append(Caller(slots, name[0], served, name))
        await settle()
    assert (slots.running, slots.waiting) == (1, 7)
    assert slots.by_client["a"] == Load(0, 4)
    await drain(slots, callers)
    assert served == ["first", "a1", "b1", "c1", "a2", "b2", "a3", "a4"]


async def test_no_more_than_parallel_hold_a_slot() -> None:
    slots, served = Slots(3, 100), list[str]()
    callers = [Caller(slots, f"c{n % 4}", served) for n in range(20)]
    await settle()
    assert (slots.running, slots.waiting, len(served)) == (3, 17, 3)
    await drain(slots, callers)
    assert len(served) == 20


async def test_a_flood_does_not_keep_another_client_waiting() -> None:
    slots, served = Slots(2, 256), list[str]()
    callers = [Caller(slots, "flood", served) for _ in range(200)]
    await settle()
    callers.append(Caller(slots, "other", served))
    await settle()
    for one in [one for one in callers if one.inside]:
        one.end.set()
    await settle()
    assert "other" in served
    await drain(slots, callers)


async def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    clock = Clock()
    slots, served = Slots(2, 4, clock), list[str]()
    callers = [Caller(slots, "a", served) for _ in range(2)]
    await settle()
    clock.now = 6.0
    await drain(slots, callers)  # Two calls that took 6 s each.
    callers = [Caller(slots, "a", served) for _ in range(6)]
    await settle()
    with pytest.raises(Overloaded) as caught:
        async with slots.taken("a"):
            raise AssertionError("it got a slot")
    assert caught.value.retry_after_s == pytest.approx(6.0 * 5 / 2)
    refusal = answer(caught.value)
    assert (refusal.status_code, refusal.headers["retry-after"]) == (429, "15")
    assert (slots.running, slots.waiting) == (2, 4)
    await drain(slots, callers)


async def test_a_full_queue_of_one_client_makes_room_for_another() -> None:
    slots, served = Slots(1, 3), list[str]()
    flood = [Caller(slots, "flood", served) for _ in range(4)]
    await settle()
    other = Caller(slots, "other", served)
    await settle()
    assert slots.by_client == {"flood": Load(1, 2), "other": Load(0, 1)}
    assert isinstance(flood[-1].task.exception(), Overloaded)
    with pytest.raises(Overloaded):  # Two of each would be no fairer than two and one.
        await (again := Caller(slots, "other", served)).task
    assert not again.inside
    await drain(slots, [*flood, other])


async def test_without_a_queue_what_finds_no_slot_is_refused_at_once() -> None:
    slots, served = Slots(1, 0), list[str]()
    callers = [Caller(slots, "a", served)]
    await settle()
    with pytest.raises(Overloaded):
        async with slots.taken("b"):
            raise AssertionError("it got a slot")
    await drain(slots, callers)
    async with slots.taken("b"):
        assert slots.by_client == {"b": Load(1, 0)}
    assert slots.by_client == {}


async def test_who_waits_longer_than_its_deadline_misses_it_and_leaves_the_queue() -> None:
    slots, served = Slots(1, 5), list[str]()
    callers = [Caller(slots, "a", served)]
    await settle()
    with pytest.raises(DeadlineMissed) as caught:
        async with slots.taken("b", deadline_s=0.01):
            raise AssertionError("it got a slot")
    assert caught.value.http_status == 504
    assert slots.waiting == 0
    await drain(slots, callers)


async def test_a_deadline_does_not_cut_short_who_has_a_slot() -> None:
    slots = Slots(1, 5)
    async with slots.taken("a", deadline_s=0.001):
        await asyncio.sleep(0.01)
    assert slots.running == 0


async def test_cancelling_frees_the_place_of_who_runs_and_of_who_waits() -> None:
    slots, served = Slots(1, 5), list[str]()
    running, waiting, last = (Caller(slots, c, served) for c in "abc")
    await settle()
    waiting.task.cancel()
    await settle()
    assert slots.by_client == {"a": Load(1, 0), "c": Load(0, 1)}
    running.task.cancel()
    await settle()
    assert served == ["a", "c"] and last.inside
    last.task.cancel()
    await settle()
    assert slots.by_client == {}


async def test_a_slot_given_in_the_moment_of_cancelling_goes_on_to_the_next() -> None:
    slots, served = Slots(1, 5), list[str]()
    first, second, third = (Caller(slots, c, served) for c in "abc")
    await settle()
    first.end.set()
    await asyncio.sleep(0)  # It leaves, and hands its slot to the second.
    assert slots.by_client["b"] == Load(1, 0)
    second.task.cancel()
    await settle()
    assert not second.inside and third.inside
    await drain(slots, [third])


async def test_a_call_that_fails_gives_its_slot_back() -> None:
    slots = Slots(1, 1)
    with pytest.raises(ZeroDivisionError):
        async with slots.taken("a"):
            raise ZeroDivisionError
    assert slots.running == 0


async def test_more_slots_serve_who_waits_and_fewer_take_none_away() -> None:
    slots, served = Slots(1, 10), list[str]()
    callers = [Caller(slots, "a", served) for _ in range(6)]
    await settle()
    slots.resize(4, 10)
    await settle()
    assert slots.running == 4
    slots.resize(2, 0)
    await settle()
    assert (slots.running, slots.waiting) == (4, 2)
    for one in [one for one in callers if one.inside][:2]:
        one.end.set()
    await settle()
    assert (slots.running, slots.waiting) == (2, 2)
    await drain(slots, callers)
    assert len(served) == 6


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(["call", "end", "cancel", "cancel_at_once", "resize", "settle", "tick"]),
        st.integers(0, 999),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(commands=COMMANDS, parallel=st.integers(1, 4), queue=st.integers(0, 6))
def test_whatever_happens_no_slot_is_lost_or_given_twice(
    commands: list[tuple[str, int]], parallel: int, queue: int
) -> None:
    async def run() -> None:
        slots, served, callers = Slots(parallel, queue), list[str](), list[Caller]()
        most_parallel, most_queue = parallel, queue
        for command, number in commands:
            open_ = [one for one in callers if not one.task.done()]
            match command:
                case "call":
                    callers.append(Caller(slots, f"c{number % 3}", served))
                case "end" if open_:
                    open_[number % len(open_)].end.set()
                case "cancel" if open_:
                    open_[number % len(open_)].task.cancel()
                case "cancel_at_once" if open_:
                    # In the same moment as another one's end, so that a grant is under way.
                    open_[0].end.set()
                    await asyncio.sleep(0)
                    open_[number % len(open_)].task.cancel()
                case "resize":
                    slots.resize(1 + number % 4, number % 7)
                    most_parallel = max(most_parallel, slots.parallel)
                    most_queue = max(most_queue, slots.queue)
                case "tick":
                    await asyncio.sleep(0)
                case _:
                    await settle()
            assert sum(one.inside for one in callers) <= slots.running <= most_parallel
            assert slots.waiting <= most_queue
            held = sum(load.running for load in slots.by_client.values())
            assert (held, sum(load.waiting for load in slots.by_client.values())) == (
                slots.running,
                slots.waiting,
            )
            # Nobody waits beside a free slot.
            assert not slots.waiting or slots.running >= slots.parallel
        await settle()
        inside = Counter(one.client for one in callers if one.inside)
        assert inside == Counter(
            {name: load.running for name, load in slots.by_client.items() if load.running}
        )
        for one in callers:
            one.end.set()
        await asyncio.gather(*(one.task for one in callers), return_exceptions=True)
        assert slots.by_client == {}
        for one in callers:
            with suppress(asyncio.CancelledError):
                assert one.task.exception() is None or isinstance(one.task.exception(), Overloaded)

    asyncio.run(run())


async def test_under_load_every_client_gets_its_share() -> None:
    slots, dice = Slots(2, 10_000), random.Random(5)
    order: list[str] = []

    async def call(client: str) -> None:
        async with slots.taken(client):
            order.append(client)
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for client, calls in (("greedy", 600), ("a", 30), ("b", 30), ("c", 30)):
            for _ in range(calls):
                group.create_task(call(client))
    assert Counter(order) == {"greedy": 600, "a": 30, "b": 30, "c": 30}
    for client in "abc":
        mine = [at for at, one in enumerate(order) if one == client]
        assert all(after - before <= 5 for before, after in pairwise(mine))
