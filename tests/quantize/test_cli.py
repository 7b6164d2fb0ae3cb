"""``aidecamp quantize``, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import UsageError
from models.gguf import read_header
from quantize.cli import _beside, app


def aidecamp(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime.cli", "quantize", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_json_is_one_object_with_what_was_made(gguf: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    done = aidecamp(
        str(gguf), "--type", "q4_0", "--output", str(target), "--allow-requantize", "--json"
    )
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    header = read_header(target)
    assert body["target"] == str(target)
    assert body["type"] == "Q4_0"
    assert body["bytes"] == target.stat().st_size
    assert body["tensors"] == header.tensor_types
    assert body["fallbacks"] == {"q8_0": 1}
    assert body["digest"].startswith("sha256:")
    assert body["bits_per_weight"] < 6
    assert body["seconds"] > 0


def test_an_unknown_type_names_the_known_ones(gguf: Path) -> None:
    done = aidecamp(str(gguf), "--type", "tiny")
    assert done.returncode == 2
    assert "Q8_0" in done.stderr
    assert "Traceback" not in done.stderr


def test_requantizing_is_refused_with_the_way_out(gguf: Path, tmp_path: Path) -> None:
    done = aidecamp(str(gguf), "-t", "Q4_0", "-o", str(tmp_path / "x.gguf"), "--json")
    assert done.returncode == 2
    assert "--allow-requantize" in json.loads(done.stdout)["hint"]
    assert not list(tmp_path.iterdir())


def test_a_corrupt_file_has_its_own_exit_code(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 64)
    done = aidecamp(str(bad), "-t", "Q4_0")
    assert done.returncode == 4
    assert "no sound GGUF file" in done.stderr


def test_help_answers_without_loading_a_model_library() -> None:
    code = (
        "import sys, quantize.cli\n"
        "print([m for m in ('llama_cpp', 'numpy', 'onnxruntime', 'rich') if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert loaded.strip() in ("[]", "['rich']")  # typer brings rich where it is installed
    assert "Q4_K_M" in aidecamp("--help").stdout


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("model.F16.gguf", "model.Q8_0.gguf"),
        ("model-q4_k_m.gguf", "model-Q8_0.gguf"),
        ("model.gguf", "model.Q8_0.gguf"),
        ("model_bf16.gguf", "model_Q8_0.gguf"),
    ],
)
def test_the_default_target_replaces_the_old_type(name: str, made: str) -> None:
    assert _beside(Path("/m") / name, "Q8_0") == Path("/m") / made


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    source, target = tmp_path / "a.gguf", tmp_path / "b.gguf"
    source.write_bytes(b"GGUF")
    target.write_bytes(b"precious")
    with pytest.raises(UsageError, match="left as it is"):
        app(args=[str(source), "--type", "Q8_0", "-o", str(target)])
    assert target.read_bytes() == b"precious"
