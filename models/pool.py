"""What is loaded: several models in one process, within the memory that is free.

A model is loaded at its first use, once, in a thread of its own, so that callers on an event loop
go on. It is unloaded when nobody used it for ``idle_s``, or, least recently used first, when
memory runs short; the handle that a caller has loads it again at its next call. One that is in
use is never unloaded. Every load, unload and refusal is logged and told to ``on_event``.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from models.digest import stamp
from models.errors import AidecampError, StorageFailed, ToolFailed
from models.footprint import KV_TYPES, KvType
from models.loading import encoder_slot, generator_slot
from models.machine import free_memory, return_memory
from models.pooled import PooledEncoder, PooledGenerator
from models.residency import Loaded, M, Plan, PoolEvent, Residency, Slot

if TYPE_CHECKING:
    from models.counters import Counters
    from models.llama import LlamaGenerator
    from models.onnx import OnnxEncoder

GENERATOR = "smollm2-135m"
ENCODER = "minilm-l6"
IDLE_S = 900.0
MIN_FREE_BYTES = 256 * 2**20
"""Memory that is left to other programs."""
CHECK_S = 5.0
"""How often idle models and the free memory are looked at."""

log = logging.getLogger(__name__)


class Files(Protocol):
    """Where the files of catalog entries lie: ``models.store.Store``, or a test's own."""

    def file(self, entry: str, role: str) -> Path:
        """Path of one pulled file. Raises ModelMissing."""
        ...


