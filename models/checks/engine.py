"""llama.cpp, the GPU, ONNX Runtime: do they run here, and on what device."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from models.checks.base import Check, run
from models.errors import AidecampError
from models.machine import Machine, cpu_flags, cpu_name

_AMX = frozenset({"amx_tile", "amx_int8", "amx_bf16"})
_NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
REBUILD = (
    "run: make llama (or, with the pip of this environment: "
    f'CFLAGS="{_NO_AMX}" CXXFLAGS="{_NO_AMX}" CMAKE_ARGS="-DLLAVA_BUILD=OFF" '
    "pip install --force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python "
    "llama-cpp-python==0.3.36)"
)
REBUILD_CUDA = "install CUDA's nvcc, then run: make llama"


def probe(model: Path | None) -> tuple[dict[str, dict[str, Any]], int, str]:
    """Stages that the probe reached, by name; its exit code; its last words."""
    command = [sys.executable, "-m", "models.checks.probe", *([str(model)] if model else [])]
    code, out, err = run(command, timeout_s=180)
    stages: dict[str, dict[str, Any]] = {}
    for line in out.splitlines():
        try:
            body = json.loads(line)
            stages[body.pop("stage")] = body
        except (ValueError, KeyError, AttributeError):
            continue  # llama.cpp's own chatter
    words = [line for line in err.splitlines() if line.strip()]
    return stages, code, words[-1].strip() if words else ""


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


def llama(stages: dict[str, dict[str, Any]], code: int, words: str, *, model: Path | None) -> Check:
    """What the probe showed about llama.cpp's build, and whether it decodes here."""
    built = stages.get("import")
    data = {"stages": stages, "exit": code}
    if code < 0 or (built is None and code):
        return Check("llama.cpp", "fail", *_crash(stages, code, words), data)
    if built is None:
        return Check("llama.cpp", "fail", f"the probe said nothing ({words})", REBUILD, data)
    version = f"llama-cpp-python {built['version']}"
    if code:
        return Check("llama.cpp", "fail", f"{version}: decoding failed: {words}", REBUILD, data)
    if model is None:
        detail = f"{version} loads; nothing was decoded, since no generator is here"
        return Check("llama.cpp", "warn", detail, "run: aidecamp models pull", data)
    decode = stages["decode"]
    detail = (
        f"{version} decodes: {decode['prefill_tokens_per_s']:g} tokens/s prefill, "
        f"{decode['decode_tokens_per_s']:g} decode ({model.name})"
    )
    if _built_with_amx(built) and _AMX & cpu_flags():
        return Check(
            "llama.cpp",
            "warn",
            detail + "; built with AMX, which crashes at ldtilecfg on some CPUs",
            REBUILD,
            data,
        )
    return Check("llama.cpp", "ok", detail, data=data)


def gpu(machine: Machine, built: dict[str, Any] | None, model: Path | None) -> Check:
    """Which device decodes, how many layers are offloaded to it, and why."""
    data: dict[str, Any] = {"gpus": [g.name for g in machine.gpus], "layers": 0, "device": "cpu"}
    if not machine.gpus:
        return Check("gpu", "ok", f"CPU, 0 layers offloaded: {machine.gpu_problem}", data=data)
    best = max(machine.gpus, key=lambda g: g.free_mb)
    named = f"{best.name} ({best.free_mb:,} of {best.memory_mb:,} MiB free, driver {best.driver})"
    if not built or not built["gpu_offload"]:
        detail = f"CPU, 0 layers offloaded: llama.cpp was built without CUDA; there is a {named}"
        return Check("gpu", "warn", detail, REBUILD_CUDA, data)
    if model is None:
        return Check("gpu", "ok", f"{named}; layers are known once a model is pulled", data=data)
    layers, needs_mb = _layers(model)
    if needs_mb > best.free_mb:
        detail = f"{model.name} needs about {needs_mb:,} MiB and does not fit {named}"
        return Check("gpu", "warn", detail, "free GPU memory, or use a smaller pack", data)
    data |= {"layers": layers, "device": best.name}
    return Check("gpu", "ok", f"{named}: all {layers} layers of {model.name} offloaded", data=data)


def onnx(machine: Machine) -> Check:
    """Which provider ONNX Runtime runs the encoder on, and why."""
    code, out, err = run(
        [
            sys.executable,
            "-c",
            "import json, onnxruntime as o; "
            "print(json.dumps([o.__version__, o.get_available_providers()]))",
        ],
        timeout_s=60,
    )
    if code:
        words = err.strip().splitlines()
        reason = words[-1] if words else f"exit code {code}"
        return Check(
            "onnxruntime",
            "fail",
            f"cannot be imported: {reason}",
            "run: make setup",
            {"exit": code},
        )
    version, providers = json.loads(out.splitlines()[-1])
    data = {"version": version, "providers": providers}
    if machine.gpus and "CUDAExecutionProvider" in providers:
        detail = f"onnxruntime {version}: CUDA is offered, and used where its libraries load"
        fix = "its libraries come with: pip install 'aidecamp[gpu]'"
        return Check("onnxruntime", "ok", detail, fix, data)
    if machine.gpus:
        detail = f"onnxruntime {version} on the CPU: this build has no CUDA provider"
        return Check("onnxruntime", "warn", detail, "run: make setup", data)
    reason = "no NVIDIA GPU answers"
    return Check("onnxruntime", "ok", f"onnxruntime {version} on the CPU: {reason}", data=data)


def _crash(stages: dict[str, dict[str, Any]], code: int, words: str) -> tuple[str, str]:
    reached = list(stages)[-1] if stages else "nothing"
    if code >= 0:
        missing = "ModuleNotFoundError" in words or "ImportError" in words
        fix = "run: make setup" if missing else REBUILD
        return f"cannot be loaded: {words or f'exit code {code}'}", fix
    name = signal.Signals(-code).name
    if -code not in (signal.SIGILL, signal.SIGSEGV, signal.SIGBUS):
        return f"the probe was ended by {name} after stage {reached}", "look at: dmesg"
    if _AMX & cpu_flags() and reached in ("import", "load"):
        why = (
            "at ldtilecfg, most likely: this build uses AMX, which this system does not let it use"
        )
    else:
        why = "this build uses instructions that this CPU does not have"
    return f"crashes with {name} after stage {reached}: {why}", REBUILD


def _built_with_amx(built: dict[str, Any]) -> bool:
    return "AMX_INT8 = 1" in built["system"]


def _layers(model: Path) -> tuple[int, int]:
    """Layers of a GGUF file, its output layer too, and MiB that it and its cache take."""
    from models.gguf import read_header

    try:
        header = read_header(model)
        architecture = header.metadata["general.architecture"]
        blocks = header.metadata[f"{architecture}.block_count"]
    except (AidecampError, KeyError):
        blocks = 0
    size_mb = model.stat().st_size >> 20
    return (blocks if isinstance(blocks, int) else 0) + 1, round(size_mb * 1.3) + 256
