"""``aidecamp route``: the Decision alone, nothing executed.

The daemon's models tell it where one runs with the same settings; else they are loaded here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.core import Decision, Task, new_id

if TYPE_CHECKING:
    from runtime.config import Config
    from runtime.policy import Policy

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog='Example: aidecamp route "compare three ways to store our logs" --explain')
def route(
    text: Annotated[str, typer.Argument(help="A step in words.")],
    surface: Annotated[str, typer.Option(help="gui, shell or auto.")] = "auto",
    explain: Annotated[
        bool, typer.Option("--explain", help="What moved the score, and what would change it.")
    ] = False,
    here: Annotated[
        bool, typer.Option("--here", help="In this process, also where the daemon runs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show who would serve a step, with what probability, and why. Nothing is executed."""
    from runtime.accept import check_task
    from runtime.commands.by_daemon import decision_by_daemon
    from runtime.commands.run import one_of
    from runtime.config import load_config
    from runtime.core import to_json

    config = load_config()
    policy = config.make_policy()
    task = Task(
        new_id("task"),
        text,
        surface=one_of("--surface", surface, ("gui", "shell", "auto")),
        privacy=config.privacy,
    )
    check_task(task, policy)
    decision = None if here else asyncio.run(decision_by_daemon(task, config, _tell))
    decision = decision or _decide(task, config, policy)
    if as_json:
        print(json.dumps(to_json(decision), ensure_ascii=False))
        return
    from runtime.commands import explained, show

    console = show.console()
    console.print(explained.explained(decision) if explain else show.one_decision(decision))
    if not config.line_up() and decision.chosen == "general":
        console.print(_alone(decision, task, policy), style="yellow", markup=False)


def _tell(message: str) -> None:
    print(message, file=sys.stderr)


def _alone(decision: Decision, task: Task, policy: Policy) -> str:
    """What becomes of a step for the General where none is configured."""
    from dataclasses import replace

    from runtime.decisions import verdict
    from runtime.given import Given

    given = replace(Given.from_json(decision.given), general=False)
    chosen = verdict(decision, task, given, policy).chosen
    instead = "declined" if chosen == "declined" else "answered here, and marked unsure"
    return f"No General is configured: until one is, this would be {instead}."


def _decide(task: Task, config: Config, policy: Policy) -> Decision:
    """With the models loaded in this process."""
    from models.pool import Pool
    from runtime.budgets import LedgerSpending
    from runtime.foresee import foresee
    from runtime.ledger import Ledger
    from runtime.outcomes import History
    from runtime.router import Router
    from runtime.team import calibration_path, ledger_path
    from runtime.trust import Trust

    def history() -> History:
        with contextlib.closing(Ledger(ledger_path())) as ledger:
            return History.of(ledger.told())

    with contextlib.closing(Pool()) as pool:
        return foresee(
            task,
            config,
            policy,
            pool,
            Router(pool.encoder()),
            trust=Trust.load(calibration_path()),
            history=history,
            spending=LedgerSpending(ledger_path()),
        )
