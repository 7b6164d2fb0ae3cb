"""Makes a GGUF file smaller (or repacks it) with llama.cpp's own quantizer.

It runs in a process of its own, so that a crash in it costs a message and not the caller, and
writes beside its target, which appears whole or not at all. The source's header is checked first
(``models/gguf.py``), and the result's afterwards. Importance matrices are not covered.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.digest import file_digest
from models.errors import StorageFailed, ToolFailed, UsageError
from models.ggml_types import FILE_TYPES, base_type
from models.gguf import Header, read_header

Progress = Callable[[int, int], None]
"""Called with the number of tensors done, and of all."""

_UNQUANTIZED = {"f32", "f16", "bf16"}
_STEP = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]")
_ERROR = re.compile(r"(?i)error|failed|exception|requires|terminate|assert")


@dataclass(frozen=True, slots=True)
class Quantized:
    """What came out. ``tensors``: how many of each type. ``fallbacks``: those of them that are
    quantized, but not as the type says: their rows do not divide into its blocks, or llama.cpp
    keeps more bits for them."""

    source: str
    target: str
    type: str
    source_bytes: int
    bytes: int
    bits_per_weight: float
    seconds: float
    digest: str
    tensors: Mapping[str, int]
    fallbacks: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def file_type(name: str) -> str:
    """The canonical name of a file type. Raises UsageError, which lists the known ones."""
    for known in FILE_TYPES:
        if known.lower() == name.lower():
            return known
    raise UsageError(
        f"unknown type {name!r}; llama.cpp knows {', '.join(FILE_TYPES)}",
        hint="Q8_0 keeps the most, Q4_K_M is the usual middle, Q4_0 is the fastest on CPUs",
    )


def quantize(
    source: Path,
    target: Path,
    type: str,
    *,
    threads: int | None = None,
    allow_requantize: bool = False,
    progress: Progress | None = None,
) -> Quantized:
    """Write ``source`` as ``type`` to ``target``, replacing it in one step.

    Raises UsageError (unknown type; a source that is quantized already, unless allowed),
    ModelMissing, ModelCorrupt, StorageFailed (no space, not writable), ToolFailed (llama.cpp
    failed or crashed; the target is as it was).
    """
    begun = time.perf_counter()
    type_ = file_type(type)
    header = read_header(source)
    _check_source(header, type_, allow_requantize=allow_requantize)
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target} is the source itself", hint="choose another target")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_space(header, type_, target.parent)
        _run(header, part, type_, threads, allow_requantize=allow_requantize, progress=progress)
        made = read_header(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise StorageFailed(
            f"{target} cannot be written ({error.strerror}); nothing was changed",
            hint="choose another target, or free some space",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)

    kept = {"f32", base_type(type_)}
    return Quantized(
        source=str(source),
        target=str(target),
        type=type_,
        source_bytes=header.bytes,
        bytes=made.bytes,
        bits_per_weight=round(made.bits_per_weight, 3),
        seconds=round(time.perf_counter() - begun, 3),
        digest=file_digest(target),
        tensors=made.tensor_types,
        fallbacks={name: n for name, n in made.tensor_types.items() if name not in kept},
    )


def _check_source(header: Header, type_: str, *, allow_requantize: bool) -> None:
    quantized = [name for name in header.tensor_types if name not in _UNQUANTIZED]
    if quantized and not allow_requantize:
        raise UsageError(
            f"{header.path} is quantized already ({header.file_type}: {', '.join(quantized)}); "
            f"making {type_} of it rounds its weights a second time",
            hint="start from an F16 or F32 file, or ask for it: --allow-requantize",
        )


def _check_space(header: Header, type_: str, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    # The number in the name is the bits of most weights; scales and fallbacks come on top.
    bits = float(re.findall(r"\d+", type_)[0])
    need = int(header.weights * (bits + (1.5 if bits < 16 else 0)) / 8) + 2**20
    if need > free:
        raise StorageFailed(
            f"{folder} has {free // 2**20} MiB free, and about {need // 2**20} MiB are needed",
            hint="free some space, or choose another target",
        )


def _run(
    header: Header,
    part: Path,
    type_: str,
    threads: int | None,
    *,
    allow_requantize: bool,
    progress: Progress | None,
) -> None:
    command = [
        sys.executable,
        "-m",
        "models.llama_quantize",
        str(header.path.absolute()),
        str(part.absolute()),
        str(FILE_TYPES[type_]),
        str(threads or 0),
        str(int(allow_requantize)),
    ]
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    said: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                if _ERROR.search(line):
                    said.append(line.strip())
                step = _STEP.match(line)
                if step and progress is not None:
                    progress(int(step[1]), int(step[2]))
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise ToolFailed(
            f"llama.cpp could not make {type_} of {header.path} "
            f"({_ending(process.returncode)}): {' '.join(said[-3:]) or 'it gave no reason'}",
            hint="nothing was changed; another type may work",
        )


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"it crashed: {signal.Signals(-code).name}"
    return f"it crashed: signal {-code}"


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _work(source: str, target: str, number: int, threads: int, allow_requantize: int) -> int:
    """The child process: llama.cpp's quantizer, its log on standard output."""
    import llama_cpp

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def show(_level: int, text: bytes, _data: Any) -> None:
        sys.stdout.write(text.decode("utf-8", "replace"))
        sys.stdout.flush()

    llama_cpp.llama_log_set(show, None)
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = threads
    params.ftype = number
    params.allow_requantize = bool(allow_requantize)
    return int(llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), params))


if __name__ == "__main__":
    sys.exit(_work(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])))
