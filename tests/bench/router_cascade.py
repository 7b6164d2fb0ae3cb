"""What the cascade keeps of BFCL's function calls, and how often that is wrong.

    python -m tests.bench.router --suite cascade
    python -m tests.bench.peers                      BFCL's rows and checker, once, in .venv-peers

``simple_python``, ``multiple`` and ``irrelevance`` (where every call is wrong) on the default local
models as they stand: refined, routed, picked, filled, verified and scored as any request with
functions of its own. BFCL's own checker says what is right. A request that is split, sent to the
General, or refused by the verifier is not kept.

``coverage_at_95``: the largest share of all rows that some threshold keeps with at least 95 % of
the kept right. ``curve``: risk at each share kept. ``held``: share of 200 random halvings in which
a threshold certified by Learn-then-Test on one half has a risk within alpha and binomial error on
the other; those thresholds are thrown away, and ``certified`` says how often there was one and
what it kept. ``shipped``: thresholds as they ship, certified on this project's own labelled steps:
what they keep here, and how much of it is wrong. Nothing is fitted on these rows.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.pool import Pool
from runtime.calibration import kept_scores
from runtime.config import load_config
from runtime.labelled import Labelled
from runtime.policy import Policy
from runtime.rehearsal import Rehearsed, rehearse
from runtime.risk import certify
from runtime.team import build_team
from runtime.trust import digests
from tests.bench.engine_schemas import json_schema
from tests.bench.peers import FOLDER, bfcl_rows, installed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

CATEGORIES = ("simple_python", "multiple", "irrelevance")
"""The last has no right answers."""
ALPHAS = (0.05, 0.1, 0.2)
CUTS = 200
CHECKER = Path(__file__).with_name("bfcl_check.py")
LEVELS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def labelled(row: Mapping[str, Any]) -> Labelled:
    turns = row["question"][0]
    text = [turn["content"] for turn in turns if turn["role"] == "user"][-1]
    tools = tuple(
        {
            "type": "function",
            "function": {
                "name": function["name"],
                "description": function["description"],
                "parameters": json_schema(function["parameters"]),
            },
        }
        for function in row["function"]
    )
    return Labelled(str(row["id"]), text, (), tools=tools)


async def answered(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Rehearsed], Floats, str]:
    """What the local team makes of each row, and its scores: 0 where nothing would be kept."""
    import numpy as np

    pool, policy = Pool(), Policy()
    try:
        team = build_team(load_config(), policy, pool)
        done: list[Rehearsed] = []
        begun = time.monotonic()
        async for one in rehearse(team, policy, map(labelled, rows)):
            done.append(one)
            if len(done) % 100 == 0:
                say(f"{len(done)} of {len(rows)} rows, {time.monotonic() - begun:.0f} s")
        entry = team.trust.get("tool", digests(team))
        scores = np.zeros(len(done))
        for i, one in enumerate(done):
            if one.row is None or one.proposal is None:
                continue
            if entry is not None:
                scores[i] = float(kept_scores(entry.cascade, [one.row.signals])[0])
            elif not one.proposal.problems:
                scores[i] = one.proposal.confidence
        return done, scores, digests(team)
    finally:
        pool.close()


def checked(rows: Sequence[Mapping[str, Any]], done: Sequence[Rehearsed]) -> Flags:
    """Whether each row's call is right; a row of ``irrelevance`` has no right call."""
    import numpy as np

    answers = {
        row["id"]: row["ground_truth"] for row in bfcl_rows(*CATEGORIES[:2], part="possible_answer")
    }
    asked, lines = [], []
    for i, (row, one) in enumerate(zip(rows, done, strict=True)):
        if row["id"] not in answers or one.proposal is None:
            continue
        call = {"name": one.proposal.recipe.id, "arguments": dict(one.proposal.arguments)}
        asked.append(i)
        lines.append(
            json.dumps(
                {
                    "category": row["category"],
                    "functions": row["function"],
                    "call": call,
                    "answers": answers[row["id"]],
                }
            )
        )
    ran = subprocess.run(
        [str(FOLDER / "bin" / "python"), str(CHECKER)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = [json.loads(line) for line in ran.stdout.splitlines()]
    if ran.returncode or len(verdicts) != len(asked):
        sys.exit(f"BFCL's checker failed: {ran.stderr.strip().splitlines()[-1:]}")
    right = np.zeros(len(rows), dtype=bool)
    right[asked] = verdicts
    return right


def coverage_at(scores: Floats, right: Flags, precision: float) -> float:
    """The largest share of all rows that a threshold keeps at this precision."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    kept = np.arange(1, len(order) + 1)
    fine = (np.cumsum(right[order]) / kept >= precision) & (scores[order] > 0)
    # Rows of one score are kept together.
    fine &= np.append(np.diff(scores[order]) != 0, True)
    return float(kept[fine].max(initial=0)) / len(order)


def curve(scores: Floats, right: Flags) -> dict[str, float]:
    """Risk by the share of all rows kept, as far as anything is kept."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    most = int((scores > 0).sum())
    found = {}
    for level in LEVELS:
        kept = max(1, round(level * len(order)))
        if kept <= most:
            found[f"{level:g}"] = round(float(np.mean(~right[order[:kept]])), 4)
    return found


def halved(scores: Floats, right: Flags) -> dict[str, dict[str, float]]:
    """The guarantee on random halves."""
    import numpy as np

    rng = np.random.default_rng(0)
    held, kept_share, there = (dict.fromkeys(ALPHAS, 0.0) for _ in range(3))
    for _ in range(CUTS):
        order = rng.permutation(len(scores))
        fitted, seen = order[: len(order) // 2], order[len(order) // 2 :]
        for alpha in ALPHAS:
            found = certify(scores[fitted], right[fitted], alpha)
            at = np.inf if found.threshold is None else found.threshold
            kept = scores[seen] >= at
            count, wrong = int(kept.sum()), int((kept & ~right[seen]).sum())
            slack = 1.96 * (alpha * (1 - alpha) / count) ** 0.5 if count else 0.0
            held[alpha] += (count == 0 or wrong / count <= alpha + slack) / CUTS
            kept_share[alpha] += count / len(seen) / CUTS
            there[alpha] += found.holds / CUTS
    return {
        name: {f"{a:g}": round(v, 4) for a, v in values.items()}
        for name, values in (
            ("held", held),
            ("certified", there),
            ("certified_coverage", kept_share),
        )
    }


def shipped(scores: Floats, right: Flags, model: str) -> dict[str, Any]:
    """What the shipped thresholds keep here, and the share of it that is wrong."""
    from runtime.trust import Trust

    entry = Trust.load().get("tool", model)
    found: dict[str, Any] = {}
    for alpha in ALPHAS if entry is not None else ():
        held = entry.holds(alpha) if entry is not None else None
        if held is None or held.threshold is None:
            found[f"{alpha:g}"] = None
            continue
        kept = scores >= held.threshold
        wrong = float((~right[kept]).mean()) if kept.any() else 0.0
        found[f"{alpha:g}"] = {"coverage": round(float(kept.mean()), 4), "risk": round(wrong, 4)}
    return found


def measure() -> dict[str, Any]:
    if not installed():
        sys.exit("BFCL is not installed here: python -m tests.bench.peers")
    rows = [{**row, "category": name} for name in CATEGORIES for row in bfcl_rows(name)]
    done, scores, model = asyncio.run(answered(rows))
    right = checked(rows, done)
    answered_right = {}
    for name in CATEGORIES:
        own = [i for i, row in enumerate(rows) if row["category"] == name]
        kept = [i for i in own if scores[i] > 0]
        answered_right[name] = {
            "rows": len(own),
            "answered": len(kept),
            "right": int(right[kept].sum()),
        }
    say(json.dumps(answered_right))
    return {
        "coverage_at_95": round(coverage_at(scores, right, 0.95), 4),
        "curve": curve(scores, right),
        **halved(scores, right),
        "shipped": shipped(scores, right, model),
        "categories": answered_right,
    }
