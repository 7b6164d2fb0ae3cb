"""The MCP server with the real team: real models, the real sandbox, a real private screen."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from models.pool import Pool
from runtime.agent import Agent, Approver
from runtime.config import Config
from runtime.policy import Policy
from runtime.team import build_team
from tests.runtime.daemon.mcp_clients import asked, daemon, words


async def test_words_are_worked_out_here_and_the_screen_is_really_looked_at(
    pool: Pool, tmp_path: Path
) -> None:
    policy = Policy()
    team = build_team(Config(), policy, pool)

    def make(approver: Approver | None) -> Agent:
        return Agent(team, policy, approver)

    try:
        async with daemon(tmp_path, make) as served, served.client() as client:
            for name in ("a.txt", "b.txt", "c.md"):
                (served.folder / name).write_text("x")
            step = {"step": "how many files are in this folder?"}
            counted = await client.call_tool("run_in_sandbox", step)
            assert not counted.is_error, words(counted)
            report = counted.structured_content
            assert "3" in json.dumps(report["answer"])
            assert report["actions"][0]["tool"] == "shell"
            typing = {"skill": "type_text", "arguments": {"lines": "tea at four"}}
            calling = asyncio.create_task(client.call_tool("act_on_screen", typing))
            await served.api.approve(*await asked(served.api))
            typed = await calling
            assert not typed.is_error, words(typed)
            seen = await client.call_tool("look_at_screen", {"image": True})
            assert not seen.is_error, words(seen)
            assert "tea at four" in seen.structured_content["text"]
            box = next(e["box"] for e in seen.structured_content["elements"] if "tea" in e["text"])
            assert box[2] > box[3] > 5
            (image,) = [part for part in seen.content if part.type == "image"]
            assert image.data.startswith("iVBORw0KGgo")
    finally:
        for tool in team.tools.values():
            await asyncio.to_thread(tool.close)
