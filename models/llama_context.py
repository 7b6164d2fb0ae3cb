"""One llama.cpp model with its context: the only file that calls llama.cpp to run a model.

A thin owner of C objects: load, tokenize, decode a batch, read logits, move sequences in the KV
cache. It decides nothing. After loading, everything but ``tokenize`` belongs to the thread that
owns the context.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import native
from models.errors import ModelCorrupt, StorageFailed, ToolFailed, UsageError
from models.ggml_types import TENSOR_TYPES
from models.gguf import Header
from models.machine import cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH_TOKENS = 512
"""Tokens in one llama_decode, at most."""
SEQUENCES = 128
"""Sequences in one context: calls, kept prompts, and options that are scored."""
_SHARED = 64
"""Sequences of one token, at most: a prompt's tail belongs to every option behind it."""
_TYPE_IDS = {kind.name: number for number, kind in TENSOR_TYPES.items()}
# llama.cpp's OpenMP threads spin at every barrier. Where another program wants a core, each spin
# lasts a whole time slice (decoding on two busy cores took up to 60 times longer); asleep at once,
# a token on two quiet cores took 21 ms and not 13. A short spin has nearly the best of both: 13 ms,
# and up to 1.6 times that of threads that sleep where the cores are busy. libgomp reads this once,
# when llama.cpp is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
_log: deque[str] = deque(maxlen=8)
_log_callback: Any = None


class CacheFull(Exception):
    """The KV cache has no room for a batch. Internal: callers evict and try again."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the model runs, and why there. ``gpu_layers`` is -1 for all of them."""

    device: str
    gpu_layers: int
    reason: str


def default_threads() -> int:
    """Cores that this process may use, one thread each: hyperthreads only slow llama.cpp."""
    import psutil

    return min(psutil.cpu_count(logical=False) or 1, cores())


