"""``aidecamp tui``. Arguments only."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runtime.daemon.client import Client

app = typer.Typer(
    help="Watch every routing decision as it is made, and be in command.",
    add_completion=False,
    rich_markup_mode=None,
)


@app.command(epilog="Example: aidecamp tui")
def tui(
    socket: Annotated[
        Path | None, typer.Option("--socket", help="The daemon's socket; yours by default.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Work folder of tasks started here.")
    ] = None,
    start: Annotated[
        bool, typer.Option("--start/--no-start", help="Start the daemon where none runs.")
    ] = True,
    json_: Annotated[
        bool, typer.Option("--json", help="No screen: the daemon's figures as one JSON object.")
    ] = False,
) -> None:
    """Open the terminal UI on the local daemon, which is started if none runs."""
    from runtime.daemon.client import Client

    client = Client(socket)
    if json_:
        sys.stdout.write(json.dumps(asyncio.run(_figures(client, start))) + "\n")
        return
    from models.errors import UsageError

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "The terminal UI needs a terminal.", hint="`aidecamp decisions list` works in a pipe."
        )
    from tui.app import AidecampApp

    AidecampApp(client, start_daemon=start, folder=(folder or Path.cwd()).absolute()).run()


async def _figures(client: Client, start: bool) -> dict[str, object]:
    async with client:
        if start:
            await client.ensure_running()
        figures: dict[str, object] = (await client.savings()).to_json()
        return figures
