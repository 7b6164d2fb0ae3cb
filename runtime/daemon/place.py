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

from models.errors import StorageFailed, UsageError

MAX_SOCKET_BYTES = 107
"""Longest path that fits ``sun_path`` in Linux's ``sockaddr_un`` (unix(7)), without its NUL."""

ELSEWHERE = "Set AIDECAMP_SOCKET to a path in a folder of yours."


def socket_path() -> Path:
    """The Unix socket of this user's daemon. Nothing is created.

    Raises UsageError where ``AIDECAMP_SOCKET`` is longer than an address may be.
    """
    if named := os.environ.get("AIDECAMP_SOCKET"):
        if len(os.fsencode(named)) > MAX_SOCKET_BYTES:
            raise UsageError(
                f"AIDECAMP_SOCKET has {len(os.fsencode(named))} bytes; the address of a socket"
                f" holds {MAX_SOCKET_BYTES}.",
                hint="Name a shorter path.",
            )
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
    """Held, with the holder's process id in it, for as long as a daemon runs."""
    return socket.with_suffix(".lock")


def log_path(socket: Path) -> Path:
    return socket.with_suffix(".log")


def old_log_path(socket: Path) -> Path:
    """The log before it was cut, one generation."""
    return socket.with_suffix(".log.1")


def address_path(socket: Path) -> Path:
    """Holds the address on TCP that is really bound, such as ``http://127.0.0.1:24332``."""
    return socket.with_suffix(".address")


def address(socket: Path) -> str | None:
    """The TCP address of the daemon that runs; None where it has none, or never ran."""
    try:
        return address_path(socket).read_text("utf-8").strip() or None
    except OSError:
        return None


def prepare(folder: Path) -> None:
    """Make ``folder``, 0700.

    Raises StorageFailed where it belongs to someone else, or anyone may write in it: who may
    put a socket there could answer in the daemon's place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # What a link points at could be anyone's, unless the user named the link.
        info = folder.stat() if _named(folder) else folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            raise StorageFailed(
                f"{folder} belongs to another user, so the daemon will not listen in it.",
                hint=f"Remove it, or: {ELSEWHERE[0].lower()}{ELSEWHERE[1:]}",
            )
        if _named(folder):  # A folder that the user chose may hold other things: not ours to close.
            if info.st_mode & 0o002:
                raise StorageFailed(
                    f"Anyone may write in {folder}, so the daemon will not listen in it.",
                    hint=ELSEWHERE,
                )
        elif info.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise StorageFailed(
            f"The daemon's folder {folder} cannot be made: {error.strerror}.",
            hint="Set AIDECAMP_SOCKET or AIDECAMP_HOME to a place that you may write.",
        ) from error


def _named(folder: Path) -> bool:
    named = os.environ.get("AIDECAMP_SOCKET")
    return bool(named) and Path(str(named)).absolute().parent == folder.absolute()


def write(path: Path, text: str) -> None:
    """``text`` as a whole new file, 0600 from its first moment. Raises OSError."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        new.replace(path)
    except OSError:
        remove(new)
        raise


def remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