class LlamaContext:
    """A loaded model and its KV cache of ``cells`` tokens, shared by SEQUENCES sequences.

    The weights are read into memory, not mapped: a file that changes on disk later changes no
    answer, and one that shrinks cannot crash the process.
    Raises ModelCorrupt where llama.cpp refuses the file, StorageFailed where memory is short.
    """

    def __init__(
        self,
        header: Header,
        *,
        cells: int,
        threads: int,
        placement: Placement,
        kv_type: str = "f16",
    ) -> None:
        import llama_cpp
        import numpy as np

        self._lib: Any = llama_cpp
        # Callers tokenize in their own threads, and one of them may close the model meanwhile.
        self._lock = threading.Lock()
        _quiet(llama_cpp)
        llama_cpp.llama_backend_init()
        self._model: Any = None
        self._context: Any = None
        self.kernels = native.use()
        """Why ggml's own kernels serve on the CPU; "" where ours do."""
        self._model = _load(llama_cpp, header.path, placement.gpu_layers)
        self.vocab: Any = llama_cpp.llama_model_get_vocab(self._model)
        self.vocab_size = int(llama_cpp.llama_vocab_n_tokens(self.vocab))
        self.bos = int(llama_cpp.llama_vocab_bos(self.vocab))
        self.eos = int(llama_cpp.llama_vocab_eos(self.vocab))
        end_of_turn = int(llama_cpp.llama_vocab_eot(self.vocab))
        self.end_of_turn = end_of_turn if end_of_turn >= 0 else self.eos
        self.ends = frozenset(self.end_tokens())
        self._pieces: dict[int, bytes] = {}
        self.adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(self.vocab))

        params = llama_cpp.llama_context_default_params()
        params.n_ctx = cells
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_seq_max = SEQUENCES
        params.type_k = params.type_v = _TYPE_IDS[kv_type]
        # On a CPU flash attention makes the small batches of a call two to five times slower
        # behind a long prompt (8 tokens behind 1,200: 171 ms, and 61 without), and prefill a
        # sixth faster. A quantized KV cache works with it alone.
        fused = placement.gpu_layers != 0 or kv_type != "f16" or not self.kernels
        params.flash_attn_type = int(fused)
        params.n_threads = params.n_threads_batch = threads
        # One buffer for all sequences: a fork is then a mark on its cells and copies nothing.
        params.kv_unified = True
        params.offload_kqv = placement.gpu_layers != 0
        params.op_offload = placement.gpu_layers != 0
        params.no_perf = True
        _log.clear()
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            self.close()
            raise StorageFailed(
                f"no memory for a context of {cells} tokens: {_last_words()}",
                hint="choose a smaller context or a smaller model",
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self.cells = int(llama_cpp.llama_n_ctx(self._context))

        self._tokens = np.zeros(BATCH_TOKENS, np.int32)
        self._positions = np.zeros(BATCH_TOKENS, np.int32)
        self._sequence_counts = np.ones(BATCH_TOKENS, np.int32)
        self._sequences = np.zeros((BATCH_TOKENS, _SHARED), np.int32)
        self._outputs = np.zeros(BATCH_TOKENS, np.int8)
        base, width = self._sequences.ctypes.data, self._sequences.strides[0]
        self._pointers = np.arange(BATCH_TOKENS, dtype=np.uintp) * width + base
        self._batch = _batch(llama_cpp, self)
        kernels = "ggml's" if self.kernels else "own"
        self.state_format = (
            f"llama-cpp-python {llama_cpp.__version__}, fused {int(fused)}, {kernels} kernels"
        )
        """What the bytes of a saved state depend on, beside the model and the KV type."""

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Tokens of ``text``. With ``special``, names such as ``<|im_end|>`` become control
        tokens; without, they stay the plain text that they are in a user's words.

        Raises UsageError on lone surrogates, which no tokenizer can read.
        """
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"the text holds a lone surrogate at character {error.start}",
                hint="send valid Unicode",
            ) from None
        room = len(data) + 8
        tokens = (ctypes.c_int32 * room)()
        with self._lock:
            if not self._model:
                raise ToolFailed("the model was closed")
            count = self._lib.llama_tokenize(
                self.vocab, data, len(data), tokens, room, False, special
            )
        if count < 0:
            raise ToolFailed(f"llama.cpp cannot tokenize {len(data)} bytes of text")
        return list(tokens[:count])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of a token. A control token has none, unless ``special`` asks for its name."""
        if special:
            return self._read_piece(token, special=True)
        if token not in self._pieces:
            self._pieces[token] = self._read_piece(token, special=False)
        return self._pieces[token]

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        to_piece = self._lib.llama_token_to_piece
        buffer = ctypes.create_string_buffer(256)
        count = to_piece(self.vocab, token, buffer, len(buffer), 0, special)
        if count < 0:
            buffer = ctypes.create_string_buffer(-count)
            count = to_piece(self.vocab, token, buffer, len(buffer), 0, special)
        return buffer.raw[:count]

    def is_control(self, token: int) -> bool:
        """True for a token that no text can spell, such as ``<|im_end|>``."""
        attributes = self._lib.llama_vocab_get_attr(self.vocab, token)
        if attributes & self._lib.LLAMA_TOKEN_ATTR_CONTROL:
            return True
        if not attributes & self._lib.LLAMA_TOKEN_ATTR_USER_DEFINED:
            return False
        name = self.piece(token, special=True)
        return name.startswith(b"<") and name.endswith(b">")

    def end_tokens(self) -> list[int]:
        """Every token that ends a generation."""
        is_end = self._lib.llama_vocab_is_eog
        return [token for token in range(self.vocab_size) if is_end(self.vocab, token)]

    def special_text(self, token: int) -> str:
        """What a control token is called in a template, such as ``<|im_start|>``; "" for none."""
        if token < 0:
            return ""
        text = self._lib.llama_vocab_get_text(self.vocab, token)
        return bytes(text).decode("utf-8", "replace")

    def decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[Sequence[int]],
        outputs: Sequence[bool],
    ) -> None:
        """Run at most BATCH_TOKENS tokens; logits are kept for those marked in ``outputs``.

        A token belongs to each of its ``sequences``.

        Raises CacheFull (nothing was changed) and ToolFailed.
        """
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        for index, own in enumerate(sequences):
            self._sequence_counts[index] = len(own)
            self._sequences[index, : len(own)] = own
        self._outputs[:count] = outputs
        self._batch.n_tokens = count
        _log.clear()
        code = self._lib.llama_decode(self._context, self._batch)
        if code == 1:
            raise CacheFull
        if code != 0:
            raise ToolFailed(f"llama.cpp failed to decode (code {code}): {_last_words()}")

    def logits(self, index: int) -> NDArray[np.float32]:
        """Logits of the token at ``index`` of the last batch, shape ``[vocab_size]``.

        A view of llama.cpp's memory, valid until the next ``decode``.
        """
        import numpy as np

        pointer = self._lib.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(pointer, shape=(self.vocab_size,))

    def fork(self, source: int, target: int, length: int) -> None:
        """Let sequence ``target`` share the first ``length`` positions of ``source``."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def truncate(self, sequence: int, length: int) -> None:
        """Forget everything of ``sequence`` from position ``length`` on."""
        self._lib.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def state(self, sequence: int) -> bytes:
        """Everything that the KV cache holds of a sequence; it fits into any other sequence."""
        size = self._lib.llama_state_seq_get_size(self._context, sequence)
        buffer = (ctypes.c_uint8 * size)()
        written = self._lib.llama_state_seq_get_data(self._context, buffer, size, sequence)
        return bytes(memoryview(buffer)[:written])

    def restore(self, sequence: int, state: bytes) -> bool:
        """Fill an empty sequence with a ``state``. False where it does not fit: no room, or a
        state of another model."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        read = self._lib.llama_state_seq_set_data(self._context, buffer, len(state), sequence)
        return bool(read == len(state))

    def load_adapter(self, path: Path) -> Any:
        """A LoRA adapter in memory; it stays until the model is closed. Raises ModelCorrupt."""
        _log.clear()
        adapter = self._lib.llama_adapter_lora_init(self._model, os.fsencode(path))
        if not adapter:
            raise ModelCorrupt(f"llama.cpp refuses the adapter {path}: {_last_words()}")
        return adapter

    def attach(self, adapter: Any | None) -> None:
        """Decode with this adapter from now on, or with the base model alone."""
        if adapter is None:
            code = self._lib.llama_set_adapters_lora(self._context, None, 0, None)
        else:
            handles = (type(adapter) * 1)(adapter)
            scales = (ctypes.c_float * 1)(1.0)
            code = self._lib.llama_set_adapters_lora(self._context, handles, 1, scales)
        if code != 0:
            raise ToolFailed(f"llama.cpp cannot attach the adapter (code {code})")

    def close(self) -> None:
        """Free the context and the model. Safe to call twice."""
        with self._lock:
            if self._context:
                self._lib.llama_free(self._context)
                self._context = None
            if self._model:
                self._lib.llama_model_free(self._model)
                self._model = None


