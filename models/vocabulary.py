"""A model's tokens as llguidance needs them: a trie of their bytes, made once for each model.

Making one takes about 0.9 s for 49,152 tokens on one core: 0.4 s to ask llama.cpp for every piece,
0.5 s for llguidance's trie and its slices of tokens that fit any JSON string. So it is kept by the
model's digest, and serves every context that this process has of that model, one after another or
side by side.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import OrderedDict
from typing import Any

from models.errors import AidecampError
from models.llama_context import LlamaContext

KEPT_VOCABULARIES = 4
_kept: OrderedDict[str, Vocabulary] = OrderedDict()
_lock = threading.Lock()


def vocabulary(context: LlamaContext, model: str | None) -> Vocabulary:
    """The vocabulary of ``context``, kept for others under the digest ``model``."""
    if model is None:
        return Vocabulary(context)
    with _lock:
        if model not in _kept:
            _kept[model] = Vocabulary(context)
            if len(_kept) > KEPT_VOCABULARIES:
                _kept.popitem(last=False)
        _kept.move_to_end(model)
        _kept[model].serve(context)
        return _kept[model]


class Vocabulary:
    """llguidance's ``tokenizer``, the ``size`` of the vocabulary, and the tokens that ``ends`` a
    text. Valid while one of the contexts that it serves is open."""

    def __init__(self, context: LlamaContext) -> None:
        from llguidance import LLTokenizer

        self.size = context.vocab_size
        self.ends = frozenset(context.end_tokens())
        self._contexts: weakref.WeakSet[LlamaContext] = weakref.WeakSet([context])
        # llguidance knows a control token by the byte 0xff in front, which no UTF-8 text holds.
        pieces = [
            b"\xff" * context.is_control(token) + context.piece(token, special=True)
            for token in range(self.size)
        ]
        signature = ctypes.CFUNCTYPE(
            ctypes.c_int32,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int32,
            ctypes.c_void_p,
            ctypes.c_int32,
            ctypes.c_bool,
            ctypes.c_bool,
        )
        # A function of ours in the place of llama_tokenize: a pointer to one context's vocabulary
        # would outlive that context. The C code keeps its address only, so it is held here.
        self._tokenize = signature(self._tokenize_anywhere)
        make: Any = LLTokenizer
        # llguidance's own ``lltokenizer_from_vocab`` warns once for each token, and is slower.
        self.tokenizer = make.from_llamacpp(
            tokens=pieces,
            vocab_ptr=1,
            tokenize_fptr=ctypes.cast(self._tokenize, ctypes.c_void_p).value,
            eos_token=sorted(self.ends),
            slices=None,
        )

    def serve(self, context: LlamaContext) -> None:
        self._contexts.add(context)

    def _tokenize_anywhere(
        self,
        _vocab: int | None,
        text: int | None,
        length: int,
        tokens: int,
        room: int,
        _add_special: bool,
        parse_special: bool,
    ) -> int:
        """llama_tokenize, by whichever context is still open."""
        data = ctypes.string_at(text, length) if text else b""
        for context in list(self._contexts):
            try:
                found = context.tokenize(data.decode("utf-8", "replace"), special=parse_special)
            except AidecampError:  # it was closed
                continue
            if len(found) > room:
                return -len(found)
            ctypes.memmove(tokens, (ctypes.c_int32 * len(found))(*found), 4 * len(found))
            return len(found)
        return 0
