"""Files of every version open, and questions about a large file are answered from an index."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.budgets import Amount, LedgerSpending
from runtime.core import Task
from runtime.ledger import Ledger
from runtime.ledger_schema import MIGRATIONS
from tests.runtime.ledger_files import OLD, events, old_file, tables, tasks

START = 1_700_000_000.0
RECORD = events(*tasks())


@pytest.mark.parametrize("version", OLD)
def test_a_file_of_an_older_version_opens_with_every_row(tmp_path: Path, version: int) -> None:
    path = tmp_path / "ledger.db"
    old_file(path, version, RECORD)
    ledger = Ledger(path)
    assert [(e.task_id, e.at, e.record) for e in ledger.events()] == [
        (e.task_id, e.at, e.record) for e in RECORD
    ]
    assert ledger.append(RECORD[0]).id == len(RECORD) + 1
    ledger.check()
    ledger.close()


@pytest.mark.parametrize("version", OLD)
def test_an_older_file_derives_what_today_s_code_derives(tmp_path: Path, version: int) -> None:
    old_file(tmp_path / "old.db", version, RECORD)
    Ledger(tmp_path / "old.db").close()
    new = Ledger(tmp_path / "new.db")
    for event in RECORD:
        new.append(event)
    new.close()
    assert tables(tmp_path / "old.db") == tables(tmp_path / "new.db")
    assert all(tables(tmp_path / "new.db").values())  # nothing was left out of the comparison


@pytest.mark.parametrize("version", [0, *OLD])
def test_every_version_comes_to_the_same_schema(tmp_path: Path, version: int) -> None:
    if version:
        old_file(tmp_path / "old.db", version, [])
    Ledger(tmp_path / "old.db").close()
    Ledger(tmp_path / "new.db").close()

    def schema(name: str) -> tuple[object, set[tuple[str, str]]]:
        with sqlite3.connect(tmp_path / name) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
            at = connection.execute("PRAGMA user_version").fetchone()[0]
        return at, {(name, " ".join((sql or "").split())) for name, sql in rows}

    assert schema("old.db") == schema("new.db")
    assert schema("new.db")[0] == len(MIGRATIONS) == len(OLD) + 1


def test_processes_that_meet_at_an_older_file_all_open_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    old_file(path, 1, [replace(e, at=e.at + n) for n in range(300) for e in RECORD])
    code = (
        "import sys; from pathlib import Path; from runtime.ledger import Ledger;"
        "ledger = Ledger(Path(sys.argv[1])); print(ledger.last_id()); ledger.close()"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    said = [racer.communicate(timeout=60)[0].decode().strip() for racer in racers]
    assert said == [str(300 * len(RECORD))] * 4


@pytest.mark.parametrize("version", OLD)
def test_a_migration_looks_nothing_up_by_type_for_each_task(tmp_path: Path, version: int) -> None:
    """In a file of a million rows that would take hours."""
    path = tmp_path / "ledger.db"
    old_file(path, version, RECORD)
    plans: list[list[str]] = []
    with sqlite3.connect(path) as connection:
        for statement in (one for migration in MIGRATIONS[version:] for one in migration):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            plans.append([row[3] for row in plan])
            connection.execute(statement)
    correlated = 0
    for plan in plans:
        inner = [line for n, line in enumerate(plan) if n and plan[n - 1].startswith("CORRELATED")]
        correlated += len(inner)
        assert all("INDEX events_by_task " in line for line in inner), inner
    assert correlated


def test_a_migration_that_fails_leaves_the_older_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    old_file(path, 1, RECORD)
    broken = (MIGRATIONS[0], (*MIGRATIONS[1], "CREATE TABLE tasks (id)"))
    monkeypatch.setattr("runtime.ledger_schema.MIGRATIONS", broken)
    with pytest.raises(Exception, match="already exists"):
        Ledger(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert "tasks" not in names
    monkeypatch.undo()
    Ledger(path).close()


def test_budgets_of_an_older_file_count_what_was_spent_and_announced(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    old_file(path, 1, RECORD)
    spent = LedgerSpending(path).spent(START + 60.0 * len(RECORD))["month"]
    # A call of 72 tokens and 241 ms; and two announced, one of which had no known price.
    assert spent == Amount(None, 72 + 2 * 900, pytest.approx(0.241 + 2 * 30.0))  # type: ignore[arg-type]


def answered_from(ledger: Ledger, ask: Callable[[Ledger], object]) -> str:
    """The query plans of every statement that a question runs."""
    statements: list[str] = []
    ledger.read(lambda connection: connection.set_trace_callback(statements.append))
    ask(ledger)
    ledger.read(lambda connection: connection.set_trace_callback(None))
    plans: list[str] = []
    for sql in statements:
        rows = ledger.read(lambda c: c.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall())  # noqa: B023 - run at once
        plans += [row[3] for row in rows]
    assert plans
    return "\n".join(plans)


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda x: x.decisions(kind="shell"), "INDEX decisions_by_kind "),
        (lambda x: x.decisions(kind="shell", before=9), "INDEX decisions_by_kind "),
        (lambda x: x.decisions(chosen="general"), "INDEX decisions_by_chosen "),
        (
            lambda x: x.decisions(kind="shell", chosen="general"),
            "INDEX decisions_by_kind_and_chosen ",
        ),
        (lambda x: x.decisions(client="cli"), "INDEX decisions_by_client "),
        (lambda x: x.decisions(session="ses_1"), "INDEX decisions_by_session "),
        (lambda x: x.decisions(task_id="task_done"), "INDEX decisions_by_task "),
        (lambda x: x.decisions(ending="failed"), "INDEX decisions_by_task "),
        (lambda x: x.decisions(ending="open"), "INDEX tasks_open"),
        (lambda x: x.decisions(), "SEARCH e USING INTEGER PRIMARY KEY"),
        (lambda x: x.record("dec_away"), "INDEX events_by_record "),
        (lambda x: list(x.events("task_done")), "INDEX events_by_task "),
        (lambda x: list(x.events_of(["task_done"], ["call"])), "INDEX events_by_task "),
        (lambda x: x.tasks(), "INDEX tasks_by_event"),
        (lambda x: x.tasks(client="cli"), "INDEX tasks_by_client "),
        (lambda x: x.unfinished(), "INDEX tasks_open"),
        (lambda x: x.told(), "INDEX events_told"),
        (lambda x: x.last_id(), "SEARCH events"),
    ],
)
def test_a_question_is_answered_from_an_index(
    tmp_path: Path, ask: Callable[[Ledger], object], index: str
) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.append_all(RECORD)
    plan = answered_from(ledger, ask)
    ledger.close()
    assert index in plan
    assert "SCAN events" not in plan.replace("SCAN events USING", "")
    assert "SCAN e" not in plan.replace("SCAN events", "")


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.decisions(kind="shell"),
        lambda x: x.decisions(chosen="general"),
        lambda x: x.decisions(kind="shell", chosen="general"),
        lambda x: x.decisions(client="cli"),
        lambda x: x.decisions(session="ses_1"),
        lambda x: x.tasks(client="cli"),
        lambda x: x.unfinished(),
    ],
)
def test_the_newest_are_read_in_order_and_never_sorted(
    tmp_path: Path, ask: Callable[[Ledger], object]
) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.append_all(RECORD)
    assert "TEMP B-TREE" not in answered_from(ledger, ask)
    ledger.close()


def test_decisions_are_found_by_the_client_and_session_of_their_task(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    mine = events(*tasks(client="mine", session="one"))
    ledger.append_all([*RECORD, *mine])
    found = ledger.decisions(client="mine")
    assert len(found) == len(ledger.decisions(client="")) > 0
    assert found == ledger.decisions(session="one")
    assert {e.id for e in found} <= set(range(len(RECORD) + 1, len(RECORD) + len(mine) + 1))
    assert [e.record.client for e in ledger.tasks(client="mine") if isinstance(e.record, Task)] == [
        "mine"
    ] * len(tasks())
    ledger.close()


def test_pages_of_decisions_adjoin(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.append_all(RECORD)
    every = [e.id for e in ledger.decisions(kind="shell")]
    paged: list[int] = []
    before = None
    while page := ledger.decisions(kind="shell", before=before, limit=3):
        paged += [e.id for e in page]
        before = page[-1].id
    assert paged == every == sorted(every, reverse=True)
    ledger.close()
