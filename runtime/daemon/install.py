"""Makes the daemon a service of the user's, and undoes that: which files, and which commands."""

from __future__ import annotations

import getpass
import ipaddress
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.errors import StorageFailed
from runtime.config import DaemonConfig, data_dir
from runtime.daemon import place, units
from runtime.daemon.errors import Conflict

Platform = Literal["linux", "macos", "windows"]
SERVICE, SOCKET = "aidecamp.service", "aidecamp.socket"
COMMAND_S = 60.0

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A file that is written, whole."""

    path: Path
    text: str
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in this order; nothing of it is done yet."""

    platform: Platform
    before: tuple[Command, ...] = ()
    remove: tuple[Path, ...] = ()
    files: tuple[File, ...] = ()
    after: tuple[Command, ...] = ()


@dataclass(frozen=True, slots=True)
class Ran:
    """A command, and what became of it."""

    command: Command
    ran: bool
    ok: bool
    said: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What was done of a plan."""

    written: tuple[Path, ...]
    removed: tuple[Path, ...]
    left: tuple[Path, ...]
    """There, but not written by us."""
    commands: tuple[Ran, ...]


def this_platform() -> Platform:
    return {"darwin": "macos", "win32": "windows"}.get(sys.platform, "linux")  # type: ignore[return-value]


def service(environ: Mapping[str, str] | None = None) -> units.Service:
    """What is run, with those variables of this shell that say where things lie. Keys and other
    settings are not copied into files: they belong into config.toml or the keyring."""
    given = os.environ if environ is None else environ
    environment = {n: str(Path(given[n]).absolute()) for n in PLACES if given.get(n)}
    if not environment and not given.get("XDG_RUNTIME_DIR") and os.name == "posix":
        # A login without one: what systemd sets later would name another place.
        environment["AIDECAMP_SOCKET"] = str(place.socket_path())
    bwrap = shutil.which("bwrap")
    setuid = bwrap is not None and bool(Path(bwrap).stat().st_mode & stat.S_ISUID)
    # -P: a folder called runtime in the home folder is not this program.
    command = (sys.executable, "-P", "-m", "runtime.daemon", "--log")
    return units.Service(command, environment, new_privileges=setuid)


PLACES = ("AIDECAMP_HOME", "AIDECAMP_SOCKET")


def to_install(
    platform: Platform,
    service: units.Service,
    settings: DaemonConfig,
    *,
    socket_activation: bool = False,
    start: bool = True,
) -> Plan:
    """The plan that makes ``service`` start at login, or at the first connection; and now, if
    ``start``. What an earlier install wrote and this one does not is removed."""
    if platform == "macos":
        path = _agents() / f"{units.LABEL}.plist"
        log = str(data_dir().absolute() / "launchd.log")
        gui = f"gui/{_uid()}"
        return Plan(
            platform,
            files=(File(path, units.launchd_plist(service, log)),),
            after=(("launchctl", "bootstrap", gui, str(path)),) if start else (),
        )
    if platform == "windows":
        path = _windows_file()
        return Plan(
            platform,
            files=(File(path, units.windows_task(service, getpass.getuser()), "utf-16"),),
            after=(("schtasks", "/Create", "/TN", units.TASK, "/XML", str(path)),),
        )
    folder = _systemd()
    files = [
        File(folder / SERVICE, units.systemd_service(service, socket_activation=socket_activation))
    ]
    if socket_activation:
        named = any(name in service.environment for name in PLACES)
        socket = str(place.socket_path()) if named else None
        files.append(File(folder / SOCKET, units.systemd_socket(socket, _stream(settings))))
    gone = (folder / SOCKET,) if not socket_activation and is_ours(folder / SOCKET) else ()
    enabled = SOCKET if socket_activation else SERVICE
    return Plan(
        platform,
        before=(("systemctl", "--user", "disable", "--now", SOCKET),) if gone else (),
        remove=gone,
        files=tuple(files),
        after=(
            ("systemctl", "--user", "daemon-reload"),
            ("systemctl", "--user", "enable", *(("--now",) if start else ()), enabled),
        ),
    )


def to_uninstall(platform: Platform) -> Plan:
    """The plan that undoes every install on ``platform``."""
    if platform == "macos":
        path = _agents() / f"{units.LABEL}.plist"
        stop: tuple[Command, ...] = (("launchctl", "bootout", f"gui/{_uid()}/{units.LABEL}"),)
        return Plan(platform, before=stop if is_ours(path) else (), remove=(path,))
    if platform == "windows":
        path = _windows_file()
        stop = (("schtasks", "/Delete", "/TN", units.TASK, "/F"),)
        return Plan(platform, before=stop if is_ours(path) else (), remove=(path,))
    paths = (_systemd() / SOCKET, _systemd() / SERVICE)
    ours = [path.name for path in paths if is_ours(path)]
    return Plan(
        platform,
        before=(("systemctl", "--user", "disable", "--now", *ours),) if ours else (),
        remove=paths,
        after=(("systemctl", "--user", "daemon-reload"),) if ours else (),
    )


def carry_out(plan: Plan) -> Done:
    """Do it. Raises Conflict, before anything is done, where a file is not ours to replace;
    StorageFailed where one cannot be written."""
    for file in plan.files:
        if file.path.exists() and not is_ours(file.path):
            raise Conflict(
                f"{file.path} is there, and was not written by `aidecamp daemon install`.",
                hint="Move it away, or use --print and merge the two by hand.",
            )
    here = plan.platform == this_platform()
    ran = [_ran(command, here) for command in plan.before]
    removed = [path for path in plan.remove if is_ours(path)]
    left = [path for path in plan.remove if path.exists() and path not in removed]
    try:
        for path in removed:
            path.unlink()
        for file in plan.files:
            _write(file)
    except OSError as error:
        raise StorageFailed(
            f"The operating system refused: {error.strerror} ({error.filename}).",
            hint="`aidecamp daemon install --print` shows what belongs there.",
        ) from error
    ran += [_ran(command, here) for command in plan.after]
    return Done(tuple(file.path for file in plan.files), tuple(removed), tuple(left), tuple(ran))


def is_ours(path: Path) -> bool:
    """Whether ``aidecamp daemon install`` wrote the file at ``path``."""
    try:
        raw = path.read_bytes()
    except OSError:
        return False
    return units.MARK.encode() in raw or units.MARK.encode("utf-16-le") in raw


def _write(file: File) -> None:
    file.path.parent.mkdir(parents=True, exist_ok=True)
    new = file.path.with_name(f"{file.path.name}.new")
    try:
        new.write_text(file.text, encoding=file.encoding)
        new.replace(file.path)
    except OSError:
        place.remove(new)
        raise


def _ran(command: Command, here: bool) -> Ran:
    if not here or shutil.which(command[0]) is None:
        return Ran(command, ran=False, ok=False)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Ran(command, ran=True, ok=False, said=str(error))
    return Ran(command, True, done.returncode == 0, (done.stdout + done.stderr).strip())


def _stream(settings: DaemonConfig) -> str | None:
    """The TCP address for systemd; None where the daemon has none, or opens it itself: systemd
    takes no names and no free port."""
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    if not settings.tcp or settings.port == 0:
        return None
    return f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"


def _systemd() -> Path:
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "systemd" / "user"


def _agents() -> Path:
    return Path.home() / "Library" / "LaunchAgents"


def _windows_file() -> Path:
    return data_dir().absolute() / "aidecamp-daemon.xml"


def _uid() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def shown(command: Sequence[str]) -> str:
    """``command`` as one would type it."""
    import shlex

    windows = command[0] == "schtasks"
    return subprocess.list2cmdline(command) if windows else shlex.join(command)
