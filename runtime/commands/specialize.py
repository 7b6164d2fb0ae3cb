"""``aidecamp specialize``: from the record of calls to a small model that takes some over.

``profile`` reads the ledger's file itself, whether a daemon runs or not: it is of the whole record.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from models.specialize.findings import Finding
    from models.specialize.profile import Group, Profile, Template

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Find what your agents repeat, and what a small model could take over.",
    epilog="Example: aidecamp specialize profile --since 30d",
)
NOTHING = (
    "No model call on record yet. Point an agent at the local daemon (aidecamp daemon start), or "
    'try: aidecamp run "how much memory is free?"'
)
COLOURS = {"replaceable": "green", "maybe": "yellow", "keep": "magenta", "too few": "dim"}
UNITS_S = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_AGO = re.compile(r"(\d{1,5})([hdw])")


@app.callback()
def _group() -> None:
    """Keeps ``profile`` a subcommand while it is the only one."""


@app.command("profile", epilog="Example: aidecamp specialize profile --client my-agent --since 30d")
def profile_(
    client: Annotated[str | None, typer.Option(help="Only the calls of this program.")] = None,
    since: Annotated[str | None, typer.Option(help="Only this long ago: 12h, 30d, 4w.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many templates to show.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show calls by kind and client, what repeats, and what looks replaceable and why.

    Nothing leaves this machine, and no model is asked.
    """
    from models.specialize.profile import profile
    from runtime.call_rows import TYPES, rows_of
    from runtime.ledger import Ledger
    from runtime.team import ledger_path

    oldest = 0.0 if since is None else time.time() - seconds(since)
    with contextlib.closing(Ledger(ledger_path())) as ledger:
        rows = rows_of(ledger.events(types=TYPES), client=client, since=oldest)
    found = profile(rows, top=top)
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
        return
    from runtime.commands import show

    console = show.console()
    if not rows:
        narrowed = client is not None or since is not None
        console.print("No call on record matches." if narrowed else NOTHING, markup=False)
        return
    _print(console, found)


def seconds(ago: str) -> float:
    """``12h``, ``30d``, ``4w`` in seconds. Raises UsageError."""
    match = _AGO.fullmatch(ago.strip().lower())
    if match is None:
        raise UsageError(f"{ago!r} is no length of time.", hint="Write it as 12h, 30d or 4w.")
    return int(match[1]) * UNITS_S[match[2]]


def _print(console: Console, found: Profile) -> None:
    console.print(_groups(found.groups))
    console.print(
        f"[dim]{found.calls:,} calls in {found.span_days:,.1f} days, served here: "
        f"{found.local}. In brackets: 95 % intervals.[/dim]"
    )
    if found.silent:
        console.print(f"[dim]Without words on record: {found.silent:,} calls.[/dim]")
    if found.templates:
        console.print("\n[bold]What comes again[/bold]")
        console.print(_templates(found.templates))
    console.print("\n[bold]What looks replaceable[/bold]")
    if not found.findings:
        console.print("Nothing: no call went to the General.")
    for finding in found.findings:
        _finding(console, finding)


def _groups(groups: Sequence[Group]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("client")
    table.add_column("kind")
    for column in ("calls", "share", "local", "in", "out", "cost", "here", "General", "repeated"):
        table.add_column(column, justify="right")
    for one in groups:
        table.add_row(
            Text(one.client),
            one.kind,
            f"{one.calls:,}",
            _percent(one.share.value),
            _percent(one.local.value),
            f"{one.tokens_in:,}",
            f"{one.tokens_out:,}",
            f"${one.cost_usd:,.2f}",
            _ms(one.local_p50_ms),
            _ms(one.general_p50_ms),
            str(one.repeated),
        )
    return table


def _templates(templates: Sequence[Template]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False, pad_edge=False)
    for column in ("requests", "here"):
        table.add_column(column, justify="right")
    for column in ("client", "kind", "template"):
        table.add_column(column)
    for one in templates:
        row = (Text(one.client), one.kind, Text(one.text))
        table.add_row(f"{one.requests:,}", f"{one.local:,}", *row)
    return table


def _finding(console: Console, finding: Finding) -> None:
    from rich.text import Text

    verdict = Text(finding.verdict, COLOURS[finding.verdict])
    console.print(Text.assemble(verdict, "  ", finding.says))
    if finding.verdict not in ("replaceable", "maybe"):
        return
    usd = finding.usd_per_month
    cost = "not known" if usd is None else f"${usd:,.2f} a month at this rate"
    console.print(
        Text(
            f"  examples: {finding.has:,} on record, about {finding.needs:,} needed (a rule of "
            f"thumb). Cost of these calls: {cost}.",
            "dim",
        )
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _ms(ms: float | None) -> str:
    return "–" if ms is None else f"{ms:,.0f} ms"
