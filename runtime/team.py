"""Put the team together: models from the pool, roles on top of them, tools beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.remote import RemoteGenerator
from models.retry import Patience
from runtime.agent import Team
from runtime.config import Config, GeneralConfig, data_dir, general_key
from runtime.core import Kind, Task
from runtime.policy import Policy
from runtime.roles.general import General
from runtime.roles.seats import Seat
from runtime.tools.base import Tool
from runtime.tools.recipe import Recipe
from runtime.trust import Trust

if TYPE_CHECKING:
    from models.pool import Pool
    from runtime.tools.mcp.tool import McpTool


def assistant_tools() -> tuple[Mapping[str, Any], ...]:
    """The function tools on offer where a task brings none: reminders, timers, messages, …"""
    body = resources.files("runtime.tools").joinpath("assistant.json").read_text("utf-8")
    return tuple(json.loads(body))


def build_general(config: Config, policy: Policy, pool: Pool) -> General:
    """The Generals as configured; without a URL it can only show what would be sent."""
    from runtime.redact import Redactor

    seats = [_seat(config, policy, general) for general in config.line_up()]
    return General(
        None,
        seats=seats,
        model=config.general.model,
        price=config.price(config.general.model),
        max_tokens=policy.general_max_tokens,
        count_tokens=lambda text: pool.generator().count_tokens(text),
        timeout_s=policy.general_timeout_s,
        redactor=Redactor(),
    )


def _seat(config: Config, policy: Policy, general: GeneralConfig) -> Seat:
    timeout_s = general.timeout_s or policy.general_timeout_s
    remote = RemoteGenerator(
        base_url=general.base_url,
        model=general.model,
        api_key=general_key(general, shared=general is config.general),
        max_tokens=policy.general_max_tokens,
        patience=Patience(
            timeout_s=timeout_s,
            connect_timeout_s=general.connect_timeout_s,
            first_token_timeout_s=general.first_token_timeout_s,
            attempts=general.attempts,
        ),
        record_sent=config.record_sent,
    )
    return Seat(general.name or general.model, remote, config.price(general.model))


def build_team(
    config: Config,
    policy: Policy,
    pool: Pool,
    *,
    watch: Path | None = None,
    own_display: bool = False,
) -> Team:
    """Everyone who is needed to run tasks. Models are loaded on their first use.

    ``watch``: a folder that GUI frames are saved to. ``own_display``: act on the user's own
    desktop instead of a private one. Raises ModelMissing, StorageFailed.
    """
    from runtime.reach import Reach
    from runtime.roles.formatter import Formatter
    from runtime.roles.refiner import Refiner
    from runtime.roles.tool_user import ToolUser
    from runtime.router import Router
    from runtime.tools.gui.tool import GuiTool
    from runtime.tools.shell.tool import ShellTool

    encoder, generator = pool.encoder(), pool.generator()
    router = Router(encoder)
    tools: dict[Kind, Tool] = {
        "shell": ShellTool(policy),
        "gui": GuiTool(watch=watch, own_display=own_display),
    }
    mcp = mcp_tool(config)
    if mcp is not None:
        tools["tool"] = mcp

    return Team(
        router=router,
        refiner=Refiner(generator, encoder, router),
        tool_user=ToolUser(
            generator, encoder, cache=data_dir() / "cache", reach=Reach.load(encoder.model)
        ),
        formatter=Formatter(generator, encoder),
        general=build_general(config, policy, pool),
        tools=tools,
        functions=functions_of(mcp),
        trust=Trust.load(calibration_path()),
    )


def functions_of(mcp: McpTool | None) -> Callable[[Task], tuple[Recipe, ...]]:
    """What turns a task's functions, or else the assistant's and those of MCP servers, into
    recipes."""
    from runtime.roles.functions import from_functions

    offered: dict[str, tuple[Recipe, ...]] = {}

    def functions(task: Task) -> tuple[Recipe, ...]:
        tools = task.tools or assistant_tools()
        key = json.dumps(tools, sort_keys=True)
        if key not in offered:
            offered[key] = from_functions(tools)
        # Who brings functions is answered with a call of one of them, and nothing is done here.
        return offered[key] + (mcp.offered(task) if mcp is not None and not task.tools else ())

    return functions


def mcp_tool(config: Config) -> McpTool | None:
    """The tools of the configured MCP servers, none of which is started yet."""
    if not config.mcp:
        return None
    from runtime.tools.mcp.tool import McpTool

    return McpTool(config.mcp, mcp_path())


def mcp_path() -> Path:
    """What the MCP servers' tools were said to do when they were taken on."""
    return data_dir() / "mcp_tools.json"


def calibration_path() -> Path:
    """Where this user's own calibration lies (``aidecamp calibrate run``)."""
    return data_dir() / "calibration.json"


def prefixes_path() -> Path:
    """Where decoded prompts are saved, so that the next start is warm."""
    return data_dir() / "cache" / "prefixes"


def ledger_path() -> Path:
    """Where this user's record lies."""
    return data_dir() / "ledger.db"
