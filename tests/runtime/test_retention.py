"""What is purged goes as a whole, for good and on record; what runs or teaches stays."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.errors import StorageFailed, UsageError
from runtime import retention
from runtime.budgets import LedgerSpending
from runtime.commands import decisions
from runtime.config import RecordConfig
from runtime.core import Event, Judgement, Purge, Record, Result, Task
from runtime.daemon.totals import Totals
from runtime.drive import cut_off, left_alone
from runtime.ledger import Ledger, records
from runtime.ledger_room import bytes_on_disk, used_bytes
from runtime.retention import DAY_S, MB, Purged, Wanted, enforce, keep, preview, purge
from tests.runtime.ledger_files import events, old_file, tables, tasks
from tests.runtime.test_policy_commands import invoke

START = 1_700_000_000.0
LATER = START + 10 * DAY_S
EVERYTHING = Wanted(before=LATER)


def task(name: str, *, client: str = "", words: str = "x", ended: bool = True) -> list[Record]:
    begun: list[Record] = [Task(name, words, client=client)]
    return [*begun, Result(name, "done", words)] if ended else begun


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


def left(ledger: Ledger) -> list[str]:
    return [e.task_id for e in reversed(ledger.tasks(limit=-1))]


def purges(ledger: Ledger) -> list[Purge]:
    return records(list(ledger.events(types=("purge",))), Purge)


def test_tasks_that_ended_before_a_moment_go_whole(ledger: Ledger) -> None:
    ledger.append_all(events(task("old")))
    ledger.append_all(events(task("new"), start=START + DAY_S))
    done = purge(ledger, Wanted(before=START + 3600), now=LATER)
    assert (done.tasks, done.events, done.kept) == (1, 2, {})
    assert left(ledger) == ["new"]
    assert ledger.record("old") is None
    assert list(ledger.events("old")) == []


def test_nothing_of_a_purged_task_is_left_in_any_table_but_what_was_spent(ledger: Ledger) -> None:
    ledger.append_all(events(*tasks()))
    before = LedgerSpending(ledger.path).spent(START + 3600)
    purge(ledger, Wanted(before=LATER, keep_judged=False), now=START + 3600 + DAY_S)
    found = tables(ledger.path)
    assert (found["tasks"], found["decisions"], found["endings"]) == ([], [], [])
    assert [e.type for e in ledger.events()] == ["purge"]
    assert before["month"].tokens > 0
    assert LedgerSpending(ledger.path).spent(START + 3600) == before


def test_a_purge_is_on_record_with_what_sums_now_lack(ledger: Ledger) -> None:
    ledger.append_all(events(*tasks("mine")))
    ledger.append_all(events(*tasks("theirs")))
    calls = [e for e in ledger.events(types=("call",)) if e.task_id.startswith("mine")]
    gone = [e for e in ledger.events() if e.task_id.startswith("mine")]
    purge(ledger, Wanted(client="mine", keep_judged=False), now=LATER)
    (said,) = purges(ledger)
    assert (said.by, said.client, said.tasks) == ("user", "mine", len(tasks()))
    assert (said.events, said.calls) == (len(gone), len(calls))
    assert said.local_calls == sum(e.record.local for e in calls)  # type: ignore[union-attr]
    assert (said.first_at, said.last_at) == (gone[0].at, gone[-1].at)
    assert {name.startswith("theirs") for name in left(ledger)} == {True}


def test_what_was_marked_stays_unless_it_is_asked_for(ledger: Ledger) -> None:
    ledger.append_all(events([*task("told"), Judgement("jud_1", "told", "dec_1", False)]))
    ledger.append_all(events(task("plain")))
    assert purge(ledger, EVERYTHING, now=LATER).kept == {"judged": 1}
    assert left(ledger) == ["told"]
    assert ledger.told()
    done = purge(ledger, Wanted(before=LATER, keep_judged=False), now=LATER)
    assert (done.tasks, done.kept, left(ledger)) == (1, {}, [])


def test_what_a_process_holds_or_wrote_to_of_late_stays(ledger: Ledger) -> None:
    for name in ("held", "cut off"):
        ledger.append_all(events(task(name, ended=False)))
    ledger.append_all(events(task("busy", ended=False)))
    ledger.append(Event("busy", LATER - 60, Judgement("jud_1", "other", "dec_1", True)))
    with left_alone(ledger, "held") as free:
        assert free
        done = purge(ledger, EVERYTHING, now=LATER)
    assert (done.tasks, done.kept) == (1, {"running": 1})
    assert left(ledger) == ["held", "busy"]
    assert [one.id for one in cut_off(ledger)] == ["held", "busy"]


def test_an_id_is_never_given_again(ledger: Ledger) -> None:
    ledger.append_all(events(task("first")))
    purge(ledger, Wanted(client=""), now=LATER)
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("DELETE FROM events")  # the purge's own record too
    assert ledger.last_id() == 0
    assert ledger.append(events(task("next"))[0]).id == 4


def test_the_oldest_go_until_the_rest_fits(ledger: Ledger) -> None:
    for n in range(300):
        ledger.append_all(events(task(f"t{n:03}", words="long " * 2_000), start=START + n * 3600))
    size = ledger.read(used_bytes)
    done = purge(ledger, Wanted(max_bytes=size // 2, by="size"), now=LATER + 90 * DAY_S)
    names = left(ledger)
    assert names == [f"t{n:03}" for n in range(300 - len(names), 300)]
    assert 0 < len(names) < 300
    assert done.tasks == 300 - len(names)
    assert ledger.read(used_bytes) <= size // 2
    assert bytes_on_disk(ledger.path) < size * 0.6
    assert done.bytes_freed > size * 0.4
    assert purge(ledger, Wanted(max_bytes=size // 2), now=LATER).tasks == 0  # it fits: nothing goes


@pytest.mark.parametrize("old", [False, True])
def test_the_words_are_gone_from_the_disk(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "ledger.db"
    secret = events(*(task(f"t{n}", words=f"the secret {n} " * 300) for n in range(50)))
    if old:
        old_file(path, 1, secret)
    ledger = Ledger(path)
    if not old:
        ledger.append_all(secret)
    ledger.append_all(events(task("kept"), start=LATER))
    size = bytes_on_disk(path)
    purge(ledger, EVERYTHING, now=LATER)
    files = list(tmp_path.glob("ledger.db*"))
    assert not any(b"the secret" in file.read_bytes() for file in files)
    assert bytes_on_disk(path) < size / 3
    assert left(ledger) == ["kept"]
    ledger.check()
    ledger.close()


def test_a_preview_says_what_goes_and_removes_nothing(ledger: Ledger) -> None:
    ledger.append_all(events(*tasks()))
    was = list(ledger.events())
    said = preview(ledger, EVERYTHING, now=LATER)
    assert list(ledger.events()) == was
    done = purge(ledger, EVERYTHING, now=LATER)
    assert (said.tasks, said.events, said.kept) == (done.tasks, done.events, done.kept)
    assert said.bytes_freed > 0
    assert preview(ledger, Wanted(max_bytes=MB), now=LATER).tasks == 0


def test_an_empty_ledger_has_nothing_to_purge(ledger: Ledger) -> None:
    for wanted in (EVERYTHING, Wanted(max_bytes=0)):
        assert preview(ledger, wanted) == purge(ledger, wanted) == Purged()
    assert list(ledger.events()) == []


def test_a_purge_that_is_stopped_has_recorded_exactly_what_went(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "TASKS_AT_ONCE", 3)
    ledger.append_all(events(*(task(f"t{n}") for n in range(10))))
    asked = 0

    def twice() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    done = purge(ledger, EVERYTHING, now=LATER, stop=twice)
    assert [(one.tasks, one.events) for one in purges(ledger)] == [(6, 12)]
    assert (done.tasks, left(ledger)) == (6, ["t6", "t7", "t8", "t9"])
    assert purge(ledger, EVERYTHING, now=LATER).tasks == 4
    assert [one.tasks for one in purges(ledger)] == [6, 4]


def test_writers_and_readers_go_on_meanwhile(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "TASKS_AT_ONCE", 5)
    ledger.append_all(events(*(task(f"old{n}") for n in range(200))))
    first = ledger.last_id()
    over, written_all = threading.Event(), threading.Event()
    written: list[int] = []

    def write() -> None:
        while not over.is_set() or len(written) < 20:
            at = Event("live", LATER * 2, Result("live", "done", len(written)))
            written.append(ledger.append(at).id)

    read: list[int] = []

    def follow() -> None:
        after, last = first, False
        while not last:
            last = written_all.is_set()
            for event in ledger.events(after=after):
                after = event.id
                if event.task_id == "live":
                    read.append(event.id)

    writer, reader = threading.Thread(target=write), threading.Thread(target=follow)
    writer.start()
    reader.start()
    done = purge(ledger, EVERYTHING, now=LATER)
    over.set()
    writer.join()
    written_all.set()
    reader.join()
    assert done.tasks == 200
    assert read == written


def test_the_settings_remove_the_old_first_and_then_the_large(
    tmp_path: Path, ledger: Ledger
) -> None:
    day = [events(task(f"d{n}", words="w " * 250_000), start=START + n * DAY_S) for n in range(30)]
    for some in day:
        ledger.append_all(some)
    config = RecordConfig(retention_days=25, max_mb=16)
    done = enforce(ledger, config, now=START + 30 * DAY_S)
    by = {one.by: one.tasks for one in purges(ledger)}
    assert by["age"] == 5  # d0 to d4 ended more than 25 days ago
    assert by["size"] > 0
    assert done.tasks == by["age"] + by["size"]
    assert left(ledger) == [f"d{n}" for n in range(done.tasks, 30)]
    assert ledger.read(used_bytes) <= 16 * MB
    assert enforce(ledger, config, now=START + 30 * DAY_S) == Purged()


async def test_the_loop_enforces_the_settings_in_force_and_ends_when_cancelled(
    ledger: Ledger,
) -> None:
    ledger.append_all(events(task("old")))
    never, soon = RecordConfig(retention_days=None), RecordConfig(retention_days=1)
    config, asked = never, asyncio.Event()

    def now_in_force() -> RecordConfig:
        asked.set()
        return config

    loop = asyncio.create_task(keep(ledger, now_in_force, first_after_s=0.0, every_s=0.0))
    async with asyncio.timeout(30):
        await asked.wait()
        assert left(ledger) == ["old"]
        config = soon
        while left(ledger):  # noqa: ASYNC110 - until another thread has removed them
            await asyncio.sleep(0)
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop


async def test_the_loop_outlives_a_ledger_that_cannot_be_written(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.append_all(events(task("old")))
    works = ledger.write
    failed = threading.Event()

    def once(work: Any) -> Any:
        if not failed.is_set():
            failed.set()
            raise StorageFailed("The disk is full.")
        return works(work)

    monkeypatch.setattr(ledger, "write", once)
    config = RecordConfig(retention_days=1)
    loop = asyncio.create_task(keep(ledger, lambda: config, first_after_s=0.0, every_s=0.0))
    async with asyncio.timeout(30):
        while left(ledger):  # noqa: ASYNC110 - until another thread has removed them
            await asyncio.sleep(0)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert "The disk is full" in caplog.text


def test_sums_say_what_they_lack(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TASKS_AT_ONCE", 2)
    ledger.append_all(events(*tasks("mine")))
    seen = ledger.last_id()
    totals = Totals()
    assert totals.purged_words == ""
    followed: list[Event] = []
    work = retention._Work(ledger, Wanted(client="mine"), LATER)
    while work.bite():  # who follows the record sees each bite's record of it
        followed += ledger.events(after=max([seen, *(e.id for e in followed)]))
    followed += ledger.events(after=max([seen, *(e.id for e in followed)]))
    for event in followed:
        totals = totals.add(event)
    fresh = Totals()
    for event in ledger.events():
        fresh = fresh.add(event)
    assert len(followed) > 1
    assert totals.purges == fresh.purges
    assert fresh.purged_words.startswith("8 older tasks were removed from the record, last on 20")
    assert Totals.from_json(json.loads(json.dumps(fresh.to_json()))) == fresh


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.append_all(events(*tasks("mine")))
    ledger.append_all(events(*tasks("theirs"), start=START + 100 * DAY_S))
    ledger.close()
    return tmp_path


def on_record(home: Path) -> set[str]:
    ledger = Ledger(home / "ledger.db")
    found = {e.record.client for e in ledger.tasks(limit=-1) if isinstance(e.record, Task)}
    judged = {e.task_id for e in ledger.events(types=("judgement",))}
    ledger.close()
    return found | judged


def test_the_command_shows_asks_and_removes(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = on_record(home)
    monkeypatch.setattr("builtins.input", lambda question: "")
    invoke(decisions.app, "purge", "--client", "mine", "--judged")
    assert "9 tasks" in capsys.readouterr().out
    assert on_record(home) == before
    monkeypatch.setattr("builtins.input", lambda question: "y")
    invoke(decisions.app, "purge", "--client", "mine", "--judged")
    assert "were removed" in capsys.readouterr().out
    assert on_record(home) == {one for one in before if one.startswith("theirs")}


def test_the_command_by_date_and_in_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    invoke(decisions.app, "purge", "--before", "2023-12-31", "--dry-run", "--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["tasks"], said["kept"], said["removed"]) == (8, {"judged": 1}, False)
    invoke(decisions.app, "purge", "--before", "2023-12-31", "--yes", "--json")
    done = json.loads(capsys.readouterr().out)
    assert {**said, "removed": True, "bytes_freed": 0} == {**done, "bytes_freed": 0}
    assert on_record(home) == {"mine", "theirs", "minetask_escalated", "theirstask_escalated"}
    invoke(decisions.app, "purge", "--older-than", "1d", "--judged", "--yes")
    assert on_record(home) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--before", "yesterday", "--yes"),
        ("--older-than", "a while", "--yes"),
        ("--before", "2023-12-31", "--older-than", "1d", "--yes"),
        ("--max-mb", "1", "--json"),
    ],
)
def test_the_command_refuses_what_it_cannot_read(home: Path, arguments: tuple[str, ...]) -> None:
    before = on_record(home)
    with pytest.raises(UsageError):
        invoke(decisions.app, "purge", *arguments)
    assert on_record(home) == before
