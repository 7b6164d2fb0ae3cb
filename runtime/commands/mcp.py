"""``aidecamp mcp``: the MCP server for other programs, and the MCP servers that Aidecamp uses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from runtime.tools.mcp.tool import McpTool

app = typer.Typer(
    help="Without a command: serve Aidecamp's tools to an MCP client over standard input and"
    " output. It starts the daemon where none runs, and acts with your own token and the scope"
    " `act`: what writes waits for your approval in the TUI.",
    epilog='Example, in an MCP client: {"command": "aidecamp", "args": ["mcp"]}',
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.callback()
def serve(
    context: typer.Context,
    scope: Annotated[
        str,
        typer.Option(
            help="infer: only format and route; act; admin: also query the record, and approve"
            " actions through the client's own questions."
        ),
    ] = "act",
) -> None:
    if context.invoked_subcommand is not None:
        return
    import sys

    from models.errors import UsageError
    from runtime.commands.run import one_of
    from runtime.daemon.mcp.bridge import main
    from runtime.daemon.tokens import SCOPES, Scope

    chosen: Scope = one_of("--scope", scope, SCOPES)
    if sys.stdin.isatty():
        raise UsageError(
            "An MCP client starts this and speaks to it; there is nothing to type here.",
            hint='Set the client up with {"command": "aidecamp", "args": ["mcp"]}.',
        )
    main(chosen)


@app.command(epilog="Example: aidecamp mcp tools --json")
def tools(as_json: Json = False) -> None:
    """Start the MCP servers of config.toml, and show their tools with the risk each has here."""
    tool = _tool()
    try:
        tool.ready()
        rows = [
            {
                "tool": id_,
                "risk": offer.risk,
                "does": offer.recipe.does,
                "sha256": offer.digest,
                "notes": list(offer.notes),
            }
            for id_, offer in sorted(tool.offers.items())
        ]
        problems = dict(tool.problems)
    finally:
        tool.close()
    if as_json:
        print(json.dumps({"tools": rows, "problems": problems}, ensure_ascii=False))
        return
    from runtime.plain import plain

    for row in rows:
        print(f"{row['tool']:<32} {row['risk']:<10} {plain(str(row['does']))}")
        for note in row["notes"]:
            print(f"{'':<32} note: {plain(str(note))}")
    for name, why in problems.items():
        print(f"{plain(name):<32} not usable: {plain(why)}")
    if not rows and not problems:
        print("No MCP server is set up: add [mcp.NAME] with a command or a url to config.toml.")


@app.command(epilog="Example: aidecamp mcp accept notes.add")
def accept(
    tool: Annotated[str, typer.Argument(help="SERVER.TOOL, as `aidecamp mcp tools` shows it.")],
    as_json: Json = False,
) -> None:
    """Take a tool on as its server describes it now: its risk is again what you configured."""
    servers = _tool()
    try:
        servers.ready()
        offer = servers.accept(tool)
    finally:
        servers.close()
    body: dict[str, Any] = {"tool": tool, "risk": offer.risk, "sha256": offer.digest}
    print(json.dumps(body) if as_json else f"{tool} is taken on as it is now: {offer.risk}.")


def _tool() -> McpTool:
    from runtime.config import load_config
    from runtime.team import mcp_path
    from runtime.tools.mcp.tool import McpTool

    return McpTool(load_config().mcp, mcp_path())
