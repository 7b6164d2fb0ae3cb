"""The command line where a daemon runs: it uses that one, and shows, asks and ends as without."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from models.errors import DisplayMissing
from runtime.agent import Approver
from runtime.commands.by_daemon import task_by_daemon
from runtime.config import Config, load_config
from runtime.core import Event, Record, Task
from runtime.daemon import nearby
from runtime.daemon.client import Client, Link, Waits
from runtime.daemon.errors import DaemonMissing
from runtime.ledger import result_of
from runtime.report import summary
from runtime.team import ledger_path
from tests.runtime.daemon.scripted import asking, daemon, decision, endless, plain, step

ROOT = Path(__file__).parents[3]
LIMIT_S = 60.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder; the daemon's socket lies where commands look for it."""
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    monkeypatch.delenv("AIDECAMP_SOCKET", raising=False)
    return tmp_path


async def command(
    *arguments: str, terminal: int = PIPE, env: Mapping[str, str] | None = None
) -> Process:
    """``terminal``: a file that is its stdin, stdout and stderr."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "runtime.cli",
        *arguments,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )


async def ended(process: Process) -> tuple[int, str, str]:
    """Its exit code, and what it wrote to stdout and stderr."""
    async with asyncio.timeout(LIMIT_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (out or b"").decode(), (err or b"").decode()


async def run(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    return await ended(await command("run", *arguments, env=env))


async def test_run_has_the_daemon_do_it_with_the_same_json_as_its_record_gives(home: Path) -> None:
    async with daemon(home, plain) as served:
        code, out, _ = await run("how many files?", "--folder", str(home), "--json")
        body = json.loads(out)
        events = list(served.ledger.events(body["task_id"]))
        task = events[0].record
    assert code == 0 and body["status"] == "done" and body["answer"] == 4
    assert body == summary(events)
    assert isinstance(task, Task) and (task.text, task.folder) == ("how many files?", str(home))


async def test_run_shows_the_task_live(home: Path) -> None:
    async with daemon(home, plain):
        code, out, err = await run("how many files?")
    assert (code, err) == (0, "")
    assert "how many files?" in out and "mkdir x" in out and "gate: allow" in out


async def test_what_the_task_may_goes_with_it(home: Path) -> None:
    schema = {"type": "object"}
    async with daemon(home, plain) as served:
        code, _, _ = await run(
            *("sum up", "--yes", "--privacy", "local", "--budget-usd", "0.5", "--surface", "shell"),
            *("--schema", json.dumps(schema), "--now", "2026-01-02T03:04:05", "--json"),
        )
        task = next(served.ledger.events()).record
    assert code == 0 and isinstance(task, Task)
    assert (task.yes, task.privacy, task.budget_usd, task.surface) == (True, "local", 0.5, "shell")
    assert (task.schema, task.now) == (schema, "2026-01-02T03:04:05")


async def test_where_nobody_can_be_asked_what_needs_a_person_is_denied(home: Path) -> None:
    async with daemon(home, asking):
        code, out, _ = await run("make a folder", "--json")
    assert (code, json.loads(out)["status"]) == (9, "denied")


@pytest.mark.parametrize(("word", "code"), [("y", 0), ("n", 9)])
async def test_an_action_is_asked_about_at_the_terminal(home: Path, word: str, code: int) -> None:
    async with daemon(home, asking):
        ours, theirs = pty.openpty()
        process = await command("run", "make a folder", terminal=theirs)
        os.close(theirs)
        try:
            await shown(ours, "Allow? [y/N]")
            os.write(ours, f"{word}\n".encode())
            seen = asyncio.create_task(asyncio.to_thread(drained, ours))
            returned, *_ = await ended(process)
            assert "gate: " in (said := await seen)
            assert returned == code, said
        finally:
            os.close(ours)


async def test_what_was_answered_elsewhere_ends_the_question(home: Path) -> None:
    async with daemon(home, asking) as served:
        ours, theirs = pty.openpty()
        process = await command("run", "make a folder", terminal=theirs)
        os.close(theirs)
        try:
            await shown(ours, "Allow? [y/N]")
            (task_id,) = (await served.client.health())["running"]
            (one,) = (await served.client.task(task_id))["waiting"]
            await served.client.approve(task_id, one["id"])
            await shown(ours, "done in")
            os.write(ours, b"\n")
            code, *_ = await ended(process)
            assert code == 0
        finally:
            os.close(ours)


async def shown(terminal: int, wanted: str) -> None:
    """Until the program has printed ``wanted``."""
    async with asyncio.timeout(LIMIT_S):
        await asyncio.to_thread(drained, terminal, wanted)


def drained(terminal: int, until: str = "") -> str:
    """What the program prints, up to ``until``, or to its end."""
    seen = ""
    while not until or until not in seen:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # Linux: the other side was closed.
            break
        seen += piece.decode(errors="replace")
    return seen


async def test_ctrl_c_cancels_the_task_in_the_daemon_and_its_record_says_so(home: Path) -> None:
    async with daemon(home, endless) as served:
        process = await command("run", "wait for ever")
        async with asyncio.timeout(LIMIT_S):
            while not (running := (await served.client.health())["running"]):
                pass
        process.send_signal(signal.SIGINT)
        code, out, err = await ended(process)
        assert (code, err) == (130, "")
        assert "decisions list --task" in out and running[0] in out
        result = result_of(list(served.ledger.events(running[0])))
        assert result is not None and result.status == "cancelled"
        assert (await served.client.health())["running"] == []


async def test_an_error_of_the_task_is_the_commands_own(home: Path) -> None:
    async def without_display(task: Task, approver: Approver) -> AsyncIterator[Record]:
        yield task
        one = step(task, kind="gui")
        yield one
        yield decision(one)
        raise DisplayMissing("No display.", hint="Install Xvfb.")

    async with daemon(home, without_display):
        code, out, _ = await run("click it", "--json")
    assert code == DisplayMissing.exit_code
    assert json.loads(out) == DisplayMissing("No display.", hint="Install Xvfb.").as_dict()


async def test_what_keeps_a_task_from_starting_is_the_commands_own_error(home: Path) -> None:
    async with daemon(home, plain) as served:
        code, out, _ = await run("x" * 20_001, "--json")
        assert (code, json.loads(out)["error"]) == (2, "UsageError")
        assert served.ledger.last_id() == 0


async def test_a_daemon_that_is_stopped_ends_the_command_as_cancelled(home: Path) -> None:
    async with daemon(home, endless) as served:
        process = await command("run", "wait for ever", "--json")
        async with asyncio.timeout(LIMIT_S):
            while not (await served.client.health())["running"]:
                pass
    code, out, _ = await ended(process)
    assert (code, json.loads(out)["status"]) == (130, "cancelled")


class Leaving(Client):
    """A daemon that is gone after the first event of the task."""

    async def start_task(self, text: str, **fields: Any) -> str:
        return "task_1"

    async def follow(
        self, after: int | None = None, task_id: str | None = None
    ) -> AsyncGenerator[Event | Waits | Link, None]:
        yield Link(True)
        yield Event("task_1", 1.0, Task("task_1", "wait"), 1)
        yield Link(False, "gone")
        pytest.fail("it waited for a daemon that nobody may start again")


async def test_a_daemon_that_goes_away_is_told_with_how_to_go_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def reached(config: Config) -> AsyncIterator[tuple[Client, str]]:
        yield Leaving(home / "none.sock"), ""

    monkeypatch.setattr(nearby, "reached", reached)
    seen: list[Event] = []
    with pytest.raises(DaemonMissing) as caught:
        await task_by_daemon(
            Task("task_0", "wait"),
            load_config(),
            approver=None,
            on_event=seen.append,
            on_start=lambda task_id: None,
            tell=pytest.fail,
        )
    assert "aidecamp run --resume task_1" in caught.value.hint
    assert [event.id for event in seen] == [1]


async def test_a_stop_while_the_task_is_being_started_leaves_none_behind(home: Path) -> None:
    async def slow(task: Task, approver: Approver) -> AsyncIterator[Record]:
        beginning.set()
        await going_on.wait()
        async for record in endless(task, approver):
            yield record

    beginning, going_on = asyncio.Event(), asyncio.Event()
    async with daemon(home, slow) as served:
        process = await command("run", "wait for ever")
        async with asyncio.timeout(LIMIT_S):
            await beginning.wait()
        process.send_signal(signal.SIGINT)
        going_on.set()
        assert (await ended(process))[0] == 130
        (event,) = served.ledger.tasks()
        result = result_of(list(served.ledger.events(event.task_id)))
        assert result is not None and result.status == "cancelled"


@pytest.mark.parametrize("flag", [("--here",), ("--general", "http://127.0.0.1:9")])
async def test_a_task_that_is_for_this_process_stays_in_it(
    home: Path, flag: tuple[str, ...]
) -> None:
    async with daemon(home, plain) as served:
        code, out, _ = await run("how many files?", *flag, "--json")
        assert served.ledger.last_id() == 0
    assert (code, json.loads(out)["error"]) == (3, "ModelMissing")


async def test_a_daemon_of_another_home_is_not_used(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    async with daemon(home, plain) as served:
        env = {"AIDECAMP_HOME": str(other), "AIDECAMP_SOCKET": str(served.path)}
        code, out, err = await run("how many files?", "--json", env=env)
        assert served.ledger.last_id() == 0
    assert (code, json.loads(out)["error"]) == (3, "ModelMissing")
    assert "A daemon runs and is not used" in err


async def test_a_daemon_of_other_settings_is_not_used(home: Path) -> None:
    async with daemon(home, plain) as served:
        env = {"AIDECAMP_GENERAL__BASE_URL": "http://127.0.0.1:9"}
        code, _, err = await run("how many files?", "--json", env=env)
        assert served.ledger.last_id() == 0
    assert code == 3
    assert "other settings" in err


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda health: {**health, "version": "0.0.1"}, "version 0.0.1"),
        (lambda health: {**health, "ledger": "/elsewhere/ledger.db"}, "another record"),
        (lambda health: {**health, "settings": "0" * 32}, "other settings"),
        (lambda health: health, ""),
    ],
)
async def test_what_tells_daemons_apart(
    home: Path, change: Callable[[dict[str, Any]], dict[str, Any]], why: str
) -> None:
    async with daemon(home, plain) as served:
        health = change(dict(await served.client.health()))
    told = nearby.differs(health, load_config(), ledger_path())
    assert (why in told) if why else told == ""


def test_a_generals_key_is_no_part_of_what_settings_are_told_apart_by(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = nearby.fingerprint(load_config())
    monkeypatch.setenv("AIDECAMP_GENERAL__API_KEY", "sk-secret")
    assert nearby.fingerprint(load_config()) == before
    monkeypatch.setenv("AIDECAMP_GENERAL__MODEL", "another")
    assert nearby.fingerprint(load_config()) != before


async def test_no_daemon_is_no_client_and_no_complaint(home: Path) -> None:
    async with nearby.reached(load_config()) as (client, why):
        assert (client, why) == (None, "")


async def test_what_the_daemon_decides_is_listed_shown_and_judged_at_the_command_line(
    home: Path,
) -> None:
    async with daemon(home, plain) as served:
        await run("how many files?", "--json")
        (row,) = (await served.client.decisions()).rows
        code, out, _ = await ended(await command("decisions", "list", "--json"))
        assert [d["record"]["id"] for d in json.loads(out)["decisions"]] == [row.id]
        code, out, _ = await ended(await command("decisions", "mark", row.id, "right", "--json"))
        assert code == 0
        event = json.loads(out)
        assert event["id"] == (await served.client.health())["last_event_id"]
        code, out, _ = await ended(await command("savings", "--json"))
        report = json.loads(out)
        assert report["calls"] == (await served.client.savings()).calls == 1
