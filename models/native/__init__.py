"""Aidecamp's own kernels for llama.cpp: quantized products and attention for small batches.

``interleave.cpp`` says what they do and why. They are C++, compiled for this machine by
``python -m models.native`` (set-up does it), and plug into ggml when the first model is loaded.
Without a compiler, on another CPU, or beside another release of llama-cpp-python, ggml's own
kernels serve: slower, with answers as good. ``AIDECAMP_KERNELS=ggml`` asks for those.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from models.errors import ToolFailed

LLAMA_VERSION: Final = "0.3.36"
"""The release of llama-cpp-python whose inner types ``ggml_abi.h`` declares."""
SWITCH: Final = "AIDECAMP_KERNELS"
_SOURCES: Final = tuple(Path(__file__).with_name(n) for n in ("interleave.cpp", "ggml_abi.h"))
_FLAGS: Final = (
    *("-std=c++17", "-O3", "-fPIC", "-shared", "-fno-exceptions", "-Wall", "-Wextra"),
    *("-Wno-uninitialized", "-Wno-maybe-uninitialized"),  # GCC's own headers
    *(
        "-mavx2",
        "-mfma",
        "-mf16c",
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mavx512vnni",
    ),
)
_state: list[str] = []


def use() -> str:
    """Plug the kernels into ggml; "" where they serve from now on, else why they do not.

    To be called before the process loads its first model: ggml reads its list of kernels once.
    """
    if not _state:
        _state.append(_use())
    return _state[0]


def build() -> Path:
    """Compile the kernels, where they are not compiled yet. Returns the library.

    Raises ToolFailed: no compiler, an error of its own, or a folder that cannot be written.
    """
    library = _library()
    if library.exists():
        return library
    command = [
        os.environ.get("CXX", "c++"),
        *_FLAGS,
        f"-I{_llama_folder('include', 'ggml.h')}",
        str(_SOURCES[0]),
        f"-L{_llama_folder('lib', 'libggml-cpu.so')}",
        "-lggml-cpu",
        "-lggml-base",
    ]
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            done = subprocess.run(
                [*command, "-o", str(made)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                words = next((w for w in done.stderr.splitlines() if "error" in w), "no reason")
                raise ToolFailed(f"the compiler refuses the kernels: {words.strip()}")
            made.replace(library)
    except OSError as error:
        raise ToolFailed(f"the kernels cannot be built: {error}") from error
    for old in library.parent.glob("interleave-*.so"):
        if old != library:
            old.unlink(missing_ok=True)
    return library


def _use() -> str:
    if os.environ.get(SWITCH) == "ggml":
        return f"{SWITCH} asks for ggml's own"
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"there are none for {sys.platform} on {platform.machine()}"
    import llama_cpp

    if llama_cpp.__version__ != LLAMA_VERSION:
        return f"they fit llama-cpp-python {LLAMA_VERSION}, and this is {llama_cpp.__version__}"
    library = _library()
    if not library.exists():
        return "they are not built here (python -m models.native builds them)"
    try:
        register = ctypes.CDLL(str(library)).aidecamp_interleave
    except OSError as error:
        return f"the library does not load: {error}"
    register.restype = ctypes.c_char_p
    refused: bytes | None = register()
    return refused.decode() if refused else ""


def _library() -> Path:
    """Where the library is for these sources and this llama.cpp."""
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    for path in (*_SOURCES, _llama_folder("lib", "libggml-cpu.so") / "libggml-cpu.so"):
        digest.update(path.read_bytes() if path.exists() else b"")
    return Path(__file__).parent / "build" / f"interleave-{digest.hexdigest()[:16]}.so"


def _llama_folder(name: str, holding: str) -> Path:
    """Where llama-cpp-python has its libraries or headers: inside its package, or beside it."""
    from importlib.util import find_spec

    found = find_spec("llama_cpp")
    if found is None or found.origin is None:
        raise ToolFailed("llama-cpp-python is not installed")
    package = Path(found.origin).parent
    inside = package / name
    return inside if (inside / holding).exists() else package.parent / name
