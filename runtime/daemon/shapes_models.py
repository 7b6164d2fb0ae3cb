"""What the daemon answers about models: those that are loaded, and those that are stored."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from models.counters import Counters
from models.residency import Residency


class PoolBody(BaseModel):
    """What is loaded, and what the pool has done."""

    models: list[Residency]
    loaded: int
    """Loads since the daemon started."""
    unloaded: int
    refused: int
    free_bytes: int
    """RAM that is free now."""
    counters: dict[str, Counters]
    """Of each loaded generator: calls that run and wait now, and what it has done."""


class Unloaded(BaseModel):
    model: str
    unloaded: bool
    """False: it was not loaded."""


class StoredFile(BaseModel):
    role: str
    source: str
    state: Literal["missing", "pulled", "outdated"]
    size: int | None
    sha256: str | None
    revision: str | None
    type: str | None


class StoredModel(BaseModel):
    """A model of the catalog, and what of it is here."""

    name: str
    about: str
    pack: str
    role: Literal["generator", "encoder"]
    licence: str
    params_m: int
    context: int
    memory_mb: int
    unverified: bool
    pulled: bool
    loaded: bool
    files: list[StoredFile]


class StoredPack(BaseModel):
    """A generator and an encoder that go together."""

    name: str
    about: str
    generator: str
    encoder: str
    memory_mb: int
    pulled: bool


class StoreBody(BaseModel):
    packs: list[StoredPack]
    models: list[StoredModel]


class Removed(BaseModel):
    model: str
    freed_bytes: int
