"""The columns of the table: what each shows, and which fit a width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from runtime.daemon.client import Row
from tui import figures, look

Cell = list[tuple[str, str]]
"""(text, style name) pairs that fill the column's width exactly."""


@dataclass(frozen=True, slots=True)
class Column:
    """``flexible``: its share of the width that the others leave; 0 for a fixed ``width``."""

    title: str
    width: int
    cell: Callable[[Row, int, frozenset[str]], Cell]
    from_width: int = 0
    """Least width of the table at which it is shown."""
    flexible: int = 0
    right: bool = False


def _time(row: Row, width: int, _: frozenset[str]) -> Cell:
    return [(figures.fit(figures.clock(row.at), width), "faint")]


def _kind(row: Row, width: int, _: frozenset[str]) -> Cell:
    return [(figures.fit(row.decision.kind, width), "plain")]


def _step(row: Row, width: int, _: frozenset[str]) -> Cell:
    return [(figures.fit(row.decision.text, width), "strong")]


def _who(row: Row, width: int, _: frozenset[str]) -> Cell:
    who = look.serves(row)
    return [(figures.fit(str(who), width), who.tone)]


BAR = 8


def _probability(row: Row, width: int, _: frozenset[str]) -> Cell:
    decision = row.decision
    if look.always(decision):
        return [(figures.fit("always here", width), "faint")]
    passed = decision.probability >= decision.threshold
    tone = "here" if passed else "away"
    cell = [
        (text, {"fill": tone, "rest": "faint", "mark": "strong"}[part])
        for text, part in look.bar(decision.probability, decision.threshold, BAR)
    ]
    sign = "≥" if passed else "<"
    limit = "never" if decision.threshold > 1 else figures.probability(decision.threshold)
    wide = f" {figures.probability(decision.probability)} {sign} {limit}"
    short = f" {figures.probability(decision.probability)}"
    rest = width - BAR
    return [*cell, (figures.fit(wide if rest >= len(wide) else short, rest), tone)]


def _reason(row: Row, width: int, _: frozenset[str]) -> Cell:
    return [(figures.fit(row.decision.reason, width), "quiet")]


def _latency(row: Row, width: int, _: frozenset[str]) -> Cell:
    return [(figures.fit(figures.duration(row.ms), width, right=True), "plain")]


def _tokens(row: Row, width: int, _: frozenset[str]) -> Cell:
    if not row.calls:
        return [(figures.fit("–", width, right=True), "faint")]
    text = f"{figures.count(row.tokens_in)}→{figures.count(row.tokens_out)}"
    return [(figures.fit(text, width, right=True), "plain")]


def _cost(row: Row, width: int, _: frozenset[str]) -> Cell:
    if not row.cost_usd:
        return [(figures.fit("–", width, right=True), "faint")]
    return [(figures.fit(figures.dollars(row.cost_usd), width, right=True), "away")]


def _outcome(row: Row, width: int, waiting: frozenset[str]) -> Cell:
    end = look.outcome(row, waiting)
    return [(figures.fit(str(end), width), end.tone)]


COLUMNS = (
    Column("time", 8, _time, from_width=64),
    Column("kind", 8, _kind),
    Column("step", 10, _step, flexible=3),
    Column("served by", 11, _who),
    Column("p(local)", 13, _probability, from_width=52),
    Column("why", 10, _reason, from_width=118, flexible=2),
    Column("took", 8, _latency, from_width=96, right=True),
    Column("tokens", 9, _tokens, from_width=140, right=True),
    Column("cost", 8, _cost, from_width=150, right=True),
    Column("outcome", 11, _outcome),
)
WIDE = 140
"""From here on, the probability is told with its threshold in figures."""


@lru_cache(maxsize=32)
def columns(width: int) -> tuple[Column, ...]:
    """The columns that fit, each with its width; together they fill ``width``."""
    shown = [c for c in COLUMNS if width >= c.from_width]
    if width >= WIDE:
        shown = [
            replace(c, width=21, title="p(local) vs. limit") if c.cell is _probability else c
            for c in shown
        ]
    fixed = 2 + sum(c.width for c in shown if not c.flexible) + len(shown)
    parts = sum(c.flexible for c in shown)
    spare = max(0, width - fixed)
    return tuple(
        replace(c, width=max(4, spare * c.flexible // parts)) if c.flexible else c for c in shown
    )
