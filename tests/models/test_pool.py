"""The pool: each model loaded once, from the store or from a file of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ModelMissing, ToolFailed, UsageError
from models.pool import Pool
from models.store import Store


async def test_a_model_is_loaded_once_and_closed_with_the_pool(store: Store) -> None:
    pool = Pool(store)
    generator = pool.generator()
    assert pool.generator("smollm2-135m") is generator
    assert pool.encoder() is pool.encoder()
    pool.close()
    with pytest.raises(ToolFailed, match="closed"):
        generator.count_tokens("x")
    again = pool.generator()
    assert again is not generator
    assert again.count_tokens("hello") == 1
    pool.close()


def test_a_path_is_loaded_as_it_is(pool: Pool, gguf: Path) -> None:
    own = pool.generator(str(gguf))
    assert own.model == pool.generator().model
    with pytest.raises(ModelMissing, match=r"none\.gguf"):
        pool.generator("none.gguf")


def test_what_was_not_pulled_or_does_not_exist_is_named(tmp_path: Path) -> None:
    pool = Pool(Store(tmp_path))
    with pytest.raises(ModelMissing, match="smollm2-135m"):
        pool.generator()
    with pytest.raises(ModelMissing, match="minilm-l6"):
        pool.encoder()
    with pytest.raises(UsageError):
        pool.generator("no-such-model")
