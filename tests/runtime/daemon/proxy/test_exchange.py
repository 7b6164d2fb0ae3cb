"""What passes from whoever serves a call to whoever sends its answer, and how both end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
from starlette.requests import Request

from models.errors import AidecampError, DeadlineMissed, Interrupted
from runtime.daemon.proxy.exchange import WAITING_PARTS, Exchange, Streamed, while_there
from runtime.daemon.proxy.parts import Raw, Words

SCOPE = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "POST", "headers": []}
"""As uvicorn makes it."""
TIMEOUT_S = 10


async def read(exchange: Exchange) -> list[Any]:
    async with asyncio.timeout(TIMEOUT_S):
        return [part async for part in exchange.parts()]


async def bytes_of(exchange: Exchange) -> AsyncIterator[bytes]:
    async for part in exchange.parts():
        assert isinstance(part, Raw)
        yield part.data


def streamed(exchange: Exchange) -> Streamed:
    return Streamed(exchange, bytes_of(exchange), 200, {}, "text/event-stream")


class Served:
    """Serves until it is cancelled, and then takes some time to write that down."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.recorded = False

    async def __call__(self, exchange: Exchange) -> None:
        try:
            for part in self.parts:
                await exchange.put(Raw(part))
            await asyncio.get_running_loop().create_future()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            self.recorded = True


@pytest.mark.parametrize("count", [WAITING_PARTS - 1, WAITING_PARTS, WAITING_PARTS + 1])
async def test_a_reader_that_comes_late_gets_every_part_and_the_end(count: int) -> None:
    ended = asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        for number in range(count):
            await exchange.put(Raw(b"%d" % number))
        ended.set()

    exchange = Exchange()
    exchange.start(serve, "call")
    if count <= WAITING_PARTS:
        await ended.wait()
    assert [part.data for part in await read(exchange)] == [b"%d" % n for n in range(count)]


async def test_what_breaks_an_answer_off_reaches_a_reader_that_is_far_behind() -> None:
    async def serve(exchange: Exchange) -> None:
        async with asyncio.timeout(0.01):
            while True:
                await exchange.put(Raw(b"x"))
                await asyncio.sleep(0)

    async def late(exchange: Exchange) -> None:
        try:
            await serve(exchange)
        except TimeoutError as error:
            raise DeadlineMissed("Too late.") from error

    exchange = Exchange()
    exchange.start(late, "call")
    with pytest.raises(DeadlineMissed):
        await read(exchange)


async def test_a_slow_reader_holds_up_the_generals_bytes_but_no_local_answer() -> None:
    put = 0

    async def serve(exchange: Exchange) -> None:
        nonlocal put
        for _ in range(WAITING_PARTS * 2):
            exchange.add(Words(0, "x"))
        while True:
            await exchange.put(Raw(b"x"))
            put += 1

    exchange = Exchange()
    exchange.start(serve, "call")
    await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert put == WAITING_PARTS
    await exchange.stop()


async def test_a_fault_of_whoever_serves_is_no_good_end() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.put(Raw(b"x"))
        raise RuntimeError("a bug")

    exchange = Exchange()
    exchange.start(serve, "call")
    with pytest.raises(AidecampError):
        await read(exchange)


async def test_however_often_a_call_is_stopped_its_record_is_finished() -> None:
    served, exchange = Served(), Exchange()
    exchange.start(served, "call")
    await asyncio.sleep(0)
    stops = [asyncio.create_task(exchange.stop()) for _ in range(3)]
    await asyncio.sleep(0)
    stops[0].cancel()
    await asyncio.gather(*stops, return_exceptions=True)
    assert served.recorded
    with pytest.raises(Interrupted):
        await exchange.head()


@pytest.mark.parametrize("sent", ["nothing", "the head", "a part"])
async def test_a_stream_whose_client_leaves_ends_its_call(sent: str) -> None:
    gone = asyncio.Event()
    served, exchange = Served(b"one"), Exchange()
    exchange.start(served, "call")

    async def receive() -> MutableMapping[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body" or sent == "the head":
            gone.set()
        if sent == "the head":  # and its bytes go nowhere any more
            await asyncio.get_running_loop().create_future()

    if sent == "nothing":
        gone.set()
    async with asyncio.timeout(TIMEOUT_S):
        await streamed(exchange)(dict(SCOPE), receive, send)
    assert served.recorded


async def test_a_block_that_is_cancelled_ends_the_call() -> None:
    served, exchange = Served(), Exchange()
    exchange.start(served, "call")

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def wait() -> None:
        async with while_there(Request(dict(SCOPE), receive), exchange):
            await exchange.head()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting], timeout=TIMEOUT_S)
    assert waiting.cancelled() and served.recorded
