"""Daemons in processes of their own, as a user starts and meets them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from runtime.daemon import launch, logfile, place, server
from runtime.daemon.errors import DaemonMissing, DaemonRunning, ListenRefused
from runtime.daemon.tokens import TokenStore

ROOT = Path(__file__).parents[3]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder of its own. What runs in it at the end is stopped."""
    monkeypatch.delenv("AIDECAMP_SOCKET", raising=False)
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    monkeypatch.setenv("AIDECAMP_DAEMON__PORT", "0")
    yield tmp_path
    if (pid := launch.running(place.socket_path())) is not None:
        os.kill(pid, signal.SIGKILL)
        wait(lambda: launch.running(place.socket_path()) is None)


def aidecamp(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime.cli", "daemon", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, **environment},
    )


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_daemon_from_start_to_stop_as_a_user_sees_it(home: Path) -> None:
    started = json.loads(aidecamp("start", "--json").stdout)
    assert started["address"].startswith("http://127.0.0.1:")
    shown = aidecamp("status").stdout
    assert f"{started['address']}/v1" in shown and str(started["pid"]) in shown
    added = json.loads(aidecamp("token", "add", "bot", "--scope", "infer", "--json").stdout)
    assert added["base_url"] == f"{started['address']}/v1"
    bearer = {"Authorization": f"Bearer {added['token']}"}
    with httpx.Client(base_url=started["address"], trust_env=False, headers=bearer) as http:
        assert http.get("/v1/health").json()["pid"] == started["pid"]
        assert http.get("/v1/decisions").status_code == 403
        assert aidecamp("token", "remove", "bot").returncode == 0
        assert http.get("/v1/health").status_code == 401
    assert json.loads(aidecamp("stop", "--json").stdout)["pid"] == started["pid"]
    left = {path.name for path in place.socket_path().parent.iterdir()}
    assert left == {"daemon.lock", "daemon.log"}
    assert aidecamp("status").returncode == DaemonMissing.exit_code


def test_a_token_is_shown_once_with_what_a_client_needs(home: Path) -> None:
    text = aidecamp("token", "add", "bot").stdout
    secret = text.splitlines()[0]
    assert f"export OPENAI_API_KEY={secret}" in text and "export OPENAI_BASE_URL=http" in text
    assert TokenStore(home).check(secret.encode()) is not None
    assert secret not in aidecamp("token", "list").stdout
    own = aidecamp("token", "show").stdout.strip()
    caller = TokenStore(home).check(own.encode())
    assert caller is not None and caller.scope == "admin"


def test_a_reload_takes_over_what_holds_and_refuses_what_does_not(home: Path) -> None:
    pid = launch.start(place.socket_path()).pid
    log = place.log_path(place.socket_path())
    (home / "config.toml").write_text('privacy = "local"\n')
    assert aidecamp("reload").returncode == 0
    wait(lambda: "settings were read again" in log.read_text())
    (home / "config.toml").write_text('privacy = "everyone"\n')
    assert aidecamp("reload").returncode == 2
    wait(lambda: "in force stay" in log.read_text())
    assert aidecamp("restart").returncode == 2
    assert launch.running(place.socket_path()) == pid  # It could not have started again.
    (home / "config.toml").unlink()
    assert json.loads(aidecamp("restart", "--json").stdout)["pid"] != pid
    launch.stop(place.socket_path())
    assert aidecamp("reload").returncode == DaemonMissing.exit_code


def test_a_killed_daemon_is_seen_as_gone_and_its_leavings_are_no_hindrance(home: Path) -> None:
    path = place.socket_path()
    first = launch.start(path)
    os.kill(first.pid, signal.SIGKILL)
    wait(lambda: launch.running(path) is None)
    assert path.exists() and place.lock_path(path).read_text() == str(first.pid)
    assert aidecamp("status").returncode == DaemonMissing.exit_code
    second = launch.start(path)
    assert second.pid != first.pid
    assert launch.running(path) == second.pid


def test_a_second_start_is_refused_with_the_first_one_named(home: Path) -> None:
    launch.start(place.socket_path())
    with pytest.raises(DaemonRunning):
        launch.start(place.socket_path())
    foreground = aidecamp("start", "--foreground")
    assert foreground.returncode == DaemonRunning.exit_code


