"""What many append at once is committed at once, and what cannot be written harms nobody else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models.errors import StorageFailed
from runtime.core import Event, Gate, Outcome, Result
from runtime.ledger import Ledger
from runtime.ledger_writer import BATCH, ROWS_AT_ONCE
from tests.runtime.test_ledger import action

NOT_JSON = float("nan")


def event(answer: Any, task: str = "t") -> Event:
    return Event(task, 0.0, Result(task, "done", answer))


def answers(ledger: Ledger, task: str | None = None) -> list[Any]:
    return [e.record.answer for e in ledger.events(task) if isinstance(e.record, Result)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


@contextmanager
def held_up(ledger: Ledger) -> Iterator[list[str]]:
    """The writer's thread does nothing in here, so that what is appended gathers; then it goes
    on. The list fills with the statements that it runs."""
    statements: list[str] = []
    busy, go_on = threading.Event(), threading.Event()

    def wait(connection: Any) -> None:
        connection.set_trace_callback(statements.append)
        busy.set()
        go_on.wait(60)

    with ThreadPoolExecutor(1) as thread:
        holding = thread.submit(ledger.write, wait)
        busy.wait(60)
        try:
            yield statements
        finally:
            go_on.set()
            holding.result(60)


def inserts(statements: list[str]) -> int:
    """SQLite names a statement again after each trigger that it fires."""
    return len({one for one in statements if one.startswith("INSERT INTO events")})


async def gathered(ledger: Ledger, *lists: list[Event]) -> tuple[list[Any], list[str]]:
    """Append all at once, as that many tasks: what each got, and the statements that were run."""
    with held_up(ledger) as statements:
        tasks = [asyncio.create_task(ledger.appended(events)) for events in lists]
        await asyncio.sleep(0)  # each has begun, and waits
    return await asyncio.gather(*tasks, return_exceptions=True), statements


async def test_what_gathers_meanwhile_is_committed_by_one_statement(ledger: Ledger) -> None:
    got, statements = await gathered(ledger, *([event(n)] for n in range(64)))
    assert [events[0].id for events in got] == list(range(1, 65))
    assert answers(ledger) == list(range(64))
    assert inserts(statements) == 1


async def test_an_event_that_cannot_be_written_fails_alone(ledger: Ledger) -> None:
    got, _ = await gathered(ledger, [event("a")], [event("b"), event(NOT_JSON)], [event("c")])
    assert isinstance(got[1], StorageFailed)
    assert "CHECK" in got[1].message
    assert answers(ledger) == ["a", "c"]  # of the failed pair, nothing
    assert [got[0][0].id, got[2][0].id] == [e.id for e in ledger.events()]
    assert ledger.append(event("d")).id == ledger.last_id()


def test_what_json_has_no_form_for_is_refused_by_name(ledger: Ledger) -> None:
    with pytest.raises(StorageFailed, match="A result cannot be recorded"):
        ledger.append(event({1, 2}))
    assert answers(ledger) == []


@pytest.mark.parametrize("count", [0, 1, 3, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, BATCH + 7])
def test_events_of_one_call_are_committed_together_in_order(ledger: Ledger, count: int) -> None:
    ledger.append(event("before"))
    kept = ledger.append_all([event(n) for n in range(count)])
    assert [e.id for e in kept] == list(range(2, count + 2))
    assert kept == list(ledger.events(after=1))
    assert answers(ledger) == ["before", *range(count)]


@pytest.mark.parametrize("count", [2, ROWS_AT_ONCE + 5])
def test_events_of_one_call_are_committed_all_or_none(ledger: Ledger, count: int) -> None:
    with pytest.raises(StorageFailed):
        ledger.append_all([event(n) for n in range(count)] + [event(NOT_JSON)])
    assert answers(ledger) == []
    ledger.check()


async def test_a_cancelled_wait_loses_nothing(ledger: Ledger) -> None:
    with held_up(ledger):
        waits = asyncio.create_task(ledger.appended([event(1), event(2)]))
        other = asyncio.create_task(ledger.appended([event(3)]))
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
    assert [e.id for e in await other] == [3]
    assert answers(ledger) == [1, 2, 3]


def test_an_event_loop_that_is_gone_keeps_nobody_from_writing(ledger: Ledger) -> None:
    async def walk_away() -> None:
        task = asyncio.create_task(ledger.appended([event("left behind")]))
        await asyncio.sleep(0)
        task.cancel()

    with held_up(ledger):
        asyncio.run(walk_away())
    ledger.append(event("after"))
    assert answers(ledger) == ["left behind", "after"]


def test_threads_and_event_loops_share_the_writer(ledger: Ledger) -> None:
    async def several(name: str) -> None:
        async def one(number: int) -> None:
            for n in range(20):
                await ledger.appended([event((number, n), name)])

        await asyncio.gather(*(one(number) for number in range(8)))

    def alone(name: str) -> None:
        for n in range(100):
            ledger.append(event(n, name))

    with ThreadPoolExecutor(6) as threads:
        waits = [threads.submit(asyncio.run, several(f"loop{n}")) for n in range(2)]
        waits += [threads.submit(alone, f"thread{n}") for n in range(4)]
        for one in waits:
            one.result(60)
    for n in range(4):
        assert answers(ledger, f"thread{n}") == list(range(100))
    for name in ("loop0", "loop1"):
        found = answers(ledger, name)
        assert len(found) == 160
        for number in range(8):  # each task's own are in its order
            assert [k for who, k in found if who == number] == list(range(20))


async def test_what_comes_before_an_act_is_on_disk(ledger: Ledger) -> None:
    """The whole batch is, for its other events came before."""
    full = "PRAGMA synchronous = FULL"
    got, statements = await gathered(ledger, [event(1)], [Event("t", 0, action("a"))])
    assert not any(isinstance(one, BaseException) for one in got)
    assert statements.index(full) < statements.index("PRAGMA synchronous = NORMAL")
    assert inserts(statements[statements.index(full) :]) == 1
    _, statements = await gathered(ledger, [Event("t", 0, Gate("a", "t", "allow", "user", ""))])
    assert full in statements
    _, statements = await gathered(ledger, [Event("t", 0, Outcome("a", "t", "s", "done"))])
    assert full not in statements


def test_closing_writes_what_waits_and_then_refuses(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    with ThreadPoolExecutor(9) as threads:
        with held_up(ledger):
            waits = [threads.submit(ledger.append, event(n)) for n in range(8)]
            while len(ledger._writer._waiting) < 8:
                pass
            closing = threads.submit(ledger.close)
        assert {one.result(60).record.answer for one in waits} == set(range(8))  # type: ignore[union-attr]
        closing.result(60)
    with pytest.raises(StorageFailed, match="closed"):
        ledger.append(event(9))
    ledger.close()
    again = Ledger(tmp_path / "ledger.db")
    assert sorted(answers(again)) == list(range(8))
    again.close()


def test_a_thread_that_outlives_the_main_one_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    program = (
        "import sys, threading; from pathlib import Path; from runtime.ledger import Ledger\n"
        "from tests.runtime.test_ledger_writer import event\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "def write():\n"
        "    threading.main_thread().join()\n"
        "    try: ledger.append(event(1))\n"
        "    except Exception as error: print(error, flush=True)\n"
        "threading.Thread(target=write).start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "ledger.db")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "it is closed" in done.stdout


def test_a_kill_under_load_loses_no_acknowledged_event(tmp_path: Path) -> None:
    program = (
        "import sys, threading; from pathlib import Path; from runtime.ledger import Ledger\n"
        "from tests.runtime.test_ledger_writer import event\n"
        "ledger, lock = Ledger(Path(sys.argv[1])), threading.Lock()\n"
        "def write(name):\n"
        "    for n in range(10**9):\n"
        "        kept = ledger.append(event(n, name))\n"
        "        with lock: print(f'{kept.id} {name} {n}', flush=True)\n"
        "threads = [threading.Thread(target=write, args=(f't{n}',)) for n in range(16)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "ledger.db")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    told = [writer.stdout.readline() for _ in range(500)]
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read()
    writer.wait()
    told += [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    ledger = Ledger(tmp_path / "ledger.db")
    kept = {e.id: e for e in ledger.events()}
    ledger.check()
    ledger.close()
    for line in told:
        id_, name, n = line.split()
        found = kept[int(id_)]
        assert (found.task_id, json.loads(n)) == (name, found.record.answer)  # type: ignore[union-attr]
