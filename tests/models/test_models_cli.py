"""``aidecamp models``, as a user runs it: a process, its two streams and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.store import Store
from tests.models.hub import Hub, serving

QWEN = "/Qwen/Qwen3-0.6B-GGUF/resolve/main/Qwen3-0.6B-Q8_0.gguf"


def aidecamp(*arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"AIDECAMP_HOME": str(home)} if home else {})}
    return subprocess.run(
        [sys.executable, "-m", "runtime.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that serves a real GGUF, a smaller one, under the name of pack small's."""
    store = Store()
    (state,) = store.installed("smollm2-135m")
    assert state.pulled is not None, "the set-up pulls the default pack"
    with serving() as hub:
        hub.put(QWEN, (store.root / "smollm2-135m" / state.pulled.name).read_bytes())
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def parsed(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_list_shows_what_is_here_and_what_is_not(tmp_path: Path) -> None:
    done = aidecamp("models", "list", "--json")
    assert done.returncode == 0, done.stderr
    body = parsed(done)
    here = {m["name"]: m["pulled"] for m in body["models"]}
    assert here["smollm2-135m"] and here["minilm-l6"]
    assert [p["name"] for p in body["packs"]] == ["tiny", "small", "standard"]
    assert body["recommended_pack"] in {"tiny", "small", "standard"}

    empty = parsed(aidecamp("models", "list", "--json", home=tmp_path))
    assert empty["store"] == str(tmp_path / "models")
    assert not any(m["pulled"] for m in empty["models"])
    assert [*tmp_path.iterdir()] == [], "a look must not make anything"


def test_list_in_words_fits_a_terminal() -> None:
    done = aidecamp("models", "list")
    rows = [line for line in done.stdout.splitlines() if line.startswith(("smol", "qwen"))]
    assert len(rows) == 4 and all(len(line) <= 80 for line in rows)
    assert "recommended here" in done.stdout


def test_show_gives_the_file_to_load_with_its_digest() -> None:
    body = parsed(aidecamp("models", "show", "smollm2-135m", "--check", "--json"))
    assert body["problems"] == []
    (file,) = body["files"]
    assert file["path"] == str(Store().file("smollm2-135m"))
    assert file["type"] == "Q8_0" and len(file["sha256"]) == 64


def test_pull_of_what_is_here_changes_nothing() -> None:
    path = Store().file("minilm-l6")
    before = path.stat().st_mtime_ns
    done = aidecamp("models", "pull", "minilm-l6", "--json")
    assert done.returncode == 0 and done.stderr == ""
    assert parsed(done)["models"][0]["pulled"]
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("command", ["pull", "rm", "show"])
def test_unknown_model_is_a_usage_error(command: str, tmp_path: Path) -> None:
    done = aidecamp("models", command, "nope", "--json", home=tmp_path)
    assert done.returncode == 2
    body = parsed(done)
    assert body["error"] == "UsageError" and "smollm2-135m" in body["hint"]


def test_failures_have_exit_codes_of_their_own_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "models" / "minilm-l6").mkdir(parents=True)
    (tmp_path / "models" / "lock.json").write_text("{}")
    done = aidecamp("models", "show", "minilm-l6", home=tmp_path)
    assert done.returncode == 8
    assert "lock.json" in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_damaged_file_makes_show_check_fail(tmp_path: Path) -> None:
    store = Store()
    lock = store.root / "lock.json"
    root = tmp_path / "models"
    (root / "minilm-l6").mkdir(parents=True)
    (root / "lock.json").write_bytes(lock.read_bytes())
    for role in ("model", "tokenizer"):
        path = store.file("minilm-l6", role)
        body = bytearray(path.read_bytes())
        body[len(body) // 2] ^= 1
        (root / "minilm-l6" / path.name).write_bytes(body)
    done = aidecamp("models", "show", "minilm-l6", "--check", "--json", home=tmp_path)
    assert done.returncode == 4
    assert parsed(done)["error"] == "ModelCorrupt" and "SHA-256" in parsed(done)["message"]


def test_rm_frees_what_it_says(tmp_path: Path) -> None:
    store = Store()
    root = tmp_path / "models"
    (root / "minilm-l6").mkdir(parents=True)
    (root / "lock.json").write_bytes((store.root / "lock.json").read_bytes())
    (root / "minilm-l6" / "model.onnx").write_bytes(b"x" * 1000)
    done = aidecamp("models", "rm", "minilm-l6", "--json", home=tmp_path)
    assert parsed(done) == {"removed": "minilm-l6", "freed_bytes": 1000, "forgotten": False}
    assert not (root / "minilm-l6").exists()
    (model,) = [
        m
        for m in parsed(aidecamp("models", "list", "--json", home=tmp_path))["models"]
        if m["name"] == "minilm-l6"
    ]
    assert not model["pulled"] and {f["state"] for f in model["files"]} == {"missing"}


@pytest.mark.parametrize("command", ["list", "pull", "rm", "show"])
def test_help_of_each_command_has_an_example(command: str) -> None:
    done = aidecamp("models", command, "--help")
    assert done.returncode == 0 and f"aidecamp models {command}" in done.stdout
    assert "Example" in done.stdout


def test_pull_from_the_hub_records_what_it_saw(hub: Hub, tmp_path: Path) -> None:
    done = aidecamp("models", "pull", "qwen3-0.6b", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    (model,) = parsed(done)["models"]
    assert model["pulled"] and model["unverified"]
    assert len(model["files"][0]["sha256"]) == 64 and len(model["files"][0]["revision"]) == 40
    assert "checking size and SHA-256" in done.stderr


def test_interrupted_pull_ends_with_130_and_says_what_was_kept(hub: Hub, tmp_path: Path) -> None:
    hub.gate.clear()
    process = subprocess.Popen(
        # A runner in the background ignores SIGINT, and its children would inherit that.
        [
            "env",
            "--default-signal=INT",
            sys.executable,
            "-m",
            "runtime.cli",
            "models",
            "pull",
            "qwen3-0.6b",
            "--json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "AIDECAMP_HOME": str(tmp_path)},
    )
    assert hub.asked.wait(60), "the download began"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["error"] == "Interrupted"
    assert not (tmp_path / "models" / "qwen3-0.6b" / "Qwen3-0.6B-Q8_0.gguf").exists()
