"""The ledger's tables, and how a file of any older version becomes one of today's.

``events`` is the record. Everything else is derived from it by triggers, in the transaction that
adds the event, so that questions about a million rows are answered from an index: which tasks
there are and how they ended (``tasks``), which decisions were made (``decisions``), and in which
tasks something ended other than well (``endings``).
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

BUSY_TIMEOUT_S = 5.0
BUSY_RETRY_S = 0.005
MIGRATION_TIMEOUT_S = 300.0
"""How long a process waits while another one brings a large file up to date."""

_FIRST = (
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        task_id TEXT NOT NULL,
        type TEXT NOT NULL,
        record TEXT NOT NULL CHECK (json_valid(record))
    )
    """,
    "CREATE INDEX events_by_task ON events (task_id, id)",
    "CREATE INDEX events_by_type ON events (type, id)",
    "CREATE INDEX events_by_record ON events (json_extract(record, '$.id'))",
)

TOLD = "type = 'judgement' OR (type = 'outcome' AND json_extract(record, '$.status') = 'failed')"
"""Events that tell whether an answer was right. SQLite uses an index for a condition only where
both are written alike."""
CALL_AWAY = "type = 'call' AND json_extract(record, '$.role') = 'general'"
DECISION_AWAY = "type = 'decision' AND json_extract(record, '$.chosen') = 'general'"

_TASK = """
    INSERT OR IGNORE INTO tasks (id, event_id, at, client, session)
    {source} coalesce(json_extract({row}record, '$.client'), ''),
        coalesce(json_extract({row}record, '$.session'), ''){tail}
"""
_DECISION = """
    INSERT INTO decisions (id, task_id, kind, chosen, client, session)
    SELECT e.id, e.task_id, coalesce(json_extract(e.record, '$.kind'), ''),
        coalesce(json_extract(e.record, '$.chosen'), ''),
        coalesce(t.client, ''), coalesce(t.session, '')
    FROM events AS e LEFT JOIN tasks AS t ON t.id = e.task_id WHERE e.type = 'decision'
"""
_RESULT_WORD = "json_extract({row}record, '$.status')"
_DECISION_WORD = """
    CASE
        WHEN json_extract({row}record, '$.chosen') = 'declined' THEN 'declined'
        WHEN json_extract({row}record, '$.previous') IS NULL THEN NULL
        WHEN json_extract({row}record, '$.chosen') = 'general' THEN 'escalated'
        WHEN json_extract({row}record, '$.rule') LIKE 'accept:%'
            AND json_extract({row}record, '$.would_send') IS NULL THEN 'kept'
        ELSE 'overruled'
    END
"""
_GATE_WORD = """
    CASE
        WHEN json_extract({row}record, '$.verdict') = 'allow' THEN NULL
        WHEN json_extract({row}record, '$.by') = 'dry-run' THEN 'skipped'
        ELSE 'denied'
    END
"""
_NOTE = "INSERT OR IGNORE INTO endings (word, task_id)"
_NOT_DONE = "WHERE word IS NOT NULL AND word <> 'done'"
_WORDS = {
    "result": _RESULT_WORD,
    "outcome": _RESULT_WORD,
    "gate": _GATE_WORD,
    "decision": _DECISION_WORD,
}


def _on(type_: str, *statements: str) -> str:
    body = ";\n".join(statement.strip() for statement in statements)
    return (
        f"CREATE TRIGGER on_{type_} AFTER INSERT ON events WHEN NEW.type = '{type_}'"
        f" BEGIN\n{body};\nEND"
    )


def _ending(type_: str) -> str:
    """Note how something of the new event's task ended, where it was not just done."""
    word = _WORDS[type_].format(row="NEW.")
    return f"{_NOTE} SELECT word, NEW.task_id FROM (SELECT {word} AS word) {_NOT_DONE}"  # noqa: S608 - fixed text only


def _endings(type_: str) -> str:
    """The same of the events that are there already."""
    word = _WORDS[type_].format(row="")
    words = f"SELECT {word} AS word, task_id FROM events WHERE type = '{type_}'"  # noqa: S608 - fixed text only
    return f"{_NOTE} SELECT word, task_id FROM ({words}) {_NOT_DONE}"  # noqa: S608 - fixed text only


