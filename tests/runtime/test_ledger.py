"""The record: durable, readable by others, whole after damage is ruled out."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from models.errors import StorageFailed
from runtime.core import (
    Action,
    Candidate,
    Decision,
    Event,
    Gate,
    Judgement,
    Outcome,
    Result,
    Task,
    to_json,
)
from runtime.ledger import Ledger, open_actions, result_of
from tests.runtime.ledger_files import events, tasks


def decision(id_: str = "dec_1", kind: str = "shell", chosen: str = "local:tool_user") -> Decision:
    return Decision(
        id=id_,
        task_id="t",
        step_id="s",
        kind=kind,  # type: ignore[arg-type]
        text="How big is Été?",
        chosen=chosen,
        candidates=(Candidate("general", "m", None, None, 0.1),),
        probability=0.9,
        threshold=0.5,
        rule="threshold:shell",
        reason="because",
        route_ms=5.0,
        signals={"margin": 0.4},
    )


def action(id_: str) -> Action:
    return Action(id_, "t", "s", "shell", "mkdir", {"path": "x"}, "mkdir x", "write")


def test_a_record_comes_back_equal(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    task = Task("t", "do it", tools=({"type": "function"},), schema={"type": "object"})
    for record in (task, decision(), action("a"), Result("t", "done", {"n": "\ud800"})):
        ledger.append(Event("t", 1.5, record))
    ledger.close()
    again = Ledger(tmp_path / "ledger.db")
    back = [e.record for e in again.events()]
    assert back == [task, decision(), action("a"), Result("t", "done", {"n": "\ud800"})]
    assert [e.id for e in again.events()] == [1, 2, 3, 4]
    again.close()


def test_decisions_are_filtered_newest_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.append(Event("t", 1, decision("d1", "shell")))
    ledger.append(Event("t", 2, decision("d2", "gui")))
    ledger.append(Event("u", 3, decision("d3", "shell", "general")))

    def ids(**by: str) -> list[str]:
        found = ledger.decisions(**by)  # type: ignore[arg-type]
        return [e.record.id for e in found if isinstance(e.record, Decision)]

    assert ids() == ["d3", "d2", "d1"]
    assert ids(kind="shell") == ["d3", "d1"]
    assert ids(chosen="general") == ["d3"]
    assert ids(text="ÉTÉ") == ids(text="how big") == ["d3", "d2", "d1"]
    assert ids(text="winter") == []
    found = ledger.record("d2")
    assert found is not None
    assert found.id == 2
    assert ledger.record("d9") is None
    ledger.close()


def test_threads_and_processes_append_without_loss(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path)
    program = (
        "import sys; from pathlib import Path; from runtime.ledger import Ledger;"
        "from runtime.core import Event, Result; ledger = Ledger(Path(sys.argv[1]));"
        "[ledger.append(Event('p', 0, Result('p', 'done', i))) for i in range(50)]"
    )
    before = ledger.data_version()
    other = subprocess.Popen([sys.executable, "-c", program, str(path)])

    def write(name: str) -> None:
        for i in range(50):
            ledger.append(Event(name, 0, Result(name, "done", i)))

    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait(timeout=60) == 0
    for name in ("t0", "t1", "t2", "p"):
        answers = [e.record.answer for e in ledger.events(name) if isinstance(e.record, Result)]
        assert answers == list(range(50))
    assert ledger.data_version() != before
    ledger.close()


def test_processes_that_open_a_new_ledger_at_once_all_can(tmp_path: Path) -> None:
    """They wait for a file, then open: eight rounds, for one alone seldom collides."""
    code = (
        "import sys, time; from pathlib import Path; from runtime.ledger import Ledger\n"
        "folder = Path(sys.argv[1]); (folder / f'ready{sys.argv[2]}').touch()\n"
        "for n in range(8):\n"
        "    while not (folder / f'go{n}').exists(): pass\n"
        "    Ledger(folder / f'{n}.db').close(); (folder / f'done{n}-{sys.argv[2]}').touch()\n"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], stderr=subprocess.PIPE)
        for name in "abcd"
    ]
    try:
        for n in range(8):
            earlier = "ready*" if n == 0 else f"done{n - 1}-*"
            while len(list(tmp_path.glob(earlier))) < 4 and all(r.poll() is None for r in racers):
                time.sleep(0.001)
            (tmp_path / f"go{n}").touch()
        errors = [racer.communicate(timeout=60)[1].decode() for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
    assert [r.returncode for r in racers] == [0] * 4, errors


def test_rows_are_never_changed_or_deleted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.append(Event("t", 0, Result("t", "done", 1)))
    with pytest.raises(StorageFailed):
        ledger._read("DELETE FROM events", [])
    assert ledger.last_id() == 1
    ledger.close()


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"these are somebody's notes, not a ledger" * 100)
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match="not a database"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageFailed, match="newer version"):
        Ledger(path)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageFailed, match="cannot be used") as caught:
        Ledger(tmp_path / "file" / "ledger.db")
    assert "AIDECAMP_HOME" in caught.value.hint


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.append(Event("t", 0, Result("t", "done", "kept")))
    pages = ledger.write(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    ledger.write(
        lambda c: c.execute(f"PRAGMA max_page_count = {pages}")
    )  # SQLite's own "disk is full"
    with pytest.raises(StorageFailed, match="full") as caught:
        ledger.append(Event("t", 0, Result("t", "done", "x" * 1_000_000)))
    assert "event 1 is kept" in caught.value.message
    assert [e.record.answer for e in ledger.events() if isinstance(e.record, Result)] == ["kept"]
    ledger.check()
    ledger.close()


def test_an_allowed_action_without_outcome_is_open(tmp_path: Path) -> None:
    allow = Gate("a", "t", "allow", "rule", "")
    events = [Event("t", 0, r) for r in (action("a"), allow, action("b"))]
    assert [a.id for a in open_actions(events)] == ["a"]  # b never passed the gate
    ended = [*events, Event("t", 0, Outcome("a", "t", "s", "done"))]
    assert open_actions(ended) == []
    assert result_of(ended) is None


def test_what_was_told_is_not_hidden_behind_what_merely_ran(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    told = Judgement("jud_1", "first", "dec_1", False)
    ledger.append(Event("first", 1.0, Task("first", "x")))
    ledger.append(Event("first", 2.0, told))
    for number in range(20):
        done = Outcome(f"act_{number}", "later", "s", "done")
        ledger.append(Event("later", 3.0 + number, done))
    assert [e.task_id for e in ledger.told(limit=5)] == ["first", "first"]
    ledger.append(Event("later", 99.0, Outcome("act_x", "later", "s", "failed")))
    assert {e.task_id for e in ledger.told(limit=5)} == {"first", "later"}
    assert {e.task_id for e in ledger.told(limit=1)} == {"later"}
    ledger.close()


def test_a_record_s_json_is_that_of_the_standard_library() -> None:
    nested = Task("t", "x", tools=({"a": (1, [2.5, None, {"b": True}])},), schema={"type": ["x"]})
    for record in (nested, decision(), action("a"), *(e.record for e in events(*tasks("c")))):
        body = dataclasses.asdict(record)
        assert json.dumps(to_json(record)) == json.dumps(body)
        assert to_json(record) is not to_json(record)
    schema = nested.schema
    assert to_json(nested)["schema"] == schema
    assert to_json(nested)["schema"] is not schema  # a copy: who changes it changes no record
