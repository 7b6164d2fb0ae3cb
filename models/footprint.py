"""What a GGUF model asks of memory, from its header alone: weights, KV cache, buffers.

What llama.cpp allocates: weights (the token embeddings always in RAM), a KV cache beside each
attention layer, and buffers for the largest batch. Not covered: recurrent states, which are
small, sliding windows, which llama.cpp holds in full by default, and shared embeddings of types
that ggml repacks for the CPU itself (such as Q4_0), which it holds twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from models.ggml_types import TENSOR_TYPES
from models.gguf import Array, Header, Tensor
from models.llama_context import BATCH_TOKENS

KvType = Literal["f16", "q8_0", "q4_0"]
KV_TYPES: tuple[KvType, ...] = get_args(KvType)
"""Most exact first. A quantized V cache needs flash attention in llama.cpp."""
_TYPES = {kind.name: kind for kind in TENSOR_TYPES.values()}

OUTPUT_ROWS = 32
"""Rows of logits in one batch, counted for RAM, where pages that nothing writes cost nothing."""
CONTEXT_STEP = 256
"""llama.cpp pads a context to a multiple of this."""
VOCABULARY_ENTRY_BYTES = 400
"""Measured: 19 MiB for the 49,152 tokens and as many merges of SmolLM2's tokenizer."""
PROCESS_BYTES = 8 * 2**20
"""Measured: threads' stacks and work space of the first decode on two cores."""
GPU_CONTEXT_BYTES = 512 * 2**20
"""A CUDA context with cuBLAS's work space. An allowance: never measured here."""
_LAYER = re.compile(r"blk\.(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a model asks for at one context length. All in bytes; ``layers`` in stack order."""

    layers: tuple[int, ...]
    """Weights of each layer."""
    kv: tuple[int, ...]
    """KV cache of each layer."""
    embedding: int
    """Token embeddings: always in RAM."""
    output: int
    """Output layer in RAM, beyond the embeddings that it may share."""
    gpu_output: int
    """The same on a GPU, where shared embeddings are held a second time."""
    host: int
    """Buffers, vocabulary and the rest of RAM on the CPU."""
    gpu_buffers: int
    """Buffers on a GPU: allocated whole, whatever is used of them."""

    def ram(self, gpu_layers: int) -> int:
        """RAM with ``gpu_layers`` of ``len(layers) + 1`` offloaded."""
        here = len(self.layers) + 1 - gpu_layers
        stack = sum(self.layers[:here]) + sum(self.kv[:here])
        return self.embedding + self.host + stack + (0 if gpu_layers else self.output)

    def gpu(self, gpu_layers: int) -> int:
        """GPU memory with ``gpu_layers`` of ``len(layers) + 1`` offloaded."""
        if not gpu_layers:
            return 0
        here = len(self.layers) + 1 - gpu_layers
        stack = sum(self.layers[here:]) + sum(self.kv[here:])
        return self.gpu_output + stack + self.gpu_buffers + GPU_CONTEXT_BYTES


def kv_bytes_per_token(header: Header, kv_type: KvType) -> int:
    """Bytes of KV cache for one token in all layers."""
    return sum(_layer_kv_bytes(header, kv_type))


def sizes(
    header: Header,
    *,
    n_ctx: int,
    kv_type: KvType,
    sequences: int = 1,
    own_kernels: bool = False,
) -> Sizes:
    """What ``header``'s model allocates at ``n_ctx`` tokens of context.

    ``own_kernels``: those of ``models.native`` serve on the CPU. They keep no attention scores,
    and shared embeddings a second time, in their own layout.
    """
    count = _count(header)
    layers = [0] * count
    embedding = output = 0
    tied = True
    for tensor in header.tensors:
        found = _LAYER.match(tensor.name)
        if found and int(found[1]) < count:
            layers[int(found[1])] += tensor.bytes
        elif tensor.name.startswith(("token_embd", "per_layer_token_embd", "position_embd")):
            embedding += tensor.bytes
        else:
            tied = tied and tensor.name != "output.weight"
            output += tensor.bytes
    embeddings = [t for t in header.tensors if tied and t.name == "token_embd.weight"]
    shared = sum(t.bytes for t in embeddings)
    again = sum(t.bytes for t in embeddings if own_kernels and _interleaved(t))
    cells = -(-n_ctx // CONTEXT_STEP) * CONTEXT_STEP
    vocabulary = _vocabulary(header)
    flash = kv_type != "f16" or own_kernels
    row = 4 * vocabulary
    batch = _batch_bytes(header, cells, flash=flash)
    working = max(batch, BATCH_TOKENS * _width(header) * 4 * 3)
    return Sizes(
        layers=tuple(layers),
        kv=tuple(cells * one for one in _layer_kv_bytes(header, kv_type)),
        embedding=embedding,
        output=output + again,
        gpu_output=output + shared,
        host=working
        + (0 if flash else _scores_bytes(header, cells) // 2)
        + (min(sequences, OUTPUT_ROWS) + OUTPUT_ROWS) * row
        + vocabulary * VOCABULARY_ENTRY_BYTES
        + PROCESS_BYTES,
        gpu_buffers=max(working, BATCH_TOKENS * (row + 3 * 4 * _width(header))),
    )


def _batch_bytes(header: Header, cells: int, *, flash: bool) -> int:
    """The largest tensors that one batch of BATCH_TOKENS has alive at once.

    Measured against llama.cpp's own report of its compute buffer (SmolLM2 at 2,048 to 8,192
    cells, batches of 64 to 512): attention scores of all heads and their mask, as 32-bit
    floats, and between five and six rows of the model's width. Flash attention keeps no scores.
    """
    mask = BATCH_TOKENS * cells * (2 if flash else 4)
    scores = 0 if flash else _scores_bytes(header, cells)
    inner = BATCH_TOKENS * 4 * 3 * _most(header, "feed_forward_length", 0)
    return max(mask + scores, inner) + BATCH_TOKENS * 6 * 4 * _width(header)


def _scores_bytes(header: Header, cells: int) -> int:
    """Attention scores of one batch in all heads of a layer. ggml multiplies them with an f16
    cache in half precision, so on the CPU half as many bytes more are its work space."""
    return BATCH_TOKENS * 4 * cells * _most(header, "attention.head_count", 1)


def _interleaved(tensor: Tensor) -> bool:
    """Whether the kernels of ``models.native`` take it (``takes`` in interleave.cpp)."""
    rows = tensor.shape[1] if len(tensor.shape) == 2 else 0
    return tensor.type.name in ("q4_0", "q4_1", "q8_0") and rows > 0 and rows % 16 == 0


def _layer_kv_bytes(header: Header, kv_type: KvType) -> list[int]:
    """Bytes of KV cache for one token, layer by layer; 0 where a layer has no attention."""
    heads = _per_layer(header, "attention.head_count", 1)
    kv_heads = _per_layer(header, "attention.head_count_kv", 0)
    attends = _attending(header)
    kind = _TYPES[kv_type]
    found = []
    for layer in range(_count(header)):
        count = kv_heads[layer] or (0 if _has(header, "attention.head_count_kv") else heads[layer])
        key, value = _head_lengths(header, heads[layer])
        values = count * (key + value) if layer in attends or not attends else 0
        found.append(-(-values // kind.block) * kind.block_bytes)
    return found


def divides(header: Header, kv_type: KvType) -> bool:
    """Whether the head's rows divide into the type's blocks, which llama.cpp insists on."""
    block = _TYPES[kv_type].block
    heads = max(_per_layer(header, "attention.head_count", 1))
    return all(length % block == 0 for length in _head_lengths(header, heads))


def _head_lengths(header: Header, heads: int) -> tuple[int, int]:
    usual = _width(header) // max(heads, 1)
    architecture = header.architecture
    key = header.integer(f"{architecture}.attention.key_length") or usual
    value = header.integer(f"{architecture}.attention.value_length") or usual
    return key, value


def _attending(header: Header) -> frozenset[int]:
    """Layers that keep keys and values: hybrids mix them with recurrent layers."""
    found = (_LAYER.match(t.name) for t in header.tensors)
    return frozenset(int(m[1]) for m in found if m and m[2].startswith(("attn_k", "attn_qkv")))


def _count(header: Header) -> int:
    stated = header.integer(f"{header.architecture}.block_count")
    found = [int(m[1]) for t in header.tensors if (m := _LAYER.match(t.name))]
    return stated or max(found, default=0) + 1


def _width(header: Header) -> int:
    return header.integer(f"{header.architecture}.embedding_length") or 1


def _vocabulary(header: Header) -> int:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, Array):
        return tokens.length
    return header.integer(f"{header.architecture}.vocab_size") or 0


def _has(header: Header, name: str) -> bool:
    return f"{header.architecture}.{name}" in header.metadata


def _per_layer(header: Header, name: str, default: int) -> list[int]:
    """A hyperparameter that is one number for all layers, or a list with one for each."""
    value = header.metadata.get(f"{header.architecture}.{name}")
    count = _count(header)
    if isinstance(value, Array) and value.values is not None:
        listed = [v if isinstance(v, int) else default for v in value.values]
        return (listed + [max(listed, default=default)] * count)[:count]
    return [value if isinstance(value, int) and not isinstance(value, bool) else default] * count


def _most(header: Header, name: str, default: int) -> int:
    return max(_per_layer(header, name, default), default=default)
