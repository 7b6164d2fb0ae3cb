"""Where the daemon listens, locks and logs: one 0700 folder that its user alone can enter.

``AIDECAMP_SOCKET`` names the socket; else it lies in ``AIDECAMP_HOME/run`` where that is
set, else in ``XDG_RUNTIME_DIR/aidecamp``, else in the data folder's ``run``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from models.errors import StorageFailed

MAX_SOCKET_BYTES = 107
"""Longest path that fits ``sun_path`` in Linux's ``sockaddr_un`` (unix(7)), without its NUL."""


def socket_path() -> Path:
    """The Unix socket of this user's daemon. Nothing is created."""
    if named := os.environ.get("AIDECAMP_SOCKET"):
        return Path(named)
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    if runtime_dir and not os.environ.get("AIDECAMP_HOME"):
        folder = Path(runtime_dir) / "aidecamp"
    else:
        from runtime.config import data_dir

        folder = data_dir().absolute() / "run"
    path = folder / "daemon.sock"
    if len(os.fsencode(path)) > MAX_SOCKET_BYTES:
        # A deep data folder: the kernel would refuse the address, so a short one stands for it.
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        name = f"aidecamp-{os.getuid()}-{digest}"
        path = Path(tempfile.gettempdir()) / name / "daemon.sock"
    return path


def lock_path(socket: Path) -> Path:
    return socket.with_suffix(".lock")


def log_path(socket: Path) -> Path:
    return socket.with_suffix(".log")


def prepare(folder: Path) -> None:
    """Make ``folder``, 0700. Raises StorageFailed where it belongs to someone else."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            raise StorageFailed(
                f"{folder} belongs to another user, so the daemon will not listen in it.",
                hint="Remove it, or set AIDECAMP_SOCKET to a path in a folder of yours.",
            )
        if info.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise StorageFailed(
            f"The daemon's folder {folder} cannot be made: {error.strerror}.",
            hint="Set AIDECAMP_SOCKET or AIDECAMP_HOME to a place that you may write.",
        ) from error


def remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
