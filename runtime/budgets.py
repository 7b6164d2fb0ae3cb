"""Budgets: what the General may take in a task, a day and a month, checked before each call.

A budget is checked against the worst case of the call that is about to be made. The ledger is the
only account: what its Calls took, and the worst case of each call that another process has
announced and not yet recorded. A decision to ask the General is committed first, and then checked
against all that was announced *before* it: of two processes that want the last cent, the one whose
decision has the smaller row id gets it, and no lock is held while a call is made.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from models.errors import StorageFailed
from runtime.ledger_schema import bring_up_to_date

Scope = Literal["task", "day", "month"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
Act = Literal["warn", "local-only", "block"]
ACTS: tuple[Act, ...] = get_args(Act)
UNITS = ("usd", "tokens", "seconds")
BUSY_TIMEOUT_S = 5.0
_ROUNDING = 1e-9
"""Sums of prices are not exact: this much over a limit is not over it."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What calls of the General take. ``usd`` None: its price is not known. ``tokens`` in and out
    together; ``seconds`` from request to answer."""

    usd: float | None = 0.0
    tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return Amount(usd, self.tokens + other.tokens, self.seconds + other.seconds)

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Amount:
        return Amount(body["usd"], body["tokens"], body["seconds"])


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits for one scope, each None where there is none, and what happens beyond them."""

    scope: Scope
    usd: float | None = None
    tokens: int | None = None
    seconds: float | None = None
    action: Act = "local-only"


@dataclass(frozen=True, slots=True)
class Excess:
    """A limit that the next call could pass."""

    scope: Scope
    unit: str
    limit: float
    spent: float
    worst: float | None
    """None: not known, so it cannot be shown to fit."""
    action: Act

    @property
    def rule(self) -> str:
        return f"budget:{self.scope}"

    @property
    def short(self) -> float | None:
        """By how much the limit would have to be higher."""
        return None if self.worst is None else self.spent + self.worst - self.limit

    @property
    def words(self) -> str:
        whose = {
            "task": "the task's budget",
            "day": "the day's budget",
            "month": "the month's budget",
        }
        if self.worst is None:
            return f"its price is not known, and {whose[self.scope]} is in US dollars"
        verb = {"usd": "cost", "tokens": "use", "seconds": "take"}[self.unit]
        spent = "spent" if self.unit == "usd" else "used"
        return (
            f"it could {verb} {shown(self.unit, self.worst)} on top of "
            f"{shown(self.unit, self.spent)} {spent}, over {whose[self.scope]} of "
            f"{shown(self.unit, self.limit)}"
        )


def shown(unit: str, amount: float) -> str:
    """An amount as people read it: ``$0.0030``, ``1,200 tokens``, ``60 s``."""
    if unit == "usd":
        return f"${amount:.4f}"
    return f"{amount:,.0f} tokens" if unit == "tokens" else f"{amount:,.1f} s"


def excess(budgets: Iterable[Budget], spent: Mapping[str, Amount], worst: Amount) -> list[Excess]:
    """Every limit that a call of at most ``worst`` could pass, the strictest action first."""
    found = []
    for budget in budgets:
        had = spent.get(budget.scope, Amount())
        for unit in UNITS:
            limit, most, so_far = (getattr(x, unit) for x in (budget, worst, had))
            if limit is None:
                continue
            if so_far is None or most is None:
                most, so_far = None, so_far or 0.0
            elif so_far + most <= limit + _ROUNDING:
                continue
            found.append(Excess(budget.scope, unit, limit, so_far, most, budget.action))
    return sorted(found, key=lambda e: -ACTS.index(e.action))


class Spending(Protocol):
    """Who knows what was spent in the day and the month, by all processes."""

    def spent(self, now: float, before: str | None = None) -> dict[str, Amount]:
        """``day`` and ``month`` up to ``now`` (Unix time), with what is announced and not done.

        ``before``: a committed decision; only what was announced before it counts.
        """
        ...


class LedgerSpending:
    """Spending as a ledger file tells it. Opens the file for each question and records nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def spent(self, now: float, before: str | None = None) -> dict[str, Amount]:
        """See :class:`Spending`. Raises StorageFailed where the file cannot be read."""
        day, month = day_start(now), month_start(now)
        if not self.path.exists():
            return {"day": Amount(), "month": Amount()}
        try:
            bring_up_to_date(self.path)
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S
            )
            try:
                values = {"day": day, "month": month, "before": before}
                row = connection.execute(_SPENT, values).fetchone()
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise StorageFailed(
                f"The ledger {self.path} cannot be read: {error}, so no budget can be checked.",
                hint="Nothing was sent. aidecamp doctor looks at the ledger.",
            ) from error
        return {"day": _amount(row[:4]), "month": _amount(row[4:])}


def day_start(now: float) -> float:
    """Unix time of the last local midnight."""
    local = datetime.fromtimestamp(now)
    return local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def month_start(now: float) -> float:
    """Unix time of the local midnight that the month began with."""
    local = datetime.fromtimestamp(now)
    return local.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def _amount(row: Sequence[Any]) -> Amount:
    usd, tokens, ms, unpriced = row
    return Amount(None if unpriced else usd or 0.0, int(tokens or 0), (ms or 0.0) / 1000.0)


_SPENT = """
WITH taken AS (
    SELECT at, usd, tokens, ms, unpriced FROM spending WHERE at >= :month
    UNION ALL
    SELECT at, usd, tokens, ms, usd IS NULL FROM announced
    WHERE at >= :month AND event_id < coalesce(
        (SELECT id FROM events WHERE json_extract(record, '$.id') = :before),
        9223372036854775807
    )
)
SELECT
    sum(usd) FILTER (WHERE at >= :day),
    sum(tokens) FILTER (WHERE at >= :day),
    sum(ms) FILTER (WHERE at >= :day),
    sum(unpriced) FILTER (WHERE at >= :day),
    sum(usd), sum(tokens), sum(ms), sum(unpriced)
FROM taken
"""
"""The ledger keeps these sums up to date (``runtime.ledger_schema``). A call that was cut off (by
a crash or by its user) is never recorded, and may be billed all the same: its announcement counts
for the rest of the month."""
