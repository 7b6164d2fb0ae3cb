"""``lock.json`` in the store: what was pulled and repacked, and the pins of unverified files.

Written whole, to a new file that replaces the old one, under a lock between processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import StorageFailed

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Held:
    """One file that the store holds."""

    name: str
    """File name in the entry's folder."""
    size: int
    sha256: str
    source: str
    revision: str
    """The hub's commit, or the wheel's version."""
    at: str
    """When it was pulled or repacked (ISO 8601, UTC)."""
    type: str | None = None
    """GGUF type that it was repacked to; None: the file as it was pulled."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What the first pull of an unverified file saw. Outlives the file's removal."""

    size: int
    sha256: str
    revision: str


@dataclass(slots=True)
class Lock:
    """The lock file's content. ``held`` goes by ``entry/role`` (and ``entry/role/TYPE`` for a
    repacked file), ``pins`` by source."""

    held: dict[str, Held]
    pins: dict[str, Pin]

    @staticmethod
    def read(root: Path) -> Lock:
        """The lock file under ``root``, empty where there is none. Raises StorageFailed."""
        path = root / "lock.json"
        try:
            body = json.loads(path.read_bytes())
            if body["format"] != _FORMAT:
                raise ValueError(f"format {body['format']!r}")
            return Lock(
                held={key: Held(**value) for key, value in body["held"].items()},
                pins={key: Pin(**value) for key, value in body["pins"].items()},
            )
        except (FileNotFoundError, NotADirectoryError):
            return Lock({}, {})
        except OSError as error:
            raise StorageFailed(
                f"the store's lock file {path} cannot be read ({error.strerror})",
                hint="make it readable, or set AIDECAMP_HOME to another folder",
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageFailed(
                f"the store's lock file {path} cannot be read ({error}); the model files "
                "beside it were left as they are",
                hint=f"move {path} away, then pull again",
            ) from error

    def write(self, root: Path) -> None:
        body: dict[str, Any] = {
            "format": _FORMAT,
            "held": {key: dataclasses.asdict(value) for key, value in sorted(self.held.items())},
            "pins": {key: dataclasses.asdict(value) for key, value in sorted(self.pins.items())},
        }
        temporary = root / "lock.json.new"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(body, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(root / "lock.json")
        sync_folder(root)


@contextlib.contextmanager
def editing(root: Path) -> Iterator[Lock]:
    """The lock file, read and written back with no other process in between."""
    from filelock import FileLock

    with FileLock(root / ".lock.json.lock"):
        lock = Lock.read(root)
        yield lock
        lock.write(root)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    with contextlib.suppress(OSError):  # not every file system opens a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
