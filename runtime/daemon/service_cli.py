"""``aidecamp daemon install`` and ``uninstall``: the daemon as a service. Arguments only."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import Interrupted, UsageError
from runtime.daemon import place
from runtime.daemon.saying import Json, say

if TYPE_CHECKING:
    from runtime.daemon.install import Done, Plan, Platform

LISTENS_ON = (
    "systemd still listens in its place, and starts it again at the next connection;"
    " `systemctl --user stop aidecamp.socket` ends that."
)
PLATFORMS = ("linux", "macos", "windows")
UNTRIED = {
    "macos": "Written after launchd's documentation; it was never tried on macOS.",
    "windows": "Written after the Task Scheduler's documentation; it was never tried, and the"
    " daemon itself needs Unix sockets and locks that Python has on Windows only in WSL.",
}

PlatformOption = Annotated[
    str | None,
    typer.Option("--platform", metavar="|".join(PLATFORMS), help="Another one than this."),
]


def install(
    socket_activation: Annotated[
        bool,
        typer.Option(
            "--socket-activation", help="systemd listens; the first connection starts the daemon."
        ),
    ] = False,
    print_: Annotated[bool, typer.Option("--print", help="Show the files; write nothing.")] = False,
    platform: PlatformOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Have the daemon start at login: a systemd user unit, a launch agent, or a Windows task.

    Every file is shown before it is written.
    """
    from runtime.config import load_config
    from runtime.daemon import install as installing
    from runtime.daemon import launch

    where = _platform(platform)
    if socket_activation and where != "linux":
        raise UsageError(
            "Socket activation is systemd's.",
            hint="Leave --socket-activation out on this platform.",
        )
    by_hand = not print_ and launch.answers(place.socket_path())
    plan = installing.to_install(
        where,
        installing.service(),
        load_config().daemon,
        socket_activation=socket_activation,
        start=not by_hand,
    )
    if not json_ or print_:
        _show(plan, json_=json_, print_=print_)
    if print_:
        return
    _ask(yes or json_)
    done = installing.carry_out(plan)
    more = []
    if by_hand:
        unit = installing.SOCKET if socket_activation else installing.SERVICE
        more.append(
            "A daemon runs that was started by hand. The service takes over at the next login, or"
            f" now: aidecamp daemon stop && systemctl --user start {unit}"
        )
    if where == "linux":
        more.append("To have it run while you are logged out, too: loginctl enable-linger")
    _tell(json_, done, more)


def uninstall(
    print_: Annotated[
        bool, typer.Option("--print", help="Show what would go; remove nothing.")
    ] = False,
    platform: PlatformOption = None,
    json_: Json = False,
) -> None:
    """Undo `aidecamp daemon install`. Files that it did not write stay."""
    from runtime.daemon import install as installing

    plan = installing.to_uninstall(_platform(platform))
    if print_:
        _show(plan, json_=json_, print_=True)
        return
    done = installing.carry_out(plan)
    more = [] if done.removed else ["Nothing was installed."]
    _tell(json_, done, more)


def _platform(named: str | None) -> Platform:
    from runtime.daemon.install import this_platform

    if named is None:
        return this_platform()
    if named not in PLATFORMS:
        raise UsageError(
            f"There is no platform {named!r}.", hint=f"There are: {', '.join(PLATFORMS)}."
        )
    return named  # type: ignore[return-value]


def _show(plan: Plan, *, json_: bool, print_: bool) -> None:
    from runtime.daemon.install import is_ours, shown

    removed = [str(path) for path in plan.remove if is_ours(path)]
    commands = [shown(one) for one in (*plan.before, *plan.after)]
    lines = []
    for path in removed:
        lines.append(f"remove {path}")
    for file in plan.files:
        lines += [f"{file.path}:", "", file.text]
    lines += [f"run {command}" for command in commands]
    if plan.platform in UNTRIED and plan.files:
        lines.append(UNTRIED[plan.platform])
    body: dict[str, Any] = {
        "platform": plan.platform,
        "files": [{"path": str(file.path), "text": file.text} for file in plan.files],
        "remove": removed,
        "commands": commands,
    }
    say(json_, "\n".join(lines) or "There is nothing to do.", **body)


def _ask(sure: bool) -> None:
    if sure or not sys.stdin.isatty():
        return
    if not typer.confirm("Do this?"):
        raise Interrupted("Nothing was written.")


def _tell(json_: bool, done: Done, more: list[str]) -> None:
    from runtime.daemon.install import shown

    lines = [f"wrote {path}" for path in done.written]
    lines += [f"removed {path}" for path in done.removed]
    lines += [f"left {path}: someone else wrote it" for path in done.left]
    for one in done.commands:
        command = shown(one.command)
        if one.ok:
            lines.append(f"ran {command}")
        elif one.ran:
            lines.append(f"failed: {command}: {one.said or 'no word'}; run it yourself later")
        else:
            lines.append(f"run this yourself, where {one.command[0]} is: {command}")
    say(
        json_,
        "\n".join([*lines, *more]),
        written=[str(path) for path in done.written],
        removed=[str(path) for path in done.removed],
        left=[str(path) for path in done.left],
        commands=[
            {"command": shown(one.command), "ran": one.ran, "ok": one.ok, "said": one.said}
            for one in done.commands
        ],
        notes=more,
    )
