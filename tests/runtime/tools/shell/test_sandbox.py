"""The sandbox holds what no reading of the command line could: real attempts to get out."""

from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from models.errors import SandboxMissing
from runtime.tools.shell.sandbox import Finished, Grant, Limits, Sandbox, secret_places


@pytest.fixture
def sandbox(home: Path, own: Path) -> Iterator[Sandbox]:
    sandbox = Sandbox(
        Limits(timeout_s=20, memory_mb=256, output_mb=1, file_mb=8, processes=40),
        hidden=secret_places(home, [own]),
    )
    yield sandbox
    sandbox.stop()


def _text(finished: Finished) -> str:
    return finished.output.decode()


def _gone(marker: str) -> bool:
    """Whether every process with that argument is dead (the kernel may need a moment)."""
    left = [p for p in psutil.process_iter(["cmdline"]) if marker in (p.info["cmdline"] or ())]
    return not psutil.wait_procs(left, timeout=5)[1]


def test_no_network(sandbox: Sandbox, work: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        probe = f"exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached"
        assert "reached" not in _text(sandbox.run(probe, work))
        # The probe is a real one: with the network granted, it reaches the same server.
        assert "reached" in _text(sandbox.run(probe, work, Grant(network=True)))


def test_writes_only_in_the_work_folder_and_only_where_granted(
    sandbox: Sandbox, work: Path, tmp_path: Path, home: Path
) -> None:
    for target in (tmp_path / "x", home / "x", Path("/usr/x"), Path("/etc/x")):
        sandbox.run(f"echo x > '{target}'", work, Grant(write=True))
        assert not target.exists()
    assert sandbox.run("echo x > mine", work).code != 0
    assert not (work / "mine").exists()
    assert sandbox.run("echo x > mine", work, Grant(write=True)).code == 0
    assert (work / "mine").read_text() == "x\n"


def test_a_link_out_of_the_work_folder_cannot_be_written_through(
    sandbox: Sandbox, work: Path, home: Path
) -> None:
    (work / "door").symlink_to(home)
    sandbox.run("echo x > door/y", work, Grant(write=True))
    assert not (home / "y").exists()


def test_secrets_are_hidden(sandbox: Sandbox, work: Path, home: Path, own: Path) -> None:
    (work / "door").symlink_to(home / ".ssh")
    seen = sandbox.run(f"cat {home}/.ssh/* {own}/* door/* /etc/shadow", work)
    assert seen.output == b""


def test_a_secret_inside_the_work_folder_is_hidden_too(
    sandbox: Sandbox, home: Path, own: Path
) -> None:
    (home / ".netrc").write_text("password hunter2")
    seen = sandbox.run(f"ls; cat .ssh/id_ed25519 .netrc {own}/ledger.db", home, Grant(write=True))
    assert b"PRIVATE" not in seen.output
    assert b"hunter2" not in seen.output
    assert b"LEDGER" not in seen.output


def test_the_environment_is_cleared(
    sandbox: Sandbox, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert "sk-secret" not in _text(sandbox.run("env", work))


def test_other_processes_cannot_be_seen_or_read(sandbox: Sandbox, work: Path) -> None:
    probe = f"ls /proc/{os.getpid()}"
    assert sandbox.run(probe, work).code != 0
    shown = Grant(processes=True)
    assert sandbox.run(probe, work, shown).code == 0
    for inner in ("environ", "root", "mem", "fd/0"):
        reading = f"ls /proc/{os.getpid()}/{inner}/ || cat /proc/{os.getpid()}/{inner}"
        found = sandbox.run(reading, work, shown)
        assert found.output == b"", inner


def test_sockets_in_run_and_tmp_are_out_of_reach(sandbox: Sandbox, work: Path) -> None:
    seen = _text(sandbox.run("ls -A /run; ls -A /tmp", work))
    assert set(seen.split()) <= {work.parts[2]}


def test_no_capabilities(sandbox: Sandbox, work: Path) -> None:
    assert _text(sandbox.run("grep CapEff /proc/self/status", work)).split()[1] == "0" * 16


def test_a_runaway_is_stopped_with_its_children(home: Path, work: Path) -> None:
    sandbox = Sandbox(Limits(timeout_s=0.5))
    marker = f"7{os.getpid()}.25"
    finished = sandbox.run(f"(sleep {marker} &) ; sleep {marker} & sleep {marker}", work)
    assert "longer than 0.5 s" in finished.broke
    assert _gone(marker)


def test_children_left_behind_die_with_the_command(sandbox: Sandbox, work: Path) -> None:
    marker = f"8{os.getpid()}.25"
    finished = sandbox.run(f"setsid sleep {marker} > /dev/null 2>&1 & echo done", work)
    assert (finished.code, finished.output) == (0, b"done\n")
    assert _gone(marker)


def test_one_memory_hog_is_refused_memory(sandbox: Sandbox, work: Path) -> None:
    finished = sandbox.run("head -c 600M /dev/zero | tail -c 500M | wc -c", work)
    assert finished.code != 0
    # The limit refuses it, or the watcher sees it first and kills it: memory either way.
    assert b"memory" in finished.errors.lower() + (finished.broke or "").encode()


def test_many_small_hogs_together_are_stopped(sandbox: Sandbox, work: Path) -> None:
    hog = "head -c 150M /dev/zero | tail -c 120M | sleep 30 &"
    finished = sandbox.run(f"{hog} {hog} {hog} wait", work)
    assert "256 MB" in finished.broke


def test_a_fork_bomb_is_stopped(sandbox: Sandbox, work: Path) -> None:
    finished = sandbox.run("for i in {1..100}; do sleep 30 & done; wait", work)
    assert "more than 40 processes" in finished.broke


def test_output_is_whole_up_to_the_cap_and_then_says_so(sandbox: Sandbox, work: Path) -> None:
    size = 1 << 20
    both = sandbox.run(f"head -c {size} /dev/zero & head -c {size} /dev/zero >&2; wait", work)
    assert (len(both.output), len(both.errors), both.broke) == (size, size, "")
    over = sandbox.run("yes", work)
    assert "more than 1 MB, of which the first 1 MB were kept" in over.broke
    assert over.output == b"y\n" * (size // 2)


def test_a_file_cannot_grow_without_bound(sandbox: Sandbox, work: Path) -> None:
    assert sandbox.run("yes > big", work, Grant(write=True)).code != 0
    assert (work / "big").stat().st_size <= 8 << 20


def test_stop_ends_what_runs(sandbox: Sandbox, work: Path, tmp_path: Path) -> None:
    fifo = work / "started"
    os.mkfifo(fifo)
    results: list[Finished] = []
    command = "echo go > started; sleep 30"
    thread = threading.Thread(
        target=lambda: results.append(sandbox.run(command, work, Grant(write=True)))
    )
    thread.start()
    assert fifo.read_text() == "go\n"
    sandbox.stop()
    thread.join(15)
    assert not thread.is_alive()
    assert results[0].code != 0


def test_without_bubblewrap_nothing_runs(work: Path) -> None:
    with pytest.raises(SandboxMissing, match="not installed") as caught:
        Sandbox(program="no-such-bwrap").run("echo x > made", work, Grant(write=True))
    assert "apt install bubblewrap" in caught.value.hint
    assert not (work / "made").exists()


def test_a_bubblewrap_that_cannot_isolate_is_said_so(work: Path, tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(SandboxMissing, match="No permissions to create new namespace") as caught:
        Sandbox(program=str(broken)).run("echo x", work)
    assert "user namespaces" in caught.value.hint


def _as_nobody(folder: str, answer: Connection) -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    os.environ["HOME"] = folder
    command = "id -u; touch x; touch /var/tmp/x"
    finished = Sandbox().run(command, Path(folder), Grant(write=True))
    answer.send((finished.output.decode(), finished.errors.decode()))


def test_an_ordinary_user_is_isolated_as_well() -> None:
    if os.getuid() != 0:
        pytest.skip("this process is that user already: every other test shows it")
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        here, there = multiprocessing.Pipe()
        fork = multiprocessing.get_context("fork")
        child = fork.Process(target=_as_nobody, args=(folder, there))
        child.start()
        child.join(30)
        assert here.poll(), "it raised"
        output, errors = here.recv()
        assert output == "65534\n", errors
        assert (Path(folder) / "x").exists()
        assert "Read-only file system" in errors


def test_a_command_is_stopped_by_its_key_alone(sandbox: Sandbox, work: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(
            sandbox.run, "touch started; sleep 60", work, Grant(write=True), key="slow"
        )
        while not (work / "started").exists():
            assert not slow.done(), slow.result()
        other = threads.submit(sandbox.run, "echo kept", work, key="other")
        sandbox.stop("slow")
        assert slow.result().code != 0
        assert _text(other.result()) == "kept\n"
    assert sandbox.run("echo late", work, key="slow").code != 0  # stopped before it began
