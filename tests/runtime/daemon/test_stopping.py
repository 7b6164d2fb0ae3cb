"""How the daemon ends: with patience at the first signal, at once at the second."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.daemon import server

ROOT = Path(__file__).parents[3]
Slow = Callable[[str], tuple["subprocess.Popen[str]", socket.socket]]


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    """Starts a server whose one answer has begun, and gives its process and the connection."""
    started: list[tuple[subprocess.Popen[str], socket.socket]] = []

    def start(how: str) -> tuple[subprocess.Popen[str], socket.socket]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.runtime.daemon.slow_server", str(tmp_path), how],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        asking = connect(tmp_path)
        asking.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"begun" in until(asking, b"begun")
        started.append((process, asking))
        return process, asking

    yield start
    for process, asking in started:
        asking.close()
        process.kill()
        process.wait()


def connect(folder: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(folder / "d.sock"))
    return sock


def until(sock: socket.socket, end: bytes) -> bytes:
    """What comes, up to ``end`` or the connection's."""
    said = b""
    while end not in said and (part := sock.recv(4096)):
        said += part
    return said


def refuses(folder: Path) -> bool:
    try:
        connect(folder).close()
    except OSError:
        return True
    return False


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_stop_takes_no_new_connection_and_lets_the_answer_being_sent_finish(
    slow: Slow, tmp_path: Path
) -> None:
    process, asking = slow("kind")
    process.send_signal(signal.SIGTERM)
    wait(lambda: refuses(tmp_path))
    process.send_signal(signal.SIGUSR1)
    assert b"ended" in until(asking, b"0\r\n\r\n")
    assert process.wait(20) == 0
    assert not (tmp_path / "cancelled").exists()
    assert not (tmp_path / "d.sock").exists()


def test_a_second_signal_ends_at_once_and_what_ran_is_told(slow: Slow, tmp_path: Path) -> None:
    process, asking = slow("kind")
    process.send_signal(signal.SIGTERM)
    wait(lambda: refuses(tmp_path))
    process.send_signal(signal.SIGTERM)
    assert process.wait(server.GRACE_S / 2) == 0
    assert b"ended" not in until(asking, b"ended")
    assert (tmp_path / "cancelled").exists()


def test_a_second_signal_ends_even_what_will_not_be_cancelled(slow: Slow, tmp_path: Path) -> None:
    process, _ = slow("stubborn")
    process.send_signal(signal.SIGTERM)
    wait(lambda: refuses(tmp_path))
    process.send_signal(signal.SIGTERM)
    assert process.wait(server.GRACE_S / 2) == 1
