"""The notes server over stdio, and what a task and a step look like to its tool."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.config import McpServerConfig
from runtime.tools.mcp.tool import McpTool

ROOT = Path(__file__).parents[4]

Make = Callable[..., McpTool]


def notes(folder: Path, **changes: Any) -> McpServerConfig:
    """The notes server as a user sets it up: it keeps its files in ``folder``."""
    command = [sys.executable, "-m", "tests.runtime.tools.mcp.server", str(folder)]
    return McpServerConfig(command=command, env={"PYTHONPATH": os.fspath(ROOT)}, **changes)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes tools that are closed at the end: ``make(risk={…})`` for the notes server alone."""
    made: list[McpTool] = []

    def one(servers: dict[str, McpServerConfig] | None = None, **changes: Any) -> McpTool:
        servers = servers or {"notes": notes(tmp_path, **changes)}
        made.append(McpTool(servers, tmp_path / "known.json"))
        return made[-1]

    yield one
    for tool in made:
        tool.close()
