"""llama.cpp, the GPU, ONNX Runtime: do they run here, and on what device."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.checks.base import Check, run
from models.machine import Machine, cpu_flags, cpu_name

_LLAMA_VERSION = "0.3.36"
"""The version that ``pyproject.toml`` pins; its build may be the very thing that is missing."""
_AMX = frozenset({"amx_tile", "amx_int8", "amx_bf16"})
_NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
REBUILD = (
    "run: make llama (or build it again with the pip of this environment: "
    f'CFLAGS="{_NO_AMX}" CXXFLAGS="{_NO_AMX}" CMAKE_ARGS="-DLLAVA_BUILD=OFF" '
    "pip install --force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python "
    f"llama-cpp-python=={_LLAMA_VERSION})"
)
REBUILD_CUDA = "install CUDA's nvcc, then run: make llama"


@dataclass(frozen=True, slots=True)
class Probed:
    """How far a probe came: its stages by name, its exit code, its last words."""

    stages: Mapping[str, Mapping[str, Any]]
    code: int
    words: str

    @property
    def built(self) -> Mapping[str, Any] | None:
        """What the library says about its own build; None where it could not be loaded."""
        return self.stages.get("import")

    @property
    def reached(self) -> str:
        return list(self.stages)[-1] if self.stages else "nothing"


def probe(*options: str | Path) -> Probed:
    """Run ``models.checks.probe`` and read what it said before it ended, or died."""
    command = [sys.executable, "-m", "models.checks.probe", *map(str, options)]
    code, out, err = run(command, timeout_s=180)
    stages: dict[str, dict[str, Any]] = {}
    for line in out.splitlines():
        try:
            body = json.loads(line)
            stages[body.pop("stage")] = body
        except (ValueError, KeyError, AttributeError, TypeError):
            continue  # a library's own chatter
    words = [line for line in err.splitlines() if line.strip()]
    return Probed(stages, code, words[-1].strip() if words else "")


def cpu() -> Check:
    flags = cpu_flags()
    known = (
        "avx2",
        "avx512f",
        "avx512_vnni",
        "avx_vnni",
        "amx_tile",
        "amx_int8",
        "asimddp",
        "i8mm",
    )
    has = [flag for flag in known if flag in flags]
    text = f"{cpu_name()}, with {', '.join(has) or 'no vector extension that is known'}"
    return Check("cpu", "ok", text, data={"flags": has})


def llama(probed: Probed, *, model: Path | None) -> Check:
    """What the probe showed about llama.cpp's build, and whether it decodes here."""
    data = dataclasses.asdict(probed)
    built = probed.built
    if probed.code:
        detail, fix = _broken(probed)
        return Check("llama.cpp", "fail", detail, fix, data)
    if built is None:
        return Check("llama.cpp", "fail", "the probe said nothing", REBUILD, data)
    version = f"llama-cpp-python {built['version']}"
    if model is None:
        detail = f"{version} loads; nothing was decoded, since no generator is here"
        return Check("llama.cpp", "warn", detail, "run: aidecamp models pull", data)
    decode = probed.stages["decode"]
    detail = (
        f"{version} decodes: {decode['prefill_tokens_per_s']:g} tokens/s prefill, "
        f"{decode['decode_tokens_per_s']:g} decode ({model.name})"
    )
    without = probed.stages.get("load", {}).get("kernels", "")
    detail += f"; ggml's kernels: {without}" if without else "; Aidecamp's own kernels"
    import psutil

    load, cores = psutil.getloadavg()[0], os.cpu_count() or 1
    if load > cores:
        detail += f", while other programs kept the cores busy (load {load:.1f} on {cores})"
    if "AMX_INT8 = 1" in built["system"]:
        detail += "; built with AMX, which crashes at ldtilecfg on some CPUs"
        return Check("llama.cpp", "warn", detail, REBUILD, data)
    return Check("llama.cpp", "ok", detail, data=data)


def gpu(machine: Machine, probed: Probed) -> Check:
    """Which device decodes, how many layers are offloaded to it, and why."""
    gpus = ", ".join(
        f"{g.name} ({g.free_mb:,} of {g.memory_mb:,} MiB free, driver {g.driver})"
        for g in machine.gpus
    )
    loaded = probed.stages.get("load")
    data: dict[str, Any] = {"gpus": [g.name for g in machine.gpus], "load": loaded}
    if not machine.gpus:
        return Check("gpu", "ok", f"CPU, 0 layers offloaded: {machine.gpu_problem}", data=data)
    if not probed.built or not probed.built["gpu_offload"]:
        detail = f"CPU, 0 layers offloaded: llama.cpp was built without CUDA; there is {gpus}"
        return Check("gpu", "warn", detail, REBUILD_CUDA, data)
    if loaded is None:
        fix = "run: aidecamp models pull"
        return Check("gpu", "warn", f"{gpus}; no model was loaded to try it with", fix, data)
    detail = (
        f"{loaded['offloaded']} of {loaded['layers']} layers offloaded: {loaded['reason']}; {gpus}"
    )
    if loaded["device"] == "cpu":
        fix = "free GPU memory, or use a smaller pack"
        return Check("gpu", "warn", f"CPU: {detail}", fix, data)
    return Check("gpu", "ok", detail, data=data)


def onnx(probed: Probed, *, pulled: bool) -> Check:
    """Which provider ONNX Runtime runs the encoder on, and why."""
    data = dataclasses.asdict(probed)
    built = probed.built
    if built is None or probed.code:
        detail, fix = _broken(probed)
        return Check("onnxruntime", "fail", detail, fix.replace("make llama", "make setup"), data)
    version = f"onnxruntime {built['version']}"
    if not pulled:
        detail = f"{version} loads (providers: {', '.join(built['providers'])}); no encoder is here"
        return Check("onnxruntime", "warn", detail, "run: aidecamp models pull", data)
    loaded = probed.stages["load"]
    detail = (
        f"{version} on {loaded['provider'].upper()}: {loaded['reason']}; "
        f"{probed.stages['embed']['ms']:g} ms for a 50-token text"
    )
    return Check("onnxruntime", "ok", detail, data=data)


def _broken(probed: Probed) -> tuple[str, str]:
    """Why a probe did not come through, and what to do."""
    code, reached = probed.code, probed.reached
    if code >= 0:
        missing = "ModuleNotFoundError" in probed.words
        fix = "run: make setup" if missing else REBUILD
        return f"fails after stage {reached}: {probed.words or f'exit code {code}'}", fix
    name = signal.Signals(-code).name
    if -code not in (signal.SIGILL, signal.SIGSEGV, signal.SIGBUS):
        return f"the probe was ended by {name} after stage {reached}", "look at: dmesg"
    if _AMX & cpu_flags() and reached in ("import", "load"):
        why = "most likely at ldtilecfg, since this CPU has AMX and the build uses it"
    else:
        why = "the build may use instructions that this CPU does not have"
    return f"crashes with {name} after stage {reached}: {why}", REBUILD
