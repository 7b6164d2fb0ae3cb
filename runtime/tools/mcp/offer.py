"""One tool of an MCP server as a recipe, with the risk that the user's configuration gives it.

What a server says of its own tools can raise a risk and never lower it: a tool without a class in
the configuration is sensitive, one that says something else than when it was taken on is sensitive
again, and so is one that is set up as reading and calls itself destructive.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from models.errors import AidecampError
from runtime.config import McpServerConfig
from runtime.core import Risk
from runtime.plain import plain
from runtime.roles.functions import from_functions
from runtime.tools.mcp.described import TOOL_NAME, cleaned, cleaned_schema, digest
from runtime.tools.recipe import Recipe

if TYPE_CHECKING:
    from mcp_types import Tool

MAX_PREVIEW_CHARS = 4_000
CHANGED = "what its server says of it changed since it was taken on"
DESTRUCTIVE = "its server calls it destructive"


@dataclass(frozen=True, slots=True)
class Offer:
    """``recipe.id`` is ``server.tool``; ``schema`` is what its arguments must meet."""

    server: str
    tool: str
    recipe: Recipe
    schema: Mapping[str, Any]
    digest: str
    notes: tuple[str, ...] = ()
    """What raised the risk, for the person who is asked."""

    @property
    def risk(self) -> Risk:
        return self.recipe.risk

    def preview(self, arguments: Mapping[str, Any], where: str) -> str:
        """What a person approves: the call, where it goes, and why it is riskier than set up."""
        words = json.dumps(arguments, ensure_ascii=False)
        if len(words) > MAX_PREVIEW_CHARS:
            words = f"{words[:MAX_PREVIEW_CHARS]}… ({len(words):,} characters)"
        notes = "".join(f"\nNote: {note}." for note in self.notes)
        return f"{self.recipe.id} {words}\nto {where}{notes}"


def offers(
    server: str, config: McpServerConfig, tools: Iterable[Tool], changed: frozenset[str]
) -> tuple[dict[str, Offer], dict[str, str]]:
    """The tools that can be used, by recipe id, and why the others cannot, by name."""
    found: dict[str, Offer] = {}
    refused: dict[str, str] = {}
    for tool in tools:
        if config.allow and tool.name not in config.allow:
            continue
        try:
            offer = _offer(server, config, tool, changed=tool.name in changed)
        except AidecampError as error:
            refused[plain(tool.name)[:80]] = error.message
            continue
        if offer is None or offer.recipe.id in found:
            refused[plain(tool.name)[:80]] = "Its name is none that a tool can have here."
            continue
        found[offer.recipe.id] = offer
    return found, refused


def _offer(server: str, config: McpServerConfig, tool: Tool, *, changed: bool) -> Offer | None:
    if not TOOL_NAME.fullmatch(tool.name):
        return None
    schema = cleaned_schema(tool.input_schema)
    does = cleaned(tool.description or tool.title or "") or tool.name.replace("_", " ")
    function = {"name": f"{server}.{tool.name}", "description": does, "parameters": schema}
    (recipe,) = from_functions([{"type": "function", "function": function}])
    risk = config.risk.get(tool.name, "sensitive")
    notes = []
    if changed:
        risk = "sensitive"
        notes.append(f"{CHANGED} (aidecamp mcp accept {recipe.id}); now: {does}")
    if risk == "read" and tool.annotations is not None and tool.annotations.destructive_hint:
        risk = "sensitive"
        notes.append(DESTRUCTIVE)
    return Offer(
        server=server,
        tool=tool.name,
        recipe=replace(recipe, kind="tool", risk=risk),
        schema=schema,
        digest=digest_of(tool),
        notes=tuple(notes),
    )


def digest_of(tool: Tool) -> str:
    return digest(tool.model_dump(by_alias=True, mode="json", exclude_none=True))


def is_remote(config: McpServerConfig) -> bool:
    """True where a call leaves this machine by design: a URL that is not of loopback."""
    if not config.url:
        return False
    host = urlsplit(config.url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def place(config: McpServerConfig) -> str:
    """Where a call goes, for the person who is asked. No secrets: they are in ``env``."""
    if config.command:
        return f"the program {plain(config.command[0])}"
    parts = urlsplit(config.url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
