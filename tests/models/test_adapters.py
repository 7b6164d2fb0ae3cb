"""LoRA adapters: what fits is read and works in llama.cpp; what would crash it is refused."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf as gguf_package
import numpy as np
import pytest
from numpy.typing import NDArray

from models import native
from models.adapters import Adapter, read_adapter
from models.digest import file_digest
from models.errors import ModelCorrupt, ModelMissing, UsageError
from models.gguf import Header, read_header
from tests.models.adapter_files import LINEAR, write_adapter

Writer = gguf_package.GGUFWriter
Floats = NDArray[np.float32]
PROMPT = [28, 506, 281, 2041, 30, 198, 504, 3575]


@pytest.fixture(scope="session")
def base(gguf: Path) -> Header:
    return read_header(gguf)


class Llama:
    """The default model in llama.cpp itself, with nothing of ours in between."""

    def __init__(self, path: Path) -> None:
        import llama_cpp

        native.use()  # or no other test of this process could: ggml is asked for kernels once
        self.lib: Any = llama_cpp
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = 64
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(vocab)

    def attach(self, path: Path | None) -> None:
        """Attach one adapter and nothing else; None: the base alone."""
        if path is None:
            assert self.lib.llama_set_adapters_lora(self.context, None, 0, None) == 0
            return
        adapter = self.lib.llama_adapter_lora_init(self.model, os.fsencode(path))
        assert adapter, f"llama.cpp refuses {path}"
        adapters = (self.lib.llama_adapter_lora_p_ctypes * 1)(adapter)
        scales = (ctypes.c_float * 1)(1.0)
        assert self.lib.llama_set_adapters_lora(self.context, adapters, 1, scales) == 0

    def logits(self) -> Floats:
        memory = self.lib.llama_get_memory(self.context)
        self.lib.llama_memory_clear(memory, True)
        tokens = (ctypes.c_int32 * len(PROMPT))(*PROMPT)
        batch = self.lib.llama_batch_get_one(tokens, len(PROMPT))
        assert self.lib.llama_decode(self.context, batch) == 0
        row = self.lib.llama_get_logits_ith(self.context, -1)
        return np.array(np.ctypeslib.as_array(row, shape=(self.vocab_size,)))

    def close(self) -> None:
        self.lib.llama_free(self.context)
        self.lib.llama_model_free(self.model)  # the adapters go with it


@pytest.fixture(scope="module")
def llama(gguf: Path) -> Iterator[Llama]:
    llama = Llama(gguf)
    yield llama
    llama.close()


def test_an_adapter_reads_as_what_it_is(base: Header, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "notes.gguf", base, rank=16, alpha=32.0)
    weights = sum(t.weights for t in read_header(path).tensors)
    assert read_adapter(path, base) == Adapter(
        path, file_digest(path), rank=16, alpha=32.0, name="notes", bytes=4 * weights
    )


def test_an_adapter_has_the_name_that_it_gives_itself(base: Header, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "x.gguf", base, more=lambda w: w.add_name("Shell recipes"))
    assert read_adapter(path, base).name == "Shell recipes"


def test_ranks_may_differ_and_alpha_may_be_missing(base: Header, tmp_path: Path) -> None:
    def wider(writer: Writer) -> None:
        writer.add_tensor("blk.5.attn_q.weight.lora_a", np.ones((9, 576), np.float32))
        writer.add_tensor("blk.5.attn_q.weight.lora_b", np.ones((576, 9), np.float32))

    adapter = read_adapter(
        write_adapter(tmp_path / "a.gguf", base, rank=4, alpha=None, more=wider), base
    )
    assert (adapter.rank, adapter.alpha) == (9, 0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_adapter_changes_the_logits_and_detaching_restores_them_exactly(
    dtype: Any, base: Header, llama: Llama, tmp_path: Path
) -> None:
    one = write_adapter(tmp_path / "one.gguf", base, seed=1, dtype=dtype)
    two = write_adapter(tmp_path / "two.gguf", base, seed=2, dtype=dtype)
    plain = llama.logits()
    with_adapter = []
    for path in (one, two, one):
        read_adapter(path, base)
        llama.attach(path)
        with_adapter.append(llama.logits())
    llama.attach(None)
    assert np.array_equal(llama.logits(), plain)
    assert np.array_equal(with_adapter[0], with_adapter[2])
    assert np.abs(with_adapter[0] - plain).max() > 0.01
    assert np.abs(with_adapter[0] - with_adapter[1]).max() > 0.01


@pytest.mark.parametrize("target", LINEAR)
def test_llama_cpp_applies_every_matrix_that_is_accepted(
    target: str, base: Header, llama: Llama, tmp_path: Path
) -> None:
    path = write_adapter(tmp_path / "one.gguf", base, targets=[target], size=0.5)
    read_adapter(path, base)
    plain = llama.logits()
    llama.attach(path)
    changed = llama.logits()
    llama.attach(None)
    assert np.abs(changed - plain).max() > 0.01


def test_weights_count_alpha_over_rank_times(base: Header, llama: Llama, tmp_path: Path) -> None:
    """Powers of two, so that weights half as large under four times the alpha are exactly equal."""
    logits = []
    for alpha, size in ((4.0, 0.25), (16.0, 0.125), (8.0, 0.125)):
        path = write_adapter(tmp_path / f"{alpha}.gguf", base, alpha=alpha, rank=4, size=size)
        assert (read_adapter(path, base).alpha, read_adapter(path, base).rank) == (alpha, 4)
        llama.attach(path)
        logits.append(llama.logits())
    llama.attach(None)
    assert np.array_equal(logits[0], logits[1])
    assert np.abs(logits[0] - logits[2]).max() > 0.1


def test_no_file_is_a_missing_model(base: Header, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="no adapter file at"):
        read_adapter(tmp_path / "none.gguf", base)


def pair(name: str, a: Sequence[int], b: Sequence[int]) -> Callable[[Writer], None]:
    """Matrices of numpy's shapes ``a`` and ``b`` for one tensor."""

    def add(writer: Writer) -> None:
        writer.add_tensor(f"{name}.lora_a", np.zeros(a, np.float32))
        writer.add_tensor(f"{name}.lora_b", np.zeros(b, np.float32))

    return add


