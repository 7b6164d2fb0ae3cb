"""What the ledger no longer keeps: whole tasks, removed by age, by client or down to a size.

A task goes as a whole, once it has ended; what was cut off goes too, unless a process holds it or
wrote to it of late. Tasks with a judgement stay unless they are asked for, since calibration
learns from them. Ids are never given again, so whoever follows the record by id just goes on.

A purge works in small transactions between those of the writers, oldest tasks first. Each of them
also replaces the one ``Purge`` record that says how much is gone, so a crash leaves both right.
What was spent stays counted: the ledger keeps those sums apart (``spending``).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from models.errors import StorageFailed
from runtime.budgets import month_start
from runtime.core import Event, Purge, new_id
from runtime.drive import left_alone
from runtime.ledger import Ledger, line_of
from runtime.ledger_room import bytes_on_disk, give_back, used_bytes
from runtime.ledger_writer import insert, transaction

if TYPE_CHECKING:
    from runtime.config import RecordConfig

log = logging.getLogger(__name__)

By = Literal["user", "age", "size"]
TASKS_AT_ONCE = 100
QUIET_S = 3_600.0
"""A task without a result that something was recorded of since is taken to be running."""
EVERY_S = 3_600.0
FIRST_AFTER_S = 30.0
"""The daemon starts in peace."""
DAY_S = 86_400.0
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks to remove. All that is set must hold; with ``max_bytes`` alone, as many of the
    oldest as it takes."""

    before: float | None = None
    """Ended before this Unix time."""
    client: str | None = None
    max_bytes: int | None = None
    """Remove no more once what is left takes at most this much room."""
    keep_judged: bool = True
    by: By = "user"

    def conditions(self, now: float) -> tuple[str, list[Any]]:
        """SQL on ``tasks AS t``: those in question, judged or not."""
        ended = "t.ended_at IS NOT NULL"
        quiet = (
            "t.ended_at IS NULL AND NOT EXISTS"
            " (SELECT 1 FROM events WHERE task_id = t.id AND at > ?)"
        )
        values: list[Any] = []
        limit = now - QUIET_S
        if self.before is not None:
            ended = "t.ended_at < ?"
            values.append(self.before)
            limit = min(limit, self.before)
        values.append(limit)
        where = f"(({ended}) OR ({quiet}))"
        if self.client is not None:
            where += " AND t.client = ?"
            values.append(self.client)
        return where, values


@dataclass(frozen=True, slots=True)
class Purged:
    """What was removed, or would be. ``kept``: tasks that stayed although they were in question,
    by the reason (``judged``, ``running``)."""

    tasks: int = 0
    events: int = 0
    bytes_freed: int = 0
    """By which the files are smaller; of a preview, about how much room the events take."""
    kept: dict[str, int] = field(default_factory=dict)

    def words(self, verb: str) -> str:
        """As a sentence: ``12 tasks (130 events, 0.2 MB) were removed; 3 judged ones stay``."""
        size = f"{self.bytes_freed / MB:,.1f} MB"
        said = f"{self.tasks:,} tasks ({self.events:,} events, {size}) {verb}"
        stay = ", ".join(f"{count:,} {why}" for why, count in self.kept.items())
        return f"{said}; of those in question, {stay} stay." if stay else f"{said}."

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __add__(self, other: Purged) -> Purged:
        words = {*self.kept, *other.kept}
        return Purged(
            self.tasks + other.tasks,
            self.events + other.events,
            self.bytes_freed + other.bytes_freed,
            {w: max(self.kept.get(w, 0), other.kept.get(w, 0)) for w in sorted(words)},
        )


