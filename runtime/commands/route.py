"""``aidecamp route``: the Decision alone, nothing executed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.core import Decision, Step, Task, new_id

if TYPE_CHECKING:
    from models.pool import Pool
    from runtime.config import Config
    from runtime.given import Given
    from runtime.policy import Policy

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog='Example: aidecamp route "compare three ways to store our logs" --explain')
def route(
    text: Annotated[str, typer.Argument(help="A step in words.")],
    surface: Annotated[str, typer.Option(help="gui, shell or auto.")] = "auto",
    explain: Annotated[
        bool, typer.Option("--explain", help="What moved the score, and what would change it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show who would serve a step, with what probability, and why. Nothing is executed."""
    from models.pool import Pool
    from runtime.accept import check_task
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
    pool = Pool()
    try:
        decision = _decide(task, config, policy, pool)
    finally:
        pool.close()
    if as_json:
        print(json.dumps(to_json(decision), ensure_ascii=False))
        return
    from runtime.commands import explained, show

    console = show.console()
    console.print(explained.explained(decision) if explain else show.one_decision(decision))
    if not config.line_up() and decision.chosen == "general":
        console.print(_alone(decision, task, policy), style="yellow", markup=False)


def _alone(decision: Decision, task: Task, policy: Policy) -> str:
    """What becomes of a step for the General where none is configured."""
    from dataclasses import replace

    from runtime.decisions import verdict
    from runtime.given import Given

    given = replace(Given.from_json(decision.given), general=False)
    chosen = verdict(decision, task, given, policy).chosen
    instead = "declined" if chosen == "declined" else "answered here, and marked unsure"
    return f"No General is configured: until one is, this would be {instead}."


def _expected(
    task: Task, step: Step, scored: Decision, given: Given, pool: Pool
) -> tuple[Decision, Given]:
    """With how likely each side is right, as far as that is calibrated for the local files."""
    from models.digest import file_digest
    from models.pool import GENERATOR
    from runtime.calibration import family
    from runtime.keeping import weighed
    from runtime.ledger import Ledger
    from runtime.outcomes import History
    from runtime.team import calibration_path, ledger_path
    from runtime.trust import Trust, digests_of, signals_of

    generator = file_digest(pool.store.file(GENERATOR, "model"))
    models = digests_of(pool.encoder().model, generator)
    ledger = Ledger(ledger_path())
    history = History.of(ledger.told())
    ledger.close()
    kind = family(task, step)
    signals = signals_of(task, scored)
    judged = Trust.load(calibration_path()).before(kind, models, signals)
    if judged is None:
        return scored, given
    return weighed(scored, given, judged, history.general(kind), models)


def _decide(task: Task, config: Config, policy: Policy, pool: Pool) -> Decision:
    """As ``run`` would with somebody at the terminal, and as if there were a General."""
    import time
    from dataclasses import replace

    from runtime.budgets import Amount, LedgerSpending
    from runtime.decisions import decide, verdict
    from runtime.explain import flip
    from runtime.given import Given
    from runtime.router import Router
    from runtime.team import build_general, ledger_path

    router = Router(pool.encoder())
    kind, _, _ = router.classify(task.text, task.surface)
    general = next((g.model for g in config.line_up()), None)
    step = Step(new_id("step"), task.id, 1, kind, task.text)
    scored = router.route(task, step, policy, general=general)
    given = Given(
        kinds=(kind,),
        score_rule=scored.rule,
        score_local=scored.chosen.startswith("local:"),
        score_reason=scored.reason,
        privacy=task.privacy,
        general=True,
        person=True,
    )
    scored, given = _expected(task, step, scored, given, pool)
    if policy.budgets and verdict(scored, task, given, policy).wanted:
        remote = build_general(config, policy, pool)
        preview = remote.preview(remote.messages(task, step))
        tokens = preview["tokens_in_estimated"] + preview["tokens_out_at_most"]
        worst = Amount(preview["usd_at_most_estimated"], tokens, policy.general_timeout_s)
        spent = {"task": Amount(), **LedgerSpending(ledger_path()).spent(time.time())}
        given = replace(given, spent=spent, worst=worst)
        scored = replace(scored, would_send=preview)
    made = decide(scored, task, given, policy)
    return replace(made, flip=flip(scored, task, given, policy))
