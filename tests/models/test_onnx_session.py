"""Opening a graph and running it: provider, threads, bound runs, files that change."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from models import onnx_session
from models.errors import ModelCorrupt, UsageError
from models.onnx_graph import Graph
from models.onnx_session import OnnxSession, cuda_refusal, default_threads, run_bound
from models.onnx_tokens import Row, padded
from tests.models.onnx_graphs import Classifier

FEED = padded([Row((5, 6), (0, 1), cut=False), Row((7,), (0,), cut=False)], 2, 0)
FLOAT, INT8 = Graph(frozenset({"MatMul"}), ()), Graph(frozenset({"MatMulInteger"}), ())


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(vocabulary=16)


def expected(classifier: Classifier) -> Any:
    return [classifier.logits((5, 6), (0, 1)), classifier.logits((7,), (0,))]


class Driver:
    """``libcuda`` where a GPU answers."""

    @staticmethod
    def cuInit(flags: int) -> int:
        return flags


def test_int8_is_refused_on_cuda_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver)
    assert cuda_refusal(FLOAT) is None
    assert "int8 runs slower on the CUDA provider" in str(cuda_refusal(INT8))


def test_cuda_is_refused_without_a_build_or_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "without CUDA" in str(cuda_refusal(FLOAT))

    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert cuda_refusal(FLOAT) == "no NVIDIA driver"


def test_bound_runs_give_what_plain_runs_give(classifier: Classifier, tmp_path: Path) -> None:
    path = classifier.save(tmp_path / "head.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(
        run_bound(session, FEED, "logits", "cpu"), expected(classifier), atol=1e-5
    )


def test_only_cuda_runs_are_bound(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[str] = []

    def record(session: object, inputs: object, output: str, device: str) -> str:
        bound.append(device)
        return "from the device"

    monkeypatch.setattr(onnx_session, "run_bound", record)
    session = OnnxSession(classifier.save(tmp_path / "head.onnx"))
    session.provider = "cpu"
    np.testing.assert_allclose(session.run(FEED, "logits"), expected(classifier), atol=1e-5)
    assert not bound
    session.provider = "cuda"
    assert str(session.run(FEED, "logits")) == "from the device"
    assert bound == ["cuda"]


def test_a_run_uses_the_cores_of_this_process_but_leaves_some(
    monkeypatch: pytest.MonkeyPatch, classifier: Classifier, tmp_path: Path
) -> None:
    for cores, threads in ((1, 1), (2, 2), (16, 2)):
        allowed = set(range(cores))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, c=allowed: c, raising=False)
        assert default_threads() == threads
    path = classifier.save(tmp_path / "head.onnx")
    assert OnnxSession(path).threads == 2
    assert OnnxSession(path, 1).threads == 1
    for threads in (0, -1):
        with pytest.raises(UsageError, match="at least one thread"):
            OnnxSession(path, threads)


def test_a_file_replaced_after_loading_changes_nothing(
    classifier: Classifier, tmp_path: Path
) -> None:
    path = classifier.save(tmp_path / "head.onnx")
    session = OnnxSession(path)
    digest = session.model
    path.write_bytes(b"something else")
    np.testing.assert_allclose(session.run(FEED, "logits"), expected(classifier), atol=1e-5)
    assert session.model == digest
    with pytest.raises(ModelCorrupt, match="no whole ONNX file"):
        OnnxSession(path)


def test_a_file_that_changes_during_loading_is_refused(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = classifier.save(tmp_path / "head.onnx")

    def replaced(*_: object) -> tuple[object, str, str]:
        path.write_bytes(path.read_bytes() + b"\x08\x08")
        return None, "cpu", ""

    monkeypatch.setattr(onnx_session, "_open", replaced)
    with pytest.raises(ModelCorrupt, match="changed on disk while it was loaded"):
        OnnxSession(path)


def test_weights_beside_the_file_count_in_the_digest_and_may_not_change(
    classifier: Classifier, tmp_path: Path
) -> None:
    path = classifier.save(tmp_path / "head.onnx", outside=True)
    outside = tmp_path / "head.onnx.data"
    session = OnnxSession(path)
    np.testing.assert_allclose(session.run(FEED, "logits"), expected(classifier), atol=1e-5)
    outside.write_bytes(outside.read_bytes()[::-1] + b"\0")
    with pytest.raises(ModelCorrupt, match=r"head\.onnx\.data changed on disk"):
        session.run(FEED, "logits")
    assert OnnxSession(path).model != session.model


def test_wrong_inputs_to_a_run_leave_the_session_usable(
    classifier: Classifier, tmp_path: Path
) -> None:
    session = OnnxSession(classifier.save(tmp_path / "head.onnx"))
    with pytest.raises(ModelCorrupt, match="ONNX Runtime fails on"):
        session.run({**FEED, "input_ids": FEED["input_ids"] + 1000}, "logits")
    np.testing.assert_allclose(session.run(FEED, "logits"), expected(classifier), atol=1e-5)


def test_a_large_batch_leaves_no_memory_behind(tmp_path: Path) -> None:
    path = Classifier(vocabulary=16).save(tmp_path / "head.onnx")
    script = f"""
import sys
from pathlib import Path
import numpy as np, psutil
from models.onnx_session import OnnxSession
session = OnnxSession(Path({str(path)!r}))
process = psutil.Process()
def run(rows, width):
    ids = np.full((rows, width), 5, np.int64)
    feed = dict(input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=ids * 0)
    session.run(feed, "logits")
run(2, 8)
before = process.memory_info().rss
run(2048, 2048)
run(2, 8)
print(process.memory_info().rss - before)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    # One of its hidden states alone takes 64 MiB.
    assert int(ran.stdout) < 32 << 20