def half(writer: Writer) -> None:
    writer.add_tensor("blk.3.attn_q.weight.lora_a", np.zeros((4, 576), np.float32))


def stray(writer: Writer) -> None:
    writer.add_tensor("blk.3.attn_q.weight", np.zeros((576, 576), np.float32))


DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "a model": ({"general_type": "model"}, "general.type is 'model'"),
    "a control vector": ({"kind": "control_vector"}, "'control_vector', and not 'lora'"),
    "integer weights": ({"dtype": np.int32, "size": 9}, "stored as i32"),
    "alpha is not a number": ({"alpha": float("nan")}, "alpha is nan"),
    "alpha is negative": ({"alpha": -1.0}, "alpha is -1.0"),
    "alpha as an integer": (
        {"alpha": None, "more": lambda w: w.add_uint32("adapter.lora.alpha", 8)},
        "is a uint32, and not a float32",
    ),
    "alpha as a double": (
        {"alpha": None, "more": lambda w: w.add_float64("adapter.lora.alpha", 8.0)},
        "is a float64, and not a float32",
    ),
    "half a pair": ({"more": half}, "lora_a alone"),
    "a whole matrix": ({"more": stray}, "neither a lora_a nor a lora_b"),
    "no weights": ({"layers": ()}, "no LoRA weights"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_no_lora_adapter_is_refused(case: str, base: Header, tmp_path: Path) -> None:
    changes, words = DAMAGED[case]
    path = write_adapter(tmp_path / "a.gguf", base, **changes)
    with pytest.raises(ModelCorrupt, match=words):
        read_adapter(path, base)


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "another architecture": ({"architecture": "qwen2"}, "'qwen2', and not 'llama'"),
    "another width": (
        {"more": pair("blk.3.attn_q.weight", (4, 960), (576, 4))},
        r"\[960, 4\] and \[4, 576\], and .* has \[576, 576\] there",
    ),
    "another height": (
        {"more": pair("blk.3.ffn_up.weight", (4, 576), (2560, 4))},
        r"has \[576, 1536\] there",
    ),
    "two ranks in one pair": (
        {"more": pair("blk.3.attn_q.weight", (4, 576), (576, 8))},
        "another base",
    ),
    "experts on a plain matrix": (
        {"more": pair("blk.3.attn_q.weight", (3, 4, 576), (3, 576, 4))},
        "another base",
    ),
    "more layers": (
        {"more": pair("blk.30.attn_q.weight", (4, 576), (576, 4))},
        "'blk.30.attn_q.weight', which .* lacks",
    ),
    "an output layer that the base has not": (
        {"more": pair("output.weight", (4, 576), (49152, 4))},
        "'output.weight', which .* lacks",
    ),
    "an embedding that is the output layer": (
        {"more": pair("token_embd.weight", (49152, 4), (576, 4))},
        "also the output layer",
    ),
    "a norm of its own": (
        {"more": lambda w: w.add_tensor("blk.0.attn_norm.weight", np.ones(576, np.float32))},
        "pass over in silence",
    ),
    "a pair on a norm": (
        {"more": pair("blk.0.attn_norm.weight", (4, 576), (1, 4))},
        "is no matrix",
    ),
    "an activated LoRA": (
        {"more": lambda w: w.add_array("adapter.alora.invocation_tokens", [1, 2])},
        "activated LoRA",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_an_adapter_that_the_base_cannot_take_is_refused_with_its_reason(
    case: str, base: Header, tmp_path: Path
) -> None:
    changes, words = UNFIT[case]
    path = write_adapter(tmp_path / "mine.gguf", base, **changes)
    with pytest.raises(UsageError, match=words) as caught:
        read_adapter(path, base)
    assert "mine.gguf" in caught.value.message
    assert caught.value.hint


def test_another_base_is_named_where_the_adapter_names_it(base: Header, tmp_path: Path) -> None:
    path = write_adapter(
        tmp_path / "a.gguf",
        base,
        architecture="qwen2",
        more=lambda w: w.add_string("general.base_model.0.name", "Qwen2.5 0.5B"),
    )
    with pytest.raises(UsageError, match=rf"Qwen2\.5 0\.5B.*{base.path.name}"):
        read_adapter(path, base)


def test_an_embedding_of_its_own_may_be_changed(base: Header, tmp_path: Path) -> None:
    """Where the output layer is another tensor; A and B are then flipped (llama-adapter.cpp)."""
    import dataclasses

    embedding = next(t for t in base.tensors if t.name == "token_embd.weight")
    untied = dataclasses.replace(
        base, tensors=(*base.tensors, dataclasses.replace(embedding, name="output.weight"))
    )
    flipped = pair("token_embd.weight", (49152, 4), (576, 4))
    straight = pair("token_embd.weight", (4, 576), (49152, 4))
    assert read_adapter(write_adapter(tmp_path / "a.gguf", base, more=flipped), untied)
    with pytest.raises(UsageError, match="another base"):
        read_adapter(write_adapter(tmp_path / "b.gguf", base, more=straight), untied)


def test_the_base_itself_is_no_adapter(base: Header) -> None:
    with pytest.raises(ModelCorrupt, match="not 'adapter'"):
        read_adapter(base.path, base)


@pytest.mark.parametrize("keep", [0, 3, 100, 2000, -1])
def test_a_file_that_was_cut_off_is_damaged(keep: int, base: Header, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "a.gguf", base)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelCorrupt):
        read_adapter(path, base)
