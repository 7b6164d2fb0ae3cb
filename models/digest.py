"""The SHA-256 of a model file, computed once for each state that the file has had.

A hidden sidecar beside the file remembers the digest by size and modification time, so that
a start does not read gigabytes again. It is a cache of our own work, never a proof: pulling
verifies the bytes themselves (``models/store.py``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from models.errors import ModelCorrupt, ModelMissing

_known: dict[tuple[str, int, int], str] = {}


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of the file. Raises ModelMissing, ModelCorrupt (unreadable)."""
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelMissing(
            f"no model file at {path} ({error.strerror})", hint="run: aidecamp models pull"
        ) from error
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _known:
        sidecar = path.with_name(f".{path.name}.digest.json")
        _known[key] = _remembered(sidecar, key[1:]) or _compute(path, sidecar, key[1:])
    return _known[key]


def _remembered(sidecar: Path, state: tuple[int, int]) -> str | None:
    try:
        body = json.loads(sidecar.read_text())
        digest = body["digest"]
        matches = (body["size"], body["mtime_ns"]) == state
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if matches and isinstance(digest, str) else None


def _compute(path: Path, sidecar: Path, state: tuple[int, int]) -> str:
    try:
        with path.open("rb") as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelCorrupt(f"{path} cannot be read ({error.strerror})") from error
    # A read-only model folder is no reason to fail: the digest is then computed at each start.
    with contextlib.suppress(OSError):
        temporary = sidecar.with_name(f"{sidecar.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"digest": digest, "size": state[0], "mtime_ns": state[1]}))
        temporary.replace(sidecar)
    return digest
