"""Texts and pairs of texts to token ids, as the graph of a BERT-like model reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelCorrupt, ModelMissing, UsageError

Text = str | tuple[str, str]
"""One text, or a pair such as (question, passage)."""

_CHARS_PER_TOKEN = 64
"""A long text is tokenized from its head: more than enough for as many tokens of anything."""


@dataclass(frozen=True, slots=True)
class Row:
    """One text or pair. ``types``: 0 for the first text's tokens, 1 for the second's."""

    ids: tuple[int, ...]
    types: tuple[int, ...]
    cut: bool
    """True where it had more tokens than the model reads."""

    def __len__(self) -> int:
        return len(self.ids)


class TextTokenizer:
    """A ``tokenizer.json``. Safe to call from several threads.

    Texts are cut to ``max_tokens`` with their closing token kept; of a pair, the longer text is
    cut first. Lone surrogates, which UTF-8 cannot hold, are read as question marks.
    Raises ModelMissing and ModelCorrupt.
    """

    def __init__(self, path: Path, max_tokens: int) -> None:
        from tokenizers import Tokenizer

        if not path.is_file():
            raise ModelMissing(f"no tokenizer at {path}", hint="run: aidecamp models pull")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises a bare Exception for any unreadable file
            raise ModelCorrupt(f"{path} is no tokenizer.json: {error}") from error
        self.pad_id = int((self._tokenizer.padding or {}).get("pad_id", 0))
        self.max_tokens = max_tokens
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens, strategy="longest_first")
        self._head_chars = max_tokens * _CHARS_PER_TOKEN

    def rows(self, texts: Sequence[Text]) -> list[Row]:
        """One row for each text or pair. Raises UsageError on anything else."""
        if isinstance(texts, (str, bytes)):
            raise UsageError("a list of texts is needed, and one text came", hint="pass [text]")
        return [self._row(text, index) for index, text in enumerate(texts)]

    def _row(self, text: Text, index: int) -> Row:
        parts: Sequence[str] = (text,) if isinstance(text, str) else text
        pair = isinstance(text, tuple | list) and len(text) == 2
        if not (pair or isinstance(text, str)) or not all(isinstance(p, str) for p in parts):
            raise UsageError(
                f"item {index} is neither a text nor a pair of texts: {type(text).__name__}"
            )
        whole = [part.encode("utf-8", "replace").decode("utf-8") for part in parts]
        heads = [part[: self._head_chars] for part in whole]
        encoding = self._encode(heads)
        # Long white space has no tokens: then the head was too short to judge by. One overflowing
        # piece may end in the half of a word; with two, the tokens that are kept are the text's.
        if heads != whole and len(encoding.overflowing) < 2:
            encoding = self._encode(whole)
        return Row(tuple(encoding.ids), tuple(encoding.type_ids), bool(encoding.overflowing))

    def _encode(self, parts: Sequence[str]) -> Any:
        first, *second = parts
        return self._tokenizer.encode(first, second[0] if second else None)


def padded(rows: Sequence[Row], width: int, pad_id: int) -> dict[str, Any]:
    """The input arrays of one run, int64, shape ``[len(rows), width]``, padded on the right."""
    import numpy as np

    ids = np.full((len(rows), width), pad_id, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    types = np.zeros((len(rows), width), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row.ids
        mask[index, : len(row)] = 1
        types[index, : len(row)] = row.types
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
