"""Child process that keeps one private display: Xvfb, a bus, openbox and the programs on it.

Its only tie to the parent is a pipe. When that closes, for whatever reason, ``kill -9``
included, everything it started is stopped and its folder is removed. What it starts dies with
it (PR_SET_PDEATHSIG), and what that leaves behind becomes its child (PR_SET_CHILD_SUBREAPER).

Speaks JSON lines. First it says ``{"display", "folder", "environment"}`` or ``{"error"}``;
then it answers ``{"launch": argv, "folder": cwd}`` with ``{"pid"}`` or ``{"error"}``, and
``{"running": pid}`` with ``{"running": bool}``. Imports the standard library alone, and runs
one thread, as PR_SET_PDEATHSIG is tied to the thread that forked.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 2.0

OPENBOX = """<?xml version="1.0" encoding="UTF-8"?>
<openbox_config xmlns="http://openbox.org/3.4/rc">
  <focus><focusNew>yes</focusNew><focusLast>yes</focusLast></focus>
  <placement><policy>Smart</policy><center>yes</center></placement>
  <theme><name>Clearlooks</name><animateIconify>no</animateIconify></theme>
  <desktops><number>1</number><popupTime>0</popupTime></desktops>
  <keyboard></keyboard>
  <mouse>
    <context name="Client">
      <mousebind button="Left" action="Press">
        <action name="Focus"/><action name="Raise"/>
      </mousebind>
    </context>
    <context name="Close">
      <mousebind button="Left" action="Click"><action name="Close"/></mousebind>
    </context>
  </mouse>
  <applications>
    <application type="normal"><maximized>yes</maximized></application>
  </applications>
