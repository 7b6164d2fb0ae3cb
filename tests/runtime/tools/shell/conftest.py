"""A work folder with known content, and the shell tool acting in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from runtime.core import Action, Outcome, Step, Task
from runtime.policy import Policy
from runtime.tools.recipe import Proposal
from runtime.tools.shell.tool import ShellTool

Do = Callable[..., Outcome]
WHEN = 1_700_000_000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a private key in it."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").write_text("PRIVATE KEY")
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Aidecamp's own data folder, with a ledger."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "ledger.db").write_text("LEDGER")
    return own


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The work folder. Modification times are fixed, one minute apart, by path."""
    root = tmp_path / "work"
    files = {
        "notes.txt": "milk\neggs\nmilk\nbread\nEggs\nmilk\n",
        "other.txt": "bread\nmilk\ntea\n",
        "people.csv": "name,age,city\nAnna,31,Bern\nBen,42,Paris\nCy,27,Bern\n",
        "app.log": "INFO start\nERROR disk full\nINFO ok\nERROR net down, ERROR again\n",
        "empty.txt": "",
        ".hidden": "x",
        "docs/report.pdf": "p" * 5000,
        "docs/deep/guide.pdf": "g" * 300,
        "docs/readme.md": "one two three\n",
        "docs/copy.md": "one two three\n",
        "src/main.py": "import os\nprint('hi')\n\nx = 1\n",
        "src/util.py": "y = 2\n",
        "src/run.sh": "#!/bin/sh\n",
        "café/naïve.txt": "ééé\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "vacant").mkdir()
    (root / "src/run.sh").chmod(0o755)
    (root / "dangling").symlink_to("nowhere")
    for i, path in enumerate(sorted(p for p in root.rglob("*") if p.is_file())):
        os.utime(path, (WHEN + 60 * i, WHEN + 60 * i))
    return root


@pytest.fixture
def tool(home: Path, own: Path) -> Iterator[ShellTool]:
    tool = ShellTool(Policy(command_timeout_s=30), own=[own])
    yield tool
    tool.close()


@pytest.fixture
def prepare(tool: ShellTool, work: Path) -> Callable[..., Action]:
    """``prepare(recipe_id, request, folder=…, **arguments)``: the action, not yet done."""

    def prepare(
        recipe_id: str, request: str = "", arguments: Mapping[str, Any] | None = None
    ) -> Action:
        task = Task("t", request, folder=str(work))
        recipe = next(r for r in tool.recipes if r.id == recipe_id)
        step = Step("s", "t", 0, "shell", request)
        return tool.prepare(task, step, Proposal(recipe, arguments or {}, 1.0))

    return prepare


@pytest.fixture
def do(tool: ShellTool, work: Path, prepare: Callable[..., Action]) -> Do:
    """``do(recipe_id, request, arguments)``: the outcome of acting it out."""

    def do(
        recipe_id: str, request: str = "", arguments: Mapping[str, Any] | None = None
    ) -> Outcome:
        action = prepare(recipe_id, request, arguments)
        return tool.run(Task("t", request, folder=str(work)), action)

    return do
