"""The default models, loaded once for all tests of the proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.pool import Pool
from models.store import Store


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """From the user's own store: tests set another home only later."""
    pool = Pool(Store())
    pool.generator()
    pool.encoder()
    yield pool
    pool.close()
