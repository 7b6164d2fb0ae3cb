"""``aidecamp savings``: the measured local share, and what the General would have cost.

It reads the ledger's file itself, whether a daemon runs or not: a report is of the whole record,
and the same in either place.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from runtime.report import Figure
    from runtime.savings import Savings, ShareRow
    from runtime.whatif import Simulated

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    epilog="Example: aidecamp savings --what-if price=gpt-5.4-mini --what-if local-share=0.7"
)
def savings(
    model: Annotated[
        str | None, typer.Option(help="Price list entry to compare with. Default: the General's.")
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE, may be repeated: price, model, threshold, alpha, local-share, watts."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a figure: FILE.png or FILE.svg.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show what was served locally, what it cost, and what an all-General run would have.

    Every number says whether it was measured or estimated, and from what.
    """
    from runtime import plots
    from runtime.config import load_config
    from runtime.energy import busy_watts
    from runtime.ledger import Ledger
    from runtime.savings_report import NOTHING, Wish
    from runtime.savings_report import report as report_on
    from runtime.team import ledger_path

    wish = Wish.of(load_config(), model, what_if or ())
    if plot is not None:
        plots.check_path(plot)
    with contextlib.closing(Ledger(ledger_path())) as ledger:
        events = list(ledger.events())
    report = report_on(wish, events, busy_watts(_cores()))
    if plot is not None:
        if not report.savings.totals.calls:
            raise UsageError("The ledger holds no model call yet.", hint=NOTHING)
        plots.draw(report.savings, plot)
    if as_json:
        body = {**report.to_json(), "plot": str(plot) if plot is not None else None}
        print(json.dumps(body, ensure_ascii=False))
        return
    _print(report.savings, what_if or (), report.simulated, plot)


def _cores() -> int:
    from models.machine import Machine

    return Machine.measure().cores


def _print(
    report: Savings, wishes: Sequence[str], simulated: Simulated | None, plot: Path | None
) -> None:
    from runtime.commands import show
    from runtime.savings_report import NOTHING

    console = show.console()
    if not report.totals.calls:
        console.print(report.totals.purged_words or NOTHING, markup=False)
        return
    console.print(_kinds(report))
    if report.totals.purges:
        console.print(report.totals.purged_words, style="dim", markup=False)
    console.print()
    console.print(_areas(report.areas))
    console.print(
        "[dim]Measured: calls and steps of this machine's ledger. The paper's are estimates, of "
        "other tasks (arXiv 2506.02153, and a digest of it)."
        + (
            f" Calls for planning alone, which are of no area: {report.unassigned_calls:,}."
            if report.unassigned_calls
            else ""
        )
        + "[/dim]\n"
    )
    console.print(_figures(report, simulated))
    console.print(f"\n{report.totals.bytes_sent:,} bytes left this machine (measured).")
    if simulated is not None:
        _what_if(console, report, wishes, simulated)
    if plot is not None:
        console.print(f"The figure: {plot}")


def _kinds(report: Savings) -> Table:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("kind")
    for column in ("calls", "local", "share", "steps", "kept", "here", "General"):
        table.add_column(column, justify="right")
    for row in report.kinds:
        table.add_row(
            row.name,
            f"{row.calls:,}",
            f"{row.local_calls:,}",
            _percent(row.share),
            f"{row.steps:,}",
            _percent(row.step_share),
            _ms(row.local_p50_ms),
            _ms(row.general_p50_ms),
        )
    totals = report.totals
    table.add_section()
    table.add_row(
        "all", f"{totals.calls:,}", f"{totals.local_calls:,}", _percent(totals.local_share)
    )
    return table


def _areas(rows: Sequence[ShareRow]) -> Table:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("area")
    for column in ("calls", "measured", "of steps", "paper's estimate"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.title,
            f"{row.calls:,}",
            _percent(row.share),
            _percent(row.step_share),
            _percent(row.estimate),
        )
    return table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _ms(ms: float | None) -> str:
    return "–" if ms is None else f"{ms:,.0f} ms"


def _figures(report: Savings, simulated: Simulated | None) -> Table:
    """Each quantity as it was, all by the General, and as simulated, with how it came about."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    quantities = (
        ("cost", "${:,.4f}", report.cost, simulated.cost if simulated else None),
        ("model time", "{:,.1f} s", report.latency, simulated.latency if simulated else None),
        ("energy", "{:,.0f} J", report.energy, simulated.energy if simulated else None),
    )
    for title, unit, compared, imagined in quantities:
        _row(table, title, unit, compared.actual)
        _row(table, f"  all by {report.model}", unit, compared.all_general)
        if imagined is not None:
            _row(table, "  what if", unit, imagined)
    return table


def _row(table: Table, title: str, unit: str, figure: Figure) -> None:
    from rich.text import Text

    value = "–" if figure.value is None else unit.format(figure.value)
    source = Text(f"{figure.how}: {figure.source}", "dim")
    table.add_row(Text(title, "bold"), Text(value, justify="right"), source)


def _what_if(
    console: Console, report: Savings, wishes: Sequence[str], simulated: Simulated
) -> None:
    from rich.table import Table

    console.print(f"\n[bold]What if[/bold] {', '.join(wishes)}")
    console.print(
        f"{simulated.local_share:.0%} of {simulated.calls:,.0f} calls here (it was "
        f"{_percent(report.totals.local_share)} of {report.totals.calls:,}); steps for the "
        f"General: {simulated.escalated:,.0f}; steps that moved: {simulated.moved:,.0f}."
    )
    table = Table.grid(padding=(0, 2))
    if simulated.threshold is not None:
        _row(table, "threshold", "{:.3f}", simulated.threshold)
    _row(table, "wrong among kept", "{:.1%}", simulated.risk)
    console.print(table)
