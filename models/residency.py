"""What lies in memory: one slot for each model, loaded when it is needed and let go when it is not.

A slot holds at most one loaded model and counts the calls that use it. A model that is in use is
never closed under its callers: one whose file changed is retired, and closed by its last caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

from models.digest import Stamp, stamp

if TYPE_CHECKING:
    from models.llama_context import Placement


class Closable(Protocol):
    """A loaded model: ``models.llama.LlamaGenerator``, ``models.onnx.OnnxEncoder``."""

    name: str
    model: str

    def close(self) -> None: ...


M = TypeVar("M", bound=Closable)


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """Something that the pool did with a model, and why. ``bytes``: what it takes or took."""

    model: str
    what: Literal["loaded", "unloaded", "refused"]
    reason: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Residency:
    """One loaded model, now."""

    name: str
    digest: str
    device: str
    gpu_layers: int
    kv_type: str
    """Of its KV cache; empty where it has none."""
    bytes: int
    busy: int
    """Calls that use it."""
    idle_s: float
    """Since its last call ended; 0 while it is busy."""
    reason: str
    """Why it runs where it runs, and in which form."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is going to be loaded, decided before it is."""

    ram_bytes: int
    reason: str
    kv_type: str = ""
    placement: Placement | None = None
    """Where a generator runs; an encoder finds that out for itself."""


@dataclass(slots=True)
class Loaded(Generic[M]):
    """A loaded model and those who use it. Guarded by the pool's lock."""

    model: M
    plan: Plan
    files: tuple[Path, ...]
    stamps: tuple[Stamp | None, ...]
    used: float
    users: int = 0
    retired: bool = False


@dataclass(slots=True, eq=False)
class Slot(Generic[M]):
    """One model that may be loaded. Its functions say how; its fields are the pool's.

    ``files`` finds the files (raises ModelMissing), ``plan`` decides from them and the bytes of
    RAM that may be used (raises StorageFailed), ``load`` opens the model. ``reloads``: a file
    that changed on disk is loaded anew.
    """

    name: str
    files: Callable[[], tuple[Path, ...]]
    plan: Callable[[Sequence[Path], int], Plan]
    load: Callable[[Sequence[Path], Plan], M]
    reloads: bool
    loaded: Loaded[M] | None = None
    opening: Future[None] | None = None
    closed: bool = False
    retired: list[Loaded[M]] = field(default_factory=list)

    def changed(self) -> bool:
        """Whether the loaded model's file is another one now."""
        held = self.loaded
        return self.reloads and held is not None and tuple(map(stamp, held.files)) != held.stamps
