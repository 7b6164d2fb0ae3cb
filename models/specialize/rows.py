"""The calls that a profile is made of, each with the template of what it asked."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

DAY_S = 86_400.0
MIN_SEEN = 3
"""Calls that a template has at least, to count as repeated."""
COVERED = 0.95
"""Share of calls for which the templates are counted."""
Outcome = Literal["right", "wrong", "unknown"]


@dataclass(frozen=True, slots=True)
class Row:
    """One model call that was part of an answer."""

    at: float
    """Unix time in seconds."""
    request: str
    """Id of what the call serves: several calls may serve one request."""
    client: str
    session: str
    kind: str
    role: str
    model: str
    local: bool
    tokens_in: int
    tokens_out: int
    cost_usd: float
    latency_ms: float
    prompt: str
    """What was asked; "" where the client wants no words kept."""
    answer: str
    offered: tuple[str, ...] = ()
    """Names of the tools on offer."""
    called: tuple[str, ...] = ()
    """Names of the tools that the answer calls."""
    outcome: Outcome = "unknown"


Named = tuple[Row, str]
"""A row with its template; "" where its words are not on record."""
Pairs = Mapping[tuple[str, str], Sequence[Named]]


def requests(named: Iterable[Named]) -> list[Named]:
    """The first call of each request whose words are on record. That several calls serve one
    request is no repetition."""
    found: dict[str, Named] = {}
    for row, template in named:
        if row.prompt:
            found.setdefault(row.request, (row, template))
    return list(found.values())


def counted(named: Iterable[Named]) -> Counter[tuple[str, str, str]]:
    """Requests by client, kind and template."""
    return Counter((row.client, row.kind, template) for row, template in requests(named))


def repeated(seen: Counter[Any]) -> int:
    """Calls of what came ``MIN_SEEN`` times or more."""
    return sum(calls for calls in seen.values() if calls >= MIN_SEEN)


def covering(seen: Counter[Any]) -> int:
    """How many of the most frequent ones cover 95 % of all."""
    wanted, covered = COVERED * sum(seen.values()), 0
    for count, (_, calls) in enumerate(seen.most_common(), 1):
        covered += calls
        if covered >= wanted:
            return count
    return 0


def median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None
