"""Starts, stops and signals the daemon's process from outside.

Whether one runs is told by its lock, which the kernel lets go of when the process dies: so
neither a token nor a socket that answers is needed to find out.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runtime
from models.errors import StorageFailed
from runtime.daemon import place
from runtime.daemon.errors import DaemonMissing, DaemonRunning, revive

START_S = 30.0
STOP_S = 40.0
"""Longer than the daemon's own grace."""
STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Started:
    """A daemon that answers."""

    pid: int
    socket: Path
    address: str | None
    """On TCP, such as ``http://127.0.0.1:24332``."""


def start(socket: Path) -> Started:
    """Start a daemon in the background; returns once it answers.

    Raises DaemonRunning where one runs; whatever kept it from starting.
    """
    if running(socket) is not None:
        raise DaemonRunning(
            f"The daemon of {socket} runs already.", hint="`aidecamp daemon status` shows it."
        )
    if (woken := _woken(socket)) is not None:
        return woken
    log = place.log_path(socket)
    reading, writing = os.pipe()
    try:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "runtime.daemon", "--log", "--tell", str(writing)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(writing,),
                cwd=Path(runtime.__file__).parents[1],
                env={**os.environ, "AIDECAMP_SOCKET": str(socket)},
            )
        finally:
            os.close(writing)
        said = _heard(reading)
    finally:
        os.close(reading)
    if said is None:
        process.terminate()
        raise DaemonMissing(
            f"The daemon did not answer within {START_S:.0f} s; it was stopped.",
            hint=f"Its log is {log}.",
        )
    try:
        told: dict[str, Any] = json.loads(said)
        if "pid" not in told:
            raise revive(told)
    except (ValueError, KeyError, TypeError):
        code = process.wait()
        raise DaemonMissing(
            f"The daemon ended at once (exit code {code}).", hint=f"Its log is {log}."
        ) from None
    return Started(told["pid"], socket, told["address"])


def _woken(socket: Path) -> Started | None:
    """The daemon that systemd starts when someone connects; None where nothing listens.

    Raises DaemonMissing where what listens does not answer.
    """
    import socket as sockets

    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as sock:
        sock.settimeout(START_S)
        try:
            sock.connect(os.fspath(socket))
        except OSError:
            return None
        try:
            sock.sendall(b"GET /v1/health HTTP/1.1\r\nHost: aidecamp\r\nConnection: close\r\n\r\n")
            said = sock.recv(16)
        except OSError:
            said = b""
    pid = running(socket) if said else None
    if pid is None:
        raise DaemonMissing(
            f"Something listens on {socket}, and no daemon answers there.",
            hint="If it is systemd: journalctl --user -u aidecamp tells why it does not start.",
        )
    return Started(pid, socket, place.address(socket))


def stop(socket: Path) -> int:
    """Stop the daemon and return the process id that it had; it finishes its records first.

    Raises DaemonMissing where none runs, or where it does not end.
    """
    pid = _told_to(socket, signal.SIGTERM, "Nothing had to be stopped.")
    if not _until(lambda: not _lives(pid), STOP_S):
        raise DaemonMissing(
            f"Process {pid} did not end within {STOP_S:.0f} s.",
            hint=f"Its log is {place.log_path(socket)}; kill -9 {pid} loses no decision.",
        )
    return pid


def reload(socket: Path) -> int:
    """Have the daemon read its settings again; returns its process id.

    Raises DaemonMissing where none runs.
    """
    return _told_to(socket, signal.SIGHUP, "One that starts reads them anyway.")


def running(socket: Path) -> int | None:
    """The process id of the daemon of ``socket``; None where none runs.

    Raises StorageFailed where the lock is another user's.
    """
    import fcntl

    lock = place.lock_path(socket)
    try:
        with lock.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                # Its holder writes its id a moment after it has the lock.
                _until(lambda: bool(lock.read_text("utf-8").strip()), 1.0)
                return int(lock.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise StorageFailed(
            f"The daemon's lock {lock} cannot be read: {error.strerror}.",
            hint=place.ELSEWHERE,
        ) from error
    return None


def answers(socket: Path) -> bool:
    """Whether a daemon runs."""
    return running(socket) is not None


def _told_to(socket: Path, what: signal.Signals, otherwise: str) -> int:
    pid = running(socket)
    if pid is None:
        raise DaemonMissing(f"No daemon runs on {socket}.", hint=otherwise)
    try:
        os.kill(pid, what)
    except ProcessLookupError as error:  # It ended meanwhile.
        raise DaemonMissing(f"No daemon runs on {socket}.", hint=otherwise) from error
    return pid


def _heard(descriptor: int) -> bytes | None:
    """What the daemon says first; empty where it ended without a word, None where it is silent."""
    said, end = b"", time.monotonic() + START_S
    while not said.endswith(b"\n"):
        left = end - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return None
        part = os.read(descriptor, 65_536)
        if not part:
            break
        said += part
    return said


def _lives(pid: int) -> bool:
    """Whether the process runs; one that ended and was not collected yet does not."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _until(condition: Callable[[], bool], limit_s: float) -> bool:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(STEP_S)
    return True
