"""``aidecamp daemon``: start, stop, status, restart and logs. Arguments only."""

from __future__ import annotations

import json
import sys
from collections import deque
from typing import Annotated, Any

import typer

from runtime.daemon import place

app = typer.Typer(
    help="The local daemon: runs tasks and tells every decision, on a Unix socket of yours.",
    epilog="Example: aidecamp daemon start && aidecamp daemon status",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command(epilog="Example: aidecamp daemon start --foreground")
def start(
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in this terminal; Ctrl-C stops it.")
    ] = False,
    json_: Json = False,
) -> None:
    """Start the daemon, unless it runs already."""
    if foreground:
        from runtime.daemon.server import main

        raise typer.Exit(main())
    from runtime.daemon import launch

    socket = place.socket_path()
    pid = launch.start(socket)
    _say(json_, f"The daemon (process {pid}) listens on {socket}.", pid=pid, socket=str(socket))


@app.command(epilog="Example: aidecamp daemon stop --json")
def stop(json_: Json = False) -> None:
    """Stop the daemon: what runs is cancelled, and recorded as cancelled."""
    from runtime.daemon import launch

    pid = launch.stop(place.socket_path())
    _say(json_, f"The daemon (process {pid}) stopped.", pid=pid)


@app.command(epilog="Example: aidecamp daemon restart")
def restart(json_: Json = False) -> None:
    """Stop the daemon if it runs, and start it."""
    from runtime.daemon import launch

    socket = place.socket_path()
    if launch.answers(socket):
        launch.stop(socket)
    pid = launch.start(socket)
    _say(json_, f"The daemon (process {pid}) listens on {socket}.", pid=pid, socket=str(socket))


@app.command(epilog="Example: aidecamp daemon status --json")
def status(json_: Json = False) -> None:
    """Whether the daemon runs, on which ledger, and what it does. Exit code 15: it does not."""
    import asyncio

    from runtime.daemon.client import Client

    async def ask() -> dict[str, Any]:
        async with Client() as client:
            return dict(await client.health())

    health = asyncio.run(ask())
    running = health["running"]
    _say(
        json_,
        f"The daemon (process {health['pid']}) has been up for {health['uptime_s']:.0f} s.\n"
        f"  socket   {place.socket_path()}\n"
        f"  ledger   {health['ledger']} ({health['last_event_id']:,} events)\n"
        f"  running  {', '.join(running) if running else 'no task'}\n"
        f"  waiting  {health['waiting']} for your answer",
        **health,
    )


@app.command(epilog="Example: aidecamp daemon logs --lines 100")
def logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many.")] = 50,
    json_: Json = False,
) -> None:
    """The last lines of the daemon's log."""
    path = place.log_path(place.socket_path())
    last: deque[str] = deque(maxlen=lines)
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            last.extend(line.rstrip("\n") for line in file)
    _say(json_, "\n".join(last) or f"{path} has no lines yet.", path=str(path), lines=list(last))


def _say(as_json: bool, text: str, **body: Any) -> None:
    sys.stdout.write((json.dumps(body) if as_json else text) + "\n")
