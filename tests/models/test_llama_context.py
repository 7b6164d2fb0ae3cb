"""The loaded model itself: where its weights lie."""

from __future__ import annotations

import shutil
from pathlib import Path

from models.gguf import read_header
from models.llama_context import LlamaContext, Placement


def test_a_file_that_changes_once_it_is_loaded_changes_no_logits(
    gguf: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.gguf"
    shutil.copy(gguf, path)
    placement = Placement("cpu", 0, "a test of loading")
    context = LlamaContext(read_header(path), cells=256, threads=1, placement=placement)

    def logits() -> list[float]:
        context.truncate(0, 0)
        context.decode([100, 200, 300], [0, 1, 2], [(0,)] * 3, [False, False, True])
        return [float(value) for value in context.logits(2)]

    try:
        before = logits()
        path.write_bytes(bytes(path.stat().st_size))
        assert logits() == before
    finally:
        context.close()
