"""2,000 requests that no client should send: each is refused in OpenAI's shape, and none hurts."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts

from runtime.config import DaemonConfig
from runtime.daemon import server
from runtime.daemon.app import create_app
from runtime.daemon.desk import Desk
from runtime.daemon.tokens import TokenStore
from tests.runtime.daemon.bad_requests import TARGETS, Bad, Maker
from tests.runtime.daemon.scripted import Daemon, daemon, plain
from tests.runtime.daemon.wire import HANGS_S, Answer, Line, line, request

COUNT = 2_000
SEED = 20_240
WORKERS = 24
SETTINGS = DaemonConfig(tcp=False, body_timeout_s=0.5, max_body_bytes=100_000)


async def refused(at: Path, bad: Bad, statuses: Counter[int]) -> None:
    """Send it, and look at the answer."""
    async with line(at) as one:
        await one.send(bad.data)
        if bad.leaves:
            return
        answer = await one.answer(bad.method)
    said = f"{bad.kind}: {answer} to {bad.data[:300]!r}"
    assert answer is not None and answer.status != 500, said
    statuses[answer.status] += 1
    if answer.status >= 400:
        try:
            check(answer, bad)
        except (AssertionError, KeyError, ValueError) as error:
            raise AssertionError(said) from error


def check(answer: Answer, bad: Bad) -> None:
    if b" /mcp " in bad.data[:20] and b"jsonrpc" in answer.body:
        # Clients of MCP read JSON-RPC's errors, and know no other.
        assert json.loads(answer.body)["error"]["message"]
    else:
        answer.error()


async def slow(at: Path, token: str, number: int) -> None:
    """A body that never comes whole."""
    path = list(TARGETS)[number % len(TARGETS)]
    async with line(at) as one:
        await one.send(request("POST", path, {"Content-Length": "5000"}, token=token))
        dripping = asyncio.create_task(drip(one))
        answer = await one.answer()
        dripping.cancel()
        assert answer is not None and answer.status == 408, answer
        answer.error()


async def drip(one: Line) -> None:
    while not one.writer.is_closing():
        one.writer.write(b" ")
        await asyncio.sleep(0.02)


async def broken_reader(at: Path, token: str, number: int) -> None:
    """Follows the events, and goes away: at once, after the headers, or within an event."""
    async with line(at) as one:
        await one.send(request(path="/v1/events?after=0", token=token))
        async with asyncio.timeout(HANGS_S):
            with suppress(asyncio.IncompleteReadError):
                await one.reader.readexactly(number % 3 * 300)
        if number % 2:
            await one.send(b"GET nonsense\r\n\r\n" * 20)
        one.writer.transport.abort()


async def streams_open(at: Path, token: str) -> float:
    """How many streams of events the daemon counts."""
    async with line(at) as one:
        await one.send(request(path="/metrics", token=token))
        answer = await one.answer()
    assert answer is not None and answer.status == 200
    found = re.search(r"^aidecamp_streams_open (\S+)$", answer.body.decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def test_two_thousand_bad_requests_are_refused_in_openais_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "QUIET", SETTINGS)
    tokens = TokenStore(tmp_path)
    token = tokens.own()
    statuses: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    async with daemon(tmp_path, plain) as served:
        maker, left = Maker(SEED, token), iter(range(COUNT))
        await served.client.start_task("so that there is an event")

        async def work() -> None:
            for _ in left:
                bad = maker.one()
                kinds[bad.kind] += 1
                await refused(served.path, bad, statuses)

        with caplog.at_level(logging.ERROR):
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(work())
                for number in range(20):
                    group.create_task(slow(served.path, token, number))
                    group.create_task(broken_reader(served.path, token, number))
        assert caplog.messages == []
        await still_well(served, token)
    assert kinds.total() == COUNT
    assert min(kinds.values()) >= 40, kinds
    refusals = sum(count for status, count in statuses.items() if status >= 400)
    assert refusals > 0.8 * COUNT, statuses
    assert {400, 401, 403, 404, 405, 413, 415, 422, 431} <= set(statuses), statuses


async def still_well(served: Daemon, token: str) -> None:
    """It serves as before, and nothing of those who left is still held."""
    async with asyncio.timeout(HANGS_S):
        while True:
            running = (await served.client.health())["running"]
            if not running and not await streams_open(served.path, token):
                break
            await asyncio.sleep(0.01)
    assert (await served.client.health())["status"] == "ok"


async def test_every_route_that_takes_a_body_is_among_the_targets(tmp_path: Path) -> None:
    async with daemon(tmp_path, plain) as served:
        app = create_app(Desk(served.ledger, served.make_agent, tmp_path))
        posts = {
            route.path_regex.pattern: route.path
            for route in iter_route_contexts(app.routes)
            if "POST" in (route.methods or ())
        }
        missing = {
            path
            for pattern, path in posts.items()
            if not any(re.match(pattern, target) for target in TARGETS)
        }
    assert missing == set()
