"""The peers that the engine is measured against: ``python -m tests.bench.peers`` installs them.

They live in a virtual environment of their own (``.venv-peers``), because they are needed for
measuring alone and pin other versions than this project. Each peer runs in a process of its own
and speaks JSON lines on its pipes, so it and the engine take turns and never run at once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-peers"
XLLAMACPP = "2026.10.11549"
BFCL = "2026.3.23"
WORKER = Path(__file__).with_name("engine_worker.py")


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run a peer. ``passive``: its OpenMP threads sleep at barriers, as ours do."""

    name: str
    kind: str
    flash: bool
    passive: bool


LLAMA_SERVER = (
    Setting("server", "xllamacpp", flash=True, passive=False),
    Setting("server flash off", "xllamacpp", flash=False, passive=False),
    Setting("server passive", "xllamacpp", flash=True, passive=True),
    Setting("server flash off passive", "xllamacpp", flash=False, passive=True),
)
"""llama.cpp's native server: as it comes, and with what our own engine sets on a CPU."""
LLAMA_CPP_PYTHON = Setting("llama-cpp-python", "llama_cpp", flash=False, passive=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one peer said. ``ms``: its own wall time of the call, pipes not counted."""

    ms: float
    text: str
    finish: str
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    timings: Mapping[str, float]


class Peer:
    """One peer process. ``ask`` blocks; between two calls the process only waits on its pipe."""

    def __init__(self, setting: Setting, model: Path, *, threads: int, n_ctx: int) -> None:
        self.setting = setting
        python = FOLDER / "bin" / "python" if setting.kind == "xllamacpp" else Path(sys.executable)
        environment = dict(os.environ)
        environment.pop("OMP_WAIT_POLICY", None)
        if setting.passive:
            environment["OMP_WAIT_POLICY"] = "passive"
        command = [str(python), str(WORKER), setting.kind, str(model), str(threads), str(n_ctx)]
        self._process = subprocess.Popen(
            [*command, "flash" if setting.flash else "no-flash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.about = self._read()

    def ask(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], max_tokens: int
    ) -> Answer:
        request = {"messages": list(messages), "schema": schema, "max_tokens": max_tokens}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Answer(**self._read())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer {self.setting.name!r} ended: {self._process.wait()}")
        body: dict[str, Any] = json.loads(line)
        if "error" in body:
            raise RuntimeError(f"the peer {self.setting.name!r}: {body['error']}")
        return body


def bfcl_rows(*names: str, part: str = ".") -> Iterator[dict[str, Any]]:
    """The rows of BFCL's files ``BFCL_v4_{name}.json``: requests with their functions; with
    ``part`` ``possible_answer``, what a checker compares answers with."""
    [data] = FOLDER.glob("lib/python*/site-packages/bfcl_eval/data")
    for name in names:
        with (data / part / f"BFCL_v4_{name}.json").open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def installed() -> bool:
    folders = {path.name for path in FOLDER.glob("lib/python*/site-packages/*.dist-info")}
    return {f"xllamacpp-{XLLAMACPP}.dist-info", f"bfcl_eval-{BFCL}.dist-info"} <= folders


def install() -> None:
    """Make the environment, with the versions named above; nothing where it is already so."""
    if installed():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
    pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    pip.append("--disable-pip-version-check")
    subprocess.run([*pip, f"xllamacpp=={XLLAMACPP}"], check=True)
    # Only its data files are read; what it depends on (torch among it) stays away.
    subprocess.run([*pip, "--no-deps", f"bfcl-eval=={BFCL}"], check=True)


def main() -> None:
    argparse.ArgumentParser(
        prog="python -m tests.bench.peers", description=(__doc__ or "").splitlines()[0]
    ).parse_args()
    install()
    print(json.dumps({"folder": FOLDER.name, "xllamacpp": XLLAMACPP, "bfcl_eval": BFCL}))


if __name__ == "__main__":
    main()
