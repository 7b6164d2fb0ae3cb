"""``aidecamp savings``: the measured local share, and what the General would have cost."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from models.errors import UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: aidecamp savings --model gpt-5.4-mini")
def savings(
    model: Annotated[
        str | None, typer.Option(help="Price list entry to compare with. Default: the General's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show what was served locally, what it cost, and what an all-General run would have."""
    from runtime.config import load_config
    from runtime.daemon.totals import Totals
    from runtime.ledger import Ledger
    from runtime.report import all_general_usd
    from runtime.team import ledger_path

    config = load_config()
    name = model or config.general.model
    price = config.price(name)
    if price is None:
        raise UsageError(
            f"No price is known for {name!r}.",
            hint=f"Known: {', '.join(sorted(config.prices))}; add yours under [prices].",
        )
    ledger = Ledger(ledger_path())
    events = list(ledger.events())
    ledger.close()
    totals = Totals()
    for event in events:
        totals = totals.add(event)
    all_general = all_general_usd(events, price.input, price.output)
    body: dict[str, Any] = {
        **totals.to_json(),
        "all_general_usd_estimated": all_general,
        "saved_usd_estimated": all_general - totals.cost_usd,
        "price": {"model": name, **price.model_dump()},
    }
    if as_json:
        print(json.dumps(body, ensure_ascii=False))
        return
    from rich.table import Table

    from runtime.commands import show

    console = show.console()
    if not totals.calls:
        console.print('No model call yet. Try: aidecamp run "how much memory is free?"')
        return
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("kind")
    for column in ("calls", "local", "share"):
        table.add_column(column, justify="right")
    for kind, share in sorted(totals.by_kind.items()):
        table.add_row(
            kind, f"{share.calls:,}", f"{share.local:,}", f"{share.local / share.calls:.0%}"
        )
    table.add_section()
    table.add_row(
        "all", f"{totals.calls:,}", f"{totals.local_calls:,}", f"{totals.local_share:.0%}"
    )
    console.print(table)
    console.print(
        f"\ncost ${totals.cost_usd:.4f}; all of it by {name}: at least ${all_general:.4f} "
        f"(list price of {price.as_of}, tokens counted by the local tokenizer). "
        f"{totals.bytes_sent:,} bytes left this machine."
    )
