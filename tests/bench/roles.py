"""How well the roles do on their development sentences: ``python -m tests.bench.roles``.

One JSON line: ``parse_exact`` (function and every argument right), ``pick_top1`` (the encoder's
first recipe alone), ``wrong_sure`` (wrong, yet given as sure; requests that no tool serves
count), ``sure`` (given as sure), ``split_exact`` and ``kinds_exact`` (the Refiner's steps),
``fill_leave_one_out`` (shell and GUI examples filled from the words alone, each without itself
among the recipe's examples), ``slm_asked`` and the median ``fill_ms`` where it was.

These sentences were tuned on: the figures compare changes and promise nothing about others.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.pool import Pool
from runtime.core import Call, Decision, Step, Task
from runtime.policy import Policy
from runtime.roles.filling import first_guess
from runtime.roles.picking import Picker
from runtime.roles.refiner import Refiner
from runtime.roles.tool_user import ToolUser, from_functions
from runtime.router import Router
from runtime.tools.gui.skills import SKILLS
from runtime.tools.recipe import Proposal, Recipe
from runtime.tools.shell.recipes import load
from tests.bench.dev_roles import NOW, OUTSIDE, PARSE, SPLIT

TOOLS: tuple[dict[str, Any], ...] = tuple(
    json.loads(
        (Path(__file__).parents[2] / "runtime" / "tools" / "assistant.json").read_text("utf-8")
    )
)
NOWHERE = Path("/nonexistent")


def main() -> None:
    pool = Pool()
    try:
        print(json.dumps(asyncio.run(_measure(pool))))
    finally:
        pool.close()


async def _measure(pool: Pool) -> dict[str, float]:
    recipes = from_functions(TOOLS)
    user = ToolUser(pool.generator(), pool.encoder())
    threshold = Policy().accept_threshold["parse"]
    right = sure = wrong_sure = 0
    fills: list[Call] = []
    wanted: list[tuple[str, str, dict[str, Any]]] = [*PARSE, *((t, "", {}) for t in OUTSIDE)]
    for text, name, arguments in wanted:
        proposal, calls = await _propose(user, text, recipes)
        fills += calls[1:]
        exact = proposal.recipe.id == name and dict(proposal.arguments) == arguments
        given = not proposal.problems and proposal.confidence >= threshold
        right += exact
        sure += given
        wrong_sure += given and not exact
    picker = Picker(pool.encoder(), recipes)
    picked = sum(picker.pick(text)[0].recipe.id == name for text, name, _ in PARSE)
    texts, kinds = await _split(pool)
    return {
        "parse_exact": round(right / len(PARSE), 3),
        "pick_top1": round(picked / len(PARSE), 3),
        "sure": round(sure / len(wanted), 3),
        "wrong_sure": round(wrong_sure / len(wanted), 3),
        "split_exact": round(texts / len(SPLIT), 3),
        "kinds_exact": round(kinds / len(SPLIT), 3),
        "fill_leave_one_out": round(_leave_one_out([*load(), *SKILLS]), 3),
        "slm_asked": round(len(fills) / len(wanted), 3),
        "fill_ms": round(statistics.median(c.ms for c in fills), 1) if fills else 0.0,
    }


async def _propose(
    user: ToolUser, text: str, recipes: tuple[Recipe, ...]
) -> tuple[Proposal, list[Call]]:
    task = Task("task", text, now=NOW.isoformat(), folder=str(Path.cwd()))
    step = Step("step", "task", 1, "parse", text)
    decision = Decision(
        "dec", "task", "step", "parse", text, "local:tool_user", (), 1, 0.5, "", "", 0
    )
    return await user.propose(task, step, decision, recipes)


async def _split(pool: Pool) -> tuple[int, int]:
    refiner = Refiner(pool.generator(), pool.encoder(), Router(pool.encoder()))
    texts = kinds = 0
    for text, expected in SPLIT:
        tools = TOOLS if expected[0][0] == "parse" else ()
        task = Task("task", text, now=NOW.isoformat(), folder=str(Path.cwd()), tools=tools)
        steps, _ = await refiner.refine(task)
        same = [s.text.lower() for s in steps] == [t.lower() for _, t in expected]
        texts += same
        kinds += same and [s.kind for s in steps] == [k for k, _ in expected]
    return texts, kinds


def _leave_one_out(tools: list[Any]) -> float:
    right = count = 0
    for tool in tools:
        recipe: Recipe = getattr(tool, "recipe", tool)
        for i, example in enumerate(recipe.examples):
            others = replace(recipe, examples=recipe.examples[:i] + recipe.examples[i + 1 :])
            filled = first_guess(example.text, others, now=NOW, folder=NOWHERE)
            expected = {s.name: s.default for s in recipe.slots if s.default is not None}
            expected |= dict(example.arguments)
            right += dict(filled.arguments) == expected and not filled.problems
            count += 1
    return right / count


if __name__ == "__main__":
    main()
