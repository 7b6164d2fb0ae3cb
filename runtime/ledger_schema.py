"""How a ledger's file is opened for writing, and brought from any older version to today's."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from runtime.ledger_tables import FIRST, SECOND

BUSY_TIMEOUT_S = 5.0
BUSY_RETRY_S = 0.005
MIGRATION_TIMEOUT_S = 300.0
"""How long a process waits while another one brings a large file up to date."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (FIRST, SECOND)
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
        connection.execute("PRAGMA secure_delete = ON")  # what is purged is overwritten
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def bring_up_to_date(path: Path) -> None:
    """Migrate a file that an older version wrote. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        current = _version(connection) == len(MIGRATIONS)
    finally:
        connection.close()
    if not current:
        open_for_writing(path).close()


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
