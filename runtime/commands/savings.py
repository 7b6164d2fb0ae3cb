"""``aidecamp savings``: the measured local share, and what the General would have cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from runtime.config import Config
    from runtime.report import Figure
    from runtime.savings import Savings, ShareRow
    from runtime.whatif import Simulated

app = typer.Typer(add_completion=False, rich_markup_mode=None)

NOTHING = 'No model call yet. Try: aidecamp run "how much memory is free?"'


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
    from runtime import plots, whatif
    from runtime.config import load_config
    from runtime.energy import busy_watts
    from runtime.ledger import Ledger
    from runtime.savings import savings as report_on
    from runtime.savings import steps_of
    from runtime.team import ledger_path

    config = load_config()
    name = model or config.general.model
    price = _price(config, name)
    if price is None and model is not None:
        raise UsageError(
            f"No price is known for {name!r}.",
            hint=f"Known: {', '.join(sorted(config.prices))}; add yours under [prices].",
        )
    if plot is not None:
        plots.check_path(plot)
    scenario = whatif.read(what_if or (), lambda entry: _price(config, entry))
    ledger = Ledger(ledger_path())
    events = list(ledger.events())
    ledger.close()
    watts = busy_watts(_cores())
    report = report_on(
        events, model=name, price=price, price_source=_price_source(config, name), watts=watts
    )
    simulated = None
    if report.totals.calls:
        if what_if:
            simulated = whatif.simulate(
                steps_of(events), scenario, price=price, price_name=name, watts=watts
            )
        if plot is not None:
            plots.draw(report, plot)
    elif what_if or plot is not None:
        raise UsageError("The ledger holds no model call yet.", hint=NOTHING)
    if as_json:
        print(json.dumps(_body(config, report, simulated, plot), ensure_ascii=False))
        return
    _print(report, what_if or (), simulated, plot)


def _cores() -> int:
    from models.machine import Machine

    return Machine.measure().cores


def _price(config: Config, name: str) -> tuple[float, float] | None:
    price = config.price(name)
    return (price.input, price.output) if price is not None else None


def _price_source(config: Config, name: str) -> str:
    price = config.price(name)
    return f"list price of {price.as_of}" if price is not None else ""


def _body(
    config: Config, report: Savings, simulated: Simulated | None, plot: Path | None
) -> dict[str, Any]:
    price = config.price(report.model)
    everything = report.cost.all_general.value
    return {
        **report.to_json(),
        "all_general_usd_estimated": everything,
        "saved_usd_estimated": None if everything is None else everything - report.totals.cost_usd,
        "price": {"model": report.model, **price.model_dump()} if price is not None else None,
        "what_if": simulated.to_json() if simulated is not None else None,
        "plot": str(plot) if plot is not None else None,
    }


def _print(
    report: Savings, wishes: Sequence[str], simulated: Simulated | None, plot: Path | None
) -> None:
    from runtime.commands import show

    console = show.console()
    if not report.totals.calls:
        console.print(NOTHING)
        return
    console.print(_kinds(report))
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