class Pool:
    """The models of this process. Safe to call from several threads.

    ``kv_types``: what a KV cache may be held in, the next only where the one before does not fit.
    ``cache_folder``: where decoded prefixes are saved, so that a model loaded again is warm.
    ``now`` and ``free_bytes``: a clock in seconds and the free RAM, for tests.
    """

    def __init__(
        self,
        store: Files | None = None,
        *,
        idle_s: float = IDLE_S,
        min_free_bytes: int = MIN_FREE_BYTES,
        check_s: float = CHECK_S,
        kv_types: Sequence[KvType] = KV_TYPES,
        cache_folder: Path | None = None,
        on_event: Callable[[PoolEvent], None] | None = None,
        now: Callable[[], float] = time.monotonic,
        free_bytes: Callable[[], int] = free_memory,
    ) -> None:
        self._store = store
        self._idle_s = idle_s
        self._min_free_bytes = min_free_bytes
        self._check_s = check_s
        self._kv_types = tuple(kv_types)
        self._cache_folder = cache_folder
        self._on_event = on_event
        self._now = now
        self._free_bytes = free_bytes
        self._lock = threading.RLock()
        # Held while one model is weighed and loaded: two would count the same free memory.
        self._loading = threading.Lock()
        self._generators: dict[str, tuple[Slot[LlamaGenerator], PooledGenerator]] = {}
        self._encoder: tuple[Slot[OnnxEncoder], PooledEncoder] | None = None
        self._stop: threading.Event | None = None
        self._told: Counter[str] = Counter(loaded=0, unloaded=0, refused=0)

    @property
    def store(self) -> Files:
        if self._store is None:
            from models.store import Store

            self._store = Store()
        return self._store

    def generator(self, name: str | None = None) -> PooledGenerator:
        """The generator ``name``: a catalog entry, or the path of a GGUF file; the default
        pack's where None. It is loaded now, so that what is wrong with it is said here.

        Raises UsageError (no such entry), ModelMissing (not pulled), ModelCorrupt, StorageFailed.
        """
        entry = name or GENERATOR
        with self._lock:
            if entry not in self._generators:
                slot = generator_slot(
                    entry,
                    lambda: (
                        Path(entry) if entry.endswith(".gguf") else self.store.file(entry, "model")
                    ),
                    self._kv_types,
                    self._cache_folder,
                )
                self._generators[entry] = slot, PooledGenerator(self, slot)
            _, handle = self._generators[entry]
        with handle.loaded():
            return handle

    def encoder(self) -> PooledEncoder:
        """The sentence encoder, loaded now. Raises ModelMissing, ModelCorrupt, StorageFailed."""
        with self._lock:
            if self._encoder is None:
                slot = encoder_slot(
                    ENCODER,
                    lambda: (
                        self.store.file(ENCODER, "model"),
                        self.store.file(ENCODER, "tokenizer"),
                    ),
                )
                self._encoder = slot, PooledEncoder(self, slot)
            _, handle = self._encoder
        with handle.loaded():
            return handle

    def load(self, name: str) -> Residency:
        """Load the encoder, or the generator ``name``, and tell where it lies. Waits until it is
        loaded. Raises what :meth:`encoder` and :meth:`generator` raise."""
        handle = self.encoder() if name == ENCODER else self.generator(name)
        with handle.loaded():  # Nothing unloads it before it was looked at.
            found = next(one for one in self.status() if one.name == name)
            return dataclasses.replace(found, busy=found.busy - 1)  # but for this look itself

    def unload(self, name: str) -> bool:
        """Unload the model ``name``; False where it is in use, or was not loaded."""
        with self._lock:
            slot = next((s for s in self._slots() if s.name == name and s.loaded), None)
        return slot is not None and self._unload(slot, "it was asked for")

    def counters(self) -> Mapping[str, Counters]:
        """What each loaded generator has done and is doing, by name."""
        with self._lock:
            handles = {name: handle for name, (_, handle) in self._generators.items()}
        found = {name: handle.counters for name, handle in handles.items()}
        return {name: counted for name, counted in found.items() if counted is not None}

    @property
    def told(self) -> Mapping[str, int]:
        """How often models were ``loaded``, ``unloaded`` and ``refused`` so far."""
        return dict(self._told)

    def status(self) -> list[Residency]:
        """What is loaded now, by name."""
        with self._lock:
            held = [(slot.name, slot.loaded) for slot in self._slots() if slot.loaded]
            return sorted(
                (self._residency(name, loaded) for name, loaded in held), key=lambda r: r.name
            )

    def check(self) -> None:
        """Unload what was idle too long, and what memory is needed for. Runs every ``check_s``."""
        with self._lock:
            idle = [
                (slot, f"idle for {self._idle(slot.loaded):,.0f} s")
                for slot in self._slots()
                if slot.loaded and not slot.loaded.users
                and self._idle(slot.loaded) >= self._idle_s
            ]  # fmt: skip
        for slot, why in idle:
            self._unload(slot, why)
        while (free := self._free_bytes()) < self._min_free_bytes:
            least = self._least_recently_used()
            if least is None or not self._unload(least, self._pressure(free)):
                return

    def close(self) -> None:
        """Close every model and free its memory; calls that run fail with ToolFailed. The pool
        may be used again afterwards, with new handles."""
        with self._lock:
            slots = self._slots()
            self._generators.clear()
            self._encoder = None
            opening = [slot.opening for slot in slots if slot.opening]
            held: list[tuple[Slot[Any], Loaded[Any]]] = []
            for slot in slots:
                slot.closed = True
                held += [(slot, one) for one in (slot.loaded, *slot.retired) if one]
                slot.loaded = None
                slot.retired = []
            if self._stop:
                self._stop.set()
                self._stop = None
        for slot, loaded in held:
            _close(loaded)
            self._tell(slot.name, "unloaded", "the pool was closed", loaded.plan.ram_bytes)
        for future in opening:
            future.exception()

    # ---- for handles

    def take(self, slot: Slot[M]) -> Loaded[M] | None:
        """The loaded model, counted as in use, or None where it has to be loaded first.

        Never waits. Raises ToolFailed where the pool was closed.
        """
        with self._lock:
            if slot.closed:
                raise ToolFailed(f"the model {slot.name} was closed")
            if slot.loaded is None or slot.changed():
                return None
            slot.loaded.users += 1
            return slot.loaded

    def give_back(self, slot: Slot[M], loaded: Loaded[M]) -> None:
        """The call that took it has ended."""
        with self._lock:
            loaded.users -= 1
            loaded.used = self._now()
            last = loaded.retired and not loaded.users and loaded in slot.retired
            if last:
                slot.retired.remove(loaded)
        if last:
            # Not here: closing waits for the model's thread, and this may be an event loop.
            threading.Thread(target=_close, args=(loaded,), daemon=True).start()

    def opening(self, slot: Slot[M]) -> Future[None]:
        """Done when the model is loaded, or has failed to; one load serves all who wait."""
        with self._lock:
            if slot.opening is None:
                slot.opening = Future()
                # Running from the start: a caller who gives up must not cancel it for the others.
                slot.opening.set_running_or_notify_cancel()
                name = f"load {slot.name}"
                threading.Thread(target=self._open, args=(slot,), name=name, daemon=True).start()
            return slot.opening

    # ---- loading and unloading

    def _open(self, slot: Slot[M]) -> None:
        future = slot.opening
        assert future is not None  # noqa: S101  (set by the only caller, before this thread began)
        error: BaseException | None = None
        try:
            with self._loading:
                self._load(slot)
        except BaseException as caught:  # whatever it is, it belongs to the callers
            error = caught
        with self._lock:
            slot.opening = None
        if error is None:
            future.set_result(None)
        else:
            if isinstance(error, AidecampError):
                self._tell(slot.name, "refused", error.message, 0)
            future.set_exception(error)

    def _load(self, slot: Slot[M]) -> None:
        with self._lock:
            if slot.loaded and not slot.changed():
                return
            old, slot.loaded = slot.loaded, None
            if old and old.users:
                old.retired = True
                slot.retired.append(old)
        if old:
            if not old.users:
                _close(old)
            self._tell(slot.name, "unloaded", "its file changed on disk", old.plan.ram_bytes)
        files = slot.files()
        seen = tuple(map(stamp, files))
        plan = self._make_room(slot, files)
        model = slot.load(files, plan)
        loaded = Loaded(model, plan, files, seen, self._now())
        with self._lock:
            closed = slot.closed
            if not closed:
                slot.loaded = loaded
                self._keep_checking()
        if closed:
            model.close()
            raise ToolFailed(f"the model {slot.name} was closed")
        reason = plan.reason
        if old and model.model != old.model.model:
            reason = f"a new file, {model.model[:19]} and not {old.model.model[:19]}; {reason}"
        self._tell(slot.name, "loaded", reason, plan.ram_bytes)

    def _make_room(self, slot: Slot[M], files: Sequence[Path]) -> Plan:
        """How the model will lie in memory, once idle models that stand in its way are gone.

        Raises StorageFailed, before any is, where that would not be enough.
        """
        with self._lock:
            others = [s.loaded for s in self._slots() if s.loaded and not s.loaded.users]
            idle_bytes = sum(_bytes(loaded) for loaded in others)
        room = self._free_bytes() - self._min_free_bytes
        try:
            plan = slot.plan(files, max(room + idle_bytes, 0))
        except StorageFailed as error:
            kept = f"{self._min_free_bytes >> 20:,} MiB are kept for other programs"
            raise StorageFailed(f"{error.message}; {kept}", hint=error.hint) from error
        short = False
        while (free := self._free_bytes()) - self._min_free_bytes < plan.ram_bytes:
            short = True
            victim = self._least_recently_used()
            if victim is None or not self._unload(victim, f"{slot.name} needs its memory"):
                break
        if not short:
            return plan
        # What was let go may have freed GPU memory too, or less RAM than was counted on.
        return slot.plan(files, max(free - self._min_free_bytes, min(free, plan.ram_bytes)))

    def _least_recently_used(self) -> Slot[Any] | None:
        with self._lock:
            idle = [s for s in self._slots() if s.loaded and not s.loaded.users]
            return min(idle, key=lambda s: s.loaded.used if s.loaded else 0.0, default=None)

    def _unload(self, slot: Slot[Any], why: str) -> bool:
        """Close the slot's model unless somebody took it meanwhile."""
        with self._lock:
            loaded = slot.loaded
            if loaded is None or loaded.users:
                return False
            slot.loaded = None
        size = _bytes(loaded)
        _close(loaded)
        self._tell(slot.name, "unloaded", why, size)
        return True

    def _slots(self) -> list[Slot[Any]]:
        found: list[Slot[Any]] = [slot for slot, _ in self._generators.values()]
        return [*found, self._encoder[0]] if self._encoder else found

    def _idle(self, loaded: Loaded[Any]) -> float:
        return 0.0 if loaded.users else self._now() - loaded.used

    def _pressure(self, free: int) -> str:
        return f"{free >> 20:,} MiB of memory are free, and {self._min_free_bytes >> 20:,} are kept"

    def _residency(self, name: str, loaded: Loaded[Any]) -> Residency:
        model = loaded.model
        placement = getattr(model, "placement", None)
        return Residency(
            name=name,
            digest=model.model,
            device=placement.device if placement else model.provider,
            gpu_layers=placement.gpu_layers if placement else 0,
            kv_type=loaded.plan.kv_type,
            bytes=_bytes(loaded),
            busy=loaded.users,
            idle_s=self._idle(loaded),
            reason=loaded.plan.reason if placement else model.provider_reason,
        )

    def _keep_checking(self) -> None:
        if self._stop is None and self._check_s > 0:
            self._stop = threading.Event()
            threading.Thread(
                target=self._check_until, args=(self._stop,), name="pool", daemon=True
            ).start()

    def _check_until(self, stop: threading.Event) -> None:
        while not stop.wait(self._check_s):
            try:
                self.check()
            except Exception:
                # Memory that cannot be read once must not end the watch over it.
                log.exception("the pool could not check its models")

    def _tell(self, model: str, what: Any, reason: str, size: int) -> None:
        event = PoolEvent(model, what, reason, size)
        with self._lock:
            self._told[what] += 1
        log.info("model %s %s (%d MiB): %s", model, what, size >> 20, reason)
        if self._on_event:
            try:
                self._on_event(event)
            except Exception:
                log.exception("a listener of the pool failed on %s", event)


def _close(loaded: Loaded[Any]) -> None:
    loaded.model.close()
    return_memory()


def _bytes(loaded: Loaded[Any]) -> int:
    """What it takes: its plan, or more where it keeps decoded prefixes by now."""
    return max(loaded.plan.ram_bytes, getattr(loaded.model, "memory_bytes", 0))
