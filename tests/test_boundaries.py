"""What the whole tree promises: one outbound LLM connection, and no heavy import by accident."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("runtime", "models", "quantize", "tui")
OUTBOUND = {
    *("openai", "httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp"),
    *("http.client", "urllib.request", "xmlrpc.client", "ftplib", "smtplib", "websockets"),
    *("socket", "huggingface_hub"),
}
ALLOWED = {
    "models/remote.py": {"httpx2"},  # the General
    "models/sources.py": {"huggingface_hub", "httpx2"},  # downloads; httpx2 for its errors alone
    "runtime/daemon/server.py": {"socket"},  # listens, as listen.py says
    "runtime/daemon/listen.py": {"socket"},  # the Unix socket and TCP, to listen on
    "runtime/daemon/activation.py": {"socket"},  # sockets that systemd hands over
    "runtime/daemon/mcp/bridge.py": {"httpx2"},  # the same socket, for the MCP SDK
    "runtime/tools/mcp/connection.py": {"httpx2"},  # MCP servers that the user set up by URL
    "runtime/screen/keeper.py": {"socket"},  # the host's name, for the display's cookie
    "runtime/daemon/wire.py": {"httpx"},  # the Unix socket of the local daemon
    "runtime/daemon/launch.py": {"socket"},  # the same socket: has systemd it, and wakes it?
}
"""Model downloads go through pip and huggingface_hub, on `models pull` alone."""


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return found


def test_only_one_file_may_open_an_outbound_llm_connection() -> None:
    opened = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            name = file.relative_to(ROOT).as_posix()
            found = imports(file)
            used = {o for o in OUTBOUND if any(m == o or m.startswith(f"{o}.") for m in found)}
            if used - ALLOWED.get(name, set()):
                opened[name] = used
    assert opened == {}


def test_the_guard_sees_the_import_that_it_allows() -> None:
    for name, modules in ALLOWED.items():
        assert modules <= imports(ROOT / name), f"{name} no longer needs its exception"
