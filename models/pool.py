"""What is loaded: each model once, opened at its first use, closed together.

Covers one process with one generator for each catalog entry and one encoder. Fitting several
models into measured memory is not covered.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from models.llama import LlamaGenerator
    from models.onnx import OnnxEncoder

GENERATOR = "smollm2-135m"
ENCODER = "minilm-l6"


class Files(Protocol):
    """Where the files of catalog entries lie: ``models.store.Store``, or a test's own."""

    def file(self, entry: str, role: str) -> Path:
        """Path of one pulled file. Raises ModelMissing."""
        ...


class Pool:
    """The models of this process. Safe to call from several threads."""

    def __init__(self, store: Files | None = None) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._generators: dict[str, LlamaGenerator] = {}
        self._encoder: OnnxEncoder | None = None

    @property
    def store(self) -> Files:
        if self._store is None:
            from models.store import Store

            self._store = Store()
        return self._store

    def generator(self, name: str | None = None) -> LlamaGenerator:
        """The generator ``name``: a catalog entry, or the path of a GGUF file; the default
        pack's where None.

        Raises UsageError (no such entry), ModelMissing (not pulled), ModelCorrupt, StorageFailed.
        """
        from models.llama import LlamaGenerator

        entry = name or GENERATOR
        with self._lock:
            if entry not in self._generators:
                own = entry.endswith(".gguf")
                path = Path(entry) if own else self.store.file(entry, "model")
                self._generators[entry] = LlamaGenerator(path)
            return self._generators[entry]

    def encoder(self) -> OnnxEncoder:
        """The sentence encoder. Raises ModelMissing, ModelCorrupt."""
        from models.onnx import OnnxEncoder

        with self._lock:
            if self._encoder is None:
                self._encoder = OnnxEncoder(
                    self.store.file(ENCODER, "model"),
                    self.store.file(ENCODER, "tokenizer"),
                    name=ENCODER,
                )
            return self._encoder

    def close(self) -> None:
        """Close every model and free its memory. The pool may be used again afterwards."""
        with self._lock:
            for generator in self._generators.values():
                generator.close()
            self._generators.clear()
            if self._encoder is not None:
                self._encoder.close()
                self._encoder = None
