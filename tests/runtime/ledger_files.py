"""Ledger files of every version, and a record in which everything happens that is told apart."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.core import (
    Decision,
    Event,
    Gate,
    Judgement,
    Outcome,
    Record,
    Result,
    Step,
    Task,
    to_json,
)
from tests.runtime.daemon.scripted import action, call, decision, step

FIRST = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    task_id TEXT NOT NULL,
    type TEXT NOT NULL,
    record TEXT NOT NULL CHECK (json_valid(record))
);
CREATE INDEX events_by_task ON events (task_id, id);
CREATE INDEX events_by_type ON events (type, id);
CREATE INDEX events_by_record ON events (json_extract(record, '$.id'));
PRAGMA user_version = 1;
"""
"""Version 1 as it was written by those who had it; not what the code makes of it today."""
OLD = {1: FIRST}
DERIVED = ("tasks", "decisions", "endings", "spending", "announced")


def old_file(path: Path, version: int, events: Iterable[Event]) -> None:
    """A file of an older version with ``events`` in it, written without today's code."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(OLD[version])
    connection.executemany(
        "INSERT INTO events (at, task_id, type, record) VALUES (?, ?, ?, ?)",
        [(e.at, e.task_id, e.type, json.dumps(as_then(e.record))) for e in events],
    )
    connection.commit()
    connection.close()


def as_then(record: Record) -> dict[str, Any]:
    """A record's JSON before tasks named their client and session."""
    body = to_json(record)
    for field in ("client", "session"):
        if isinstance(record, Task):
            del body[field]
    return body


def tables(path: Path) -> dict[str, list[Any]]:
    """Every derived row, table by table."""
    connection = sqlite3.connect(path)
    found = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in DERIVED}
    connection.close()
    return {name: sorted(map(repr, rows)) for name, rows in found.items()}


def asked(decision: Decision, **changes: object) -> Decision:
    """The same step, given to the General."""
    worst = {"worst": {"usd": 0.05, "tokens": 900, "seconds": 30.0}}
    return replace(decision, **{"chosen": "general", "given": worst, **changes})  # type: ignore[arg-type]


def tasks(client: str = "", session: str = "") -> list[list[Record]]:
    """Tasks that came to each kind of end, one list of records each; ids begin with the client."""
    found: list[list[Record]] = []

    def begin(name: str, kind: str = "shell") -> tuple[list[Record], Task, Step, Decision]:
        task = Task(f"{client}task_{name}", f"do {name}", client=client, session=session)
        one = step(task, kind=kind)
        first = decision(one)
        found.append([task, one, first])
        return found[-1], task, one, first

    records, task, one, first = begin("done")
    keeps = decision(one, id=f"{client}dec_kept", rule="accept:shell", previous=first.id)
    deed = action(one, "read")
    records += [call(first), keeps, deed, Gate(deed.id, task.id, "allow", "rule", "reads")]
    records += [Outcome(deed.id, task.id, one.id, "done", "4"), Result(task.id, "done", 4)]

    records, task, one, first = begin("failed")
    deed = action(one, "read")
    records += [
        call(first),
        deed,
        Outcome(deed.id, task.id, one.id, "failed", error="no such file"),
    ]
    records += [Result(task.id, "failed", None)]

    records, task, one, first = begin("escalated", "parse")
    away = asked(first, id=f"{client}dec_away", previous=first.id)
    remote = call(away, role="general", cost_usd=0.02, bytes_sent=900, model="gpt-5.4")
    records += [call(first), away, remote, Result(task.id, "unsure", "maybe")]
    records += [Judgement("jud_1", task.id, away.id, True)]

    records, task, one, first = begin("overruled")
    records += [
        decision(one, id=f"{client}dec_over", previous=first.id, would_send={"messages": []})
    ]
    records += [Result(task.id, "unsure", 1)]

    records, task, one, first = begin("declined", "plan")
    records += [decision(one, id=f"{client}dec_declined", chosen="declined", previous=first.id)]
    records += [Result(task.id, "declined", None)]

    for by, name in (("user", "denied"), ("dry-run", "skipped")):
        records, task, one, first = begin(name)
        deed = action(one)
        records += [deed, Gate(deed.id, task.id, "deny", by, "no")]  # type: ignore[arg-type]
        records += [Result(task.id, "denied" if by == "user" else "done", None)]

    records, task, one, first = begin("cancelled")
    unpriced = {"worst": {"usd": None, "tokens": 900, "seconds": 30.0}}
    cut = asked(first, id=f"{client}dec_cut", given=unpriced)
    records += [cut, Result(task.id, "cancelled", None)]

    records, task, one, first = begin("running")
    records += [asked(first, id=f"{client}dec_running", previous=first.id)]
    return found


def events(*lists: list[Record], start: float = 1_700_000_000.0) -> list[Event]:
    """Their events in order, a minute apart."""
    found: list[Event] = []
    for records in lists:
        task = records[0]
        assert isinstance(task, Task)
        found += [Event(task.id, start + 60.0 * (len(found) + n), r) for n, r in enumerate(records)]
    return found
