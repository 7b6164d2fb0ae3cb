"""``aidecamp policy``: what is in force and where it comes from; what another would change."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from models.errors import UsageError
from runtime.budgets import UNITS, LedgerSpending, shown
from runtime.policy import DEFAULT, Policy
from runtime.rules import Rule

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Rules, budgets and thresholds: show what is in force, check a file against the record.",
    epilog="Example: aidecamp policy check policy.toml",
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def policy_from(file: Path) -> Policy:
    """The policy with ``file`` in the place of ``policy.toml``. Raises UsageError."""
    from runtime.policy_file import read

    return read(file, _base())


def _base() -> Policy:
    from runtime.config import load_config

    return load_config().base_policy()


@app.command("show", epilog="Example: aidecamp policy show --json")
def show_(as_json: Json = False) -> None:
    """Show every value in force and where it comes from, the rules, and what budgets have left."""
    from runtime.config import load_config, policy_file
    from runtime.in_force import in_force, values
    from runtime.team import ledger_path

    policy = load_config().make_policy()
    spent = LedgerSpending(ledger_path()).spent(time.time())
    if as_json:
        file = str(policy_file()) if policy_file().is_file() else None
        print(json.dumps(in_force(policy, spent, file), ensure_ascii=False))
        return
    from rich.table import Table
    from rich.text import Text

    from runtime.commands import show

    console = show.console()
    table = Table(show_edge=False, pad_edge=False)
    for name in ("setting", "value", "from"):
        table.add_column(name, justify="right" if name == "value" else "left", overflow="fold")
    for name, entry in values(policy).items():
        style = "dim" if entry["from"] == DEFAULT else ""
        table.add_row(name, f"{entry['value']}", entry["from"], style=style)
    console.print(table)
    console.print()
    if not policy.rules and not policy.budgets:
        console.print(f"No rule and no budget. They would stand in {policy_file()}.")
    for rule in policy.rules:
        console.print(Text.assemble((rule.words, "bold cyan"), f"  {_rule_words(rule)}"))
    for budget in policy.budgets:
        limits = []
        for unit in UNITS:
            limit = getattr(budget, unit)
            if limit is not None:
                used = getattr(spent[budget.scope], unit) if budget.scope in spent else None
                so_far = "" if used is None else f" ({shown(unit, used)} so far)"
                limits.append(f"{shown(unit, limit)}{so_far}")
        console.print(
            Text.assemble(
                (f"budget for the {budget.scope}", "bold cyan"),
                f"  {', '.join(limits)}, then {budget.action}",
            )
        )


def _rule_words(rule: Rule) -> str:
    """``kind plan, longer_than 400 → route general``."""
    when = ", ".join(
        f"{name} {' | '.join(value) if isinstance(value, tuple) else value}"
        for name, value in rule.conditions.items()
    )
    then = ", ".join(
        f"{name} {value}" for name in ("route", "privacy") if (value := getattr(rule, name))
    )
    return f"{when or 'always'} → {then}"


@app.command("check", epilog="Example: aidecamp policy check policy.toml --json")
def check_(
    file: Annotated[Path | None, typer.Argument(help="Default: the policy.toml in force.")] = None,
    as_json: Json = False,
) -> None:
    """Check a policy file line by line, and replay it on the record: what would have changed."""
    from runtime.config import policy_file
    from runtime.ledger import Ledger
    from runtime.policy_file import check
    from runtime.replay import over
    from runtime.team import ledger_path

    path = file or policy_file()
    if not path.is_file():
        raise UsageError(
            f"There is no policy file {path}.", hint="Without one, the defaults are in force."
        )
    base = _base()
    policy, problems = check(path, base)
    errors = [p for p in problems if p.level == "error"]
    if not errors:
        ledger = Ledger(ledger_path())
        replay = over(ledger.events(types=("task", "decision", "call")), policy)
        ledger.close()
    body: dict[str, Any] = {
        "file": str(path),
        "problems": [dataclasses.asdict(p) for p in problems],
    }
    if as_json:
        # With an error in the file there is nothing that could be in force.
        print(json.dumps(body if errors else {**body, **replay.to_json()}, ensure_ascii=False))
        raise typer.Exit(UsageError.exit_code if errors else 0)
    from rich.text import Text

    from runtime.commands import explained, show

    console = show.console()
    for problem in problems:
        style = "red" if problem.level == "error" else "yellow"
        console.print(Text.assemble((problem.level, style), f"  {problem.words}"))
        if problem.hint:
            console.print(f"  {problem.hint}", style="dim", markup=False)
    if errors:
        raise typer.Exit(UsageError.exit_code)
    console.print(explained.replayed(replay, path.name))
