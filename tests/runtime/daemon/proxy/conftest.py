"""The default models, loaded once for all tests of the proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from models.pool import Pool
from models.store import Store
from runtime.core import Privacy
from tests.fakes import FakeGeneral
from tests.runtime.daemon.proxy.proxied import Proxied, Start, proxied


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """From the user's own store: tests set another home only later."""
    pool = Pool(Store())
    pool.generator()
    pool.encoder()
    yield pool
    pool.close()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool) -> Start:
    def begin(
        general: FakeGeneral | str | None = None,
        privacy: Privacy = "auto",
        *,
        config: str = "",
        policy: str = "",
    ) -> AbstractAsyncContextManager[Proxied]:
        if general is None:
            return proxied(tmp_path, monkeypatch, pool, config=config, policy=policy)
        url = general if isinstance(general, str) else general.base_url
        config = f'privacy = "{privacy}"\n{config}'
        return proxied(tmp_path, monkeypatch, pool, general=url, config=config, policy=policy)

    return begin
