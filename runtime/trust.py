"""How far a local answer can be trusted: its calibrated score, and the threshold it must pass.

Looks up what was calibrated for the very model files that answer, the user's own calibration
before the shipped one. With none, the Tool User's own confidence stands, and says that it is not
calibrated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.calibration import Calibrated, Calibration
from runtime.cascade import AFTER, Signals
from runtime.core import Decision, Task

if TYPE_CHECKING:
    from runtime.roster import Team
    from runtime.tools.recipe import Proposal

SHIPPED = Path(__file__).parents[1] / "models" / "specialists" / "acceptance" / "calibration.json"


def digests(team: Team) -> str:
    """The files whose answers are scored: encoder and SLM."""
    return digests_of(*team.tool_user.models)


def digests_of(encoder: str, generator: str) -> str:
    """The same, from the digests of the two files."""
    return f"{encoder}+{generator}"


def signals_of(task: Task, decision: Decision, proposal: Proposal | None = None) -> Signals:
    """What is known of a step: what ``decision`` holds, which after an answer is what was known of
    that one, too; and what ``proposal`` says of itself."""
    seen = decision.signals if proposal is None else {**decision.signals, **evidence_of(proposal)}
    after: dict[str, Any] = {name: seen[name] for name in AFTER if name in seen}
    for counted in ("leftover", "problems"):
        if counted in after:
            after[counted] = int(after[counted])
    return Signals(
        probability=seen.get("in_kind", decision.probability),
        margin=seen.get("margin"),
        nearest=seen.get("nearest"),
        chars=len(decision.text),
        tools=len(task.tools),
        schema_chars=_schema_chars(task),
        **after,
    )


def evidence_of(proposal: Proposal) -> dict[str, float]:
    """What an answer says of itself, by the names of ``cascade.AFTER``."""
    return {**proposal.signals, "problems": float(len(proposal.problems))}


def _schema_chars(task: Task) -> int:
    return sum(len(json.dumps(part)) for part in (*task.tools, task.schema) if part)


@dataclass(frozen=True, slots=True)
class Judged:
    """What an answer's score is, and what is promised of it."""

    probability: float
    """P(the answer is right) where ``calibrated``, else the Tool User's own confidence."""
    calibrated: bool = False
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    """By alpha, written out: the threshold that is certified for it, None where none is."""
    smallest_alpha: float | None = None
    """The least alpha that can be certified."""
    effects: Mapping[str, float] = field(default_factory=dict)
    """How much each signal moved the score, in log odds."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The calibration in force."""

    calibration: Calibration = field(default_factory=Calibration)

    @staticmethod
    def load(own: Path | None = None, shipped: Path = SHIPPED) -> Trust:
        """The user's ``own`` calibration over the ``shipped`` one. Raises StorageFailed."""
        found = Calibration.load(shipped)
        return Trust(Calibration.load(own).over(found) if own is not None else found)

    def get(self, kind: str, model: str) -> Calibrated | None:
        return self.calibration.get(kind, model)

    def before(self, kind: str, model: str, signals: Signals) -> Judged | None:
        """P(a local answer will be right), before there is one; None where it is not calibrated."""
        entry = self.get(kind, model)
        return None if entry is None else _judged(entry, signals)

    def after(self, kind: str, model: str, signals: Signals, confidence: float) -> Judged:
        """How far this answer can be trusted. ``confidence``: the Tool User's own."""
        entry = self.get(kind, model)
        return Judged(confidence) if entry is None else _judged(entry, signals)


def _judged(entry: Calibrated, signals: Signals) -> Judged:
    moved = entry.cascade.effects(signals)
    return Judged(
        probability=float(entry.cascade.probability([signals])[0]),
        calibrated=True,
        thresholds=entry.thresholds,
        smallest_alpha=min(
            (c.smallest_alpha for c in entry.certified.values() if c.smallest_alpha is not None),
            default=None,
        ),
        effects={n: round(moved[n], 3) for n in sorted(moved, key=lambda n: -abs(moved[n]))},
    )
