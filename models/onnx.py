"""Sentence encoders on ONNX Runtime.

Mean pooling over the attention mask, rows of unit length, at most 128 tokens a text
(sentence-transformers' all-MiniLM-L6-v2 was trained at that length). Covers BERT-like encoders
with a ``tokenizer.json``; not cross-encoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.digest import file_digest
from models.errors import AidecampError, ModelCorrupt, ModelMissing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_TOKENS = 128
BATCH_TOKENS = 512
"""Padded tokens in one run: larger batches were slower on a CPU."""
_HEAD_CHARS = 8192
"""A long text is tokenized from its head: more than enough for 128 tokens of anything."""


class OnnxEncoder:
    """A sentence encoder in one ONNX file. Safe to call from several threads.

    ``provider`` is ``cuda`` or ``cpu``, and ``provider_reason`` says why.
    Raises ModelMissing (no such file) and ModelCorrupt (ONNX Runtime refuses it).
    """

    def __init__(
        self,
        model_path: Path,
        tokenizer_path: Path,
        threads: int = 2,
        *,
        name: str | None = None,
    ) -> None:
        self.model = file_digest(model_path)
        self.name = name or model_path.stem
        self._tokenizer = _load_tokenizer(tokenizer_path)
        self._session, self.provider, self.provider_reason = _open(model_path, threads)
        self._inputs = {i.name for i in self._session.get_inputs()}
        hidden = [o for o in self._session.get_outputs() if len(o.shape) == 3]
        unknown = self._inputs - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown or "input_ids" not in self._inputs or not hidden:
            raise ModelCorrupt(
                f"{model_path} is no sentence encoder: inputs {sorted(self._inputs)}, "
                f"outputs {[(o.name, o.shape) for o in self._session.get_outputs()]}"
            )
        self._output = hidden[0].name
        width = hidden[0].shape[2]
        self.dimension = width if isinstance(width, int) else int(self.embed([""]).shape[1])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings, shape ``[len(texts), dimension]``, each row of unit length.

        Texts of like length share a batch, so padding costs little.
        """
        import numpy as np

        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        ids = [self._ids(text) for text in texts]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        rows: list[NDArray[np.float32] | None] = [None] * len(ids)
        for batch in _batches(order, [len(i) for i in ids]):
            for i, row in zip(batch, self._run([ids[i] for i in batch]), strict=True):
                rows[i] = row
        return np.stack([row for row in rows if row is not None])

    def was_cut(self, text: str) -> bool:
        """True where ``text`` has more tokens than the encoder reads (128)."""
        return len(self._all_ids(text)) > MAX_TOKENS

    def close(self) -> None:
        """Drop the session and its memory. The encoder cannot be used afterwards."""
        del self._session

    def _all_ids(self, text: str) -> list[int]:
        # Lone surrogates cannot be encoded as UTF-8: the tokenizer reads U+FFFD in their place.
        text = text.encode("utf-8", "replace").decode("utf-8")
        head = text[:_HEAD_CHARS]
        ids: list[int] = self._tokenizer.encode(head).ids
        if len(head) < len(text) and len(ids) <= 2 * MAX_TOKENS:
            ids = self._tokenizer.encode(text).ids
        return ids

    def _ids(self, text: str) -> list[int]:
        ids = self._all_ids(text)
        # The last token closes the text ([SEP]) and stays when the text is cut.
        return ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]]

    def _run(self, batch: list[list[int]]) -> NDArray[np.float32]:
        import numpy as np

        width = max(map(len, batch))
        ids = np.zeros((len(batch), width), np.int64)
        mask = np.zeros((len(batch), width), np.int64)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self._session.run(
            [self._output], {k: v for k, v in feed.items() if k in self._inputs}
        )
        weights = mask[:, :, None].astype(np.float32)
        pooled: NDArray[np.float32] = (hidden * weights).sum(1) / weights.sum(1)
        norms = np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        unit: NDArray[np.float32] = (pooled / norms).astype(np.float32)
        return unit


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Indices, shortest first, in batches of at most BATCH_TOKENS padded tokens."""
    batches: list[list[int]] = []
    for index in order:
        if batches and (len(batches[-1]) + 1) * lengths[index] <= BATCH_TOKENS:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _load_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    if not path.is_file():
        raise ModelMissing(f"no tokenizer at {path}", hint="run: aidecamp models pull")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises a bare Exception for any unreadable file
        raise ModelCorrupt(f"{path} is no tokenizer.json: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _open(path: Path, threads: int) -> tuple[Any, str, str]:
    """An inference session on the best provider that works, its name, and why it is that one."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning workers would take the cores from llama.cpp between two calls.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    ort.set_default_logger_severity(4)

    reason = cuda_refusal(path)
    try:
        if reason is None:
            ort.preload_dlls()
            session = _session(path, options, ["CUDAExecutionProvider", "CPUExecutionProvider"])
            if session.get_providers()[0] == "CUDAExecutionProvider":
                return session, "cuda", "the CUDA provider started"
            reason = "the CUDA provider did not start (CUDA 12 and cuDNN 9 are needed: extra 'gpu')"
        return _session(path, options, ["CPUExecutionProvider"]), "cpu", reason
    except AidecampError:
        raise
    except Exception as error:  # ONNX Runtime's own classes share no base below Exception
        raise ModelCorrupt(
            f"ONNX Runtime refuses {path}: {error}", hint="pull it again: aidecamp models pull"
        ) from error


def _session(path: Path, options: Any, providers: list[str]) -> Any:
    import onnxruntime as ort

    return ort.InferenceSession(str(path), options, providers=providers)


def cuda_refusal(path: Path) -> str | None:
    """Why CUDA is not worth trying for this model, or None where it is.

    Asked before ONNX Runtime is: it would log errors for a provider that cannot load.
    """
    import ctypes

    import onnxruntime as ort

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "this ONNX Runtime was built without CUDA"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver"
    if driver.cuInit(0) != 0:
        return "the NVIDIA driver finds no usable GPU"
    graph = path.read_bytes()
    if any(op in graph for op in (b"DynamicQuantizeLinear", b"MatMulInteger", b"QLinearMatMul")):
        return "int8 runs slower on the CUDA provider than on the CPU (onnxruntime #10267)"
    return None
