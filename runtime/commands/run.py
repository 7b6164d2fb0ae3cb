"""``aidecamp run``: one task, shown live or as one JSON object.

The daemon runs it where one runs with the same settings; else, and where this command's own
display or General is wanted, this process does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from models.errors import SchemaRefused, UsageError
from runtime.core import EXIT_CODES, Action, Task, new_id
from runtime.plain import plain

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog='Example: aidecamp run "which five files under /usr/share are the largest?"')
def run(
    task: Annotated[str, typer.Argument(help="What to do, in words; - reads it from stdin.")] = "",
    surface: Annotated[str, typer.Option(help="gui, shell or auto.")] = "auto",
    privacy: Annotated[str | None, typer.Option(help="local, ask or auto.")] = None,
    general: Annotated[str | None, typer.Option(help="Base URL of the remote LLM.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Work folder, the only place written to. Default: here.")
    ] = None,
    schema: Annotated[
        str | None, typer.Option(help="JSON Schema of the answer: a file, or the JSON itself.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="Text template with {fields}.")] = None,
    tools: Annotated[
        Path | None, typer.Option(help="JSON file of function tools, as OpenAI's API has them.")
    ] = None,
    now: Annotated[
        str | None, typer.Option(help='Date and time (ISO 8601) that "tomorrow" starts from.')
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(help="Save every GUI frame into this folder.")
    ] = None,
    own_display: Annotated[
        bool, typer.Option("--own-display", help="Act on your own desktop, not a private one.")
    ] = False,
    budget_usd: Annotated[
        float | None, typer.Option(help="Most that the General may cost.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Allow writes in the work folder.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide and show; do nothing.")
    ] = False,
    resume: Annotated[str | None, typer.Option(help="Go on with a task that was cut off.")] = None,
    here: Annotated[
        bool, typer.Option("--here", help="In this process, also where the daemon runs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Do a task on this machine. Exit code: 0 done, 10 unsure, 11 declined, 9 denied, 1 failed."""
    if resume is not None and dry_run:
        raise UsageError(
            "--dry-run and --resume do not go together: a resumed task acts.",
            hint="aidecamp decisions list shows what was decided so far.",
        )
    if resume is None and not task:
        raise UsageError("No task was given.", hint='Say what to do: aidecamp run "…".')
    wanted = Task(
        id=new_id("task"),
        text=sys.stdin.read() if task == "-" else task,
        surface=one_of("--surface", surface, ("gui", "shell", "auto")),
        privacy=one_of("--privacy", privacy or "ask", ("local", "ask", "auto")),
        folder=str((folder or Path.cwd()).resolve()),
        now=_now(now),
        tools=_tools(tools),
        schema=_schema(schema),
        template=template,
        dry_run=dry_run,
        yes=yes,
        budget_usd=budget_usd,
    )
    body = None
    if not (here or watch or own_display or general or resume):
        body = by_daemon(wanted, privacy=privacy, quiet=as_json)
    body = body or execute(
        wanted,
        privacy=privacy,
        general=general,
        resume=resume,
        watch=watch,
        own_display=own_display,
        quiet=as_json,
    )
    if as_json:
        print(json.dumps(body, ensure_ascii=False))
    raise typer.Exit(EXIT_CODES[body["status"]])


def by_daemon(
    task: Task, *, privacy: str | None = None, quiet: bool = False
) -> dict[str, Any] | None:
    """Have the daemon run ``task``, as ``execute`` would; None where none runs that may."""
    from runtime.accept import check_task
    from runtime.agent import Approver
    from runtime.commands import show
    from runtime.commands.by_daemon import drifted, task_by_daemon
    from runtime.config import load_config

    config = load_config()
    task = dataclasses.replace(task, privacy=load_config(privacy=privacy).privacy)
    check_task(task, config.make_policy())
    console = show.console(stderr=quiet)
    started: list[str] = []
    try:
        body = asyncio.run(
            task_by_daemon(
                task,
                config,
                approver=Approver(ask_action, ask_send) if _interactive(quiet) else None,
                on_event=show.nothing if quiet else show.live(console),
                on_start=started.append,
                tell=_tell,
            )
        )
    except KeyboardInterrupt:
        if started:
            console.print(_stopped(started[0]))
        raise
    if body is not None and not quiet:
        _show_end(body, drifted(config))
    return body


