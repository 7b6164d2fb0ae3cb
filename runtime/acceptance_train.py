"""Fit what ships in ``models/specialists/acceptance``: ``python -m runtime.acceptance_train``.

Answers every labelled step with the default local models, learns on the training part which steps
a tool here serves (``reach``) and the score of each kind (``cascade``), and certifies thresholds
on the calibration part.

``--certify``: the last part alone, as when calibration steps were added.

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
from typing import Any

from models.pool import Pool
from runtime.calibration import Calibrated, Calibration, Row, certified, fitted
from runtime.config import load_config
from runtime.labelled import load
from runtime.policy import Policy
from runtime.reach import SHIPPED as REACH
from runtime.reach import Reach
from runtime.rehearsal import Rehearsed, answered, with_reach
from runtime.roles.tool_user import ToolUser
from runtime.team import build_team
from runtime.trust import SHIPPED as CALIBRATION

CARD = CALIBRATION.with_name("card.md")
TEMPLATE = CALIBRATION.with_name("card.template.md")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def fit(folder: Path) -> None:
    """Learn reach and scores on the training part, and write them into ``folder``, certified for
    nothing yet."""
    pool, policy = Pool(), Policy()
    try:
        team = build_team(load_config(), policy, pool)
        training = asyncio.run(answered(team, policy, load("train"), "train", say))
        reach, rows = with_reach(training, pool.encoder())
    finally:
        pool.close()
    reach.save(folder / REACH.name)
    scores, refused = fitted(rows)
    for (kind, _), why in refused.items():
        say(f"{kind}: {why}")
    certified(scores, (), source="not certified").save(folder / CALIBRATION.name)


def certify(folder: Path) -> dict[str, Any]:
    """Certify the scores in ``folder`` on the calibration part, write them there with a card, and
    return what is kept at each promise."""
    pool, policy = Pool(), Policy()
    before = Calibration.load(folder / CALIBRATION.name)
    try:
        team = build_team(load_config(), policy, pool)
        if isinstance(team.tool_user, ToolUser):
            team.tool_user.reach = Reach.load(pool.encoder().model, folder / REACH.name)
        certifying = asyncio.run(answered(team, policy, load("calibration"), "calibration", say))
    finally:
        pool.close()
    rows = [one.row for one in certifying if one.row is not None]
    scores = {key: entry.cascade for key, entry in before.entries.items()}
    day = time.strftime("%Y-%m-%d")
    found = certified(scores, rows, source=f"labelled steps of this release, {day}")
    found.save(folder / CALIBRATION.name)
    entries = {kind: entry for (kind, _), entry in found.entries.items()}
    card = TEMPLATE.read_text("utf-8")
    for name, text in (
        ("fates", _fates(certifying)),
        ("scores", _scores(entries, rows)),
        ("models", " + ".join(next(iter(scores))[1].split("+"))),
    ):
        card = card.replace(f"{{{name}}}", text)
    (folder / CARD.name).write_text(card, "utf-8")
    return {
        kind: {f"{a:g}": round(c.coverage, 4) for a, c in e.certified.items()}
        for kind, e in entries.items()
    }


def _fates(done: Sequence[Rehearsed]) -> str:
    fates = Counter(one.fate for one in done)
    return (
        f"Of {len(done):,} calibration steps, {fates['answered']:,} were answered here; the Router "
        f"sent {fates['escalated']} on, the Refiner split {fates['split']}, and {fates['no-tool']} "
        "were read as something that no tool does."
    )


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
    parser.add_argument("--certify", action="store_true", help="keep what was learned before")
    if not parser.parse_args().certify:
        fit(CALIBRATION.parent)
    print(json.dumps(certify(CALIBRATION.parent)))


if __name__ == "__main__":
    main()
