"""Bubblewrap around one command: what it may see, write, use, and for how long.

Inside: the file system read-only; the work folder writable only where the action writes; a
private ``/tmp`` and ``/run`` (so no session bus, no Docker or agent socket); credentials, browser
profiles and Aidecamp's own data hidden; a process table, host name and user namespace of its
own; no network; no capability; an environment of a few names.

Limits: wall time and CPU time; memory for each process (RLIMIT_AS) and, watched, for all of them
together; number of processes; size of any written file; size of the output. Whoever breaks one
is killed with everything it started, and the result says which limit it was.

Not covered: a Unix socket that lies outside /tmp and /run stays reachable; the kernel itself is
shared. There is no cgroup, so the total of memory is sampled, not enforced to the byte.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from models.errors import SandboxMissing, ToolFailed

_HINT = (
    "Install it with `apt install bubblewrap`, and allow unprivileged user namespaces "
    "(`sysctl kernel.unprivileged_userns_clone=1`; on Ubuntu 24.04 and later also "
    "`kernel.apparmor_restrict_unprivileged_userns=0`; in a container, `--privileged` or a "
    "seccomp profile that allows them)."
)
_PRIVATE = ("/tmp", "/run")  # noqa: S108  (mounted over inside, never written to)
_SCRATCH = "/dev/shm"  # noqa: S108  (private inside; for sort and the like where /tmp is shown)
_ENVIRONMENT = ("PATH", "HOME", "USER", "LOGNAME", "TZ")
_SECRETS = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".password-store", ".netrc"),
    *(".git-credentials", ".pypirc", ".npmrc", ".pgpass", ".my.cnf", ".vault-token", ".mozilla"),
    *(".thunderbird", ".pki", ".local/share/keyrings", ".local/share/kwalletd"),
    *(".config/gcloud", ".config/gh", ".config/google-chrome", ".config/chromium"),
    *(".config/BraveSoftware", ".config/microsoft-edge", ".config/vivaldi", ".config/opera"),
    *(".config/rclone", ".config/op", ".config/hub", ".config/keepassxc", ".config/Signal"),
    *(".bash_history", ".zsh_history", ".python_history", ".histfile", ".lesshst"),
    *(".cache/huggingface/token", ".huggingface/token", ".cargo/credentials.toml"),
    *(".var/app/org.mozilla.firefox", "snap/firefox", "snap/chromium"),
)
_SYSTEM_SECRETS = ("/etc/shadow", "/etc/gshadow", "/etc/shadow-", "/etc/gshadow-", "/etc/ssh",
                   "/etc/ssl/private", "/etc/sudoers", "/etc/sudoers.d", "/root")  # fmt: skip
_CHUNK = 1 << 16
_WATCH_S = 0.1


def secret_places(home: Path, own: Iterable[Path] = ()) -> tuple[Path, ...]:
    """What no sandboxed command may read, whether it exists or not: credentials under ``home``
    and of the system, and Aidecamp's ``own`` folders."""
    places = [home / name for name in _SECRETS]
    places += [Path(p) for p in _SYSTEM_SECRETS if Path(p) != home]
    return (*places, *own)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one command may use at most."""

    timeout_s: float = 60.0
    memory_mb: int = 2048
    output_mb: int = 16
    file_mb: int = 4096
    processes: int = 256


@dataclass(frozen=True, slots=True)
class Grant:
    """What one command gets beyond reading."""

    write: bool = False
    """The work folder is writable."""
    processes: bool = False
    """The machine's process table is shown (read-only) instead of the sandbox's own."""
    network: bool = False
    read: tuple[Path, ...] = ()
    """Paths under the private folders that are shown, read-only, all the same."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command did. ``broke`` names the limit that stopped it, or is empty."""

    code: int
    output: bytes
    errors: bytes
    ms: float
    broke: str = ""


