from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from models import doctor
from models.checks import desktop, engine, figures, storage
from models.checks.base import Check
from models.checks.engine import Probed
from models.errors import ModelCorrupt, ModelMissing, ToolFailed, UsageError
from models.machine import Gpu, Machine
from models.store import Store

BUILT = {"version": "1", "system": "CPU : AVX2 = 1 | ", "gpu_offload": False}
DECODED = {"prefill_tokens_per_s": 300.0, "decode_tokens_per_s": 60.0}
NO_GPU = Machine(8000, 6000, 4, (), "no NVIDIA driver answers")
ONE_GPU = dataclasses.replace(NO_GPU, gpus=(Gpu("Test GPU", 8000, 7000, "1.0"),))


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with no program on it, and a data folder with nothing in it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path / "home"))
    return tmp_path


def test_this_machine_runs_what_the_set_up_installed() -> None:
    report = doctor.examine()
    status = {check.name: check.status for check in report.checks}
    assert not report.failed, [c for c in report.checks if c.status == "fail"]
    for name in ("llama.cpp", "onnxruntime", "models", "sandbox", "private display"):
        assert status[name] == "ok", name
    (llama,) = [c for c in report.checks if c.name == "llama.cpp"]
    assert llama.data["stages"]["decode"]["decode_tokens_per_s"] > 0


def test_doctor_goes_on_where_nothing_is_installed(nothing_installed: Path) -> None:
    done = CliRunner().invoke(doctor.app, ["--json"])
    assert done.exit_code == 1
    body = json.loads(done.stdout)
    status = {c["name"]: c["status"] for c in body["checks"]}
    assert not body["ok"] and len(status) == 14
    assert status["sandbox"] == status["private display"] == status["models"] == "fail"
    assert status["llama.cpp"] == "warn", "it loads, and there is nothing to decode with"
    for check in body["checks"]:
        assert check["fix"] or check["status"] == "ok", check["name"]
    assert not (nothing_installed / "home").exists()


def test_check_that_breaks_is_a_failed_line_and_not_the_end(
    nothing_installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Check:
        raise RuntimeError("boom")

    monkeypatch.setattr(storage, "disk", broken)
    report = doctor.examine()
    (check,) = [c for c in report.checks if c.name == "disk"]
    assert check.status == "fail" and "boom" in check.detail
    assert report.checks[-1].name == "keyring"


def test_words_name_what_to_do(nothing_installed: Path) -> None:
    done = CliRunner().invoke(doctor.app, [])
    assert "apt-get install -y --no-install-recommends bubblewrap" in done.stdout
    assert "aidecamp models pull" in done.stdout


# ---- llama.cpp that crashes


def test_probe_that_dies_reports_the_signal_and_how_far_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "llama_cpp.py"
    fake.write_text(
        "import os, signal\n"
        "__version__ = '1'\n"
        "llama_print_system_info = lambda: b'AMX_INT8 = 1'\n"
        "llama_supports_gpu_offload = lambda: os.kill(os.getpid(), signal.SIGILL)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    probed = engine.probe()
    assert probed.code == -signal.SIGILL and probed.reached == "nothing"


@pytest.mark.parametrize("number", [signal.SIGILL, signal.SIGSEGV])
def test_crash_on_a_cpu_with_amx_names_the_instruction_and_the_flags(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "cpu_flags", lambda: frozenset({"avx2", "amx_int8"}))
    check = engine.llama(Probed({"import": BUILT, "load": {}}, -number, ""), model=Path("m.gguf"))
    assert check.status == "fail"
    assert number.name in check.detail and "ldtilecfg" in check.detail
    assert "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" in check.fix and "make llama" in check.fix


def test_crash_on_a_cpu_without_amx_does_not_blame_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "cpu_flags", lambda: frozenset({"sse4_2"}))
    check = engine.llama(Probed({}, -signal.SIGILL, ""), model=None)
    assert "ldtilecfg" not in check.detail and "instructions that this CPU does not have" in (
        check.detail
    )


def test_build_with_amx_that_works_is_a_warning() -> None:
    built = {**BUILT, "system": "CPU : AVX2 = 1 | AMX_INT8 = 1 | "}
    check = engine.llama(Probed({"import": built, "decode": DECODED}, 0, ""), model=Path("m.gguf"))
    assert check.status == "warn" and "-mno-amx" in check.fix


def test_library_that_is_not_there_is_told_from_one_that_crashes() -> None:
    words = "ModuleNotFoundError: No module named 'llama_cpp'"
    check = engine.llama(Probed({}, 1, words), model=None)
    assert check.status == "fail" and words in check.detail and check.fix == "run: make setup"


def test_file_that_is_no_model_is_reported_from_the_probe(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"no model")
    probed = engine.probe("--generator", path)
    assert probed.code == 1 and probed.reached == "import"
    assert "ModelCorrupt" in engine.llama(probed, model=path).detail


# ---- devices


def test_gpu_line_says_why_the_cpu_is_used() -> None:
    loaded = {"device": "cpu", "layers": 31, "offloaded": 0, "reason": "the GPU has 1 MiB free"}
    cuda = {**BUILT, "gpu_offload": True}
    none = engine.gpu(NO_GPU, Probed({"import": BUILT}, 0, ""))
    assert none.status == "ok" and "no NVIDIA driver" in none.detail
    without = engine.gpu(ONE_GPU, Probed({"import": BUILT}, 0, ""))
    assert without.status == "warn" and "without CUDA" in without.detail
    full = engine.gpu(ONE_GPU, Probed({"import": cuda, "load": loaded}, 0, ""))
    assert full.status == "warn" and "0 of 31 layers" in full.detail and "1 MiB" in full.detail


def test_gpu_line_counts_the_offloaded_layers() -> None:
    loaded = {"device": "gpu", "layers": 31, "offloaded": 31, "reason": "all layers fit"}
    check = engine.gpu(
        ONE_GPU, Probed({"import": {**BUILT, "gpu_offload": True}, "load": loaded}, 0, "")
    )
    assert check.status == "ok" and "31 of 31 layers offloaded" in check.detail


def test_onnx_line_gives_the_provider_and_the_reason() -> None:
    files = storage.encoder_files(Store())
    assert files is not None
    check = engine.onnx(engine.probe("--encoder", *files), pulled=True)
    assert check.status == "ok"
    assert " on C" in check.detail and check.data["stages"]["load"]["reason"] in check.detail


# ---- the system


def test_display_that_does_not_start_is_reported_with_its_words(
    nothing_installed: Path,
) -> None:
    fake = nothing_installed / "Xvfb"
    fake.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('cannot open the socket')\n")
    fake.chmod(0o755)
    check = desktop.display()
    assert check.status == "fail" and "cannot open the socket" in check.detail


def test_sandbox_that_is_forbidden_is_reported_with_its_words(nothing_installed: Path) -> None:
    fake = nothing_installed / "bwrap"
    fake.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('setting up uid map: denied')\n")
    fake.chmod(0o755)
    check = desktop.sandbox()
    assert check.status == "fail" and "uid map: denied" in check.detail
    assert "user namespaces" in check.fix


def test_data_folder_that_cannot_be_made_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path / "file" / "home"))
    check = storage.writable()
    assert check.status == "fail" and "AIDECAMP_HOME" in check.fix


