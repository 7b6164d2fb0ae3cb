"""The MCP SDK's client, untouched, on a daemon with the real models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.pool import Pool
from runtime.core import Action, Task
from runtime.ledger import records
from tests.runtime.daemon.clients.running import HERE, program
from tests.runtime.daemon.proxy.proxied import proxied

AIDECAMP = HERE.parents[3] / ".venv" / "bin" / "aidecamp"
ACTING = {"look_at_screen", "act_on_screen", "run_in_sandbox", "do_task"}
INFERRING = {"format_to_schema", "route"}


def answer(got: dict[str, Any], tool: str) -> dict[str, Any]:
    result: dict[str, Any] = got[tool]
    assert not result["is_error"], result
    content: dict[str, Any] = result["structured_content"]
    return content


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_it_is_shown_the_tools_and_uses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool, transport: str
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    for name in ("one", "two", "three"):
        (work / name).touch()
    async with proxied(home, monkeypatch, pool) as daemon:
        command = [str(AIDECAMP), "mcp"] if transport == "stdio" else []
        got = await program(daemon).python(
            "mcp_tools", *command, AIDECAMP_HOME=str(home), WORK_FOLDER=str(work)
        )
        # Its own token may do everything; `aidecamp mcp` asks for no more than to act.
        admin = {"decisions"} if transport == "http" else set()
        assert set(got["tools"]) == ACTING | INFERRING | admin
        assert answer(got, "route")["chosen"].startswith("local:")
        made = answer(got, "format_to_schema")["value"]
        assert set(made) == {"name", "age"} and made["age"] == 30
        counted = answer(got, "run_in_sandbox")
        assert counted["status"] == "done" and "3" in str(counted["answer"])
        assert got["decisions"]["is_error"] is (transport == "stdio")
        events = list(daemon.ledger.events())
        assert all(task.client.startswith("mcp:") for task in records(events, Task))
        (action,) = records(events, Action)
        assert (action.recipe, action.risk) == ("count_files", "read")
