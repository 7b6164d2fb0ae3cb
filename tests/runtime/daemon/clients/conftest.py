"""The environment of the clients, and the default models, loaded once for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.pool import Pool
from models.store import Store
from tests.runtime.daemon.clients.running import missing


@pytest.fixture(scope="session", autouse=True)
def environment() -> None:
    """Nothing here is skipped: without its clients, a test fails and says what to run."""
    if wrong := missing():
        pytest.fail(wrong, pytrace=False)


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """From the user's own store: tests set another home only later."""
    pool = Pool(Store())
    pool.generator()
    pool.encoder()
    yield pool
    pool.close()
