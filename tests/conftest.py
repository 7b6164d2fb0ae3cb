"""The default models, pulled once where they are missing, and loaded once in a test run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import AidecampError
from models.pool import Pool
from models.store import Store


@pytest.fixture(scope="session")
def store() -> Store:
    """The user's own store with the default pack in it: ``make test`` pulls it before."""
    store = Store()
    for entry in (e for e in store.catalog.entries.values() if e.pack == "tiny"):
        try:
            for file in entry.files:
                store.file(entry.name, file.role)
        except AidecampError:
            store.pull(entry.name)
    return store


@pytest.fixture(scope="session")
def gguf(store: Store) -> Path:
    """The default generator's file, as it is loaded."""
    return store.file("smollm2-135m", "model")


@pytest.fixture(scope="session")
def pool(store: Store) -> Iterator[Pool]:
    """The loaded default models."""
    pool = Pool(store)
    yield pool
    pool.close()
