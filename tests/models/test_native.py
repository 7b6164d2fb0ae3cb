"""Aidecamp's own kernels against ggml's, and against themselves in other batches and places."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import native
from models.errors import ToolFailed
from models.gguf import read_header
from models.llama_context import LlamaContext, Placement
from models.llama_quantize import quantize
from models.machine import cpu_flags
from models.store import Store

TEXT = (
    "The harbour master wrote down every ship that came in before noon, its flag, its cargo and "
    "the name of whoever signed for it. On Tuesday the fog lay so thick that only 3 of 14 did."
)
CPU = Placement("cpu", 0, "a test")

pytestmark = pytest.mark.skipif(
    not {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"} <= cpu_flags(),
    reason="the kernels are for CPUs with AVX-512 VNNI, and this one has none",
)


@pytest.fixture(scope="module", params=["Q8_0", "Q4_0", "Q4_1"])
def gguf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model in each type that the kernels multiply."""
    stored = Store().file("smollm2-135m", "model")
    if request.param == "Q8_0":
        return stored
    made = tmp_path_factory.mktemp("native") / f"{request.param}.gguf"
    quantize(stored, made, request.param, allow_requantize=True)
    return made


@pytest.fixture(scope="module")
def context(gguf: Path) -> Iterator[LlamaContext]:
    context = LlamaContext(read_header(gguf), cells=1024, threads=2, placement=CPU)
    assert context.kernels == "", "set-up builds them: python -m models.native"
    yield context
    context.close()


def logits_of(
    context: LlamaContext, tokens: list[int], sequence: int, *, at_once: int
) -> NDArray[np.float32]:
    """Logits after each token, ``at_once`` of them decoded together; the sequence is emptied."""
    rows = []
    for start in range(0, len(tokens), at_once):
        part = tokens[start : start + at_once]
        places = range(start, start + len(part))
        context.decode(part, places, [(sequence,)] * len(part), [True] * len(part))
        rows += [context.logits(index).copy() for index in range(len(part))]
    context.truncate(sequence, 0)
    return np.stack(rows)


def test_a_token_is_the_same_to_the_last_bit_in_any_batch(context: LlamaContext) -> None:
    tokens = context.tokenize(TEXT, special=False)
    alone = logits_of(context, tokens, 0, at_once=1)
    for at_once in (2, 3, 5, 7, 16, len(tokens)):
        assert np.array_equal(logits_of(context, tokens, 0, at_once=at_once), alone), at_once


def test_and_in_any_place_of_the_cache(context: LlamaContext) -> None:
    tokens = context.tokenize(TEXT, special=False)
    first = logits_of(context, tokens, 0, at_once=len(tokens))
    others = context.tokenize(TEXT[::-1], special=False)
    context.decode(others, range(len(others)), [(1,)] * len(others), [True] * len(others))
    behind = logits_of(context, tokens, 2, at_once=4)
    context.truncate(1, 0)
    assert np.array_equal(behind, first)


def test_the_model_is_the_one_that_ggml_runs(
    context: LlamaContext, gguf: Path, tmp_path: Path
) -> None:
    """Rounding differs and moves logits a little: no more than quantized activations do."""
    tokens = context.tokenize(TEXT, special=False)
    saved = tmp_path / "ggml.npy"
    code = (
        "import sys; import numpy as np; from pathlib import Path\n"
        "from models.gguf import read_header\n"
        "from models.llama_context import LlamaContext\n"
        "from tests.models.test_native import CPU, TEXT, logits_of\n"
        "c = LlamaContext(read_header(Path(sys.argv[1])), cells=1024, threads=2, placement=CPU)\n"
        "assert 'asks for' in c.kernels, c.kernels\n"
        "np.save(sys.argv[2], logits_of(c, c.tokenize(TEXT, special=False), 0, at_once=8))\n"
        "c.close()\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(gguf), str(saved)],
        env={**os.environ, native.SWITCH: "ggml"},
        cwd=Path(__file__).parents[2],
        check=True,
    )
    theirs = np.load(saved)
    ours = logits_of(context, tokens, 0, at_once=8)
    for one, other in zip(ours, theirs, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.998
    sure = np.sort(theirs, axis=1)
    clear = sure[:, -1] - sure[:, -2] > 1.0
    assert clear.sum() > 5
    assert np.array_equal(ours.argmax(axis=1)[clear], theirs.argmax(axis=1)[clear])


def test_a_process_that_loaded_a_model_without_them_is_told_so(gguf: Path) -> None:
    code = (
        "import os, sys, llama_cpp\n"
        "params = llama_cpp.llama_model_default_params()\n"
        "assert llama_cpp.llama_model_load_from_file(os.fsencode(sys.argv[1]), params)\n"
        "from models import native\n"
        "print(native.use())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(gguf)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "a model was loaded before they could be plugged in\n"


def test_another_release_of_llama_cpp_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LLAMA_VERSION", "0.0.1")
    assert "they fit llama-cpp-python 0.0.1" in native._use()


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "_library", lambda: tmp_path / "kernels.so")
    monkeypatch.setenv("CXX", "/nowhere/c++")
    with pytest.raises(ToolFailed, match="cannot be built"):
        native.build()
    assert "not built here" in native._use()


def test_a_compiler_that_refuses_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.cpp"
    broken.write_text("int f() { return nothing; }\n")
    monkeypatch.setattr(native, "_SOURCES", (broken,))
    monkeypatch.setattr(native, "_library", lambda: tmp_path / "kernels.so")
    with pytest.raises(ToolFailed, match=r"nothing.* was not declared"):
        native.build()
    assert [p.name for p in tmp_path.iterdir()] == ["broken.cpp"]


def test_the_library_is_found_by_what_it_was_built_from(monkeypatch: pytest.MonkeyPatch) -> None:
    built = native._library()
    assert built.exists()
    assert ctypes.CDLL(str(built)).aidecamp_interleave
    monkeypatch.setattr(native, "_FLAGS", (*native._FLAGS, "-DOTHER"))
    assert native._library() != built
