"""``aidecamp calibrate``: how often local answers are right, and what is promised of them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated, Any

import typer

from runtime.calibration import ALPHAS, Calibrated

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="How often local answers are right, and which thresholds keep a promise about it.",
    epilog="Example: aidecamp calibrate show",
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command("show", epilog="Example: aidecamp calibrate show --json")
def show_(as_json: Json = False) -> None:
    """Show what is certified for the models in use, and whether it still holds on the record."""
    from runtime.recall import drifts
    from runtime.session import open_session
    from runtime.trust import digests

    with open_session(privacy="local") as session:
        model, policy = digests(session.team), session.policy
        entries = {
            kind: entry
            for (kind, files), entry in session.team.trust.calibration.entries.items()
            if files == model
        }
        calibration = session.team.trust.calibration
        watches = drifts(session.ledger.told(), policy.risk_alpha, calibration)
    own = {kind: watch for (kind, files), watch in watches.items() if files == model}
    if as_json:
        body = {
            "models": model,
            "risk_alpha": policy.risk_alpha,
            "kinds": {kind: _body(entry) for kind, entry in entries.items()},
            "drift": {
                kind: {"recalibrate": w.recalibrate, "reason": w.reason} for kind, w in own.items()
            },
        }
        print(json.dumps(body, ensure_ascii=False))
        return
    from runtime.commands import show

    console = show.console()
    if not entries:
        console.print("Nothing is calibrated for these models: aidecamp calibrate run")
        return
    console.print(_table(entries))
    for kind, entry in entries.items():
        held = entry.holds(policy.risk_alpha)
        if held is not None:
            console.print(f"{kind}: {held.reason}", markup=False)
    for kind, watch in own.items():
        style = "yellow" if watch.recalibrate else "dim"
        console.print(f"{kind}, on record: {watch.reason}", style=style, markup=False)


@app.command("run", epilog="Example: aidecamp calibrate run")
def run(
    as_json: Json = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many labelled steps of each part.")
    ] = None,
) -> None:
    """Answer every labelled step with the models in use (nothing is done), and calibrate on that
    and on what the record knows to be right or wrong. Takes minutes."""
    from runtime.calibration import Calibration, certified, fitted
    from runtime.commands import show
    from runtime.labelled import load
    from runtime.recall import record_rows
    from runtime.rehearsal import answered, with_reach
    from runtime.session import open_session
    from runtime.team import calibration_path
    from runtime.trust import digests

    console = show.console(stderr=True)
    with open_session(privacy="local") as session:
        team, policy, say = session.team, session.policy, console.print
        training = asyncio.run(answered(team, policy, load("train")[:limit], "fitting", say))
        done = asyncio.run(answered(team, policy, load("calibration")[:limit], "certifying", say))
        # Reach was learned on these very steps: each is weighed with one that was not.
        _, fitting = with_reach(training, session.encoder)
        certifying = [one.row for one in done if one.row is not None]
        model = digests(team)
        # What people marked is no fair sample, so it teaches the score and certifies nothing.
        mine = [row for _, row in record_rows(session.ledger.told()) if row.model == model]
    fitting += mine
    day = time.strftime("%Y-%m-%d")
    source = f"labelled steps of this release and {len(mine)} answers on record, {day}"
    scores, refused = fitted(fitting)
    found = certified(scores, certifying, source=source)
    path = calibration_path()
    found.over(Calibration.load(path)).save(path)
    entries = {kind: entry for (kind, _), entry in found.entries.items()}
    if as_json:
        body = {"file": str(path), "kinds": {k: _body(e) for k, e in entries.items()}}
        print(json.dumps({**body, "refused": {k: why for (k, _), why in refused.items()}}))
        return
    show.console().print(_table(entries))
    for (kind, _), why in refused.items():
        show.console().print(f"{kind}: not calibrated: {why}", style="yellow", markup=False)


def _body(entry: Calibrated) -> dict[str, Any]:
    return {
        "rows": entry.rows,
        "right": entry.right,
        "source": entry.source,
        "certified": {
            f"{alpha:g}": {
                "threshold": one.threshold,
                "coverage": round(one.coverage, 4),
                "kept": one.kept,
                "wrong": one.wrong,
                "smallest_alpha": one.smallest_alpha,
            }
            for alpha, one in sorted(entry.certified.items())
        },
    }


def _table(entries: dict[str, Calibrated]) -> Any:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("kind")
    table.add_column("rows", justify="right")
    table.add_column("right", justify="right")
    for alpha in ALPHAS:
        table.add_column(f"≤ {alpha:.0%} wrong", justify="right")
    table.add_column("least", justify="right")
    for kind, entry in sorted(entries.items()):
        cells = []
        for alpha in ALPHAS:
            one = entry.certified.get(alpha)
            kept = one is not None and one.threshold is not None
            cells.append(f"{one.coverage:.0%}" if kept and one is not None else "–")
        held = [c.smallest_alpha for c in entry.certified.values() if c.smallest_alpha is not None]
        least = f"{min(held):.1%}" if held else "none"
        share = f"{entry.right / entry.rows:.0%}" if entry.rows else "–"
        table.add_row(kind, str(entry.rows), share, *cells, least)
    table.caption = (
        "Share of answers kept as sure at each promise; least: the smallest share of wrong ones "
        "that can be promised."
    )
    return table
