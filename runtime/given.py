"""What a decision is made from, besides text and score: on record with it, so that it can be
explained and made again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from runtime.budgets import Amount
from runtime.core import Kind, Privacy

Side = Literal["local", "general", ""]


@dataclass(frozen=True, slots=True)
class Given:
    """What a decision is made from, besides text and probability."""

    kinds: tuple[Kind, ...]
    """The step's kind, and ``repair`` where a failed action is repaired."""
    score_rule: str
    """What the score alone went by: ``threshold:shell``, ``out-of-scope``, ``verifier``, …"""
    score_local: bool
    score_reason: str
    privacy: Privacy
    """The task's; a rule may pin another."""
    general: bool
    """A General is configured."""
    person: bool
    """Somebody can be asked."""
    incumbent: Side = ""
    """Who served the task's step before this one."""
    window: str = ""
    """Title of the window in front, where one is known."""
    spent: Mapping[str, Amount] = field(default_factory=dict)
    """By scope, where the General was wanted."""
    worst: Amount | None = None
    """The most that the General's call could take; None where none was considered."""
    budget_usd: float | None = None
    """The task's own budget."""
    failed: str = ""
    """Why the General has failed at this step."""
    answer: Side = ""
    """What a person answered when asked what to do without the General: local, or nothing."""
    models: str = ""
    """Digests of the files that give local answers to the step."""
    certified: Mapping[str, float | None] = field(default_factory=dict)
    """By alpha: the score that an answer must reach, None where that cannot be certified. Empty
    where nothing is calibrated for these files."""
    smallest_alpha: float | None = None
    """The least alpha that can be certified."""
    benefit: float | None = None
    """P(General right) - P(local right); None where the latter is not calibrated."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Given:
        """Raises KeyError or TypeError where ``body`` was not written by :meth:`to_json`."""
        known = {f.name for f in dataclasses.fields(Given)}
        values = {k: v for k, v in body.items() if k in known}
        values["kinds"] = tuple(values["kinds"])
        values["spent"] = {k: Amount.from_json(v) for k, v in values["spent"].items()}
        values["worst"] = Amount.from_json(values["worst"]) if values["worst"] else None
        return Given(**values)
