"""The command line: help at once, one error shape, an exit code for each kind of failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cli import COMMANDS
from runtime.commands.run import resumed
from runtime.core import Outcome, Privacy, Result, Task
from runtime.ledger import Ledger, open_actions, records

HEAVY = ("textual", "llama_cpp", "onnxruntime", "torch", "pyautogui", "mss", "rapidocr", "sklearn")


def aidecamp(
    *arguments: str, home: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ)
    if home is not None:
        env["AIDECAMP_HOME"] = str(home)
    return subprocess.run(
        [sys.executable, "-m", "runtime.cli", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        env=env,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("module", ["runtime.cli", "runtime.core", "runtime.commands.run"])
def test_importing_the_command_line_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_help_names_every_command() -> None:
    done = aidecamp("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    done = aidecamp(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "xample" in done.stdout


def test_an_unknown_command_lists_the_known_ones() -> None:
    done = aidecamp("rnu")
    assert done.returncode == 2
    assert "no command 'rnu'" in done.stderr
    assert "quantize" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "error"),
    [
        (["run", " "], "", 2, "UsageError"),
        (["run", "-"], "x" * 100_000, 2, "UsageError"),
        (["run", "x", "--surface", "phone"], "", 2, "UsageError"),
        (["run", "x", "--no-such-option"], "", 2, "UsageError"),
        (["decisions", "show"], "", 2, "UsageError"),
        (["decisions", "list", "--limit", "0"], "", 2, "UsageError"),
        (["quantize", "x.gguf"], "", 2, "UsageError"),
        (["rnu"], "", 2, "UsageError"),
        (["run", "x", "--privacy", "public"], "", 2, "UsageError"),
        (["run", "x", "--folder", "/nowhere/at/all"], "", 2, "UsageError"),
        (["run", "x", "--now", "soon"], "", 2, "UsageError"),
        (["run", "x", "--schema", '{"type": "nope"}'], "", 7, "SchemaRefused"),
        (["run", "x", "--schema", "{"], "", 7, "SchemaRefused"),
        (["run", "x", "--schema", "/no/such.json"], "", 7, "SchemaRefused"),
        (["run", "x", "--tools", "/no/such.json"], "", 2, "UsageError"),
        (["run", "--resume", "task_none"], "", 2, "UsageError"),
        (["run", "--resume", "task_none", "--dry-run"], "", 2, "UsageError"),
        (["decisions", "show", "dec_none"], "", 2, "UsageError"),
        (["savings", "--model", "no-such-model"], "", 2, "UsageError"),
    ],
)
def test_bad_input_is_one_json_error_with_its_exit_code(
    tmp_path: Path, arguments: list[str], stdin: str, code: int, error: str
) -> None:
    if "--resume" in arguments:
        (tmp_path / "models").symlink_to(_models())
    done = aidecamp(*arguments, "--json", home=tmp_path, stdin=stdin)
    assert done.returncode == code, done.stderr
    body = json.loads(done.stdout)
    assert (body["error"], body["exit_code"]) == (error, code)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("then", "now", "flag", "privacy"),
    [
        ("auto", "local", "local", "local"),
        ("auto", "local", None, "local"),
        ("auto", "ask", None, "ask"),
        ("local", "ask", None, "local"),
        ("local", "auto", "auto", "auto"),
    ],
)
def test_a_resumed_task_sends_no_more_than_is_allowed_now(
    then: Privacy, now: Privacy, flag: str | None, privacy: str
) -> None:
    task = resumed(Task("t", "x", privacy=then), Task("n", "", privacy=now), flag=flag)
    assert (task.id, task.text, task.privacy) == ("t", "x", privacy)


def test_without_models_the_error_says_what_to_pull(tmp_path: Path) -> None:
    done = aidecamp("run", "how much memory is free?", home=tmp_path)
    assert done.returncode == 3
    assert "aidecamp models pull" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = aidecamp("run", "how much memory is free?", home=tmp_path / "file")
    assert done.returncode == 8
    assert "AIDECAMP_HOME" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("privacy = [")
    done = aidecamp("run", "x", home=tmp_path)
    assert done.returncode == 2
    assert "config.toml" in done.stderr
    (tmp_path / "config.toml").write_text("[policy]\nmax_stepz = 3\n")
    done = aidecamp("run", "x", home=tmp_path)
    assert done.returncode == 2
    assert "max_stepz" in done.stderr


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_full_output_is_an_error_and_no_traceback(tmp_path: Path, form: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "runtime.cli", "decisions", "list", *form],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "AIDECAMP_HOME": str(tmp_path)},
            check=False,
        )
    assert done.returncode == 8
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_folder_that_is_gone_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", f'rmdir "{gone}" && exec "{sys.executable}" -m runtime.cli run x --json'],
        cwd=gone,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert (done.returncode, json.loads(done.stdout)["error"]) == (8, "StorageFailed")
    assert "Traceback" not in done.stderr


def _models() -> Path:
    from runtime.config import data_dir

    return data_dir() / "models"


def test_ctrl_c_in_the_middle_leaves_a_whole_record(tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(_models())
    work = tmp_path / "work"
    work.mkdir()
    process = subprocess.Popen(
        [
            # A runner in the background ignores SIGINT, and its children would inherit that.
            *(
                "env",
                "--default-signal=INT",
                sys.executable,
                "-m",
                "runtime.cli",
                "run",
                "--json",
                "--yes",
                "--folder",
                str(work),
            ),
            "; ".join(f'append the line "{n}" to {work}/log.txt' for n in range(20)),
        ],
        env={**os.environ, "AIDECAMP_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = work / "log.txt"
    while not log.exists():  # the first of its writes has happened
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.check()
    events = list(ledger.events())
    ledger.close()
    assert [r.status for r in records(events, Result)] == ["cancelled"]
    assert open_actions(events) == []
    done = [o for o in records(events, Outcome) if o.status == "done"]
    assert len(done) <= len(log.read_text().splitlines()) < 20
