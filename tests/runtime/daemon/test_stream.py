"""The event stream: from the ledger, of every process, with nothing missed and nothing twice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import httpx

from runtime.core import Event, Result, Task
from runtime.daemon.client import Client, Link, OwnToken, Waits
from runtime.daemon.tokens import TokenStore
from runtime.ledger import Ledger
from runtime.retention import Wanted, purge
from tests.runtime.daemon.scripted import asking, daemon, ended


def fill(ledger: Ledger, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        task = Task(id=f"task_{number}", text=f"number {number}")
        ledger.append(Event(task.id, float(number), task))


async def take(events: AsyncGenerator[Event, None], count: int) -> list[Event]:
    taken = []
    async with asyncio.timeout(20), aclosing(events):
        async for event in events:
            taken.append(event)
            if len(taken) == count:
                break
    return taken


async def test_a_stream_resumes_after_the_last_event_id_and_misses_nothing(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path) as served:
        fill(served.ledger, 1200)
        first = await take(served.client.events(after=0), 700)
        fill(served.ledger, 50, start=1200)
        rest = await take(served.client.events(after=first[-1].id), 550)
        assert [event.id for event in first + rest] == list(range(1, 1251))


async def test_last_event_id_is_read_from_its_header(tmp_path: Path) -> None:
    async with daemon(tmp_path) as served:
        fill(served.ledger, 5)
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(served.path)),
            base_url="http://aidecamp",
            auth=OwnToken(TokenStore(served.folder)),
        ) as http:
            async with http.stream("GET", "/v1/events", headers={"Last-Event-ID": "3"}) as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                ids = []
                async for line in answer.aiter_lines():
                    if line.startswith("id: "):
                        ids.append(int(line[4:]))
                    if len(ids) == 2:
                        break
            assert ids == [4, 5]
            answer = await http.get("/v1/events", headers={"Last-Event-ID": "four"})
            assert answer.status_code == 400
            assert "Last-Event-ID" in answer.json()["error"]["message"]


async def test_events_that_another_process_commits_are_seen(tmp_path: Path) -> None:
    async with daemon(tmp_path) as served:
        events = served.client.events(after=0)
        writer = await asyncio.to_thread(
            subprocess.run,
            [
                sys.executable,
                "-c",
                "import sys; from pathlib import Path; from runtime.ledger import Ledger;"
                "from tests.runtime.daemon.test_stream import fill;"
                "ledger = Ledger(Path(sys.argv[1])); fill(ledger, 3); ledger.close()",
                str(served.ledger.path),
            ],
            check=True,
            cwd=Path(__file__).parents[3],
        )
        assert writer.returncode == 0
        assert [event.record.id for event in await take(events, 3)] == [  # type: ignore[union-attr]
            "task_0",
            "task_1",
            "task_2",
        ]


async def test_a_stream_that_waits_is_woken_by_a_commit_of_another_connection(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path) as served, aclosing(served.client.follow(after=0)) as signals:
        assert await anext(signals) == Link(True)
        assert await anext(signals) == Waits(())  # It has read to the end, and now waits.
        other = Ledger(served.ledger.path)
        await asyncio.to_thread(fill, other, 1)
        async with asyncio.timeout(20):
            event = await anext(signals)
        assert isinstance(event, Event) and event.id == 1
        other.close()


async def test_text_that_looks_like_line_ends_stays_in_its_event(tmp_path: Path) -> None:
    text = "one\ntwo\r\nthree\u2028four\x85five\x0bsix\n\ndata: no\nid: 99"
    async with daemon(tmp_path) as served:
        served.ledger.append(Event("task_x", 1.0, Task(id="task_x", text=text)))
        (event,) = await take(served.client.events(after=0), 1)
        assert isinstance(event.record, Task)
        assert event.record.text == text


async def test_the_client_follows_on_by_itself_when_the_daemon_returns(tmp_path: Path) -> None:
    client = Client(tmp_path / "run" / "daemon.sock", tokens=TokenStore(tmp_path))
    signals = client.follow(after=0)
    async with daemon(tmp_path) as served:
        fill(served.ledger, 2)
        seen = [await anext(signals) for _ in range(4)]
        assert seen[0] == Link(True)
        assert [s.id for s in seen if isinstance(s, Event)] == [1, 2]
    async with asyncio.timeout(20):
        while not (isinstance(signal := await anext(signals), Link) and not signal.up):
            pass
    other = Ledger(tmp_path / "ledger.db")
    fill(other, 2, start=2)
    other.close()
    async with daemon(tmp_path), asyncio.timeout(20):
        ids: list[int] = []
        while len(ids) < 2:
            signal = await anext(signals)
            if isinstance(signal, Event):
                ids.append(signal.id)
        assert ids == [3, 4]
        await signals.aclose()
    await client.close()


async def test_what_waits_for_a_person_is_told_as_it_changes(tmp_path: Path) -> None:
    async with daemon(tmp_path, asking) as served, asyncio.timeout(20):
        signals = served.client.follow(after=0)
        told = (s.waiting async for s in signals if isinstance(s, Waits))
        assert await anext(told) == ()
        task_id = await served.client.start_task("make a folder")
        (one,) = await anext(told)
        assert one.task_id == task_id
        assert one.action is not None and one.action.preview == "mkdir x"
        await served.client.approve(task_id, one.id)
        assert await anext(told) == ()
        assert await ended(served.client, task_id) == "done"
        await told.aclose()
        await signals.aclose()


async def test_a_stream_of_one_task_tells_only_that_one(tmp_path: Path) -> None:
    async with daemon(tmp_path) as served:
        fill(served.ledger, 10)
        served.ledger.append(Event("task_7", 99.0, Result("task_7", "done", 1)))
        events = await take(served.client.events(after=0, task_id="task_7"), 2)
        assert [event.type for event in events] == ["task", "result"]


WRITER = """
import sys, time
from pathlib import Path
from runtime.core import Event, Task
from runtime.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range(600):
    task = Task(id=f"task_{number}", text=f"number {number}")
    ledger.append(Event(task.id, time.time(), task))
ledger.close()
"""


async def test_nothing_is_missed_or_twice_over_reconnects_while_others_write_and_purge(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path) as served, asyncio.timeout(60):
        for number in range(40):
            ended_task(served.ledger, number)
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(served.ledger.path), cwd=Path(__file__).parents[3]
        )
        seen: list[int] = []
        tasks: set[str] = set()
        purged = 0
        while len(tasks) < 600:
            # A reader that leaves after a handful of events, and comes back where it was.
            async with aclosing(served.client.events(after=seen[-1] if seen else 0)) as events:
                async for event in events:
                    seen.append(event.id)
                    if isinstance(event.record, Task) and event.task_id.startswith("task_"):
                        tasks.add(event.task_id)
                    if len(seen) % 37 == 0 or len(tasks) == 600:
                        break
            if not purged and len(seen) > 40:
                purged = (await asyncio.to_thread(purge, served.ledger, Wanted(before=50.0))).tasks
        assert await writer.wait() == 0
        assert purged == 40
        assert seen == sorted(set(seen))
        left = {event.id for event in served.ledger.events() if event.id <= seen[-1]}
        assert left <= set(seen)


def ended_task(ledger: Ledger, number: int) -> None:
    """A task of long ago, over and done."""
    task = Task(id=f"old_{number}", text=f"old number {number}")
    result = Result(task.id, "done", number)
    for record in (task, result):
        ledger.append(Event(task.id, float(number), record))