def execute(
    task: Task,
    *,
    privacy: str | None = None,
    general: str | None = None,
    resume: str | None = None,
    watch: Path | None = None,
    own_display: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run ``task`` here to its end, and return its summary. Shows it live unless ``quiet``."""
    from runtime.accept import check_task
    from runtime.agent import Approver
    from runtime.commands import show
    from runtime.config import load_config
    from runtime.session import open_session

    config = load_config(privacy=privacy)
    task = dataclasses.replace(task, privacy=config.privacy)
    if resume is None:
        check_task(task, config.make_policy())  # before anything heavy is loaded
    console = show.console(stderr=quiet)
    approver = Approver(ask_action, ask_send) if _interactive(quiet) else None
    with open_session(
        privacy=privacy, general=general, approver=approver, watch=watch, own_display=own_display
    ) as session:
        if resume is not None:
            task = resumed(session.recorded(resume), task, flag=privacy)
        on_event = show.nothing if quiet else show.live(console)
        try:
            body = asyncio.run(session.run(task, on_event, resume=resume is not None))
        except KeyboardInterrupt:
            console.print(_stopped(task.id))
            raise
        drifted = session.drifted
    if not quiet:
        _show_end(body, drifted)
    return body


def _interactive(quiet: bool) -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and not quiet


def _tell(message: str) -> None:
    print(plain(message), file=sys.stderr)


def _stopped(task_id: str) -> str:
    return f"stopped; the record is kept: aidecamp decisions list --task {task_id}"


def _show_end(body: Mapping[str, Any], drifted: Mapping[str, str]) -> None:
    from runtime.commands import show

    console = show.console()
    console.print()
    console.print(show.answer(body["answer"]))
    console.print(show.ending(body))
    for kind, why in drifted.items():
        console.print(f"{kind}: {why} (aidecamp calibrate run)", style="yellow", markup=False)


def resumed(recorded: Task, now: Task, *, flag: str | None) -> Task:
    """The recorded task within the bounds of this command line. ``now`` carries them.

    Privacy is ``flag``'s where it was given, else the stricter of then and now: what a task was
    once allowed to send does not outlive a change of mind.
    """
    stricter = min(recorded.privacy, now.privacy, key=("local", "ask", "auto").index)
    return dataclasses.replace(
        recorded,
        privacy=now.privacy if flag is not None else stricter,
        yes=recorded.yes or now.yes,
        budget_usd=recorded.budget_usd if now.budget_usd is None else now.budget_usd,
    )


async def ask_action(action: Action, reason: str) -> bool:
    """Ask at the terminal whether ``action`` may happen."""
    return await asyncio.to_thread(confirmed, f"{action.preview}\n  {reason}. Allow?")


async def ask_send(preview: Mapping[str, Any]) -> bool:
    """Show exactly what would be sent to the General, and ask."""
    from runtime.commands import show

    show.console().print(show.would_send(preview))
    return await asyncio.to_thread(confirmed, "Send this?")


def confirmed(question: str) -> bool:
    """Ask at the terminal. Whoever says nothing says no."""
    try:
        return input(f"{plain(question, lines=True)} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def one_of(flag: str, value: str, allowed: tuple[str, ...]) -> Any:
    """``value``, checked against what a flag allows. Raises UsageError."""
    if value not in allowed:
        raise UsageError(f"{flag} {value!r}: it must be one of {', '.join(allowed)}.")
    return value


def _now(value: str | None) -> str:
    if value is None:
        return datetime.now().replace(microsecond=0).isoformat()
    try:
        return datetime.fromisoformat(value).replace(tzinfo=None, microsecond=0).isoformat()
    except ValueError as error:
        raise UsageError(f"--now {value!r} is not an ISO 8601 date and time.") from error


def _tools(path: Path | None) -> tuple[Mapping[str, Any], ...]:
    if path is None:
        return ()
    try:
        body = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--tools {path}: {error}.") from error
    if not isinstance(body, list) or not all(isinstance(t, dict) for t in body):
        raise UsageError(f"--tools {path}: it must hold a JSON array of function tools.")
    return tuple(body)


def _schema(value: str | None) -> Mapping[str, Any] | None:
    if value is None:
        return None
    try:
        text = value if value.lstrip().startswith("{") else Path(value).read_text("utf-8")
        body = json.loads(text)
    except (OSError, ValueError) as error:
        raise SchemaRefused(
            f"--schema {value[:60]!r} cannot be read: {error}.",
            hint="Give a file that holds a JSON Schema, or the schema itself.",
        ) from error
    if not isinstance(body, dict):
        raise SchemaRefused("--schema: a JSON Schema is a JSON object.")
    return body
