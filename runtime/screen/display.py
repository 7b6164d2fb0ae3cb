"""Displays: a private virtual one (Xvfb), or, only when asked for, the user's own.

A private display has its own X server, cookie, message bus, window manager and home folder:
nothing of the user's desktop is read or touched. A keeper process holds it together, and
takes it down when this process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self, cast

from models.errors import DisplayMissing, ToolFailed

WIDTH, HEIGHT = 1280, 800
CLOSE_TIMEOUT_S = 8.0
PACKAGES = {
    "Xvfb": "xvfb",
    "openbox": "openbox",
    "dbus-daemon": "dbus-daemon",
    "xclip": "xclip",
}


class Display(Protocol):
    """An X display that programs can be started on."""

    name: str
    """Such as ``:99``."""
    private: bool
    environment: Mapping[str, str]
    """What a program needs to reach it."""

    def launch(self, argv: Sequence[str], folder: Path) -> int:
        """Start a program on it, in ``folder``; its process id. Raises ToolFailed."""
        ...

    def running(self, pid: int) -> bool:
        """True while a program that was launched here has not ended."""
        ...

    def close(self) -> None: ...


def python_environment(base: Mapping[str, str]) -> dict[str, str]:
    """``base``, with which ``python -m runtime.…`` finds this package from any folder."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (root, base.get("PYTHONPATH", "")) if p)
    return {**base, "PYTHONPATH": path}


class PrivateDisplay:
    """A virtual display of this process alone. Use it as a context manager.

    Raises DisplayMissing where a program that it needs is missing or does not come up.
    """

    private = True

    def __init__(self, width: int = WIDTH, height: int = HEIGHT) -> None:
        missing = [program for program in PACKAGES if shutil.which(program) is None]
        if missing:
            packages = " ".join(PACKAGES[program] for program in missing)
            raise DisplayMissing(
                f"No virtual display: {', '.join(missing)} not found on this machine.",
                hint=f"Install with: sudo apt-get install {packages}",
            )
        self._lock = threading.Lock()
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "runtime.screen.keeper", str(width), str(height)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=python_environment(os.environ),
            # Out of the terminal's group: Ctrl-C reaches the agent, which closes the display.
            start_new_session=True,
        )
        answer = self._read()
        if "error" in answer:
            self._keeper.wait()
            raise DisplayMissing(
                f"No virtual display: {answer['error']}.", hint="`aidecamp doctor` checks it."
            )
        self.name: str = answer["display"]
        self.folder = Path(answer["folder"])
        self.environment: Mapping[str, str] = answer["environment"]

    def _read(self) -> dict[str, Any]:
        line = cast(IO[str], self._keeper.stdout).readline()
        if not line:
            raise DisplayMissing(
                "The process that keeps the virtual display ended.",
                hint="Run the task again; a new display is started.",
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            requests = cast(IO[str], self._keeper.stdin)
            try:
                requests.write(json.dumps(request) + "\n")
                requests.flush()
            except (BrokenPipeError, ValueError) as error:
                raise DisplayMissing(
                    "The virtual display is closed.",
                    hint="Run the task again; a new display is started.",
                ) from error
            return self._read()

    @property
    def keeper_pid(self) -> int:
        return self._keeper.pid

    def launch(self, argv: Sequence[str], folder: Path) -> int:
        answer = self._ask({"launch": list(argv), "folder": str(folder)})
        if "error" in answer:
            raise ToolFailed(answer["error"])
        return int(answer["pid"])

    def running(self, pid: int) -> bool:
        return bool(self._ask({"running": pid})["running"])

    def close(self) -> None:
        """Stop everything on the display. What a program had not saved is lost."""
        with self._lock:
            with contextlib.suppress(BrokenPipeError):
                cast(IO[str], self._keeper.stdin).close()
            try:
                self._keeper.wait(CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._keeper.kill()
                self._keeper.wait()
            cast(IO[str], self._keeper.stdout).close()
        # The keeper removes it, unless it was killed.
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class OwnDisplay:
    """The user's own desktop. Programs started on it stay open when it is closed."""

    private = False

    def __init__(self, name: str = "") -> None:
        self.name = name or os.environ.get("DISPLAY", "")
        if not self.name:
            raise DisplayMissing(
                "You asked for your own desktop, but DISPLAY is not set.",
                hint="Run this in a terminal of the desktop, or leave the private display on.",
            )
        self.environment: Mapping[str, str] = {**os.environ, "DISPLAY": self.name}
        self._apps: dict[int, subprocess.Popen[bytes]] = {}

    def launch(self, argv: Sequence[str], folder: Path) -> int:
        try:
            app = subprocess.Popen(
                list(argv),
                env=dict(self.environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolFailed(f"{argv[0]} did not start: {error.strerror}") from error
        self._apps[app.pid] = app
        return app.pid

    def running(self, pid: int) -> bool:
        app = self._apps.get(pid)
        return app is not None and app.poll() is None

    def close(self) -> None:
        """Nothing to stop: the desktop and its programs are the user's."""
