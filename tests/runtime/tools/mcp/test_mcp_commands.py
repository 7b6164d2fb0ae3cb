"""``aidecamp mcp tools`` and ``accept``: what servers offer, and taking a changed tool on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.tools.mcp.conftest import ROOT


@pytest.fixture
def home(tmp_path: Path) -> Path:
    command = [sys.executable, "-m", "tests.runtime.tools.mcp.server", str(tmp_path)]
    (tmp_path / "config.toml").write_text(
        f"[mcp.notes]\ncommand = {json.dumps(command)}\n"
        f"env = {{PYTHONPATH = {json.dumps(str(ROOT))}}}\n"
        'risk = {note = "read"}\nallow = ["note", "remove"]\n'
        '[mcp.gone]\ncommand = ["no-such-program-anywhere"]\n'
    )
    return tmp_path


def aidecamp(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime.cli", "mcp", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "AIDECAMP_HOME": str(home)},
    )


def test_a_changed_tool_is_shown_and_taken_on_again(home: Path) -> None:
    first = json.loads(aidecamp(home, "tools", "--json").stdout)
    risks = {row["tool"]: row["risk"] for row in first["tools"]}
    assert risks == {"notes.note": "read", "notes.remove": "sensitive"}
    assert "no program" in first["problems"]["gone"]
    (home / "says").write_text("Keep a note for ever.")
    shown = aidecamp(home, "tools").stdout
    assert "note: what its server says of it changed" in shown
    accepted = json.loads(aidecamp(home, "accept", "notes.note", "--json").stdout)
    assert accepted["risk"] == "read"
    assert "changed" not in aidecamp(home, "tools").stdout


def test_a_tool_that_is_not_there_is_named(home: Path) -> None:
    answer = aidecamp(home, "accept", "notes.nothing", "--json")
    assert answer.returncode == 14
    assert "No MCP server offers 'notes.nothing'" in json.loads(answer.stdout)["message"]
