"""What tells one state of a model file from another: its stamp, and its SHA-256, computed once in
a process for each state.

Hashing reads about 1 GB/s, as long as loading the same file takes; so nothing is kept on disk,
where it could go stale beside a user's files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from models.errors import ModelCorrupt, ModelMissing

Stamp = tuple[int, int, int]

_known: dict[tuple[str, int, int], str] = {}


def stamp(path: Path) -> Stamp | None:
    """What changes when a file does: its inode, size and time in ns; None where it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of the file. Raises ModelMissing, ModelCorrupt (unreadable)."""
    try:
        stat = path.stat()
        key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        if key not in _known:
            with path.open("rb") as file:
                _known[key] = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ModelMissing(f"no model file at {path}", hint="run: aidecamp models pull") from error
    except OSError as error:
        raise ModelCorrupt(f"{path} cannot be read ({error.strerror})") from error
    return _known[key]
