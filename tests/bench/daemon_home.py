"""A real daemon in a data folder of its own, as the benchmarks of it need one, and how fast one
starts.

``start_ms``: the median time from the start of the process to its first answer to
``/v1/health``; ``start_command_ms``: the same from the start of ``aidecamp daemon start``, which
is a process before it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.pool import GENERATOR
from models.store import Store
from runtime.daemon.tokens import TokenStore
from runtime.ledger import Ledger

LOCAL = f"local/{GENERATOR}"
START_S = 30.0
STOP_S = 60.0
STEP_S = 0.001


class Home:
    """One data folder and the daemon in it. ``url``: its base URL, ``/v1`` included; another one
    after each start, because the port is whichever is free."""

    def __init__(self, folder: Path, config: str = "") -> None:
        self.folder = folder
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.socket = folder / "run" / "daemon.sock"
        (folder / "models").symlink_to(Store().root)
        (folder / "config.toml").write_text(config, "utf-8")
        self.token = TokenStore(folder).own()
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AIDECAMP_")}
        self._environment = {
            **kept,
            "AIDECAMP_HOME": str(folder),
            "AIDECAMP_DAEMON__PORT": "0",
            # The General of a benchmark is on loopback, whatever proxy the machine has.
            "NO_PROXY": "*",
            "no_proxy": "*",
        }

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def ledger_path(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> float:
        """Start the process; returns the milliseconds until it answered."""
        command = [sys.executable, "-m", "runtime.daemon"]
        with (self.folder / "daemon.log").open("ab") as log:
            begun = time.perf_counter()
            self.process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        health = self._first_answer(begun)
        took = (time.perf_counter() - begun) * 1000
        self.url = f"{health['addresses'][1]}/v1"
        return took

    def start_by_command(self) -> float:
        """``aidecamp daemon start``, to the daemon's first answer, in milliseconds. It is to be
        stopped by ``stop_by_command``."""
        begun = time.perf_counter()
        self._command("start")
        self._first_answer(begun)
        return (time.perf_counter() - begun) * 1000

    def stop_by_command(self) -> None:
        self._command("stop")

    def kill(self) -> None:
        """``kill -9``, and collect the process."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """End it as a user does; harder where that takes too long."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def health(self) -> dict[str, Any]:
        """What it says of itself, by its Unix socket. Raises OSError where nobody listens."""
        asked = "GET /v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in self.headers.items()
        )
        said = b""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(START_S)
            sock.connect(str(self.socket))
            sock.sendall(asked.encode() + b"\r\n")
            while part := sock.recv(65_536):
                said += part
        head, _, body = said.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the daemon answered {head[:200]!r}")
        found: dict[str, Any] = json.loads(body)
        return found

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Ledger]:
        ledger = Ledger(self.ledger_path)
        try:
            yield ledger
        finally:
            ledger.close()

    def _first_answer(self, begun: float) -> dict[str, Any]:
        while time.perf_counter() - begun < START_S:
            if self.process is not None and self.process.poll() is not None:
                break
            with contextlib.suppress(FileNotFoundError, ConnectionError):
                return self.health()
            time.sleep(STEP_S)
        log = (self.folder / "daemon.log").read_text("utf-8", "replace")[-2_000:]
        raise RuntimeError(f"the daemon did not start:\n{log}")

    def _command(self, word: str) -> None:
        command = [sys.executable, "-m", "runtime.cli", "daemon", word, "--json"]
        subprocess.run(
            command, env=self._environment, stdout=subprocess.DEVNULL, check=True, timeout=STOP_S
        )


@contextlib.contextmanager
def home(config: str = "", *, start: bool = True) -> Iterator[Home]:
    """A daemon that runs, in a data folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="aidecamp-") as name:
        made = Home(Path(name), config)
        try:
            if start:
                made.start()
            yield made
        finally:
            made.stop()


def measure(times: int = 9) -> dict[str, Any]:
    """How long a start takes, each in the same data folder, plain and by command in turn."""
    plain: list[float] = []
    by_command: list[float] = []
    with home(start=False) as one:
        one.start()  # Once before: what Python compiles, and what the disk has to be asked for.
        one.stop()
        for _ in range(times):
            plain.append(one.start())
            one.stop()
            by_command.append(one.start_by_command())
            one.stop_by_command()
    return {
        "start_ms": round(statistics.median(plain), 1),
        "start_command_ms": round(statistics.median(by_command), 1),
        "starts": {
            "times": times,
            "slowest_ms": round(max(plain), 1),
            "slowest_command_ms": round(max(by_command), 1),
        },
    }
