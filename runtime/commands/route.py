"""``aidecamp route``: the Decision alone, nothing executed."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from runtime.core import Step, Task, new_id

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog='Example: aidecamp route "compare three ways to store our logs"')
def route(
    text: Annotated[str, typer.Argument(help="A step in words.")],
    surface: Annotated[str, typer.Option(help="gui, shell or auto.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show who would serve a step, with what probability, and why. Nothing is executed."""
    from models.pool import Pool
    from runtime.accept import check_task
    from runtime.commands.run import one_of
    from runtime.config import load_config
    from runtime.core import to_json
    from runtime.router import Router

    config = load_config()
    policy = config.make_policy()
    task = Task(
        new_id("task"), text, surface=one_of("--surface", surface, ("gui", "shell", "auto"))
    )
    check_task(task, policy)
    pool = Pool()
    try:
        router = Router(pool.encoder())
        kind, _, _ = router.classify(text, task.surface)
        general = config.general.model if config.general.base_url else None
        step = Step(new_id("step"), task.id, 1, kind, text)
        decision = router.route(task, step, policy, general=general)
    finally:
        pool.close()
    if as_json:
        print(json.dumps(to_json(decision), ensure_ascii=False))
        return
    from runtime.commands import show

    show.console().print(show.one_decision(decision))
