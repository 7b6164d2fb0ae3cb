"""Labelled steps through the local team, as they would come in, with nothing done: what it makes
of each, how sure it was, and whether that was right.

Refined and routed as a task is; what the Router would send away has no local answer and is left
out, since no threshold is asked about it. Each step has an empty work folder of its own with the
files that it names.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runtime.calibration import Row, family
from runtime.core import Task, new_id
from runtime.labelled import NOW, Labelled
from runtime.reach import Reach, fit, held_out
from runtime.roles.picking import masked
from runtime.trust import digests, signals_of

if TYPE_CHECKING:
    from models.base import Encoder
    from runtime.policy import Policy
    from runtime.roster import Team
    from runtime.tools.recipe import Proposal

LEAST = 30
"""Fewer steps that a tool serves, or that none does, teach nothing about it."""
Fate = Literal["answered", "escalated", "split", "no-tool"]


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What became of one labelled step. ``row`` where a local worker answered."""

    labelled: Labelled
    fate: Fate
    kind: str
    row: Row | None = None
    proposal: Proposal | None = None
    served: bool = False
    """A tool that was on offer does what is asked."""


async def rehearse(
    team: Team, policy: Policy, steps: Iterable[Labelled]
) -> AsyncIterator[Rehearsed]:
    """Each step in turn. Raises what the roles raise."""
    with tempfile.TemporaryDirectory(prefix="aidecamp-rehearsal-") as base:
        for number, labelled in enumerate(steps):
            folder = Path(base) / f"{number:05}"
            folder.mkdir()
            labelled.prepare(folder)
            yield await _one(team, policy, labelled, folder)


async def _one(team: Team, policy: Policy, labelled: Labelled, folder: Path) -> Rehearsed:
    task = Task(
        new_id("task"),
        labelled.text,
        folder=str(folder),
        now=NOW,
        tools=labelled.tools,
        privacy="local",
    )
    steps, _ = await team.refiner.refine(task)
    if len(steps) != 1:
        return Rehearsed(labelled, "split", steps[0].kind)
    step = steps[0]
    kind = family(task, step)
    decision = team.router.route(task, step, policy, general="none")
    if decision.chosen == "general":
        return Rehearsed(labelled, "escalated", kind)
    recipes = team.offer(task, step)
    if not recipes:
        return Rehearsed(labelled, "no-tool", kind)
    proposal, _ = await team.tool_user.propose(task, step, decision, recipes)
    row = Row(
        kind=kind,
        model=digests(team),
        signals=signals_of(task, decision, proposal),
        right=labelled.accepts(proposal.recipe, proposal.arguments),
    )
    offered = {r.id for r in recipes}
    served = any(one.recipe in offered for one in labelled.wanted)
    return Rehearsed(labelled, "answered", kind, row, proposal, served)


async def answered(
    team: Team, policy: Policy, steps: Sequence[Labelled], what: str, say: Callable[[str], object]
) -> list[Rehearsed]:
    """All of ``steps``, telling ``say`` how far it is and how long the rest takes."""
    done: list[Rehearsed] = []
    begun = time.monotonic()
    async for one in rehearse(team, policy, steps):
        done.append(one)
        if len(done) % 100 == 0 or len(done) == len(steps):
            left = (time.monotonic() - begun) / len(done) * (len(steps) - len(done))
            say(f"{what}: {len(done)} of {len(steps)} steps, about {left:.0f} s left")
    return done


def with_reach(done: Sequence[Rehearsed], encoder: Encoder) -> tuple[Reach, list[Row]]:
    """What the answered steps teach about which steps a tool here serves, and their rows, each
    with the reach learned from the others: none teaches the signal that it is weighed by."""
    import numpy as np

    weights, rows = {}, []
    for kind in sorted({d.kind for d in done}):
        own = [d for d in done if d.kind == kind and d.row is not None]
        served = np.array([d.served for d in own], dtype=bool)
        if kind == "tool" or min(served.sum(), (~served).sum()) < LEAST:
            rows += [d.row for d in own if d.row is not None]
            continue
        vectors = np.concatenate([encoder.embed([masked(d.labelled.text)]) for d in own])
        vectors = vectors.astype(np.float64)
        weights[kind] = fit(vectors, served)
        for one, odds in zip(own, held_out(vectors, served), strict=True):
            if one.row is not None:
                signals = replace(one.row.signals, reach=float(odds))
                rows.append(replace(one.row, signals=signals))
    return Reach(encoder.model, weights), rows