class Sandbox:
    """Runs command lines under bubblewrap. Safe to use from several threads."""

    def __init__(
        self, limits: Limits | None = None, *, hidden: Iterable[Path] = (), program: str = "bwrap"
    ) -> None:
        self.limits = limits or Limits()
        self.hidden = tuple(hidden)
        self._program = program
        self._proc: tuple[str, ...] | None = None
        self._lock = threading.Lock()
        self._running: dict[subprocess.Popen[bytes], str] = {}
        self._stopped: set[str] = set()

    def describe(self, folder: Path, grant: Grant) -> str:
        """The isolation of a command, in words that a person reads before approving it."""
        words = ["bubblewrap", "file system read-only"]
        words.append(f"writes only in {folder}" if grant.write else "no writes")
        words.append("host network" if grant.network else "no network")
        if grant.processes:
            words.append("sees this machine's processes")
        words.append("private /tmp, credentials hidden")
        if grant.read:
            words.append("shows " + ", ".join(map(str, grant.read)))
        if grant.environment:
            words.append("given " + ", ".join(sorted(grant.environment)))
        words.append(f"at most {self.limits.timeout_s:g} s and {self.limits.memory_mb} MB")
        return ", ".join(words)

    def private(self, path: Path) -> bool:
        """True where ``path`` lies in a folder that the sandbox replaces by an empty one."""
        return any(path.is_relative_to(place) for place in _PRIVATE)

    def hides(self, path: Path) -> Path | None:
        """The hidden place that ``path`` lies in, links followed; None where it may be read."""
        real = Path(os.path.realpath(path))
        for place in self.hidden:
            if real.is_relative_to(Path(os.path.realpath(place))):
                return place
        return None

    def run(
        self, command: str, folder: Path, grant: Grant | None = None, *, key: str = ""
    ) -> Finished:
        """Run a Bash line in ``folder`` and wait for it. ``key`` is what ``stop`` knows it by.

        Raises SandboxMissing where nothing can be isolated here, ToolFailed where the command
        cannot even be started, or was stopped before it was.
        """
        grant = grant or Grant()
        argv = self._argv(command, folder, grant)
        environment = {k: os.environ[k] for k in _ENVIRONMENT if k in os.environ}
        environment |= {"LC_ALL": "C.UTF-8", "TERM": "dumb", "PATH": _search_path()}
        environment["TMPDIR"] = _SCRATCH
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment | dict(grant.environment),
                start_new_session=True,
            )
        except OSError as error:
            raise ToolFailed(f"The command could not be started: {error.strerror}.") from error
        with self._lock:
            self._running[process] = key
            if key in self._stopped:
                _kill(process)
        try:
            code, output, errors, broke = self._watch(process, started + self.limits.timeout_s)
        finally:
            _kill(process)
            with self._lock:
                self._running.pop(process, None)
        return Finished(code, output, errors, (time.monotonic() - started) * 1000, broke)

    def stop(self, key: str | None = None) -> None:
        """Kill what runs under ``key``, or everything, with all that it started. A command with
        that key that has yet to start is killed as it does."""
        with self._lock:
            if key is not None:
                self._stopped.add(key)
            running = [p for p, k in self._running.items() if key is None or k == key]
        for process in running:
            _kill(process)

    def check(self) -> None:
        """Raises SandboxMissing where bubblewrap is absent or cannot isolate here."""
        if self._proc is not None:
            return
        if shutil.which(self._program) is None or shutil.which("prlimit") is None:
            raise SandboxMissing(
                "Commands run only in a sandbox, and bubblewrap is not installed. Nothing was run.",
                hint=_HINT,
            )
        said = ""
        # Where a container masks /proc, a fresh one cannot be mounted: show it read-only then.
        for proc in (("--proc", "/proc"), ("--ro-bind", "/proc", "/proc")):
            argv = [self._program, "--ro-bind", "/", "/", "--dev", "/dev", *proc, "--unshare-all"]
            argv += ["--die-with-parent", "--cap-drop", "ALL", "--", "true"]
            done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
            if done.returncode == 0:
                self._proc = proc
                return
            said = done.stderr.decode("utf-8", "replace").strip().split("\n")[0]
        raise SandboxMissing(
            f"Commands run only in a sandbox, and bubblewrap does not work here ({said}). "
            "Nothing was run.",
            hint=_HINT,
        )

    def _argv(self, command: str, folder: Path, grant: Grant) -> list[str]:
        self.check()
        assert self._proc is not None  # noqa: S101  (check() set it or raised)
        limits = self.limits
        argv = [
            "prlimit",
            f"--as={limits.memory_mb << 20}",
            f"--cpu={int(limits.timeout_s) + 1}",
            f"--fsize={limits.file_mb << 20}",
            "--core=0",
            self._program,
            *("--ro-bind", "/", "/", "--dev", "/dev"),
            *(("--ro-bind", "/proc", "/proc") if grant.processes else self._proc),
        ]
        for private in _PRIVATE:
            argv += ["--tmpfs", private]
        # Hidden folders above the work folder come before it, the others on top of it.
        above = [p for p in self.hidden if folder.is_relative_to(os.path.realpath(p))]
        for place in above:
            argv += ["--tmpfs", os.path.realpath(place)]
        for path in grant.read:
            argv += ["--ro-bind", str(path), str(path)]
        argv += ["--bind" if grant.write else "--ro-bind", str(folder), str(folder)]
        for place in above:
            argv += ["--remount-ro", os.path.realpath(place)]
        argv += _cover(p for p in self.hidden if p not in above)
        argv += ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
        if grant.network:
            argv.append("--share-net")
        argv += ["--chdir", str(folder), "--"]
        return [*argv, "bash", "--noprofile", "--norc", "-o", "pipefail", "-c", command]

    def _watch(
        self, process: subprocess.Popen[bytes], deadline: float
    ) -> tuple[int, bytes, bytes, str]:
        """Collect both streams until they end or a limit breaks; then kill what is left."""
        assert process.stdout is not None and process.stderr is not None  # noqa: S101
        cap = self.limits.output_mb << 20
        broke = ""
        next_look = time.monotonic() + _WATCH_S
        with (
            selectors.DefaultSelector() as selector,
            tempfile.SpooledTemporaryFile(max_size=1 << 20) as out,
            tempfile.SpooledTemporaryFile(max_size=1 << 20) as err,
            process,
        ):
            for stream, kept in ((process.stdout, out), (process.stderr, err)):
                selector.register(stream, selectors.EVENT_READ, kept)
            while selector.get_map() and not broke:
                for key, _ in selector.select(_WATCH_S):
                    broke = broke or _take(key, selector, cap)
                now = time.monotonic()
                if now >= deadline:
                    broke = f"it ran longer than {self.limits.timeout_s:g} s"
                elif now >= next_look:
                    broke = broke or self._too_much(process.pid)
                    next_look = time.monotonic() + _WATCH_S
            if broke:
                _kill(process)
            else:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    broke = f"it ran longer than {self.limits.timeout_s:g} s"
                    _kill(process)
            out.seek(0)
            err.seek(0)
            return process.wait(), out.read(), err.read(), broke

    def _too_much(self, pid: int) -> str:
        """Which limit the process tree has passed, or nothing."""
        import psutil

        resident = count = 0
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(pid).children(recursive=True):
                count += 1
                with contextlib.suppress(psutil.Error):
                    resident += process.memory_info().rss
        if resident > self.limits.memory_mb << 20:
            return f"it used more than {self.limits.memory_mb} MB of memory"
        if count > self.limits.processes:
            return f"it started more than {self.limits.processes} processes"
        return ""


