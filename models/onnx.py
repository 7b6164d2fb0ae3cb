"""Sentence encoders and classification heads on ONNX Runtime.

Both take a BERT-like graph with a ``tokenizer.json``, and both share one session between all of
their callers: what waits while a run is on joins the next batch (``onnx_batches``). A text's
result does not depend on what runs beside it: graphs that scale int8 activations over a whole
batch run one row at a time, since merging shifted MiniLM's embeddings, so quantized, by up to
0.047 (cosine 0.96) and made it 1.3 times as fast. The default MiniLM keeps int8 weights alone:
its rows come out bit for bit the same in any batch (on the CPU that was tried), and 4 callers
get 1.4 to 1.8 times the texts/s of one. Figures: ``tests.bench.encoder``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import UsageError
from models.onnx_batches import Batcher
from models.onnx_session import OnnxSession
from models.onnx_tokens import Row, Text, TextTokenizer, padded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_TOKENS = 128
"""Of an encoder: sentence-transformers' all-MiniLM-L6-v2 was trained at that length."""
MAX_SCORE_TOKENS = 512
"""Of a scorer: the length of BERT's position embeddings, and of the usual cross-encoders."""


class _Engine(ABC):
    """A session, its tokenizer, and the batches of its callers."""

    def __init__(
        self,
        model_path: Path,
        tokenizer_path: Path,
        threads: int | None,
        name: str | None,
        max_tokens: int,
    ) -> None:
        self.name = name or model_path.stem
        self._session = OnnxSession(model_path, threads)
        self.model = self._session.model
        self.provider = self._session.provider
        self.provider_reason = self._session.provider_reason
        self.batches_reason = self._session.batches_reason
        self.max_tokens = min(max_tokens, self._session.width or max_tokens)
        self._tokenizer = TextTokenizer(tokenizer_path, self.max_tokens)
        self._output = ""
        self._batcher = Batcher(self._run, name=self.name, merge=self._session.batches)

    def was_cut(self, text: Text) -> bool:
        """True where ``text`` has more tokens than are read (``max_tokens``)."""
        return self._tokenizer.rows([text])[0].cut

    def count_tokens(self, texts: Sequence[Text]) -> int:
        """Tokens that are read of all ``texts`` together."""
        return sum(map(len, self._tokenizer.rows(texts)))

    def close(self) -> None:
        """Fail the calls that wait (ToolFailed), then free the memory. Safe to call twice."""
        self._batcher.close()
        self._session.close()

    def _run(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        width = self._session.width or max(1, *map(len, rows))
        feed = padded(rows, width, self._tokenizer.pad_id)
        return self._read(self._session.run(feed, self._output), feed["attention_mask"])

    @abstractmethod
    def _read(self, output: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """One line for each row, from the graph's output."""


class OnnxEncoder(_Engine):
    """A sentence encoder in one ONNX file. Safe to call from several threads.

    Mean pooling over the attention mask, at most 128 tokens a text.
    ``provider`` is ``cuda`` or ``cpu``, and ``provider_reason`` says why; ``batches_reason`` says
    why rows share a run, or do not. ``threads``: for one run.
    Raises ModelMissing (no such file), ModelCorrupt (ONNX Runtime refuses it, or it is no encoder)
    and StorageFailed (out of memory).
    """

    def __init__(
        self,
        model_path: Path,
        tokenizer_path: Path,
        threads: int | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(model_path, tokenizer_path, threads, name, MAX_TOKENS)
        hidden = [name for name, shape in self._session.outputs.items() if len(shape) == 3]
        if not hidden:
            raise self._session.misfit("a sentence encoder")
        self._output = hidden[0]
        width = self._session.outputs[self._output][2]
        self.dimension = width if isinstance(width, int) else int(self.embed([""]).shape[1])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings, shape ``[len(texts), dimension]``, each row of unit length; of zeros for a
        text without any token.

        Raises UsageError (something else than texts), ToolFailed (closed meanwhile).
        """
        import numpy as np

        rows = self._tokenizer.rows(texts)
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise UsageError(f"item {index} is no text: {type(text).__name__}")
        if not rows:
            return np.zeros((0, self.dimension), np.float32)
        return np.stack(self._batcher.submit(rows))

    def _read(self, output: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        import numpy as np

        weights = mask[:, :, None].astype(np.float32)
        pooled: NDArray[np.float32] = (output * weights).sum(1) / np.maximum(weights.sum(1), 1)
        norms = np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        unit: NDArray[np.float32] = (pooled / norms).astype(np.float32)
        return unit


class OnnxScorer(_Engine):
    """A classification head or cross-encoder in one ONNX file, with logits of shape
    ``[batch, labels]``. Safe to call from several threads.

    Fields and errors are those of OnnxEncoder; ``labels`` is the number of logits. A text or pair
    is read to ``max_tokens``, of a pair the longer text is cut first, and ``was_cut`` says so.
    """

    def __init__(
        self,
        model_path: Path,
        tokenizer_path: Path,
        threads: int | None = None,
        *,
        name: str | None = None,
        max_tokens: int = MAX_SCORE_TOKENS,
    ) -> None:
        super().__init__(model_path, tokenizer_path, threads, name, max_tokens)
        logits = [name for name, shape in self._session.outputs.items() if len(shape) == 2]
        if len(logits) != 1:
            raise self._session.misfit("a classifier with one output of logits")
        self._output = logits[0]
        width = self._session.outputs[self._output][1]
        self.labels = width if isinstance(width, int) else int(self.score([""]).shape[1])

    def score(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Logits, shape ``[len(texts), labels]``, of texts or of pairs of texts.

        Raises UsageError (something else than texts), ToolFailed (closed meanwhile).
        """
        import numpy as np

        rows = self._tokenizer.rows(texts)
        if not rows:
            return np.zeros((0, self.labels), np.float32)
        return np.stack(self._batcher.submit(rows))

    def _read(self, output: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return output
