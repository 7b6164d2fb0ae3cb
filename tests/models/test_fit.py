"""What a model needs, held against what llama.cpp takes, and where it is put in what is free."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models import native
from models.errors import StorageFailed, UsageError
from models.fit import fit
from models.footprint import KV_TYPES, KvType, kv_bytes_per_token, sizes
from models.ggml_types import TENSOR_TYPES
from models.gguf import Array, Header, Tensor, read_header
from models.llama_context import SEQUENCES

MIB = 2**20
GIB = 2**30

_LOAD = """
import json, sys
from pathlib import Path
import numpy, psutil
from models.gguf import read_header
from models.llama_context import LlamaContext, Placement
import llama_cpp
path, cells, kv_type = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
header = read_header(path)
process = psutil.Process()
before = process.memory_info().rss
cpu = Placement("cpu", 0, "measured")
context = LlamaContext(header, cells=cells, threads=2, placement=cpu, kv_type=kv_type)
last = [False] * 511 + [True]
for start in range(0, cells, 512):
    positions = range(start, start + 512)
    context.decode(range(100, 612), positions, [(0,)] * 512, last)
print(json.dumps([process.memory_info().rss - before, context.kernels]))
"""


@pytest.fixture(scope="module")
def header(gguf: Path) -> Header:
    return read_header(gguf)


def model(**changes: Any) -> Header:
    """A header of a model with grouped queries: 32 heads of 128, 8 of them kept."""
    kept = [
        Tensor(f"blk.{i}.{name}.weight", TENSOR_TYPES[8], (32,), 0, 50 * MIB)
        for i in range(4)
        for name in ("attn_k", "ffn_up")
    ]
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.block_count": 4,
        "llama.embedding_length": 4096,
        "llama.feed_forward_length": 8192,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
        "tokenizer.ggml.tokens": Array("string", 32000, None),
    } | {f"llama.{name}": value for name, value in changes.items()}
    embedding = Tensor("token_embd.weight", TENSOR_TYPES[8], (32,), 0, 50 * MIB)
    return Header(Path("big.gguf"), GIB, 3, metadata, (embedding, *kept))


# ---- the estimate


@pytest.mark.parametrize("kernels", ["own", "ggml"])
@pytest.mark.parametrize(("cells", "kv_type"), [(1024, "f16"), (512, "q4_0")])
def test_the_estimate_is_what_loading_takes(
    cells: int, kv_type: KvType, kernels: str, gguf: Path, header: Header
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, gguf, str(cells), kv_type],
        env={**os.environ, "OMP_WAIT_POLICY": "passive", native.SWITCH: kernels},
        capture_output=True,
        text=True,
        check=True,
    )
    measured, refused = json.loads(done.stdout)
    if kernels == "own" and refused:
        pytest.skip(refused)
    estimate = sizes(
        header, n_ctx=cells, kv_type=kv_type, sequences=SEQUENCES, own_kernels=not refused
    ).ram(0)
    assert estimate == pytest.approx(measured, rel=0.1)


def test_own_kernels_keep_no_scores_and_shared_embeddings_twice(header: Header) -> None:
    ours, ggmls = (
        sizes(header, n_ctx=32768, kv_type="f16", own_kernels=own) for own in (True, False)
    )
    assert ours.output - ggmls.output == ours.embedding
    # 512 tokens × 32,768 cells × (9 heads' scores, and half a mask)
    assert ggmls.host - ours.host == 512 * 32768 * (9 * (4 + 2) + 2)
    apart = (*header.tensors, Tensor("output.weight", TENSOR_TYPES[8], (576, 49152), 0, MIB))
    untied = Header(header.path, header.bytes, 3, header.metadata, apart)
    odd = tuple(
        dataclasses.replace(t, shape=(576, 49150)) if t.name == "token_embd.weight" else t
        for t in header.tensors
    )
    left = Header(header.path, header.bytes, 3, header.metadata, odd)
    for other in (untied, left):
        both = [sizes(other, n_ctx=4096, kv_type="f16", own_kernels=o) for o in (True, False)]
        assert both[0].output == both[1].output, "one of them needs no second copy"


def test_every_byte_of_weights_is_counted_once(header: Header) -> None:
    found = sizes(header, n_ctx=256, kv_type="f16")
    total = sum(tensor.bytes for tensor in header.tensors)
    assert sum(found.layers) + found.embedding + found.output == total
    assert found.gpu_output > found.embedding, "shared embeddings are held again on the GPU"


def test_grouped_queries_keep_fewer_heads() -> None:
    # 4 layers × 8 heads × (128 keys + 128 values) × 2 bytes
    assert kv_bytes_per_token(model(), "f16") == 4 * 8 * 256 * 2
    assert kv_bytes_per_token(model(), "q8_0") == 4 * 8 * 256 * 34 // 32
    assert kv_bytes_per_token(model(), "q4_0") == 4 * 8 * 256 * 18 // 32
    wide = model(**{"attention.key_length": 192, "attention.value_length": 64})
    assert kv_bytes_per_token(wide, "f16") == 4 * 8 * 256 * 2


def test_layers_may_differ_and_recurrent_ones_keep_nothing() -> None:
    mixed = model(**{"attention.head_count_kv": Array("int32", 4, (8, 2, 2, 0))})
    assert [k // 256 for k in sizes(mixed, n_ctx=256, kv_type="f16").kv] == [4096, 1024, 1024, 0]
    plain = model()
    others = tuple(t for t in plain.tensors if t.name != "blk.2.attn_k.weight")
    hybrid = Header(plain.path, plain.bytes, 3, plain.metadata, others)
    assert sizes(hybrid, n_ctx=256, kv_type="f16").kv[2] == 0


# ---- where it goes


def test_all_layers_go_to_a_gpu_that_holds_them() -> None:
    found = fit(model(), n_ctx=4096, free_ram=GIB, free_gpu=8 * GIB, gpu_offload=True)
    assert (found.device, found.gpu_layers, found.layers) == ("gpu", 5, 5)
    assert found.kv_type == "f16" and "all 5 layers" in found.reason
    assert found.gpu_bytes <= found.free_gpu and found.ram_bytes <= found.free_ram


def test_some_layers_go_to_a_gpu_that_holds_some_and_never_too_many() -> None:
    whole = fit(model(), n_ctx=4096, free_ram=8 * GIB, free_gpu=8 * GIB, gpu_offload=True)
    previous = 5
    for free in range(whole.gpu_bytes - MIB, 0, -50 * MIB):
        found = fit(model(), n_ctx=4096, free_ram=8 * GIB, free_gpu=free, gpu_offload=True)
        assert found.gpu_bytes <= free and found.gpu_layers <= previous
        assert found.gpu_layers != 1, "the output layer alone is not worth the way"
        previous = found.gpu_layers
    assert previous == 0
    half = fit(model(), n_ctx=4096, free_ram=8 * GIB, free_gpu=1200 * MIB, gpu_offload=True)
    assert 1 < half.gpu_layers < 5 and f"{half.gpu_layers} of 5 layers" in half.reason


def test_what_the_gpu_takes_the_ram_does_not_need() -> None:
    on_cpu = fit(model(), n_ctx=4096, free_ram=8 * GIB)
    on_both = fit(model(), n_ctx=4096, free_ram=8 * GIB, free_gpu=1200 * MIB, gpu_offload=True)
    moved = on_both.gpu_layers - 1
    assert on_cpu.ram_bytes - on_both.ram_bytes == moved * (100 * MIB + 4096 * 4096)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"free_gpu": 8 * GIB}, "without GPU support"),
        ({"free_gpu": 8 * GIB, "gpu_offload": True, "gpu_layers": 0}, "asked for the CPU"),
        ({"gpu_offload": True}, "no GPU answers"),
        ({"free_gpu": 500 * MIB, "gpu_offload": True}, "500 MiB free"),
    ],
)
def test_the_cpu_is_taken_with_the_reason(options: dict[str, Any], why: str) -> None:
    found = fit(model(), n_ctx=4096, free_ram=8 * GIB, **options)
    assert found.gpu_layers == 0 and why in found.reason


def test_asked_layers_are_what_is_given() -> None:
    found = fit(model(), n_ctx=512, free_ram=GIB, free_gpu=GIB, gpu_offload=True, gpu_layers=3)
    assert found.gpu_layers == 3 and "asked for 3 of 5" in found.reason
    found = fit(model(), n_ctx=512, free_ram=GIB, free_gpu=GIB, gpu_offload=True, gpu_layers=-1)
    assert found.gpu_layers == 5


# ---- what gives way, and what does not


def test_the_cache_is_quantized_only_where_f16_does_not_fit() -> None:
    needs = {k: fit(model(), n_ctx=8192, free_ram=8 * GIB, kv_types=[k]) for k in KV_TYPES}
    for kind in KV_TYPES:
        free = needs[kind].ram_bytes
        found = fit(model(), n_ctx=8192, free_ram=free, kv_types=KV_TYPES)
        if found.kv_type != kind:  # q8_0 drops the attention scores too, and needs less than q4_0
            assert needs[found.kv_type].ram_bytes <= free
    assert fit(model(), n_ctx=8192, free_ram=8 * GIB, kv_types=KV_TYPES).kv_type == "f16"
    tight = fit(model(), n_ctx=8192, free_ram=needs["f16"].ram_bytes - 1, kv_types=KV_TYPES)
    assert tight.kv_type == "q8_0" and "q8_0" in tight.reason


def test_the_context_shrinks_only_where_the_caller_allows_it() -> None:
    whole = fit(model(), n_ctx=8192, free_ram=8 * GIB)
    free = whole.ram_bytes - 64 * MIB
    with pytest.raises(StorageFailed):
        fit(model(), n_ctx=8192, free_ram=free)
    found = fit(model(), n_ctx=8192, free_ram=free, least_ctx=2048)
    assert 2048 <= found.n_ctx < 8192 and found.ram_bytes <= free
    assert f"{found.n_ctx:,} tokens of context and not 8,192" in found.reason
    more = sizes(model(), n_ctx=found.n_ctx + 256, kv_type="f16").ram(0)
    assert more > free, "a longer one would have fitted"
    with pytest.raises(StorageFailed):
        fit(model(), n_ctx=8192, free_ram=free, least_ctx=found.n_ctx + 256)


def test_a_refusal_names_both_numbers_and_what_would_fit() -> None:
    need = fit(model(), n_ctx=8192, free_ram=8 * GIB).ram_bytes
    with pytest.raises(StorageFailed) as caught:
        fit(model(), n_ctx=8192, free_ram=need - MIB)
    assert f"{need / MIB:,.0f} MiB of RAM" in caught.value.message
    assert f"{(need - MIB) / MIB:,.0f} MiB are free" in caught.value.message
    assert "KV cache as q8_0 or a context of" in caught.value.hint
    with pytest.raises(StorageFailed) as caught:
        fit(model(), n_ctx=8192, free_ram=10 * MIB)
    assert "smaller model" in caught.value.hint


def test_blocks_that_do_not_divide_a_head_are_not_offered() -> None:
    odd = model(**{"attention.key_length": 80, "attention.value_length": 80})
    assert fit(odd, n_ctx=512, free_ram=8 * GIB, kv_types=KV_TYPES).kv_type == "f16"
    with pytest.raises(UsageError, match="q8_0"):
        fit(odd, n_ctx=512, free_ram=8 * GIB, kv_types=["q8_0"])
    with pytest.raises(StorageFailed) as caught:
        fit(odd, n_ctx=8192, free_ram=900 * MIB, kv_types=KV_TYPES)
    assert "q8_0" not in caught.value.hint
