"""How a worker, an outcome and a probability look: a glyph and a word beside every colour."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.core import Decision
from runtime.daemon.client import Row, unsure


@dataclass(frozen=True, slots=True)
class Look:
    """``tone`` is one of ``here, away, declined, bad, busy, ask, quiet``."""

    glyph: str
    word: str
    tone: str

    def __str__(self) -> str:
        return f"{self.glyph} {self.word}"


STYLES = {
    "here": "$success",
    "away": "$warning",
    "declined": "$secondary",
    "bad": "$error",
    "busy": "$primary",
    "ask": "bold $accent",
    "quiet": "$quiet",
}
"""Textual style of each tone."""

OUTCOMES = {
    "running": Look("⋯", "deciding", "busy"),
    "answered": Look("⋯", "answered", "busy"),
    "acting": Look("▸", "acting", "busy"),
    "waiting": Look("?", "waiting", "ask"),
    "done": Look("✓", "done", "here"),
    "unsure": Look("≈", "unsure", "away"),
    "failed": Look("✗", "failed", "bad"),
    "denied": Look("⊘", "denied", "bad"),
    "skipped": Look("↷", "skipped", "quiet"),
    "interrupted": Look("‖", "cut off", "bad"),
    "kept": Look("↓", "kept", "quiet"),
    "escalated": Look("↗", "escalated", "away"),
    "overruled": Look("↻", "overruled", "quiet"),
    "declined": Look("◇", "declined", "declined"),
    "cancelled": Look("■", "cancelled", "quiet"),
}


def worker(chosen: str, *, doubt: bool = False) -> Look:
    """Who serves: filled circle here, triangle away, diamond nobody."""
    if chosen == "general":
        return Look("▲", "general", "away")
    if chosen.startswith("local:"):
        return Look("◐" if doubt else "●", chosen.removeprefix("local:"), "here")
    return Look("◇", chosen, "declined")


def serves(row: Row) -> Look:
    return worker(row.decision.chosen, doubt=unsure(row.decision))


def outcome(row: Row, waiting: frozenset[str] = frozenset()) -> Look:
    """``waiting``: ids of the actions that wait for a person."""
    if row.action_id in waiting:
        return OUTCOMES["waiting"]
    return OUTCOMES.get(row.outcome) or Look("·", row.outcome, "quiet")


def always(decision: Decision) -> bool:
    """True where nothing was weighed: a role that is local by design serves."""
    return decision.rule.startswith("role:")


def bar(value: float, threshold: float | None, width: int) -> list[tuple[str, str]]:
    """``value`` in [0, 1] as a line with the threshold's mark in it: (text, part) pairs,
    where part is ``fill``, ``rest`` or ``mark``. A threshold over 1 marks the very end."""
    filled = round(max(0.0, min(1.0, value)) * width)
    mark = None if threshold is None else min(int(max(0.0, threshold) * width), width - 1)
    cells = [
        ("┃", "mark") if i == mark else (("━", "fill") if i < filled else ("─", "rest"))
        for i in range(width)
    ]
    pairs: list[tuple[str, str]] = []
    for text, part in cells:
        if pairs and pairs[-1][1] == part:
            pairs[-1] = (pairs[-1][0] + text, part)
        else:
            pairs.append((text, part))
    return pairs
