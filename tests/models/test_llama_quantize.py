"""Quantizing GGUF files: real runs, and failures that leave nothing behind."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from models.errors import ModelCorrupt, ModelMissing, StorageFailed, ToolFailed, UsageError
from models.gguf import read_header
from models.llama_quantize import file_type, quantize


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_model_becomes_another_type_and_says_what_it_is(gguf: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "small.gguf"
    seen: list[tuple[int, int]] = []
    made = quantize(
        gguf,
        target,
        "q4_k_m",
        threads=2,
        allow_requantize=True,
        progress=lambda done, total: seen.append((done, total)),
    )
    header = read_header(target)
    assert made.type == header.file_type == "Q4_K_M"
    assert made.bytes == target.stat().st_size < made.source_bytes == gguf.stat().st_size
    assert made.bits_per_weight == pytest.approx(header.bits_per_weight, abs=1e-3)
    assert made.tensors == header.tensor_types
    # SmolLM2's rows of 576 do not divide into blocks of 256: most K-quants fall back.
    assert made.fallbacks.keys() == made.tensors.keys() - {"f32", "q4_K"}
    assert seen[-1] == (len(header.tensors), len(header.tensors))
    assert leftovers(target.parent) == ["small.gguf"]


def test_a_quantized_source_is_refused_unless_asked_for(gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quantized already") as caught:
        quantize(gguf, tmp_path / "x.gguf", "Q4_0")
    assert "--allow-requantize" in caught.value.hint
    assert not leftovers(tmp_path)


def test_an_unknown_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Q4_K_M"):
        file_type("Q9_9")
    assert file_type("iq4_xs") == "IQ4_XS"


def test_a_type_that_needs_an_importance_matrix_fails_and_keeps_the_target(
    gguf: Path, tmp_path: Path
) -> None:
    target = tmp_path / "kept.gguf"
    target.write_bytes(b"what was there")
    with pytest.raises(ToolFailed, match="importance matrix"):
        quantize(gguf, target, "IQ1_S", allow_requantize=True)
    assert target.read_bytes() == b"what was there"
    assert leftovers(tmp_path) == ["kept.gguf"]


def test_a_crash_of_the_quantizer_is_an_error_of_its_own(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = tmp_path / "crash"
    crash.write_text(
        f"#!{sys.executable}\nimport os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    crash.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crash))
    with pytest.raises(ToolFailed, match="it crashed: SIGSEGV"):
        quantize(gguf, tmp_path / "x.gguf", "Q4_0", allow_requantize=True)
    assert leftovers(tmp_path) == ["crash"]


def test_a_damaged_source_never_reaches_the_quantizer(gguf: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "cut.gguf"
    with gguf.open("rb") as stream:
        damaged.write_bytes(stream.read(3 * 2**20))
    with pytest.raises(ModelCorrupt):
        quantize(damaged, tmp_path / "x.gguf", "Q4_0", allow_requantize=True)
    with pytest.raises(ModelMissing):
        quantize(tmp_path / "none.gguf", tmp_path / "x.gguf", "Q4_0")
    assert leftovers(tmp_path) == ["cut.gguf"]


def test_the_source_is_never_its_own_target(gguf: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(gguf)
    before = gguf.stat().st_size
    with pytest.raises(UsageError, match="source itself"):
        quantize(gguf, link, "Q4_0", allow_requantize=True)
    assert gguf.stat().st_size == before


def test_a_full_disk_is_refused_before_anything_is_written(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 2**20

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Full)
    with pytest.raises(StorageFailed, match="1 MiB free"):
        quantize(gguf, tmp_path / "x.gguf", "Q4_0", allow_requantize=True)
    assert not leftovers(tmp_path)


def test_a_target_that_cannot_be_written_is_an_error(gguf: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(StorageFailed, match="cannot be written"):
        quantize(gguf, blocker / "x.gguf", "Q4_0", allow_requantize=True)
