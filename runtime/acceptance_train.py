"""Fit what ships in ``models/specialists/acceptance``: ``python -m runtime.acceptance_train``.

Answers every labelled step with the default local models, learns on the training part which steps
a tool here serves (``reach``) and the score of each kind (``cascade``), and certifies thresholds
on the calibration part.

Reach is a signal of the Tool User itself, so the calibration part is answered with the reach that
was just learned; a training step is weighed with one that was learned without it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.pool import Pool
from runtime.calibration import Calibrated, Row, calibrated
from runtime.config import load_config
from runtime.labelled import Part, load
from runtime.policy import Policy
from runtime.reach import SHIPPED as REACH
from runtime.rehearsal import Rehearsed, rehearse, with_reach
from runtime.roles.tool_user import ToolUser
from runtime.team import build_team
from runtime.trust import SHIPPED as CALIBRATION

if TYPE_CHECKING:
    from runtime.roster import Team

CARD = CALIBRATION.with_name("card.md")
TEMPLATE = CALIBRATION.with_name("card.template.md")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def answered(team: Team, policy: Policy, part: Part) -> list[Rehearsed]:
    """Every step of one part, answered."""
    steps = load(part)
    done: list[Rehearsed] = []
    begun = time.monotonic()
    async for one in rehearse(team, policy, steps):
        done.append(one)
        if len(done) % 200 == 0 or len(done) == len(steps):
            say(f"{part}: {len(done)} of {len(steps)} steps, {time.monotonic() - begun:.0f} s")
    return done


def fit(folder: Path) -> dict[str, Any]:
    """Write reach, calibration and card into ``folder``, and return the scores."""
    pool, policy = Pool(), Policy()
    try:
        team = build_team(load_config(), policy, pool)
        training = asyncio.run(answered(team, policy, "train"))
        reach, fitting = with_reach(training, pool.encoder())
        reach.save(folder / REACH.name)
        if isinstance(team.tool_user, ToolUser):
            team.tool_user.reach = reach
        certifying = asyncio.run(answered(team, policy, "calibration"))
    finally:
        pool.close()
    rows = [one.row for one in certifying if one.row is not None]
    day = time.strftime("%Y-%m-%d")
    found, refused = calibrated(fitting, rows, source=f"labelled steps of this release, {day}")
    found.save(folder / CALIBRATION.name)
    for (kind, _), why in refused.items():
        say(f"{kind}: {why}")
    entries = {kind: entry for (kind, _), entry in found.entries.items()}
    card = TEMPLATE.read_text("utf-8")
    models = " + ".join(next(iter(found.entries))[1].split("+"))
    for name, text in (
        ("fates", _fates(training, certifying)),
        ("scores", _scores(entries, rows)),
        ("models", models),
    ):
        card = card.replace(f"{{{name}}}", text)
    (folder / CARD.name).write_text(card, "utf-8")
    return {
        kind: {f"{a:g}": round(c.coverage, 4) for a, c in e.certified.items()}
        for kind, e in entries.items()
    }


def _fates(training: Sequence[Rehearsed], certifying: Sequence[Rehearsed]) -> str:
    lines = ["| part | steps | answered here | sent on by the Router | split | no tool |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for name, part in (("training", training), ("calibration", certifying)):
        fates = Counter(one.fate for one in part)
        counts = " | ".join(str(fates[f]) for f in ("answered", "escalated", "split", "no-tool"))
        lines.append(f"| {name} | {len(part)} | {counts} |")
    return "\n".join(lines)


def _scores(entries: dict[str, Calibrated], rows: Sequence[Row]) -> str:
    alphas = sorted(next(iter(entries.values())).certified)
    head = " | ".join(f"≤ {a:.0%} wrong" for a in alphas)
    lines = [f"| kind | answers | right | no problem found | {head} | least |"]
    lines.append("| --- " * (5 + len(alphas)) + "|")
    for kind, entry in sorted(entries.items()):
        own = [r for r in rows if r.kind == kind]
        passed = sum(not r.signals.problems for r in own)
        kept = " | ".join(
            f"{entry.certified[a].coverage:.1%}" if entry.certified[a].holds else "–"
            for a in alphas
        )
        least = [c.smallest_alpha for c in entry.certified.values() if c.smallest_alpha]
        lines.append(
            f"| {kind} | {entry.rows} | {entry.right / max(1, entry.rows):.0%} | {passed} | {kept} "
            f"| {f'{min(least):.1%}' if least else 'none'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    print(json.dumps(fit(CALIBRATION.parent)))


if __name__ == "__main__":
    main()
