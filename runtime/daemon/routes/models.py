"""Models: what is loaded, load and unload; what the store has, pull with progress, and remove.

A client names entries and packs of the catalog, never a path or a URL.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse

from models.errors import AidecampError, Interrupted, UsageError
from models.residency import Residency
from runtime.daemon.bodies import MAX_NAME_CHARS, ModelBody
from runtime.daemon.declared import declared, streamed
from runtime.daemon.desk import Desk, sse_line
from runtime.daemon.errors import Conflict, NotFound, body_of
from runtime.daemon.measure import Meter
from runtime.daemon.routes.health import resident
from runtime.daemon.shapes_models import (
    PoolBody,
    Removed,
    StoreBody,
    StoredFile,
    StoredModel,
    StoredPack,
    Unloaded,
)

if TYPE_CHECKING:
    from models.catalog import Catalog, Entry
    from models.pulling import Progress
    from models.store import Store

HEARTBEAT_S = 10
Name = Annotated[
    str, Path(min_length=1, max_length=MAX_NAME_CHARS, description="A model of the catalog.")
]
Forget = Annotated[
    bool, Query(description="Forget the digest that the first pull of an unverified file recorded.")
]


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["models"])

    @router.get("/v1/pool", summary="What is loaded, where, and why there", **declared("admin"))
    def pool() -> PoolBody:
        from models.machine import free_memory

        held = desk.staff.pool()
        told: dict[str, Any] = dict(held.told)
        return PoolBody.model_construct(
            models=held.status(), **told, free_bytes=free_memory(), counters=held.counters()
        )

    @router.post("/v1/pool/load", summary="Load a model now", **declared("admin", 404, 409))
    def load(body: ModelBody) -> Residency:
        from models.pool import ENCODER

        entry = _entry(_store(desk).catalog, body.model)
        if entry.role == "encoder" and entry.name != ENCODER:
            raise Conflict(f"Nothing here uses {entry.name}.", hint=f"The encoder is {ENCODER}.")
        return desk.staff.pool().load(entry.name)

    @router.post("/v1/pool/unload", summary="Free a model's memory", **declared("admin", 404, 409))
    def unload(body: ModelBody) -> Unloaded:
        _entry(_store(desk).catalog, body.model)
        return Unloaded(model=body.model, unloaded=_unload(desk, body.model))

    @router.get(
        "/v1/store", summary="Every pack and model of the catalog, and what is here",
        **declared("admin"),
    )  # fmt: skip
    def store() -> StoreBody:
        found = _store(desk)
        loaded = {one.name for one in resident(desk)}
        return StoreBody(
            packs=[_pack(found, name) for name in found.catalog.packs],
            models=[_model(found, entry, loaded) for entry in found.catalog.entries.values()],
        )

    @router.post(
        "/v1/store/pull",
        summary="Fetch, verify and repack a model or a pack, with progress",
        response_class=EventSourceResponse,
        **streamed(
            "admin",
            404,
            409,
            description="Events `progress` {entry, role, phase, done, total} in bytes, then one "
            "`done` {models} or one `error`. Who goes away stops the pull; the next goes on there.",
            events=("progress", "done", "error"),
        ),
    )
    async def pull(request: Request, body: ModelBody) -> EventSourceResponse:
        found = await asyncio.to_thread(_store, desk)
        _known(found.catalog, body.model)
        told = Meter.of(request).streaming(_pulled(desk, found, body.model))
        return EventSourceResponse(told, ping=HEARTBEAT_S)

    @router.delete(
        "/v1/store/models/{model}",
        summary="Unload a model and delete its files",
        **declared("admin", 404, 409),
    )
    def remove(model: Name, forget: Forget = False) -> Removed:
        found = _store(desk)
        _entry(found.catalog, model)
        _unload(desk, model)
        return Removed(model=model, freed_bytes=found.remove(model, forget=forget))

    return router


def _store(desk: Desk) -> Store:
    """Where this daemon's models lie. Raises UsageError."""
    from models.store import Store

    held = desk.agents.pool().store if desk.agents is not None else None
    return held if isinstance(held, Store) else Store()