def _take(key: selectors.SelectorKey, selector: selectors.BaseSelector, cap: int) -> str:
    """Move what a stream has ready to its file; say so where the file is full."""
    kept: IO[bytes] = key.data
    chunk = os.read(key.fd, _CHUNK)
    if not chunk:
        selector.unregister(key.fileobj)
        return ""
    room = cap - kept.tell()
    kept.write(chunk[:room])
    if len(chunk) > room:
        return f"it printed more than {cap >> 20} MB, of which the first {cap >> 20} MB were kept"
    return ""


def _cover(places: Iterable[Path]) -> list[str]:
    """Options that put an empty folder or file over each place that exists."""
    argv: list[str] = []
    for place in places:
        real = os.path.realpath(place)
        try:
            is_folder = Path(real).is_dir()
            is_file = Path(real).is_file()
        except OSError:
            continue  # not even its owner-only parent can be read, inside or out
        if is_folder:
            argv += ["--tmpfs", real, "--remount-ro", real]
        elif is_file:
            argv += ["--ro-bind", "/dev/null", real]
    return argv


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End bubblewrap: the process namespace dies with it."""
    if process.poll() is None:
        process.kill()
        process.wait()


def _search_path() -> str:
    """PATH with the folders where Debian keeps ``ip`` and the like."""
    own = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    return ":".join(dict.fromkeys([*own, "/usr/sbin", "/sbin"]))