_SECOND = (
    """
    CREATE TABLE tasks (
        id TEXT PRIMARY KEY,
        event_id INTEGER NOT NULL,
        at REAL NOT NULL,
        client TEXT NOT NULL,
        session TEXT NOT NULL,
        ended_at REAL,
        judged INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE decisions (
        id INTEGER PRIMARY KEY,
        task_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        chosen TEXT NOT NULL,
        client TEXT NOT NULL,
        session TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE endings (
        word TEXT NOT NULL,
        task_id TEXT NOT NULL,
        PRIMARY KEY (word, task_id)
    ) WITHOUT ROWID
    """,
    # What is there already.
    _TASK.format(
        source="SELECT task_id, id, at,",
        row="",
        tail=" FROM events WHERE type = 'task' ORDER BY id",
    ),
    """
    UPDATE tasks SET
        ended_at = (SELECT max(at) FROM events WHERE task_id = tasks.id AND type = 'result'),
        judged = EXISTS (SELECT 1 FROM events WHERE task_id = tasks.id AND type = 'judgement')
    """,
    _DECISION,
    *(_endings(type_) for type_ in _WORDS),
    # What comes.
    _on(
        "task",
        _TASK.format(source="VALUES (NEW.task_id, NEW.id, NEW.at,", row="NEW.", tail=")"),
    ),
    _on("decision", f"{_DECISION.strip()} AND e.id = NEW.id", _ending("decision")),
    _on(
        "result",
        "UPDATE tasks SET ended_at = NEW.at WHERE id = NEW.task_id",
        _ending("result"),
    ),
    _on("outcome", _ending("outcome")),
    _on("gate", _ending("gate")),
    _on("judgement", "UPDATE tasks SET judged = 1 WHERE id = NEW.task_id"),
    # What is asked.
    "CREATE INDEX tasks_by_event ON tasks (event_id)",
    "CREATE INDEX tasks_open ON tasks (event_id) WHERE ended_at IS NULL",
    "CREATE INDEX tasks_by_end ON tasks (ended_at, event_id) WHERE ended_at IS NOT NULL",
    "CREATE INDEX tasks_by_client ON tasks (client, event_id)",
    "CREATE INDEX endings_by_task ON endings (task_id)",
    "CREATE INDEX decisions_by_kind ON decisions (kind)",
    "CREATE INDEX decisions_by_chosen ON decisions (chosen)",
    "CREATE INDEX decisions_by_kind_and_chosen ON decisions (kind, chosen)",
    "CREATE INDEX decisions_by_client ON decisions (client)",
    "CREATE INDEX decisions_by_session ON decisions (session)",
    "CREATE INDEX decisions_by_task ON decisions (task_id)",
    f"CREATE INDEX events_told ON events (id) WHERE {TOLD}",
    f"CREATE INDEX calls_away ON events (at) WHERE {CALL_AWAY}",
    f"CREATE INDEX decisions_away ON events (at) WHERE {DECISION_AWAY}",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND)
"""The statements of each; a file's ``user_version`` is the number of those that have run."""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The file's one writing connection, in WAL mode, at today's schema.

    Raises sqlite3.Error, or sqlite3.DatabaseError where a newer version wrote the file.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        # Of a new file only: what a purge frees can then be given back bite by bite.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


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
    """Bring the file to the newest schema, one committed migration at a time.

    A process that comes while another one is at it waits for its end.
    """
    connection.execute(f"PRAGMA busy_timeout = {int(MIGRATION_TIMEOUT_S * 1000)}")
    try:
        while _version(connection) != len(MIGRATIONS):
            connection.execute("BEGIN IMMEDIATE")
            try:
                version = _version(connection)
                if version < len(MIGRATIONS):
                    for statement in MIGRATIONS[version]:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {version + 1}")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")


def _version(connection: sqlite3.Connection) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise sqlite3.DatabaseError(
            f"it was written by a newer version (schema {version}, known {len(MIGRATIONS)})"
        )
    return version
