"""The store: pull, verify, repack, list and remove model files, under ``<data folder>/models``.

    <root>/lock.json                     sizes, digests and revisions of what is here
    <root>/<entry>/<file>                a pulled file, and the file repacked from it
    <root>/.staging/<entry>/…            downloads under way; a ``.part`` file is resumed

A file appears under its name only when its bytes are verified and durable. Pulls of one entry
wait for one another, across processes. Loading models is not covered (``models/pool.py``).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.catalog import DEFAULT_PACK, Catalog, Entry, File
from models.errors import ModelCorrupt, ModelMissing, StorageFailed
from models.lockfile import Held, Lock, Pin, editing
from models.pulling import Progress, Report, Work

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Installed:
    """One file of an entry, and what the store has of it."""

    file: File
    pulled: Held | None
    repacked: Held | None
    state: Literal["missing", "pulled", "outdated"]
    """``outdated``: the catalog now pins another file than the one that is here."""


def data_folder() -> Path:
    """Aidecamp's data folder: ``AIDECAMP_HOME``, else the platform's. Not created."""
    if home := os.environ.get("AIDECAMP_HOME"):
        return Path(home).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("aidecamp"))


class Store:
    """The model files of one data folder."""

    def __init__(self, root: Path | None = None, catalog: Catalog | None = None) -> None:
        self.root = (root or data_folder() / "models").absolute()
        self.catalog = catalog or Catalog.load()

    def file(self, entry: str, role: str = "model") -> Path:
        """The file to load: the repacked one where the entry asks for repacking.

        Its size is compared, its digest is not (``verify`` does that).
        Raises UsageError (no such entry), ModelMissing, ModelCorrupt, StorageFailed.
        """
        found = self.catalog.entry(entry)
        state = self._installed(found, found.file(role), Lock.read(self.root))
        held = state.repacked if _repacks(found, role) else state.pulled
        # A newcomer lacks the whole default pack: one command, not one for each model.
        wanted = DEFAULT_PACK if found.pack == DEFAULT_PACK else entry
        hint = f"run: aidecamp models pull {wanted}"
        if held is None or state.state != "pulled":
            word = "is of an older catalog" if state.state == "outdated" else "was not pulled"
            raise ModelMissing(f"the model {entry} ({role}) {word}", hint=hint)
        path = self.root / entry / held.name
        size = _size(path)
        if size is None:
            raise ModelMissing(f"the model file {path} is gone", hint=hint)
        if size != held.size:
            raise ModelCorrupt(
                f"{path} has {size:,} bytes and should have {held.size:,}", hint=hint
            )
        return path

    def installed(self, entry: str) -> tuple[Installed, ...]:
        """What the store has of each file of ``entry``. Raises UsageError, StorageFailed."""
        found = self.catalog.entry(entry)
        lock = Lock.read(self.root)
        return tuple(self._installed(found, file, lock) for file in found.files)

    def is_pulled(self, entry: str) -> bool:
        """Whether every file of ``entry`` can be loaded, by its size."""
        try:
            for file in self.catalog.entry(entry).files:
                self.file(entry, file.role)
        except (ModelMissing, ModelCorrupt):
            return False
        return True

    def verify(self, entry: str) -> tuple[str, ...]:
        """Read every byte of ``entry``'s files: what is wrong with them, empty where nothing."""
        problems = []
        for state in self.installed(entry):
            role = state.file.role
            if state.state != "pulled":
                problems.append(f"{entry} ({role}) is {state.state}")
                continue
            if state.repacked is None and _repacks(self.catalog.entry(entry), role):
                problems.append(f"{entry} ({role}) was not repacked")
            for held in (state.pulled, state.repacked):
                if held is not None and (wrong := self._wrong(entry, held)):
                    problems.append(wrong)
        return tuple(problems)

    def pull(self, name: str, report: Report | None = None) -> tuple[Entry, ...]:
        """Fetch, verify and repack what is missing or damaged of a pack or an entry.

        ``report`` is called often, from this thread. Raises UsageError (no such name),
        ModelMissing (source), ModelCorrupt (wrong bytes), StorageFailed (disk).
        """
        entries = self.catalog.select(name)
        for entry in entries:
            if not self._good(entry):
                with self._writing(entry.name), self._locked(entry, report or _silent):
                    if not self._good(entry):
                        self._pull(entry, report or _silent)
        return entries

    def remove(self, name: str, *, forget: bool = False) -> int:
        """Delete the files of a pack or an entry; the bytes that were freed.

        An encoder that a pulled pack still needs stays where a pack was named. ``forget``
        drops the pins of unverified files too. Raises UsageError, StorageFailed.
        """
        freed = 0
        for entry in self._removable(name):
            if not self.root.is_dir():
                break
            with self._writing(entry.name), self._locked(entry, _silent):
                # Out of the lock file first: a crash in between leaves litter, not a promise.
                with editing(self.root) as lock:
                    _drop(lock.held, entry.name)
                    if forget:
                        for file in entry.files:
                            lock.pins.pop(str(file.source), None)
                for folder in (self.root / entry.name, self.root / ".staging" / entry.name):
                    freed += sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                    if folder.exists():
                        shutil.rmtree(folder)
        return freed

    def _pull(self, entry: Entry, report: Report) -> None:
        folder = self.root / entry.name
        folder.mkdir(parents=True, exist_ok=True)
        for file in entry.files:
            lock = Lock.read(self.root)
            state = self._installed(entry, file, lock)
            held = state.pulled
            key = f"{entry.name}/{file.role}"
            staging = self.root / ".staging" / entry.name
            staging.mkdir(parents=True, exist_ok=True)
            work = Work(entry, file, folder, staging, report)
            if held is None or state.state == "outdated" or self._wrong(entry.name, held):
                held = work.fetch(lock.pins.get(str(file.source)))
                with editing(self.root) as lock:
                    _drop(lock.held, key)
                    lock.held[key] = held
                    if entry.unverified:
                        lock.pins[str(file.source)] = Pin(held.size, held.sha256, held.revision)
                state = self._installed(entry, file, Lock.read(self.root))
            if entry.repack is not None and file.role == "model":
                repacked = state.repacked
                if repacked is None or self._wrong(entry.name, repacked):
                    made = work.repack(held, entry.repack)
                    with editing(self.root) as lock:
                        lock.held[f"{key}/{entry.repack}"] = made
            shutil.rmtree(staging, ignore_errors=True)
            report(Progress(entry.name, file.role, "done", held.size, held.size))

    def _installed(self, entry: Entry, file: File, lock: Lock) -> Installed:
        pulled = lock.held.get(f"{entry.name}/{file.role}")
        repacked = lock.held.get(f"{entry.name}/{file.role}/{entry.repack}")
        if pulled is None:
            return Installed(file, None, repacked, "missing")
        # An unverified file is pinned by its own first pull, so it cannot be outdated.
        current = pulled.source == str(file.source) and file.sha256 in (None, pulled.sha256)
        return Installed(file, pulled, repacked, "pulled" if current else "outdated")

    def _good(self, entry: Entry) -> bool:
        return self.is_pulled(entry.name) and not self.verify(entry.name)

    def _wrong(self, entry: str, held: Held) -> str:
        """What is wrong with a held file, its bytes read; empty where nothing."""
        path = self.root / entry / held.name
        size = _size(path)
        if size is None:
            return f"{path} is gone"
        if size != held.size:
            return f"{path} has {size:,} bytes and should have {held.size:,}"
        try:
            with path.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
        return "" if sha256 == held.sha256 else f"{path} has SHA-256 {sha256}, not {held.sha256}"

    def _removable(self, name: str) -> tuple[Entry, ...]:
        entries = self.catalog.select(name)
        if name not in self.catalog.packs:
            return entries
        shared = {
            pack.encoder
            for pack in self.catalog.packs.values()
            if pack.name != name and self.is_pulled(pack.generator)
        }
        return tuple(e for e in entries if e.name not in shared)

    @contextlib.contextmanager
    def _locked(self, entry: Entry, report: Report) -> Iterator[None]:
        from filelock import FileLock, Timeout

        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / entry.name)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report(Progress(entry.name, "", "wait"))
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _writing(self, entry: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in _FULL
            reason = "the disk is full" if full else error.strerror or str(error)
            raise StorageFailed(
                f"the store at {self.root} cannot be written ({reason}) while working on {entry}; "
                "models already pulled are kept, and nothing half-written counts as one",
                hint="free some space, then pull again: it goes on where it was"
                if full
                else "make the folder writable, or set AIDECAMP_HOME to one that is",
            ) from error


def _repacks(entry: Entry, role: str) -> bool:
    return entry.repack is not None and role == "model"


def _drop(held: dict[str, Held], prefix: str) -> None:
    """Forget ``prefix`` and everything below it."""
    for key in [k for k in held if k == prefix or k.startswith(prefix + "/")]:
        del held[key]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _silent(_: Progress) -> None:
    """No one watches."""
