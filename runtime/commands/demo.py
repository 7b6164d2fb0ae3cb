"""``aidecamp demo``: four tasks, live, each checked; then who served what, and what it saved."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from models.errors import AidecampError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: aidecamp demo --watch frames")
def demo(
    general: Annotated[str | None, typer.Option(help="Base URL of the remote LLM.")] = None,
    privacy: Annotated[str | None, typer.Option(help="local, ask or auto.")] = None,
    watch: Annotated[Path | None, typer.Option(help="Save every GUI frame here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Run four tasks: type into an editor, query the file system, parse a command, decline to
    plan. Each is checked against what really happened."""
    import sys
    from dataclasses import replace

    from runtime.agent import Approver
    from runtime.commands import show
    from runtime.commands.run import ask_action, ask_send
    from runtime.core import Event
    from runtime.demo import DEMOS
    from runtime.session import open_session

    console = show.console(stderr=as_json)
    asks = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    approver = Approver(ask_action, ask_send) if asks else None
    rows: list[dict[str, Any]] = []
    with open_session(privacy=privacy, general=general, approver=approver, watch=watch) as session:
        events: list[Event] = []
        print_event = show.live(console)

        def on_event(event: Event) -> None:
            events.append(event)
            print_event(event)

        folder = Path(tempfile.mkdtemp(prefix="aidecamp-demo-"))
        try:
            for number, item in enumerate(DEMOS, 1):
                task = replace(item.task(folder), privacy=session.config.privacy)
                console.rule(f"[bold]{number}. {item.title}", align="left")
                console.print(f"[italic]“{task.text}”[/italic]", highlight=False)
                try:
                    body = asyncio.run(session.run(task, on_event))
                    wrong = item.check(body, folder)
                except AidecampError as error:
                    body = {"task_id": task.id, "status": "failed", "answer": None}
                    wrong = f"{error.message} {error.hint}"
                else:
                    console.print(show.answer(body["answer"]))
                    console.print(show.ending(body))
                console.print(f"[red]✗ {wrong}[/red]" if wrong else "[green]✓ checked[/green]")
                rows.append({"title": item.title, "task": task.text, "wrong": wrong, **body})
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        totals = _totals(session, events)
        console.rule("[bold]Who served what", align="left")
        console.print(show.decisions_table(events))
        console.print(_closing(totals))
    if as_json:
        print(json.dumps({"tasks": rows, **totals}, ensure_ascii=False))
    raise typer.Exit(1 if any(row["wrong"] for row in rows) else 0)


def _totals(session: Any, events: list[Any]) -> dict[str, Any]:
    from runtime.core import Call
    from runtime.ledger import records
    from runtime.report import all_general_usd

    calls = [call for call in records(events, Call) if call.serves]
    price = session.config.price(session.config.general.model)
    local = sum(call.local for call in calls)
    return {
        "calls": len(calls),
        "local_share": local / len(calls) if calls else None,
        "cost_usd": sum(call.cost_usd for call in calls),
        "bytes_sent": sum(call.bytes_sent for call in calls),
        "all_general_usd_estimated": all_general_usd(events, price.input, price.output)
        if price
        else None,
        "price_model": session.config.general.model,
        "price_as_of": price.as_of if price else None,
        "ledger": str(session.ledger.path),
    }


def _closing(totals: dict[str, Any]) -> str:
    share = totals["local_share"]
    usd = totals["all_general_usd_estimated"]
    compared = (
        ""
        if usd is None
        else f" All of it by {totals['price_model']} would have cost at least "
        f"${usd:.4f} (list price of {totals['price_as_of']})."
    )
    return (
        f"\n{totals['calls']} model calls, "
        f"{'none' if share is None else f'{share:.0%}'} of them on this machine; "
        f"{totals['bytes_sent']:,} bytes sent, ${totals['cost_usd']:.4f} spent.{compared}\n"
        f"The record: {totals['ledger']}   (aidecamp decisions list, aidecamp tui)"
    )
