"""The ledger's one writer thread: what many threads append at once is committed at once.

Whoever appends waits until its own events are committed. While one batch is being committed the
next one gathers, so a commit is shared by all who came meanwhile, and nobody waits for a timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from runtime.ledger_schema import open_for_writing

BATCH = 1_000
"""Events in one transaction, as long as one write has no more."""
ROWS_AT_ONCE = 256
"""Rows of one INSERT statement. Python lets go of its lock at each statement, and gets it back
only when another thread pauses: a statement for each row would mostly wait for that."""

T = TypeVar("T")
Line = tuple[float, str, str, str]
"""``at``, ``task_id``, ``type`` and the record as JSON."""


class Waiting(Protocol):
    """Who waits for a write."""

    def settle(self, ids: list[int] | BaseException) -> None:
        """Called once, by the writer's thread: the row ids, or why there are none."""
        ...


@dataclass(slots=True)
class _Write:
    """Lines that are committed together or not at all."""

    lines: Sequence[Line]
    flush: bool
    waiting: Waiting


class Blocked:
    """A thread that waits."""

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self._found: list[int] | BaseException = []

    def settle(self, ids: list[int] | BaseException) -> None:
        self._found = ids
        self._done.release()

    def result(self) -> list[int]:
        """Raises what kept the lines from being written."""
        self._done.acquire()
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found


class Awaiting:
    """A task of an event loop that waits. Those of one batch are woken by one message to the
    loop, for each message costs a system call."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self.future: asyncio.Future[list[int]] = mailbox.loop.create_future()

    def settle(self, ids: list[int] | BaseException) -> None:
        self._mailbox.put(self.future, ids)


class Mailbox:
    """What was settled and not yet told to an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._lock = threading.Lock()
        self._settled: list[tuple[asyncio.Future[list[int]], list[int] | BaseException]] = []

    def put(self, future: asyncio.Future[list[int]], ids: list[int] | BaseException) -> None:
        with self._lock:
            self._settled.append((future, ids))
            if len(self._settled) > 1:
                return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            settled, self._settled = self._settled, []
        for future, ids in settled:
            if future.done():  # cancelled meanwhile; the lines are written all the same
                continue
            if isinstance(ids, BaseException):
                future.set_exception(ids)
            else:
                future.set_result(ids)


class Writer:
    """Commits lines in the order in which they come. Safe to use from several threads.

    Opening raises OSError or sqlite3.Error.
    """

    def __init__(self, path: Path) -> None:
        self.last_id = 0
        self._waiting: deque[_Write] = deque()
        self._lock = threading.Lock()
        self._draining = False
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        try:
            self.connection = self._thread.submit(open_for_writing, path).result()
            self.last_id = self.run(_last_id)
        except BaseException:
            self._thread.shutdown()
            raise

    def submit(self, lines: Sequence[Line], waiting: Waiting, *, flush: bool = False) -> None:
        """Have the lines committed, and ``waiting`` told their row ids once all of them are.

        ``flush``: they and everything before them are on disk (fsync) by then. Where they cannot
        be written it is told the sqlite3.Error, and nothing of them is then in the file.
        Raises sqlite3.ProgrammingError where the ledger is closed.
        """
        with self._lock:
            self._check_open()
            self._waiting.append(_Write(lines, flush, waiting))
            self._schedule()

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do ``work`` in the writer's thread, between two batches, and return what it returns."""
        with self._lock:
            self._check_open()
            try:
                done = self._thread.submit(work, self.connection)
            except RuntimeError as error:
                raise sqlite3.ProgrammingError("it is closed") from error
        return done.result()

    def close(self) -> None:
        """Commit what waits, and close the file. Once is enough, and more does no harm."""
        with self._lock:
            if not self._closed:
                self._closed = True
                with contextlib.suppress(RuntimeError):  # at the interpreter's end
                    self._thread.submit(self._close)
        self._thread.shutdown()

    def _check_open(self) -> None:
        if self._closed:
            raise sqlite3.ProgrammingError("it is closed")

    def _schedule(self) -> None:
        """Call with the lock held."""
        if not self._waiting or self._draining or self._closed:
            return
        try:
            self._thread.submit(self._drain)
        except RuntimeError:  # the interpreter is on its way out, and starts no more work
            self._closed = True
            while self._waiting:
                self._waiting.popleft().waiting.settle(sqlite3.ProgrammingError("it is closed"))
        else:
            self._draining = True

    def _drain(self) -> None:
        """Commit one batch. The next one queues behind other work for this thread."""
        with self._lock:
            batch = list(self._gather())
        self._commit(batch)
        with self._lock:
            self._draining = False
            self._schedule()

    def _gather(self) -> Iterator[_Write]:
        count = 0
        while self._waiting:
            count += len(self._waiting[0].lines)
            yield self._waiting.popleft()
            if count >= BATCH:
                return

    def _commit(self, batch: Sequence[_Write]) -> None:
        """Commit all, or each alone where one of them keeps the others from it."""
        lines = [line for write in batch for line in write.lines]
        try:
            ids = _committed(self.connection, lines, any(write.flush for write in batch))
        except BaseException as error:
            if len(batch) == 1 or _is_busy(error):
                for write in batch:
                    write.waiting.settle(error)
            else:
                for write in batch:
                    self._commit([write])
            return
        self.last_id = ids[-1] if ids else self.last_id
        start = 0
        for write in batch:
            end = start + len(write.lines)
            write.waiting.settle(ids[start:end])
            start = end

    def _close(self) -> None:
        while batch := list(self._gather()):
            self._commit(batch)
        self.connection.close()


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE to COMMIT; an error rolls back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def insert(connection: sqlite3.Connection, lines: Sequence[Line]) -> list[int]:
    """Insert at most ``ROWS_AT_ONCE`` lines with one statement; their row ids.

    Nobody else writes meanwhile, so the ids adjoin. The statement has room for the next power of
    two, which leaves few statements to compile; what room is left over is filled with NULL.
    """
    size = 1
    while size < len(lines):
        size *= 2
    values: list[float | str | None] = [value for line in lines for value in line]
    values += [None] * (4 * (size - len(lines)))
    last = connection.execute(_statement(size), values).lastrowid or 0
    return list(range(last - len(lines) + 1, last + 1))


@functools.cache
def _statement(size: int) -> str:
    rows = ", ".join(["(?, ?, ?, ?)"] * size)
    chosen = f"SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL"  # noqa: S608 - fixed text only
    return f"INSERT INTO events (at, task_id, type, record) {chosen}"


def _committed(connection: sqlite3.Connection, lines: Sequence[Line], flush: bool) -> list[int]:
    """Row ids of the lines, all in one transaction, which ends with an fsync for ``flush``."""
    if flush:
        connection.execute("PRAGMA synchronous = FULL")
    try:
        if len(lines) <= ROWS_AT_ONCE:  # one statement is a transaction by itself
            return insert(connection, lines) if lines else []
        with transaction(connection):
            starts = range(0, len(lines), ROWS_AT_ONCE)
            parts = [insert(connection, lines[n : n + ROWS_AT_ONCE]) for n in starts]
        return [id_ for part in parts for id_ in part]
    finally:
        if flush:
            connection.execute("PRAGMA synchronous = NORMAL")


def _last_id(connection: sqlite3.Connection) -> int:
    return connection.execute("SELECT max(id) FROM events").fetchone()[0] or 0


def _is_busy(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
