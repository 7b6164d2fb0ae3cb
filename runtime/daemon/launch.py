"""Starts and stops the daemon's process from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

import runtime
from models.errors import AidecampError
from runtime.daemon import place
from runtime.daemon.errors import DaemonMissing, DaemonRunning, revive

START_S = 20.0
STOP_S = 30.0
STEP_S = 0.02


def start(socket: Path) -> int:
    """Start a daemon in the background and return its process id once it answers.

    Raises DaemonRunning where one runs; whatever kept it from starting.
    """
    if answers(socket):
        raise DaemonRunning(
            f"The daemon of {socket} runs already.", hint="`aidecamp daemon status` shows it."
        )
    place.prepare(socket.parent)
    log = place.log_path(socket)
    begin = log.stat().st_size if log.exists() else 0
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime.daemon.server"],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            cwd=Path(runtime.__file__).parents[1],
            env={**os.environ, "AIDECAMP_SOCKET": str(socket)},
        )
    finally:
        os.close(descriptor)
    if not _until(lambda: process.poll() is not None or answers(socket), START_S):
        process.terminate()
        raise DaemonMissing(
            f"The daemon did not answer within {START_S:.0f} s; it was stopped.",
            hint=f"Its log is {log}.",
        )
    if process.poll() is not None and not answers(socket):
        raise _why(log, begin)
    return process.pid


def stop(socket: Path) -> int:
    """Stop the daemon and return the process id that it had; it finishes its records first.

    Raises DaemonMissing where none runs, or where it does not end.
    """
    pid = running(socket)
    if pid is None:
        raise DaemonMissing(f"No daemon answers on {socket}.", hint="Nothing had to be stopped.")
    os.kill(pid, signal.SIGTERM)
    if not _until(lambda: not answers(socket) and not _locked(socket), STOP_S):
        raise DaemonMissing(
            f"Process {pid} did not end within {STOP_S:.0f} s.",
            hint=f"Its log is {place.log_path(socket)}; kill -9 {pid} loses no decision.",
        )
    return pid


def running(socket: Path) -> int | None:
    """The process id of the daemon that answers on ``socket``; None where none does."""
    try:
        with _http(socket) as http:
            return int(http.get("/v1/health").json()["pid"])
    except (httpx.TransportError, ValueError, KeyError):
        return None


def answers(socket: Path) -> bool:
    return running(socket) is not None


def _http(socket: Path) -> httpx.Client:
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=str(socket)),
        base_url="http://aidecamp",
        timeout=5.0,
        trust_env=False,
    )


def _locked(socket: Path) -> bool:
    import fcntl

    try:
        with place.lock_path(socket).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _until(condition: Callable[[], bool], limit_s: float) -> bool:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(STEP_S)
    return True


def _why(log: Path, begin: int) -> AidecampError:
    """The error that a daemon which did not start wrote as the last line of its log."""
    said = log.read_bytes()[begin:].decode(errors="replace").strip().splitlines()
    try:
        return revive(json.loads(said[-1]))
    except (IndexError, ValueError, KeyError, TypeError):
        return DaemonMissing("The daemon ended at once.", hint=f"Its log is {log}.")
