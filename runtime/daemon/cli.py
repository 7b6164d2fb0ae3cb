"""``aidecamp daemon``: start, stop, restart, reload, status and logs. Arguments only."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.daemon import place, service_cli, token_cli
from runtime.daemon.saying import Json, say

if TYPE_CHECKING:
    from runtime.daemon.launch import Started

app = typer.Typer(
    help="The local daemon: what speaks OpenAI's API or MCP points its base URL at it.",
    epilog="Example: aidecamp daemon start && aidecamp daemon status",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


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

    _started(json_, launch.start(place.socket_path()))


@app.command(epilog="Example: aidecamp daemon stop --json")
def stop(json_: Json = False) -> None:
    """Stop the daemon: calls that are being answered finish, tasks are cancelled and recorded."""
    from runtime.daemon import launch

    socket = place.socket_path()
    pid = launch.stop(socket)
    again = socket.exists()  # systemd's: ours is gone when the daemon is.
    more = f"\n{service_cli.LISTENS_ON}" if again else ""
    say(json_, f"The daemon (process {pid}) stopped.{more}", pid=pid, starts_again=again)


@app.command(epilog="Example: aidecamp daemon restart")
def restart(json_: Json = False) -> None:
    """Stop the daemon if it runs, and start it. Where the settings are invalid, it runs on."""
    from runtime.config import load_config
    from runtime.daemon import launch

    load_config().make_policy()
    socket = place.socket_path()
    if launch.answers(socket):
        launch.stop(socket)
    _started(json_, launch.start(socket))


@app.command(epilog="Example: aidecamp daemon reload")
def reload(json_: Json = False) -> None:
    """Have the daemon read config.toml and policy.toml again. (It also sees by itself, within a
    second, that they changed.) Invalid ones are told here, and the old settings stay in force."""
    from runtime.config import config_file, load_config
    from runtime.daemon import launch

    load_config().make_policy()
    pid = launch.reload(place.socket_path())
    folder = config_file().parent
    say(
        json_,
        f"The daemon (process {pid}) reads the settings in {folder} again.",
        pid=pid,
        folder=str(folder),
    )


@app.command(epilog="Example: aidecamp daemon status --json")
def status(json_: Json = False) -> None:
    """Whether the daemon runs, where, and what it does. Exit code 15: it does not run."""
    import asyncio

    from runtime.daemon import launch
    from runtime.daemon.errors import DaemonMissing

    socket = place.socket_path()
    pid = launch.running(socket)
    if pid is None:
        # Nothing is connected to: systemd would start the daemon at that.
        raise DaemonMissing(f"No daemon runs on {socket}.", hint="Start it: aidecamp daemon start.")
    health = asyncio.run(_health())
    address = place.address(socket)
    say(
        json_,
        _status(health, socket=str(socket), address=address),
        **{**health, "pid": pid, "socket": str(socket), "address": address},
    )


async def _health() -> dict[str, Any]:
    from runtime.daemon.client import Client

    async with Client() as client:
        return dict(await client.health())


def _status(health: dict[str, Any], *, socket: str, address: str | None) -> str:
    running, models = health.get("running", ()), health.get("models", ())
    queue = health.get("queue", {})
    rows = [
        ("address", f"{address}/v1" if address else "none on TCP (daemon.tcp = false)"),
        ("socket", socket),
        ("ledger", f"{health['ledger']} ({health['last_event_id']:,} events)"),
        ("models", ", ".join(models) if models else "none is loaded; they load when needed"),
        ("calls", f"{queue.get('running', 0)} run, {queue.get('waiting', 0)} wait for a slot"),
        ("tasks", ", ".join(running) if running else "none runs"),
        ("waiting", f"{health['waiting']} for your answer"),
    ]
    head = f"Aidecamp {health.get('version', '')}".strip()
    up = _duration(health["uptime_s"])
    return "\n".join(
        [
            f"{head}: the daemon (process {health['pid']}) has been up for {up}.",
            *(f"  {name:<8} {value}" for name, value in rows),
        ]
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days"
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


@app.command(epilog="Example: aidecamp daemon logs --follow")
def logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")
    ] = False,
    json_: Json = False,
) -> None:
    """The last lines of the daemon's log. With --follow, --json is one object a line."""
    from runtime.daemon import logfile

    path = place.log_path(place.socket_path())
    last = logfile.tail(path, lines)
    if not follow:
        text = "\n".join(last) or f"{path} has no lines yet."
        say(json_, text, path=str(path), lines=last)
        return
    for line in logfile.follow(path, lines):
        sys.stdout.write((json.dumps({"line": line}) if json_ else line) + "\n")
        sys.stdout.flush()


def _started(as_json: bool, started: Started) -> None:
    tcp = f" and {started.address}/v1" if started.address else ""
    say(
        as_json,
        f"The daemon (process {started.pid}) listens on {started.socket}{tcp}.",
        pid=started.pid,
        socket=str(started.socket),
        address=started.address,
    )


app.command(epilog="Example: aidecamp daemon install --print")(service_cli.install)
app.command(epilog="Example: aidecamp daemon uninstall")(service_cli.uninstall)
app.add_typer(token_cli.app, name="token")