def _entry(catalog: Catalog, name: str) -> Entry:
    try:
        return catalog.entry(name)
    except UsageError as error:
        raise NotFound(error.message, hint=error.hint) from error


def _known(catalog: Catalog, name: str) -> None:
    try:
        catalog.select(name)
    except UsageError as error:
        raise NotFound(error.message, hint=error.hint) from error


def _unload(desk: Desk, name: str) -> bool:
    """Whether it was loaded. Raises Conflict where it is in use."""
    if desk.agents is not None and desk.agents.pool().unload(name):
        return True
    if any(one.name == name for one in resident(desk)):
        raise Conflict(f"{name} is in use.", hint="Try again when its calls have ended.")
    return False


def _pack(store: Store, name: str) -> StoredPack:
    pack = store.catalog.packs[name]
    return StoredPack(
        name=name,
        about=pack.about,
        generator=pack.generator,
        encoder=pack.encoder,
        memory_mb=pack.memory_mb,
        pulled=all(store.is_pulled(entry) for entry in (pack.generator, pack.encoder)),
    )


def _model(store: Store, entry: Entry, loaded: set[str]) -> StoredModel:
    files = []
    for state in store.installed(entry.name):
        held = state.repacked or state.pulled
        files.append(
            StoredFile(
                role=state.file.role,
                source=str(state.file.source),
                state=state.state,
                size=held.size if held else state.file.size,
                sha256=held.sha256 if held else state.file.sha256,
                revision=held.revision if held else None,
                type=held.type if held else None,
            )
        )
    return StoredModel(
        name=entry.name,
        about=entry.about,
        pack=entry.pack,
        role=entry.role,
        licence=entry.licence,
        params_m=entry.params_m,
        context=entry.context,
        memory_mb=entry.memory_mb,
        unverified=entry.unverified,
        pulled=store.is_pulled(entry.name),
        loaded=entry.name in loaded,
        files=files,
    )


async def _pulled(desk: Desk, store: Store, name: str) -> AsyncIterator[ServerSentEvent]:
    """The pull as events. Ends it, where its reader goes away or the daemon stops."""
    loop = asyncio.get_running_loop()
    moved = asyncio.Event()
    latest: dict[tuple[str, str, str], Progress] = {}
    lock = threading.Lock()
    stopped = threading.Event()

    def report(progress: Progress) -> None:
        if stopped.is_set() or desk.follower.stopped:
            raise Interrupted("The pull was stopped; models already pulled are kept.")
        with lock:
            # Reports come by the block: of those of one phase, a slow reader sees the last.
            latest[progress.entry, progress.role, progress.phase] = progress
        loop.call_soon_threadsafe(moved.set)

    def taken() -> list[Progress]:
        moved.clear()
        with lock:
            found = list(latest.values())
            latest.clear()
        return found

    work = asyncio.ensure_future(asyncio.to_thread(store.pull, name, report))
    work.add_done_callback(lambda _: moved.set())
    try:
        while not work.done():
            await moved.wait()
            for progress in taken():
                yield ServerSentEvent(sse_line(_said(progress)), event="progress")
        for progress in taken():
            yield ServerSentEvent(sse_line(_said(progress)), event="progress")
        try:
            done = {"models": [entry.name for entry in work.result()]}
        except AidecampError as error:
            yield ServerSentEvent(sse_line(body_of(error)), event="error")
        else:
            yield ServerSentEvent(sse_line(done), event="done")
    finally:
        stopped.set()
        if not work.done():
            work.add_done_callback(lambda one: one.cancelled() or one.exception())


def _said(progress: Progress) -> dict[str, Any]:
    return {
        "entry": progress.entry,
        "role": progress.role,
        "phase": progress.phase,
        "done": progress.done,
        "total": progress.total,
    }
