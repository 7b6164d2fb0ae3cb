"""Python, memory, disk, the data folder and the models in it."""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from models.catalog import Catalog
from models.checks.base import Check
from models.errors import AidecampError
from models.machine import Machine, recommend
from models.store import Store, data_folder

_LEAST_FREE_MB = 1000


def python() -> Check:
    version = platform.python_version()
    detail = f"{version} at {sys.executable}"
    if sys.prefix == sys.base_prefix:
        fix = "install with make setup, pipx or uv tool"
        return Check("python", "warn", f"{detail}, not in an environment of its own", fix)
    return Check("python", "ok", detail)


def memory(machine: Machine, catalog: Catalog, *, gpu_works: bool) -> Check:
    advice = recommend(catalog, machine, gpu_works=gpu_works)
    because = f" ({advice.reason})" if advice.reason else ""
    detail = (
        f"{machine.memory_mb:,} MiB, {machine.available_mb:,} available; {machine.cores} cores; "
        f"recommended pack: {advice.pack}{because}"
    )
    need = catalog.packs[advice.pack].memory_mb
    data = {"memory_mb": machine.memory_mb, "cores": machine.cores, "pack": advice.pack}
    if machine.available_mb < need // 2:
        fix = "close other programs: the models would be swapped out"
        return Check("memory", "warn", detail, fix, data)
    return Check("memory", "ok", detail, data=data)


def disk() -> Check:
    folder = _existing(data_folder())
    free_mb = shutil.disk_usage(folder).free >> 20
    detail = f"{free_mb:,} MiB free for {data_folder()}"
    if free_mb < _LEAST_FREE_MB:
        fix = "free some space, or set AIDECAMP_HOME to another disk"
        return Check("disk", "warn", detail, fix, {"free_mb": free_mb})
    return Check("disk", "ok", detail, data={"free_mb": free_mb})


def writable() -> Check:
    """Write to the data folder, or to the nearest folder above it that exists."""
    wanted = data_folder()
    folder = _existing(wanted)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 4096)
            file.flush()
    except OSError as error:
        detail = f"{folder} cannot be written ({error.strerror})"
        fix = "make it writable, or set AIDECAMP_HOME to a folder that is"
        return Check("data folder", "fail", detail, fix)
    state = "writable" if folder == wanted else f"can be made in {folder}"
    return Check("data folder", "ok", f"{wanted}: {state}")


def models(store: Store) -> Check:
    """What is pulled, every byte of it read and compared."""
    good: list[str] = []
    problems: list[str] = []
    for entry in store.catalog.entries:
        if any(state.state != "missing" for state in store.installed(entry)):
            wrong = store.verify(entry)
            problems += wrong
            good += [] if wrong else [entry]
    data = {"good": good, "problems": problems}
    if problems:
        return Check("models", "fail", "; ".join(problems), "run: aidecamp models pull", data)
    default = next(iter(store.catalog.packs))
    missing = [e.name for e in store.catalog.select(default) if e.name not in good]
    if missing:
        detail = f"not pulled: {', '.join(missing)} (pack {default})"
        return Check("models", "fail", detail, f"run: aidecamp models pull {default}", data)
    return Check("models", "ok", f"{', '.join(good)}: pulled, digests right", data=data)


def generator_file(store: Store) -> Path | None:
    """A generator to try llama.cpp with: the smallest pack's that is here."""
    for pack in store.catalog.packs.values():
        with contextlib.suppress(AidecampError):
            return store.file(pack.generator)
    return None


def encoder_files(store: Store) -> tuple[Path, Path] | None:
    """The encoder and its tokenizer, to try ONNX Runtime with."""
    pack = next(iter(store.catalog.packs.values()))
    try:
        return store.file(pack.encoder), store.file(pack.encoder, "tokenizer")
    except AidecampError:
        return None


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