def purge(
    ledger: Ledger,
    wanted: Wanted,
    *,
    now: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Purged:
    """Remove tasks for good. ``stop`` is asked between the small transactions.

    Raises StorageFailed where the ledger cannot be written; what was removed by then is on record.
    """
    size = bytes_on_disk(ledger.path)
    work = _Work(ledger, wanted, time.time() if now is None else now)
    while not stop() and work.bite():
        pass
    if work.purge is None:
        return Purged(kept=work.kept)
    give_back(ledger, stop)
    freed = max(0, size - bytes_on_disk(ledger.path))
    return Purged(work.purge.tasks, work.purge.events, freed, work.kept)


def preview(ledger: Ledger, wanted: Wanted, *, now: float | None = None) -> Purged:
    """What :func:`purge` would remove now. ``bytes_freed`` and, with ``max_bytes``, how many tasks
    it takes, are worked out from the average size of an event."""
    at = time.time() if now is None else now
    return ledger.read(lambda connection: _preview(ledger, connection, wanted, at))


def enforce(
    ledger: Ledger,
    config: RecordConfig,
    *,
    now: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Purged:
    """Remove what ``[record]`` no longer wants kept: by age first, then down to the size."""
    now = time.time() if now is None else now
    done = Purged()
    if config.retention_days is not None:
        old = now - config.retention_days * DAY_S
        done += purge(ledger, Wanted(before=old, by="age"), now=now, stop=stop)
    most = Wanted(max_bytes=config.max_mb * MB, by="size")
    return done + purge(ledger, most, now=now, stop=stop)


async def keep(
    ledger: Ledger,
    config: Callable[[], RecordConfig],
    *,
    first_after_s: float = FIRST_AFTER_S,
    every_s: float = EVERY_S,
) -> None:
    """Enforce ``config()`` for as long as this is not cancelled. A bite that is under way is
    finished first; a ledger that cannot be written now is tried again the next time."""
    stopped = threading.Event()
    await asyncio.sleep(first_after_s)
    while True:
        work = asyncio.create_task(
            asyncio.to_thread(enforce, ledger, config(), stop=stopped.is_set)
        )
        try:
            done = await asyncio.shield(work)
        except asyncio.CancelledError:
            stopped.set()
            await asyncio.gather(work, return_exceptions=True)
            raise
        except StorageFailed as error:
            log.error("old tasks cannot be removed: %s", error.message)
        else:
            if done.tasks:
                log.info(
                    "%d old tasks (%d events) removed, %.1f MB given back",
                    *(done.tasks, done.events, done.bytes_freed / MB),
                )
        await asyncio.sleep(every_s)


@dataclass
class _Work:
    """One purge, bite by bite."""

    ledger: Ledger
    wanted: Wanted
    now: float
    purge: Purge | None = None
    kept: dict[str, int] = field(default_factory=dict)
    _last: int = 0
    """Event id of the last task that was looked at."""
    _recorded: int = 0
    """Row id of the purge's own event."""

    def bite(self) -> bool:
        """Remove the next few tasks. False: nothing is left to do."""
        return self.ledger.write(self._bite)

    def _bite(self, connection: sqlite3.Connection) -> bool:
        limit = self.wanted.max_bytes
        if limit is not None and used_bytes(connection) <= limit:
            return False
        with transaction(connection):
            found = _tasks(connection, self.wanted, self.now, self._last)
            gone = []
            for id_, event_id, judged, ended in found:
                self._last = event_id
                if judged and self.wanted.keep_judged:
                    self._keep("judged")
                elif ended:
                    gone.append(id_)
                else:
                    with left_alone(self.ledger, id_) as free:
                        if free:
                            self._remove(connection, [id_])
                        else:
                            self._keep("running")
            if gone:
                self._remove(connection, gone)
        return len(found) == TASKS_AT_ONCE

    def _keep(self, why: str) -> None:
        self.kept[why] = self.kept.get(why, 0) + 1

    def _remove(self, connection: sqlite3.Connection, ids: Sequence[str]) -> None:
        marks = ", ".join("?" * len(ids))
        row = connection.execute(_COUNT.format(marks=marks), ids).fetchone()
        for table, column in _OF_A_TASK:
            connection.execute(f"DELETE FROM {table} WHERE {column} IN ({marks})", ids)  # noqa: S608 - fixed text only
        connection.execute("DELETE FROM announced WHERE at < ?", [month_start(self.now)])
        self.purge = _more(self.purge or self._nothing(), len(ids), *row)
        connection.execute("DELETE FROM events WHERE id = ?", [self._recorded])
        event = Event(self.purge.id, self.now, self.purge)
        self._recorded = insert(connection, [line_of(event)])[0]

    def _nothing(self) -> Purge:
        by, client = self.wanted.by, self.wanted.client
        return Purge(new_id("purge"), by, 0, 0, 0, 0, float("inf"), float("-inf"), client)


_OF_A_TASK = (
    ("endings", "task_id"),
    ("decisions", "task_id"),
    ("events", "task_id"),
    ("tasks", "id"),
)
_SERVES = "type = 'call' AND json_extract(record, '$.role') <> 'verifier'"
_COUNT = f"""
    SELECT count(*), min(at), max(at), count(*) FILTER (WHERE {_SERVES}),
        count(*) FILTER (WHERE {_SERVES} AND json_extract(record, '$.role') <> 'general'
            AND coalesce(json_extract(record, '$.bytes_sent'), 0) = 0)
    FROM events WHERE task_id IN ({{marks}})
"""  # noqa: S608 - fixed text only


def _more(
    purge: Purge, tasks: int, events: int, first: float, last: float, calls: int, local: int
) -> Purge:
    return replace(
        purge,
        tasks=purge.tasks + tasks,
        events=purge.events + events,
        calls=purge.calls + calls,
        local_calls=purge.local_calls + local,
        first_at=min(purge.first_at, first),
        last_at=max(purge.last_at, last),
    )


def _tasks(
    connection: sqlite3.Connection, wanted: Wanted, now: float, after: int, limit: int | None = None
) -> list[tuple[str, int, bool, bool]]:
    """The next tasks in question, oldest first: id, event id, judged, ended."""
    where, values = wanted.conditions(now)
    sql = (
        "SELECT t.id, t.event_id, t.judged, t.ended_at IS NOT NULL FROM tasks AS t"  # noqa: S608 - fixed text only
        f" WHERE t.event_id > ? AND {where} ORDER BY t.event_id LIMIT ?"
    )
    return connection.execute(sql, [after, *values, limit or TASKS_AT_ONCE]).fetchall()


def _preview(ledger: Ledger, connection: sqlite3.Connection, wanted: Wanted, now: float) -> Purged:
    used = used_bytes(connection)
    total = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    each = used / total if total else 0.0
    over = float("inf") if wanted.max_bytes is None else used - wanted.max_bytes
    tasks, events, kept = 0, 0, dict[str, int]()
    for id_, _, judged, ended in _tasks(connection, wanted, now, 0, limit=-1):
        if events * each >= over:
            break
        if judged and wanted.keep_judged:
            kept["judged"] = kept.get("judged", 0) + 1
            continue
        if not ended:
            with left_alone(ledger, id_) as free:
                if not free:
                    kept["running"] = kept.get("running", 0) + 1
                    continue
        tasks += 1
        own = connection.execute("SELECT count(*) FROM events WHERE task_id = ?", [id_])
        events += own.fetchone()[0]
    return Purged(tasks, events, int(events * each), kept)