# ---- the bench


def test_bench_measures_every_figure_of_the_pulled_model() -> None:
    done = CliRunner().invoke(doctor.app, ["--bench", "--json"])
    assert done.exit_code == 0, done.output
    bench = json.loads(done.stdout)["bench"]
    assert list(bench) == list(figures.STAGES)
    for stage, field in (
        ("load", "seconds"),
        ("prefill", "tokens_per_s"),
        ("decode", "tokens_per_s"),
        ("structured_call", "ms"),
        ("choose", "ms"),
        ("encoder", "ms"),
        ("memory", "model_mb"),
    ):
        assert bench[stage][field] > 0, stage
    assert bench["structured_call"]["p95_ms"] >= bench["structured_call"]["ms"]
    assert bench["load"]["kv_bytes_per_token"]["f16"] == 23040
    shown = Console(width=100, record=True, file=io.StringIO())
    shown.print(figures.table(bench))
    text = shown.export_text()
    assert bench["load"]["reason"][:20] in text
    assert f"median of {bench['structured_call']['runs']}" in text


def test_bench_of_what_is_no_model_or_is_not_there_says_so(nothing_installed: Path) -> None:
    with pytest.raises(ModelMissing, match="no generator"):
        figures.measure(Store())
    path = nothing_installed / "model.gguf"
    path.write_bytes(b"no model")
    with pytest.raises(ModelCorrupt, match=r"model\.gguf"):
        figures.measure(Store(), path)


def test_bench_that_dies_names_the_signal_and_the_stage(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "llama_cpp.py"
    fake.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    with pytest.raises(ToolFailed, match="after stage nothing: SIGILL") as caught:
        figures.measure(Store(), gguf)
    assert "-mno-amx-tile" in caught.value.hint


def test_model_without_bench_is_a_usage_error(gguf: Path) -> None:
    done = CliRunner().invoke(doctor.app, ["--model", str(gguf)])
    assert isinstance(done.exception, UsageError) and done.exception.hint == "add --bench"
