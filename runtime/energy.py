"""Energy, measured where the machine lets it be read, and an estimate that says so elsewhere.

RAPL's counters (``/sys/class/powercap``, Linux on Intel and AMD; often root's alone, and absent
in most virtual machines) and NVML's (NVIDIA GPUs since Volta) count the whole package and the
whole GPU, whoever uses them. Everything is in joules, watts and seconds.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.report import Figure

POWERCAP = Path("/sys/class/powercap")
RAPL_PARTS = ("package", "dram")
"""Domains that do not overlap; cores and the integrated GPU are inside the package."""
TDP_WATTS_PER_CORE = 6.25
TDP_SOURCE = "a core's share of the TDP of a Xeon Platinum 8480+: 350 W / 56 cores"
LOAD_S = 0.5
REMOTE_J_PER_CALL = 0.24 * 3600
REMOTE_SOURCE = (
    "the median text prompt of Google's Gemini Apps, 0.24 Wh (arXiv 2508.15734), for each call; "
    "what this General takes is not known"
)


@dataclass(frozen=True, slots=True)
class Counters:
    """Energy counters at one moment, in joules, by name; ``wraps_j``: where one starts anew."""

    joules: Mapping[str, float]
    wraps_j: Mapping[str, float]

    def since(self, before: Counters) -> dict[str, float]:
        """Joules by counter since ``before``, of the counters that both have."""
        spent = {}
        for name, now in self.joules.items():
            if name in before.joules:
                delta = now - before.joules[name]
                spent[name] = delta if delta >= 0 else delta + self.wraps_j.get(name, 0.0)
        return spent


def rapl(root: Path = POWERCAP) -> Counters:
    """RAPL's package and memory counters; empty where they cannot be read."""
    joules, wraps = {}, {}
    for folder in sorted(root.glob("*-rapl:*")) if root.is_dir() else ():
        with contextlib.suppress(OSError, ValueError):
            name = (folder / "name").read_text().strip()
            if name.startswith(RAPL_PARTS):
                key = f"RAPL {folder.name} {name}"
                value = int((folder / "energy_uj").read_text()) / 1e6
                wraps[key] = int((folder / "max_energy_range_uj").read_text()) / 1e6
                joules[key] = value
    return Counters(joules, wraps)


def nvml() -> Counters:
    """The energy counters of all NVIDIA GPUs; empty where there is none that answers."""
    joules: dict[str, float] = {}
    try:
        import pynvml

        pynvml.nvmlInit()
    except (ImportError, OSError):
        return Counters({}, {})
    except pynvml.NVMLError:
        return Counters({}, {})
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            with contextlib.suppress(pynvml.NVMLError):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                millijoules = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
                joules[f"NVML GPU {index}"] = millijoules / 1000.0
    finally:
        pynvml.nvmlShutdown()
    return Counters(joules, {})


class Meter:
    """The energy between ``start`` and ``stop``."""

    def __init__(self, root: Path = POWERCAP, gpus: Callable[[], Counters] = nvml) -> None:
        self._root, self._gpus = root, gpus
        self._rapl, self._nvml = rapl(root), gpus()
        self._cpu_s = _cpu_seconds()

    @staticmethod
    def start() -> Meter:
        return Meter()

    def stop(self) -> Figure:
        """Joules since the start. Measured where RAPL can be read; else the processor's part is
        this process's CPU time times a stated power, and a GPU's part is measured on its own."""
        cpu = rapl(self._root).since(self._rapl)
        gpu = self._gpus().since(self._nvml)
        names = ", ".join([*cpu, *gpu])
        if cpu:
            return Figure(
                sum(cpu.values()) + sum(gpu.values()), "measured", f"{names}: the whole machine"
            )
        seconds = _cpu_seconds() - self._cpu_s
        part = from_cpu_time(seconds)
        if not gpu:
            return part
        source = f"{part.source}; {names} measured: {sum(gpu.values()):.1f} J"
        return Figure((part.value or 0.0) + sum(gpu.values()), "estimated", source)


def from_cpu_time(seconds: float, watts_per_core: float = TDP_WATTS_PER_CORE) -> Figure:
    """Joules of ``seconds`` of one busy core."""
    return Figure(
        seconds * watts_per_core,
        "estimated",
        f"{seconds:.1f} s of CPU time x {watts_per_core:g} W ({TDP_SOURCE}); "
        "RAPL cannot be read here",
    )


def busy_watts(
    cores: int,
    *,
    root: Path = POWERCAP,
    load: Callable[[float], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Figure:
    """Watts while models run on ``cores`` cores.

    Where RAPL can be read: measured now, under half a second of load on all cores. Else the
    stated share of a TDP.
    """
    before, start = rapl(root), clock()
    if before.joules:
        (load or _load)(LOAD_S)
        spent = sum(rapl(root).since(before).values())
        seconds = clock() - start
        if seconds > 0 and spent > 0:
            return Figure(
                spent / seconds, "measured", f"{', '.join(before.joules)}, under load just now"
            )
    return Figure(
        cores * TDP_WATTS_PER_CORE,
        "estimated",
        f"{cores} cores x {TDP_WATTS_PER_CORE:g} W ({TDP_SOURCE}); RAPL cannot be read here",
    )


def remote_joules(calls: float) -> Figure:
    """Joules that ``calls`` calls of a General take where it runs: a stated assumption."""
    return Figure(calls * REMOTE_J_PER_CALL, "assumed", REMOTE_SOURCE)


def _load(seconds: float) -> None:
    import numpy as np

    square = np.ones((768, 768), np.float32)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        square @ square


def _cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
