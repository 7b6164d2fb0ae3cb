"""``aidecamp decisions``: the record, filtered, one in detail, or exported as JSON lines.

It reads and marks in the ledger's file itself, whether a daemon runs or not: the file is the same
one, a daemon sees at once what others commit, and so a question costs no loaded model.
"""

from __future__ import annotations

import contextlib
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from models.errors import UsageError
from runtime.core import (
    Action,
    Call,
    Decision,
    Event,
    Outcome,
    to_json,
)
from runtime.drive import cut_off
from runtime.ledger import Ledger, records
from runtime.team import ledger_path

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="The record of every decision: list, show, replay, mark, export, purge.",
    epilog="Example: aidecamp decisions list --kind shell",
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command("list", epilog="Example: aidecamp decisions list --kind shell --limit 20")
def list_(
    kind: Annotated[str | None, typer.Option(help="Only this kind of step.")] = None,
    chosen: Annotated[str | None, typer.Option(help="Only what this worker served.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task's.")] = None,
    text: Annotated[str | None, typer.Option(help="Only steps with these words.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """List past decisions, newest first."""
    ledger = Ledger(ledger_path())
    events = ledger.decisions(kind=kind, chosen=chosen, task_id=task, text=text, limit=limit)
    stopped = cut_off(ledger)
    ledger.close()
    if as_json:
        body = {"decisions": [e.to_json() for e in events], "cut_off": [t.id for t in stopped]}
        print(json.dumps(body, ensure_ascii=False))
        return
    from runtime.commands import show

    if not events:
        show.console().print('No decision yet. Try: aidecamp run "how much memory is free?"')
        return
    console = show.console()
    console.print(show.decisions_table(events, with_ids=True))
    for cut in stopped:
        console.print(f"cut off before its end: aidecamp run --resume {cut.id}", style="yellow")


@app.command("show", epilog="Example: aidecamp decisions show dec_019…")
def show_(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The decision's id.")],
    as_json: Json = False,
) -> None:
    """Show one decision: candidates, signals, calls, action and outcome."""
    with contextlib.closing(Ledger(ledger_path())) as ledger:
        event, decision = _found(ledger, id_)
        events = list(ledger.events(event.task_id))
    body: dict[str, Any] = {
        "decision": to_json(decision),
        "calls": [to_json(c) for c in records(events, Call) if c.decision_id == id_],
        "actions": [to_json(a) for a in records(events, Action) if a.step_id == decision.step_id],
        "outcomes": [to_json(o) for o in records(events, Outcome) if o.step_id == decision.step_id],
    }
    if as_json:
        print(json.dumps(body, ensure_ascii=False))
        return
    from runtime.commands import explained, show

    console = show.console()
    console.print(explained.explained(decision))
    for later in events:
        record = later.record
        mine = isinstance(record, Call) and record.decision_id == id_
        if mine or (isinstance(record, (Action, Outcome)) and record.step_id == decision.step_id):
            console.print(show.event_line(later))
    if decision.would_send:
        console.print(show.would_send(decision.would_send))


@app.command("replay", epilog="Example: aidecamp decisions replay dec_019… --policy new.toml")
def replay(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The decision's id.")],
    policy: Annotated[
        Path | None, typer.Option(help="The other policy.toml. Default: the one in force.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a past decision again, from what it was made from, under another policy."""
    from runtime.commands.policy import policy_from
    from runtime.config import load_config
    from runtime.past import remade
    from runtime.replay import differs

    other = policy_from(policy) if policy is not None else load_config().make_policy()
    with contextlib.closing(Ledger(ledger_path())) as ledger:
        event, before = _found(ledger, id_)
        after = remade(ledger, event, other)
    if as_json:
        body = {
            "changed": differs(before, after),
            "before": to_json(before),
            "after": to_json(after),
        }
        print(json.dumps(body, ensure_ascii=False))
        return
    from runtime.commands import explained, show

    show.console().print(explained.compared(before, after))


@app.command("mark", epilog="Example: aidecamp decisions mark dec_019… wrong")
def mark(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The decision's id.")],
    verdict: Annotated[str, typer.Argument(help="right or wrong.")],
    note: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: Json = False,
) -> None:
    """Say whether the answer given under a decision was right: calibration learns from it."""
    from runtime.commands.run import one_of
    from runtime.past import judge

    word = one_of("VERDICT", verdict, ("right", "wrong"))
    with contextlib.closing(Ledger(ledger_path())) as ledger:
        event, decision = _found(ledger, id_)
        kept = judge(ledger, event, word == "right", note)
    if as_json:
        print(json.dumps(kept.to_json(), ensure_ascii=False))
        return
    print(f"Noted: {decision.chosen} was {word} on {' '.join(decision.text.split())[:60]!r}.")


def _found(ledger: Ledger, id_: str) -> tuple[Event, Decision]:
    from runtime.past import found

    event = found(ledger, id_)
    if event is None or not isinstance(event.record, Decision):
        raise UsageError(f"There is no decision {id_}.", hint="aidecamp decisions list shows ids.")
    return event, event.record


@app.command("export", epilog="Example: aidecamp decisions export record.jsonl")
def export(
    file: Annotated[Path, typer.Argument(help="Where to; - is stdout.")],
    as_json: Json = False,
) -> None:
    """Export every event as one JSON object a line."""
    ledger = Ledger(ledger_path())
    lines = (json.dumps(event.to_json(), ensure_ascii=False) for event in ledger.events())
    if str(file) == "-":
        for line in lines:
            print(line)
        ledger.close()
        return
    count = _write(file, lines)
    ledger.close()
    print(
        json.dumps({"events": count, "file": str(file)}) if as_json else f"{count} events in {file}"
    )


@app.command("purge", epilog="Example: aidecamp decisions purge --older-than 30d --dry-run")
def purge_(
    before: Annotated[
        str | None, typer.Option(metavar="DATE", help="Tasks that ended before it: 2026-01-01.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Ended so long ago: 12h, 30d, 4w.")
    ] = None,
    client: Annotated[str | None, typer.Option(help="Only this program's tasks.")] = None,
    max_mb: Annotated[
        int | None,
        typer.Option(min=0, help="The oldest, until the record is no larger (megabytes)."),
    ] = None,
    judged: Annotated[
        bool, typer.Option("--judged", help="Tasks that somebody marked, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the counts, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Remove whole tasks from the record for good: by age, by program, or down to a size.

    What is running stays. So does what somebody marked right or wrong, for calibration learns
    from it. Budgets go on counting what was spent.
    """
    from runtime import retention
    from runtime.commands.run import confirmed

    wanted = retention.Wanted(
        before=_moment(before, older_than),
        client=client,
        max_bytes=None if max_mb is None else max_mb * retention.MB,
        keep_judged=not judged,
    )
    if wanted.before is None and wanted.client is None and wanted.max_bytes is None:
        hint = "Name --before, --older-than, --client or --max-mb."
        raise UsageError("Nothing says which tasks to remove.", hint=hint)
    if as_json and not (yes or dry_run):
        raise UsageError("--json cannot ask.", hint="Add --yes, or --dry-run for the counts.")
    with contextlib.closing(Ledger(ledger_path())) as ledger:
        done, removed = retention.preview(ledger, wanted), False
        if not as_json:
            print(done.words("would be removed"))
        if done.tasks and not dry_run and (yes or confirmed("Remove them for good?")):
            done, removed = retention.purge(ledger, wanted), True
    if as_json:
        print(json.dumps({**done.to_json(), "removed": removed}))
    elif removed:
        print(done.words("were removed"))


def _moment(before: str | None, older_than: str | None) -> float | None:
    """The Unix time that ``--before`` or ``--older-than`` means. Raises UsageError."""
    from runtime.commands.specialize import seconds

    if before is not None and older_than is not None:
        raise UsageError("--before and --older-than say the same thing.", hint="Give one of them.")
    if older_than is not None:
        return time.time() - seconds(older_than)
    if before is None:
        return None
    try:
        return datetime.fromisoformat(before).timestamp()
    except ValueError as error:
        raise UsageError(
            f"{before!r} is no date.", hint="Write it as 2026-01-31 or 2026-01-31T18:00."
        ) from error


def _write(file: Path, lines: Any) -> int:
    count = 0
    try:
        with file.open("x", encoding="utf-8") as out:
            for line in lines:
                out.write(line + "\n")
                count += 1
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error}.", hint="Name a new file.") from error
    return count
