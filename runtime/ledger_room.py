"""How much room a ledger takes on disk, and how what was removed is given back.

Files of this version free their pages in small bites (``incremental_vacuum``), which move
pages from the end of the file into the holes. A file that began as an older version is rewritten
once by ``VACUUM``, which holds every writer up, so only while little is left in it; in a larger
one the holes are filled by what comes next. Last, the write-ahead log is cut to nothing, as far as
nobody reads from it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from runtime.ledger import Ledger

log = logging.getLogger(__name__)

PAGES_AT_ONCE = 1_000
"""Pages that one bite of the vacuum gives back: 4 MB."""
REWRITE_BYTES = 256_000_000
"""An older file with at most this much in it is rewritten: about a second."""
_INCREMENTAL = 2


def used_bytes(connection: sqlite3.Connection) -> int:
    """Room that the ledger's rows take, holes not counted."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def give_back(ledger: Ledger, stop: Callable[[], bool]) -> None:
    """Give the holes back to the disk. ``stop`` is asked between two bites."""
    if ledger.write(lambda c: c.execute("PRAGMA auto_vacuum").fetchone()[0]) == _INCREMENTAL:
        while not stop() and ledger.write(_vacuum_some):
            pass
    else:
        ledger.write(_rewrite)
    ledger.write(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())


def _vacuum_some(connection: sqlite3.Connection) -> bool:
    """True while there is more to give back."""
    # Each step of the statement frees one page: it has to be read to its end.
    connection.execute(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})").fetchall()
    free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return free > 0


def _rewrite(connection: sqlite3.Connection) -> None:
    if used_bytes(connection) > REWRITE_BYTES:
        return
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    try:
        connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        # Another process writes, or the disk has no room for the copy: the holes stay for now.
        log.warning("the ledger was not made smaller: %s", error)


def bytes_on_disk(path: Path) -> int:
    """Size of the file and its write-ahead log."""
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
