"""What this machine has, measured, and the pack that suits it."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from models.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU, as NVML describes it."""

    name: str
    memory_mb: int
    free_mb: int
    driver: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Memory in MiB, usable cores, and NVIDIA GPUs; ``gpu_problem`` says why there is none."""

    memory_mb: int
    available_mb: int
    cores: int
    gpus: tuple[Gpu, ...]
    gpu_problem: str

    @staticmethod
    def measure() -> Machine:
        """This machine, now. Counts what a container or a CPU mask leaves of it."""
        import psutil

        memory = psutil.virtual_memory()
        limit = _cgroup_limit()
        total = min(memory.total, limit) if limit else memory.total
        gpus, problem = _gpus()
        return Machine(
            memory_mb=total >> 20,
            available_mb=min(free_memory(), total) >> 20,
            cores=cores(),
            gpus=gpus,
            gpu_problem=problem,
        )


@dataclass(frozen=True, slots=True)
class Advice:
    """The pack to use, and why not a larger one."""

    pack: str
    reason: str


def free_memory() -> int:
    """Bytes of RAM that can be had without swapping, within this process's cgroup."""
    import psutil

    available = int(psutil.virtual_memory().available)
    left = _cgroup_left()
    return available if left is None else min(available, left)


def free_gpu_memory() -> int:
    """Free bytes of the GPU that has most; 0 where none answers."""
    gpus, _ = _gpus()
    return max((gpu.free_mb for gpu in gpus), default=0) << 20


def return_memory() -> None:
    """Give freed memory back to the system, where the C library can (glibc).

    Measured: two closed MiniLM sessions left 218 MiB with the process, and 14 after this.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def recommend(catalog: Catalog, machine: Machine, *, gpu_works: bool = False) -> Advice:
    """The largest pack that ``machine`` carries. ``gpu_works``: llama.cpp can offload to it."""
    gpu_mb = max((g.memory_mb for g in machine.gpus), default=0) if gpu_works else 0
    chosen, reason = "", ""
    for pack in catalog.packs.values():
        on_gpu = 0 < pack.gpu_memory_mb <= gpu_mb
        enough_memory = machine.memory_mb >= pack.memory_mb
        if on_gpu or (enough_memory and machine.cores >= pack.cpu_cores):
            chosen, reason = pack.name, ""
        elif not reason:
            lack = (
                f"{pack.cpu_cores} cores or a working GPU, and this machine gives {machine.cores}"
                if enough_memory
                else f"{pack.memory_mb:,} MiB, and this machine has {machine.memory_mb:,}"
            )
            reason = f"{pack.name} asks for {lack}"
    return Advice(chosen or next(iter(catalog.packs)), reason)


def cores() -> int:
    """Cores that this process may use: what a CPU mask leaves, hyperthreads counted."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_flags() -> frozenset[str]:
    """The instruction sets of the first core, as Linux names them; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _cgroup_limit() -> int:
    """Bytes that this process's cgroup (v2) may use; 0 where it is not limited."""
    try:
        line = Path("/proc/self/cgroup").read_text(encoding="ascii").split("0::", 1)[1]
        group = Path("/sys/fs/cgroup") / line.splitlines()[0].lstrip("/")
        return int((group / "memory.max").read_text(encoding="ascii"))
    except (OSError, ValueError, IndexError):
        return 0


def _cgroup_left() -> int | None:
    """Bytes that this process's cgroup may still use; None where it is not limited."""
    limit = _cgroup_limit()
    if not limit:
        return None
    line = Path("/proc/self/cgroup").read_text(encoding="ascii").split("0::", 1)[1]
    group = Path("/sys/fs/cgroup") / line.splitlines()[0].lstrip("/")
    try:
        used = int((group / "memory.current").read_text(encoding="ascii"))
        stat = dict(
            line.split() for line in (group / "memory.stat").read_text("ascii").splitlines()
        )
    except (OSError, ValueError):
        return limit
    # File pages that were not used of late are given up before anything is refused.
    return max(0, limit - used + int(stat.get("inactive_file", 0)))


def _gpus() -> tuple[tuple[Gpu, ...], str]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:
        # NVML's own error class exists only where the package could be imported.
        return (), f"no NVIDIA driver answers ({error})"
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = _text(pynvml.nvmlDeviceGetName(handle))
            found.append(Gpu(name, memory.total >> 20, memory.free >> 20, driver))
        return tuple(found), "" if found else "the NVIDIA driver lists no GPU"
    except pynvml.NVMLError as error:
        return (), f"the NVIDIA driver fails ({error})"
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
