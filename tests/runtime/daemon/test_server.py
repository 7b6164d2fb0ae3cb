"""The daemon's process: one for each user, its files closed to others, and a clean end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.core import Result
from runtime.daemon import launch, place
from runtime.daemon.client import Client
from runtime.daemon.errors import DaemonMissing, DaemonRunning
from runtime.daemon.server import serve
from runtime.ledger import Ledger, result_of
from tests.runtime.daemon.scripted import daemon, endless

ROOT = Path(__file__).parents[3]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_socket_is_0600_in_a_0700_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    async with daemon(tmp_path) as served:
        assert mode(served.path) == 0o600
        assert mode(served.path.parent) == 0o700
        assert mode(place.lock_path(served.path)) == 0o600


async def test_a_second_daemon_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with daemon(tmp_path) as served:
        with pytest.raises(DaemonRunning, match=str(os.getpid())):
            await serve(served.path, served.ledger, served.make_agent, folder=tmp_path)
        assert (await served.client.health())["status"] == "ok"


async def test_a_socket_that_a_killed_daemon_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "run" / "daemon.sock"))
    left.close()
    async with daemon(tmp_path) as served:
        assert (await served.client.health())["status"] == "ok"


async def test_no_daemon_is_a_clear_error(tmp_path: Path) -> None:
    async with Client(tmp_path / "none.sock") as client:
        with pytest.raises(DaemonMissing) as caught:
            await client.health()
    assert "aidecamp daemon start" in caught.value.hint


async def test_a_stopping_daemon_records_what_it_cancels(tmp_path: Path) -> None:
    async with daemon(tmp_path, endless) as served:
        task_id = await served.client.start_task("wait for ever")
    ledger = Ledger(tmp_path / "ledger.db")
    result = result_of(list(ledger.events(task_id)))
    assert isinstance(result, Result) and result.status == "cancelled"
    ledger.close()


def test_a_deep_data_folder_still_gets_a_socket_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIDECAMP_SOCKET", raising=False)
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path / ("deep" * 40)))
    path = place.socket_path()
    assert len(os.fsencode(path)) <= place.MAX_SOCKET_BYTES
    assert path == place.socket_path()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own for a daemon in a process of its own."""
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    monkeypatch.setenv("AIDECAMP_SOCKET", str(tmp_path / "d.sock"))
    monkeypatch.setenv("AIDECAMP_DAEMON__PORT", "0")
    return tmp_path


def aidecamp(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_start_status_stop_as_a_user_does_it(home: Path) -> None:
    assert aidecamp("daemon", "status").returncode == DaemonMissing.exit_code
    started = aidecamp("daemon", "start", "--json")
    assert started.returncode == 0, started.stderr
    pid = json.loads(started.stdout)["pid"]
    try:
        again = aidecamp("daemon", "start", "--json")
        assert again.returncode == DaemonRunning.exit_code
        assert json.loads(again.stdout)["error"] == "DaemonRunning"
        health = json.loads(aidecamp("daemon", "status", "--json").stdout)
        assert health["pid"] == pid
        assert health["ledger"] == str(home / "ledger.db")
    finally:
        stopped = aidecamp("daemon", "stop", "--json")
    assert json.loads(stopped.stdout)["pid"] == pid
    assert not (home / "d.sock").exists()
    assert "everything is recorded" in aidecamp("daemon", "logs").stdout
    assert aidecamp("daemon", "stop").returncode == DaemonMissing.exit_code


async def test_ensure_running_starts_a_daemon_once(home: Path) -> None:
    async with Client() as client:
        await client.ensure_running()
        first = (await client.health())["pid"]
        await client.ensure_running()
        assert (await client.health())["pid"] == first
        await asyncio.to_thread(launch.stop, client.socket_path)
        with pytest.raises(DaemonMissing):
            await client.health()


def test_what_keeps_a_daemon_from_starting_is_told(home: Path) -> None:
    (home / "ledger.db").write_bytes(b"not a database at all, but long enough to be looked at" * 20)
    failed = aidecamp("daemon", "start", "--json")
    assert failed.returncode == 8, failed.stdout
    assert json.loads(failed.stdout)["error"] == "StorageFailed"