</openbox_config>
"""

GTK = """[Settings]
gtk-theme-name=Adwaita
gtk-enable-animations=0
gtk-cursor-blink=0
gtk-recent-files-enabled=0
"""

GSETTINGS = """[org/xfce/mousepad/preferences/file]
session-restore='never'
autosave-timer=uint32 0
[org/xfce/mousepad/state/search]
match-case=true
replace-all=true
"""


def _after_fork(death_signal: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)

    def setup() -> None:
        libc.prctl(PR_SET_PDEATHSIG, death_signal)

    return setup


def _start(argv: list[str], *, death_signal: int = signal.SIGKILL, **options: Any) -> Any:
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.DEVNULL)
    # This process runs one thread, so code between fork and exec is safe.
    setup = _after_fork(death_signal)
    return subprocess.Popen(argv, preexec_fn=setup, start_new_session=True, **options)  # noqa: PLW1509


def _descendants(pid: int) -> list[int]:
    """Every process below ``pid``, children before grandchildren."""
    found: list[int] = []
    try:
        direct = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return found
    for child in map(int, direct):
        found += [child, *_descendants(child)]
    return found


def _authority(cookie: bytes, entries: Iterable[tuple[int, bytes, bytes]]) -> bytes:
    """An Xauthority file: (family, address, display number) entries for one cookie."""
    out = b""
    for family, address, number in entries:
        out += struct.pack(">H", family)
        for part in (address, number, b"MIT-MAGIC-COOKIE-1", cookie):
            out += struct.pack(">H", len(part)) + part
    return out


def _write_private(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)


class Keeper:
    """Starts the parts of a private display, and stops every one of them."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.folder = Path(tempfile.mkdtemp(prefix="aidecamp-screen-"))
        self.log = (self.folder / "log").open("ab")
        self.environment: dict[str, str] = {}
        self.xvfb: Any = None
        self.last: list[Any] = []
        self.apps: dict[int, Any] = {}

    def start(self) -> str:
        """Bring the display up; returns its name. Raises OSError or TimeoutError."""
        name = self._start_x()
        self._make_profile(name)
        self._start_bus()
        config = self.folder / "openbox.xml"
        config.write_text(OPENBOX)
        openbox = _start(
            ["openbox", "--sm-disable", "--config-file", str(config)],
            env=self.environment,
            stderr=self.log,
        )
        self.last.insert(0, openbox)
        return name

    def _start_x(self) -> str:
        cookie = secrets.token_bytes(16)
        server_auth, client_auth = self.folder / "server.auth", self.folder / "client.auth"
        wild = 0xFFFF
        _write_private(server_auth, _authority(cookie, [(wild, b"", b"")]))
        reader, writer = os.pipe()
        self.xvfb = _start(
            ["Xvfb", "-displayfd", str(writer), "-screen", "0", f"{self.width}x{self.height}x24",
             "-dpi", "96", "-nolisten", "tcp", "-noreset", "-auth", str(server_auth)],
            death_signal=signal.SIGTERM,
            pass_fds=(writer,),
            stderr=self.log,
        )  # fmt: skip
        os.close(writer)
        number = self._read_number(reader)
        local = 256
        entries = [(local, socket.gethostname().encode(), number), (wild, b"", number)]
        _write_private(client_auth, _authority(cookie, entries))
        return f":{number.decode()}"

    def _read_number(self, reader: int) -> bytes:
        answer = b""
        until = time.monotonic() + START_TIMEOUT_S
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([reader], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError(f"Xvfb did not come up within {START_TIMEOUT_S:.0f} s")
            part = os.read(reader, 16)
            if not part:
                self.xvfb.wait()
                detail = (self.folder / "log").read_text(errors="replace").strip()
                raise OSError(f"Xvfb stopped at once: {detail[-400:] or 'no message'}")
            answer += part
        os.close(reader)
        return answer.strip()

    def _make_profile(self, name: str) -> None:
        """A home of its own, so that no setting of the user is read or written."""
        for part in ("home", "config/gtk-3.0", "config/glib-2.0/settings", "data", "cache", "run"):
            (self.folder / part).mkdir(parents=True, mode=0o700)
        (self.folder / "config/gtk-3.0/settings.ini").write_text(GTK)
        (self.folder / "config/glib-2.0/settings/keyfile").write_text(GSETTINGS)
        kept = ("PATH", "LD_LIBRARY_PATH", "XDG_DATA_DIRS", "USER", "LOGNAME", "TZ")
        self.environment = {k: os.environ[k] for k in kept if k in os.environ} | {
            "DISPLAY": name,
            "XAUTHORITY": str(self.folder / "client.auth"),
            "HOME": str(self.folder / "home"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "LC_ALL": "C.UTF-8",
            "LANGUAGE": "en",
            "GDK_BACKEND": "x11",
            "GTK_IM_MODULE": "gtk-im-context-simple",
            "GTK_USE_PORTAL": "0",
            "NO_AT_BRIDGE": "1",
            "GSETTINGS_BACKEND": "keyfile",
        }

    def _start_bus(self) -> None:
        address = f"unix:path={self.folder / 'run/bus'}"
        self.environment["DBUS_SESSION_BUS_ADDRESS"] = address
        bus = _start(
            ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address",
             f"--address={address}"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )  # fmt: skip
        self.last.append(bus)
        ready, _, _ = select.select([bus.stdout], [], [], START_TIMEOUT_S)
        if not ready or not bus.stdout.readline():
            raise TimeoutError("dbus-daemon did not come up")

    def launch(self, argv: list[str], folder: str) -> dict[str, Any]:
        try:
            app = _start(argv, env=self.environment, cwd=folder, stderr=self.log)
        except OSError as error:
            return {"error": f"{argv[0]} did not start: {error.strerror}"}
        self.apps[app.pid] = app
        return {"pid": app.pid}

    def running(self, pid: int) -> bool:
        app = self.apps.get(pid)
        return app is not None and app.poll() is None

    def stop(self) -> None:
        """Programs first, then window manager and bus, the X server last."""
        mine = {p.pid for p in [*self.last, self.xvfb] if p is not None}
        for pid in _descendants(os.getpid()):
            if pid not in mine:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in self.last:
            process.kill()
            process.wait()
        if self.xvfb is not None:
            # SIGTERM lets it remove its socket and lock file.
            self.xvfb.terminate()
            try:
                self.xvfb.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.xvfb.kill()
                self.xvfb.wait()
        for pid in _descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _say(message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def _serve(keeper: Keeper) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "launch" in request:
            _say(keeper.launch(request["launch"], request["folder"]))
        else:
            _say({"running": keeper.running(request["running"])})


def main() -> None:
    """``python -m runtime.screen.keeper WIDTH HEIGHT``"""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    keeper = Keeper(int(sys.argv[1]), int(sys.argv[2]))
    try:
        try:
            name = keeper.start()
        except OSError as error:
            _say({"error": str(error)})
            return
        _say({"display": name, "folder": str(keeper.folder), "environment": keeper.environment})
        _serve(keeper)
    finally:
        keeper.stop()


if __name__ == "__main__":
    main()