def _load(llama_cpp: Any, path: Path, gpu_layers: int) -> Any:
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = gpu_layers
    params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
    _log.clear()
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise ModelCorrupt(
            f"llama.cpp refuses {path}: {_last_words()}",
            hint="pull it again (aidecamp models pull), or choose another model",
        )
    return model


def _batch(llama_cpp: Any, owner: LlamaContext) -> Any:
    def pointer(array: NDArray[Any], type_: Any) -> Any:
        return ctypes.cast(array.ctypes.data, ctypes.POINTER(type_))

    return llama_cpp.llama_batch(
        0,
        pointer(owner._tokens, ctypes.c_int32),
        None,
        pointer(owner._positions, ctypes.c_int32),
        pointer(owner._sequence_counts, ctypes.c_int32),
        pointer(owner._pointers, ctypes.POINTER(ctypes.c_int32)),
        pointer(owner._outputs, ctypes.c_int8),
    )


def _quiet(llama_cpp: Any) -> None:
    """Keep llama.cpp's last error lines for our own messages, and print none of its log."""
    global _log_callback  # noqa: PLW0603  (llama.cpp holds it for the life of the process)
    if _log_callback is not None:
        return
    last_level = 0

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def keep(level: int, text: bytes, _data: Any) -> None:
        nonlocal last_level
        last_level = level if level <= 4 else last_level
        if last_level == 4:
            _log.append(text.decode("utf-8", "replace"))

    _log_callback = keep
    llama_cpp.llama_log_set(_log_callback, None)


def _last_words() -> str:
    text = " ".join("".join(_log).split())
    return text or "it gave no reason"
