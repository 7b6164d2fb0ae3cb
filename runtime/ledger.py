"""The record: one append-only SQLite table of events, in WAL mode, durable before anything acts.

Covers appending, reading back, following other processes' events and the queries that every
view needs. Does not decide anything, and never changes or deletes a row; removing whole tasks
that are old is ``runtime.retention``'s alone.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from models.errors import StorageFailed
from runtime.core import Action, Event, Gate, Outcome, Result, Task, from_json, to_json
from runtime.ledger_schema import BUSY_TIMEOUT_S
from runtime.ledger_tables import TOLD
from runtime.ledger_writer import Awaiting, Blocked, Line, Mailbox, Waiting, Writer

TOLD_LIMIT = 10_000
IDS_AT_ONCE = 500
"""Task ids in one query."""
T = TypeVar("T")


class Ledger:
    """The event record in one SQLite file. Safe to use from several threads and processes.

    Raises StorageFailed where the file cannot be opened, written or read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(0o600)  # before SQLite does: its two other files take the mode over
            path.chmod(0o600)
            self._writer = Writer(path)
        except (OSError, sqlite3.Error) as error:
            raise _failure(path, 0, error) from error

    def append(self, event: Event) -> Event:
        """Commit ``event`` and return it with its row id.

        An Action that is no mere read, its Gate, and everything before them are on disk (fsync)
        when this returns: the crash of the whole machine cannot lose them. What several threads
        append at once shares one commit.
        """
        return self.append_all([event])[0]

    def append_all(self, events: Sequence[Event]) -> list[Event]:
        """Commit ``events``, all or none, in their order; see :meth:`append`."""
        blocked = Blocked()
        try:
            self._submit(events, blocked)
            return _with_ids(events, blocked.result())
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    async def appended(self, events: Sequence[Event]) -> list[Event]:
        """:meth:`append_all` for an event loop, which goes on meanwhile.

        Where the task that waits is cancelled, the events are committed all the same.
        """
        awaiting = Awaiting(self._mailbox())
        try:
            self._submit(events, awaiting)
            return _with_ids(events, await awaiting.future)
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do ``work`` with the writing connection, in its thread, between two batches."""
        try:
            return self._writer.run(work)
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do ``work`` with this thread's reading connection."""
        try:
            return work(self._reader())
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def _submit(self, events: Sequence[Event], waiting: Waiting) -> None:
        lines = [line_of(event) for event in events]
        self._writer.submit(lines, waiting, flush=any(_acts(event) for event in events))

    def _mailbox(self) -> Mailbox:
        """Of the running event loop. Each loop has a thread of its own."""
        mailbox: Mailbox | None = getattr(self._local, "mailbox", None)
        loop = asyncio.get_running_loop()
        if mailbox is None or mailbox.loop is not loop:
            mailbox = self._local.mailbox = Mailbox(loop)
        return mailbox

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
            where.append(f"type IN ({_marks(types)})")
            values.extend(types)
        yield from self._select(
            f"WHERE {' AND '.join(where)} ORDER BY id LIMIT ?", [*values, limit or -1]
        )

    def events_of(self, task_ids: Sequence[str], types: Sequence[str] = ()) -> Iterator[Event]:
        """Events of all these tasks, each task's in the order of their ids."""
        for start in range(0, len(task_ids), IDS_AT_ONCE):
            some = task_ids[start : start + IDS_AT_ONCE]
            where, values = f"task_id IN ({_marks(some)})", [*some, *types]
            if types:
                # The plus: found by task, of which there are few, and not by type.
                where += f" AND +type IN ({_marks(types)})"
            yield from self._select(f"WHERE {where} ORDER BY id", values)

    def decisions(
        self,
        *,
        kind: str | None = None,
        chosen: str | None = None,
        task_id: str | None = None,
        client: str | None = None,
        session: str | None = None,
        text: str | None = None,
        ending: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """Decision events, newest first, those before row id ``before`` only.

        ``text`` is looked for in the step's words. ``ending``: only of tasks in which something
        ended with this word (such as ``failed``, ``escalated``), or of those that are ``open``.
        """
        named = {"kind": kind, "chosen": chosen, "task_id": task_id}
        named |= {"client": client, "session": session}
        where = [f"d.{column} = ?" for column, value in named.items() if value is not None]
        values: list[Any] = [value for value in named.values() if value is not None]
        if before is not None:
            where.append("d.id < ?")
            values.append(before)
        if ending is not None:
            where.append(self._ending(ending))
            values += [] if ending == "open" else [ending]
        if text:
            where.append("instr(casefold(json_extract(e.record, '$.text')), ?) > 0")
            values.append(text.casefold())
        return list(
            self._select(
                f"WHERE {' AND '.join(where) or 'true'} ORDER BY d.id DESC LIMIT ?",
                [*values, limit],
                "decisions AS d CROSS JOIN events AS e ON e.id = d.id",
            )
        )

    def _ending(self, word: str) -> str:
        """The condition that a decision's task has this ending. Few such tasks are looked up one
        by one; where there are many, the newest decisions soon come to some."""
        if word == "open":
            return "d.task_id IN (SELECT id FROM tasks WHERE ended_at IS NULL)"
        few = "SELECT count(*) FROM (SELECT 1 FROM endings WHERE word = ? LIMIT ?)"
        if self._read(few, [word, IDS_AT_ONCE]).fetchone()[0] < IDS_AT_ONCE:
            return "d.task_id IN (SELECT task_id FROM endings WHERE word = ?)"
        return "EXISTS (SELECT 1 FROM endings WHERE word = ? AND task_id = d.task_id)"

    def record(self, record_id: str) -> Event | None:
        """The newest event whose record has this id."""
        rows = self._select(
            "WHERE json_extract(record, '$.id') = ? ORDER BY id DESC LIMIT 1", [record_id]
        )
        return next(rows, None)

    def tasks(
        self, limit: int = 100, *, client: str | None = None, before: int | None = None
    ) -> list[Event]:
        """Task events, newest first, those before row id ``before`` only."""
        where, values = ["true"], []  # type: tuple[list[str], list[Any]]
        for condition, value in (("t.client = ?", client), ("t.event_id < ?", before)):
            if value is not None:
                where.append(condition)
                values.append(value)
        return list(
            self._select(
                f"WHERE {' AND '.join(where)} ORDER BY t.event_id DESC LIMIT ?",
                [*values, limit],
                _TASKS,
            )
        )

    def unfinished(self) -> list[Task]:
        """Tasks without a Result, oldest first: running now, or cut off by a crash."""
        rows = self._select("WHERE t.ended_at IS NULL ORDER BY t.event_id", [], _TASKS)
        return [e.record for e in rows if isinstance(e.record, Task)]

    def told(self, limit: int = TOLD_LIMIT) -> list[Event]:
        """Everything of the tasks in which an answer turned out right or wrong (a judgement, or a
        failed action), oldest first: of the newest ``limit`` such events."""
        # SQLite would rather look through every action's outcome than trust that so few failed.
        told = "SELECT task_id FROM events INDEXED BY events_told"
        told = f"{told} WHERE {TOLD} ORDER BY id DESC LIMIT ?"
        of = "+type IN ('task', 'decision', 'outcome', 'judgement')"
        return list(self._select(f"WHERE task_id IN ({told}) AND {of} ORDER BY id", [limit]))

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
        self._writer.close()
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        self._local = threading.local()

    def _select(
        self, rest: str, values: Sequence[Any], source: str = "events AS e"
    ) -> Iterator[Event]:
        columns = "e.id, e.at, e.task_id, e.type, e.record"
        cursor = self._read(f"SELECT {columns} FROM {source} {rest}", values)  # noqa: S608 - fixed text only
        try:
            for id_, at, task_id, type_, body in cursor:
                record = from_json(type_, json.loads(body))
                yield Event(task_id, at, record, id_)
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            raise self._failure(error) from error

    def _read(self, sql: str, values: Sequence[Any]) -> sqlite3.Cursor:
        return self.read(lambda connection: connection.execute(sql, values))

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            connection.execute("PRAGMA query_only = ON")
            connection.create_function("casefold", 1, str.casefold, deterministic=True)
            self._local.connection = connection
            self._readers.append(connection)
        return connection

    def _failure(self, error: Exception) -> StorageFailed:
        return _failure(self.path, self._writer.last_id, error)


_TASKS = "tasks AS t CROSS JOIN events AS e ON e.id = t.event_id"


def _failure(path: Path, last_id: int, error: Exception) -> StorageFailed:
    kept = f"Everything up to event {last_id} is kept" if last_id else "Nothing was recorded yet"
    return StorageFailed(
        f"The ledger {path} cannot be used: {error}. {kept}.",
        hint="Check the folder's permissions and free space, or set AIDECAMP_HOME elsewhere.",
    )


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def line_of(event: Event) -> Line:
    """Raises StorageFailed where the record holds what JSON has no form for."""
    try:
        body = json.dumps(to_json(event.record))
    except (TypeError, ValueError, RecursionError) as error:
        raise StorageFailed(
            f"A {event.type} cannot be recorded: {error}.",
            hint="Nothing of it was written. This is a fault in Aidecamp itself.",
        ) from error
    return event.at, event.task_id, event.type, body


def _acts(event: Event) -> bool:
    """It comes before something is done to the world: it must outlive the whole machine."""
    record = event.record
    return isinstance(record, Gate) or (isinstance(record, Action) and record.risk != "read")


def _with_ids(events: Sequence[Event], ids: list[int]) -> list[Event]:
    return [Event(e.task_id, e.at, e.record, id_) for e, id_ in zip(events, ids, strict=True)]


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