def test_a_taken_port_and_an_open_host_have_exit_codes_of_their_own(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        failed = aidecamp("start", "--json", AIDECAMP_DAEMON__PORT=port)
    assert failed.returncode == ListenRefused.exit_code
    assert "daemon.port" in json.loads(failed.stdout)["message"]
    opened = aidecamp("start", "--json", AIDECAMP_DAEMON__HOST="0.0.0.0")
    assert opened.returncode == 2
    assert "no TLS" in json.loads(opened.stdout)["message"]
    assert not place.socket_path().exists()


def test_a_disk_that_takes_nothing_is_told_although_the_log_cannot_be_written(home: Path) -> None:
    failed = subprocess.run(
        ["bash", "-c", f"ulimit -f 0; exec {sys.executable} -m runtime.cli daemon start --json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert failed.returncode == 8
    assert json.loads(failed.stdout)["error"] == "StorageFailed"


def test_a_large_log_becomes_the_old_one_at_the_next_start(home: Path) -> None:
    path = place.socket_path()
    place.prepare(path.parent)
    place.log_path(path).write_bytes(b"x" * (server.MAX_LOG_BYTES + 1))
    launch.start(path)
    assert place.old_log_path(path).stat().st_size == server.MAX_LOG_BYTES + 1
    assert place.log_path(path).stat().st_size < 10_000
    assert stat.S_IMODE(place.log_path(path).stat().st_mode) == 0o600


def test_followed_logs_go_on_in_the_new_file(tmp_path: Path) -> None:
    file = tmp_path / "d.log"
    file.write_text("one\ntwo\nthr")
    lines = logfile.follow(file, 2)
    assert next(lines) == "two"
    with file.open("a") as more:
        more.write("ee\n")
    assert next(lines) == "three"
    file.rename(tmp_path / "d.log.1")
    file.write_text("four\n")
    assert next(lines) == "four"


def test_systemd_sockets_start_the_daemon_at_the_first_connection_and_outlive_it(
    home: Path,
) -> None:
    program = shutil.which("systemd-socket-activate")
    if program is None:
        pytest.skip("systemd-socket-activate is not here")
    path = place.socket_path()
    place.prepare(path.parent)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names = ("AIDECAMP_HOME", "AIDECAMP_DAEMON__PORT")
    systemd = subprocess.Popen(
        [
            program,
            *(f"--setenv={name}" for name in names),
            f"--listen={path}",
            f"--listen=127.0.0.1:{port}",
            *(sys.executable, "-m", "runtime.daemon", "--log"),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert systemd.stderr is not None
        for _ in range(2):
            assert "Listening on" in systemd.stderr.readline()
        path.chmod(0o600)
        assert aidecamp("status").returncode == DaemonMissing.exit_code  # It wakes nobody.
        woken = launch.start(path)
        assert woken.pid == systemd.pid  # It became the daemon.
        assert woken.address == f"http://127.0.0.1:{port}"
        own = {"Authorization": f"Bearer {TokenStore(home).own()}"}
        with httpx.Client(base_url=woken.address, trust_env=False, headers=own) as http:
            assert http.get("/v1/health").json()["pid"] == woken.pid
        stopped = json.loads(aidecamp("stop", "--json").stdout)
        assert stopped["starts_again"] is True
        assert path.exists()
        assert systemd.wait(20) == 0
    finally:
        systemd.kill()
        systemd.wait()


def test_a_handed_socket_that_others_may_open_is_refused(home: Path) -> None:
    program = shutil.which("systemd-socket-activate")
    if program is None:
        pytest.skip("systemd-socket-activate is not here")
    path = place.socket_path()
    place.prepare(path.parent)
    systemd = subprocess.Popen(
        [
            program,
            "--setenv=AIDECAMP_HOME",
            f"--listen={path}",
            *(sys.executable, "-m", "runtime.daemon"),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert systemd.stderr is not None
        systemd.stderr.readline()
        path.chmod(0o666)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            assert systemd.wait(30) == 2
        assert "SocketMode=0600" in systemd.stderr.read()
    finally:
        systemd.kill()
        systemd.wait()


def test_ready_and_stopping_are_told_to_systemd(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(home / "notify"))
        notified.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(home / "notify"))
        started = launch.start(place.socket_path())
        assert notified.recv(4096).startswith(b"READY=1\n")
        os.kill(started.pid, signal.SIGTERM)
        assert notified.recv(4096) == b"STOPPING=1"
        wait(lambda: launch.running(place.socket_path()) is None)
