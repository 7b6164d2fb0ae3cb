"""Reach tells what no tool here does, for the encoder it was learned on alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import ModelCorrupt
from models.pool import Pool
from runtime.labelled import Labelled, Wanted
from runtime.policy import Policy
from runtime.reach import Reach, fit, held_out
from runtime.rehearsal import rehearse, with_reach
from runtime.roles.picking import masked
from runtime.roles.refiner import Refiner
from runtime.roles.tool_user import ToolUser
from runtime.roster import Team
from runtime.router import Router
from tests.fakes import FakeFormatter, FakeTool
from tests.runtime.roles.support import FUNCTIONS
from tests.runtime.test_agent import general


def embeddings(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 20))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, rows[:, 0] + 0.3 * rows[:, 1] > 0


def test_it_learns_which_steps_a_tool_serves() -> None:
    rows, served = embeddings(400, 1)
    reach = Reach("sha256:e", {"shell": fit(rows, served)})
    new, outcome = embeddings(400, 2)
    said = np.array([(reach.of("shell", row) or 0.0) > 0 for row in new])
    assert (said == outcome).mean() > 0.85
    assert reach.of("gui", new[0]) is None


def test_held_out_odds_are_worse_than_those_of_rows_it_was_fitted_on() -> None:
    rows, _ = embeddings(60, 3)
    chance = np.random.default_rng(4).random(60) < 0.5  # nothing to learn
    weights = fit(rows, chance)
    own = rows @ weights[:-1] + weights[-1]
    other = held_out(rows, chance)
    assert ((own > 0) == chance).mean() > ((other > 0) == chance).mean() + 0.1


def test_it_comes_back_for_its_own_encoder_alone(tmp_path: Path) -> None:
    rows, served = embeddings(100, 5)
    path = tmp_path / "reach.npz"
    Reach("sha256:e", {"shell": fit(rows, served)}).save(path)
    again = Reach.load("sha256:e", path)
    assert again.of("shell", rows[0]) == pytest.approx(
        Reach("sha256:e", {"shell": fit(rows, served)}).of("shell", rows[0]), abs=1e-4
    )
    assert Reach.load("sha256:other", path).weights == {}
    assert Reach.load("sha256:e", tmp_path / "none.npz").weights == {}
    path.write_bytes(b"no archive")
    with pytest.raises(ModelCorrupt):
        Reach.load("sha256:e", path)


STEPS = (
    Labelled(
        "x-1",
        "set a timer for 10 minutes",
        (Wanted("set_timer", {"minutes": 10}),),
    ),
    Labelled(
        "x-2",
        "start a 25 minute timer for the pasta",
        (Wanted("set_timer", {"minutes": 5}),),
    ),
    Labelled("x-3", "weigh three database designs for a bank and recommend one of them", ()),
)


async def test_a_rehearsal_answers_as_a_task_would_be_and_does_nothing(pool: Pool) -> None:
    encoder, generator = pool.encoder(), pool.generator()
    router, tool = Router(encoder), FakeTool()
    team = Team(
        router=router,
        refiner=Refiner(generator, encoder, router),
        tool_user=ToolUser(generator, encoder),
        formatter=FakeFormatter(),
        general=general(),
        tools={"shell": tool, "gui": tool},
        functions=lambda task: tuple(FUNCTIONS.values()),
    )
    done = [one async for one in rehearse(team, Policy(), STEPS)]
    assert [one.fate for one in done] == ["answered", "answered", "escalated"]
    right, wrong = done[0].row, done[1].row
    assert right is not None and wrong is not None
    assert (right.kind, right.right, wrong.right) == ("parse", True, False)
    assert right.model == f"{encoder.model}+{generator.model}"
    assert right.signals.pick is not None and right.signals.problems == 0
    assert tool.done == []


async def test_a_row_is_weighed_with_a_reach_that_was_learned_without_it(pool: Pool) -> None:
    encoder, generator = pool.encoder(), pool.generator()
    router = Router(encoder)
    team = Team(
        router=router,
        refiner=Refiner(generator, encoder, router),
        tool_user=ToolUser(generator, encoder),
        formatter=FakeFormatter(),
        general=general(),
        tools={},
        functions=lambda task: tuple(FUNCTIONS.values()),
    )
    done = [one async for one in rehearse(team, Policy(), STEPS[:2])]
    yes, no = done[0], done[1]
    from dataclasses import replace

    many = [replace(yes, served=True)] * 40 + [replace(no, served=False)] * 40
    reach, rows = with_reach(many, encoder)
    assert set(reach.weights) == {"parse"} and len(rows) == 80
    row = encoder.embed([masked(STEPS[0].text)])[0]
    assert (reach.of("parse", row) or 0.0) > 0
    assert all(r.signals.reach is not None for r in rows)
    few, unweighed = with_reach(done, encoder)
    assert few.weights == {} and all(r.signals.reach is None for r in unweighed)
