"""Models over the API: loaded and unloaded on request, pulled with progress, removed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest

from models.errors import ModelMissing
from models.pool import ENCODER, GENERATOR, Pool
from models.store import Store
from runtime.daemon.client import OwnToken
from runtime.daemon.errors import Conflict, NoStaff, NotFound
from runtime.daemon.tokens import TokenStore
from tests.models.hub import Hub
from tests.models.test_store import BODY, HUB_PATH, catalog, hub, leftovers
from tests.runtime.daemon.scripted import Daemon, daemon, plain

__all__ = ["hub"]

Serving = Callable[[Store], AbstractAsyncContextManager[Daemon]]


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serving:
    @asynccontextmanager
    async def serve(store: Store) -> AsyncIterator[Daemon]:
        monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
        with closing(Pool(store, check_s=0.0)) as pool:
            async with daemon(tmp_path, plain, pool=pool) as one:
                yield one

    return serve


@pytest.fixture
def small(tmp_path: Path) -> Store:
    """An empty store whose catalog has a model on a hub."""
    return Store(tmp_path / "store", catalog(tmp_path))


async def test_a_model_is_loaded_looked_at_and_unloaded(store: Store, serving: Serving) -> None:
    async with serving(store) as served:
        client = served.client
        assert (await client.pool()).models == ()
        one = await client.load(GENERATOR)
        assert (one.name, one.busy) == (GENERATOR, 0) and one.bytes > 10_000_000
        await client.load(ENCODER)
        pool = await client.pool()
        assert [model.name for model in pool.models] == sorted((GENERATOR, ENCODER))
        assert (pool.loaded, pool.unloaded, pool.refused) == (2, 0, 0)
        assert pool.counters[GENERATOR].running == 0
        assert (await client.health())["models"] == sorted((GENERATOR, ENCODER))
        assert await client.unload(GENERATOR)
        assert not await client.unload(GENERATOR)
        assert [model.name for model in (await client.pool()).models] == [ENCODER]


async def test_a_model_in_use_is_neither_unloaded_nor_removed(
    store: Store, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "remove", lambda *_, **__: pytest.fail("it was removed"))
    async with serving(store) as served:
        await served.client.load(ENCODER)
        agents = served.agents
        assert agents is not None
        with agents.pool().encoder().loaded():
            with pytest.raises(Conflict, match="in use"):
                await served.client.unload(ENCODER)
            with pytest.raises(Conflict, match="in use"):
                await served.client.remove(ENCODER)
        assert await served.client.unload(ENCODER)


async def test_only_names_of_the_catalog_are_taken(small: Store, serving: Serving) -> None:
    (small.root.parent / "evil.gguf").write_bytes(b"GGUF")
    async with serving(small) as served:
        client = served.client
        for name in (
            str(small.root.parent / "evil.gguf"),
            "../evil.gguf",
            "hf:acme/tiny@main!weights/model.bin",
            "https://hub.example/model.gguf",
            "gen\0",
        ):
            with pytest.raises(NotFound):
                await client.load(name)
            with pytest.raises(NotFound):
                await client.unload(name)
            with pytest.raises(NotFound):
                await anext(client.pull(name))
            with pytest.raises(NotFound):
                await client.remove(name)
        with pytest.raises(ModelMissing):
            await client.load("gen")
        with pytest.raises(Conflict, match="Nothing here uses enc"):
            await client.load("enc")
        assert (await client.pool()).refused == 1


async def test_a_pull_tells_how_far_it_is_and_then_the_model_is_there(
    hub: Hub, small: Store, serving: Serving
) -> None:
    async with serving(small) as served:
        before = {m["name"]: m["pulled"] for m in (await served.client.store())["models"]}
        assert before == {"gen": False, "enc": False, "hub": False}
        told = [one async for one in served.client.pull("hub")]
        assert {(one.entry, one.role) for one in told} == {("hub", "model")}
        assert [one.done for one in told if one.phase == "download"][-1] == len(BODY)
        assert (told[-1].phase, told[-1].total) == ("done", len(BODY))
        after = {m["name"]: m for m in (await served.client.store())["models"]}
        assert after["hub"]["pulled"] and after["hub"]["files"][0]["state"] == "pulled"
        assert await served.client.remove("hub") == len(BODY)
        assert leftovers(small) == []


async def test_a_pull_that_fails_ends_with_its_error(
    hub: Hub, small: Store, serving: Serving
) -> None:
    hub.files.clear()
    async with serving(small) as served:
        with pytest.raises(ModelMissing):
            _ = [one async for one in served.client.pull("hub")]
        hub.put(HUB_PATH, BODY)
        assert [one async for one in served.client.pull("hub")][-1].phase == "done"


async def test_who_stops_listening_stops_the_pull_and_the_next_goes_on(
    hub: Hub, small: Store, serving: Serving
) -> None:
    hub.gate.clear()
    async with serving(small) as served, asyncio.timeout(30):
        transport = httpx.AsyncHTTPTransport(uds=str(served.path))
        auth = OwnToken(TokenStore(served.folder))
        body = {"model": "hub"}
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://aidecamp", auth=auth) as http,
            http.stream("POST", "/v1/store/pull", json=body) as answer,
        ):
            assert await asyncio.to_thread(hub.asked.wait, 20)
            line = await anext(answer.aiter_lines())
            assert line == "event: progress"
        while True:
            if "aidecamp_streams_open 0.0" in await served.client.metrics():
                break
            await asyncio.sleep(0.01)
        hub.gate.set()
        assert [one async for one in served.client.pull("hub")][-1].phase == "done"
        assert small.verify("hub") == ()


async def test_a_daemon_without_models_says_so(tmp_path: Path) -> None:
    async with daemon(tmp_path, plain) as served:
        with pytest.raises(NoStaff):
            await served.client.pool()
        with pytest.raises(NoStaff):
            await served.client.load(GENERATOR)
        names = json.dumps(await served.client.store())
        assert GENERATOR in names
