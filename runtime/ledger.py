"""The record: one append-only SQLite table of events, in WAL mode, durable before anything acts.

Covers appending, reading back, following other processes' events and the queries that every
view needs. Does not decide anything, and never changes or deletes a row.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from models.errors import StorageFailed
from runtime.core import Action, Event, Gate, Outcome, Result, Task, from_json, to_json

BUSY_TIMEOUT_S = 5.0
BUSY_RETRY_S = 0.005
TOLD = 10_000
T = TypeVar("T")

MIGRATIONS: tuple[str, ...] = (
    """
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
    """,
)
"""SQL scripts; the file's ``user_version`` is the number of those that have run."""


class Ledger:
    """The event record in one SQLite file. Safe to use from several threads and processes.

    Raises StorageFailed where the file cannot be opened, written or read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._last_id = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
            self._connection = self._writer.submit(self._open).result()
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        _migrate(connection)
        self.path.chmod(0o600)
        row = connection.execute("SELECT max(id) FROM events").fetchone()
        self._last_id = row[0] or 0
        return connection

    def append(self, event: Event) -> Event:
        """Commit ``event`` and return it with its row id.

        An Action that is no mere read, its Gate, and everything before them are on disk (fsync)
        when this returns: the crash of the whole machine cannot lose them.
        """
        try:
            return self._writer.submit(self._append, event).result()
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def _append(self, event: Event) -> Event:
        record = event.record
        full = isinstance(record, Gate) or (isinstance(record, Action) and record.risk != "read")
        connection = self._connection
        if full:
            connection.execute("PRAGMA synchronous = FULL")
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                cursor = connection.execute(
                    "INSERT INTO events (at, task_id, type, record) VALUES (?, ?, ?, ?)",
                    (
                        event.at,
                        event.task_id,
                        event.type,
                        json.dumps(to_json(record)),
                    ),
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        finally:
            if full:
                connection.execute("PRAGMA synchronous = NORMAL")
        self._last_id = cursor.lastrowid or 0
        return Event(event.task_id, event.at, record, self._last_id)

    def events(
        self,
        task_id: str | None = None,
        after: int = 0,
        types: Sequence[str] = (),
        limit: int | None = None,
    ) -> Iterator[Event]:
        """Events in the order of their ids, those after id ``after`` only."""
        where, values = ["id > ?"], [after]  # type: tuple[list[str], list[Any]]
        if task_id is not None:
            where.append("task_id = ?")
            values.append(task_id)
        if types:
            where.append(f"type IN ({', '.join('?' * len(types))})")
            values.extend(types)
        yield from self._select(
            f"WHERE {' AND '.join(where)} ORDER BY id LIMIT ?", [*values, limit or -1]
        )

    def decisions(
        self,
        *,
        kind: str | None = None,
        chosen: str | None = None,
        task_id: str | None = None,
        text: str | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """Decision events, newest first. ``text`` is looked for in the step's words."""
        where, values = ["type = 'decision'"], []  # type: tuple[list[str], list[Any]]
        for field, value in (("kind", kind), ("chosen", chosen), ("task_id", task_id)):
            if value is not None:
                where.append(f"json_extract(record, '$.{field}') = ?")
                values.append(value)
        if text:
            where.append("instr(casefold(json_extract(record, '$.text')), ?) > 0")
            values.append(text.casefold())
        return list(
            self._select(f"WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?", [*values, limit])
        )

    def record(self, record_id: str) -> Event | None:
        """The newest event whose record has this id."""
        rows = self._select(
            "WHERE json_extract(record, '$.id') = ? ORDER BY id DESC LIMIT 1", [record_id]
        )
        return next(rows, None)

    def tasks(self, limit: int = 100) -> list[Event]:
        """Task events, newest first."""
        return list(self._select("WHERE type = 'task' ORDER BY id DESC LIMIT ?", [limit]))

    def unfinished(self) -> list[Task]:
        """Tasks without a Result, oldest first: running now, or cut off by a crash."""
        rows = self._select(
            "WHERE type = 'task' AND NOT EXISTS (SELECT 1 FROM events AS later"
            " WHERE later.task_id = events.task_id AND later.type = 'result') ORDER BY id",
            [],
        )
        return [e.record for e in rows if isinstance(e.record, Task)]

    def told(self, limit: int = TOLD) -> list[Event]:
        """Everything of the tasks in which an answer turned out right or wrong (a judgement, or a
        failed action), oldest first: of the newest ``limit`` such events."""
        rows = self._select(
            "WHERE task_id IN (SELECT task_id FROM events WHERE type = 'judgement' OR"
            " (type = 'outcome' AND json_extract(record, '$.status') = 'failed')"
            " ORDER BY id DESC LIMIT ?)"
            " AND type IN ('task', 'decision', 'outcome', 'judgement') ORDER BY id",
            [limit],
        )
        return list(rows)

    def last_id(self) -> int:
        """Row id of the newest event of any process; 0 in an empty ledger."""
        row = self._read("SELECT max(id) FROM events", []).fetchone()
        return row[0] or 0

    def data_version(self) -> int:
        """Changes whenever another connection commits (of this thread's read connection)."""
        return int(self._read("PRAGMA data_version", []).fetchone()[0])

    def check(self) -> None:
        """Raises StorageFailed where SQLite finds the file damaged, or a row cannot be read."""
        problem = self._read("PRAGMA quick_check", []).fetchone()[0]
        if problem != "ok":
            raise StorageFailed(
                f"The ledger {self.path} is damaged: {problem}.",
                hint="Keep a copy of it; move it away to start a new one.",
            )
        for _ in self.events():
            pass

    def close(self) -> None:
        """Finish what is being written and close the file."""
        self._writer.submit(self._connection.close).result()
        self._writer.shutdown()
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        self._local = threading.local()

    def _select(self, rest: str, values: Sequence[Any]) -> Iterator[Event]:
        cursor = self._read(f"SELECT id, at, task_id, type, record FROM events {rest}", values)  # noqa: S608 - fixed text only
        try:
            for id_, at, task_id, type_, body in cursor:
                record = from_json(type_, json.loads(body))
                yield Event(task_id, at, record, id_)
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            raise self._failure(error) from error

    def _read(self, sql: str, values: Sequence[Any]) -> sqlite3.Cursor:
        try:
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = sqlite3.connect(
                    self.path, timeout=BUSY_TIMEOUT_S, check_same_thread=False
                )
                connection.execute("PRAGMA query_only = ON")
                connection.create_function("casefold", 1, str.casefold, deterministic=True)
                self._local.connection = connection
                self._readers.append(connection)
            return connection.execute(sql, values)
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> StorageFailed:
        last = self._last_id
        kept = f"Everything up to event {last} is kept" if last else "Nothing was recorded yet"
        return StorageFailed(
            f"The ledger {self.path} cannot be used: {error}. {kept}.",
            hint="Check the folder's permissions and free space, or set AIDECAMP_HOME elsewhere.",
        )


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Put the file into WAL mode.

    SQLite does not wait out its busy timeout for this change (two processes that both waited for
    the other would never end), so processes that open a new ledger at once take turns here.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(BUSY_RETRY_S)


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest schema, one committed migration at a time."""
    while True:
        connection.execute("BEGIN IMMEDIATE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            connection.execute("ROLLBACK")
            raise sqlite3.DatabaseError(
                f"it was written by a newer version (schema {version}, known {len(MIGRATIONS)})"
            )
        if version == len(MIGRATIONS):
            connection.execute("ROLLBACK")
            return
        for statement in MIGRATIONS[version].split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")


def records(events: Sequence[Event], type_: type[T]) -> list[T]:
    """The records of one type among ``events``, in order."""
    return [e.record for e in events if isinstance(e.record, type_)]


def result_of(events: Sequence[Event]) -> Result | None:
    """How the task ended, if it has."""
    found = records(events, Result)
    return found[-1] if found else None


def open_actions(events: Sequence[Event]) -> list[Action]:
    """Actions that the gate allowed, with no Outcome: what a crash may have cut off."""
    ended = {o.action_id for o in records(events, Outcome)}
    allowed = {g.action_id for g in records(events, Gate) if g.verdict == "allow"}
    return [a for a in records(events, Action) if a.id in allowed - ended]
