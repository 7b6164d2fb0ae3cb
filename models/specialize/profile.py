"""What agents repeat, and what a small model could take over: the first step of a conversion.

Calls are grouped by client and kind. Of each group it is told how much of all it is, what it
takes and how often it repeats itself; ``findings.py`` says what of it looks replaceable.

Pure: rows are handed in. Every rate has Wilson's interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.specialize.findings import Finding, findings_of
from models.specialize.rates import Rate
from models.specialize.rows import (
    DAY_S,
    MIN_SEEN,
    Named,
    Pairs,
    Row,
    counted,
    covering,
    median,
    repeated,
    requests,
)
from models.specialize.templates import templates_of


@dataclass(frozen=True, slots=True)
class Template:
    """Requests that are the same but for their values."""

    client: str
    kind: str
    text: str
    requests: int
    local: int
    """Of ``requests``, those that a local model was asked."""


@dataclass(frozen=True, slots=True)
class Group:
    """The calls of one kind, of one client, or of both; "" stands for all of them."""

    client: str
    kind: str
    calls: int
    share: Rate
    """Of all calls."""
    local: Rate
    sessions: int
    tokens_in: int
    tokens_out: int
    cost_usd: float
    local_p50_ms: float | None
    general_p50_ms: float | None
    worded: int
    """Requests whose words are on record: what follows is of these."""
    repeated: Rate
    """Those of templates that came ``MIN_SEEN`` times or more."""
    exact: Rate
    """Those that ask word for word what an earlier one asked."""
    templates: int
    templates_95: int
    """Templates that cover 95 % of them."""


@dataclass(frozen=True, slots=True)
class Profile:
    calls: int
    silent: int
    """Calls whose words are not on record."""
    span_days: float
    """From the first call to the last."""
    local: Rate
    cost_usd: float
    kinds: tuple[Group, ...]
    clients: tuple[Group, ...]
    groups: tuple[Group, ...]
    findings: tuple[Finding, ...]
    templates: tuple[Template, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "silent": self.silent,
            "span_days": round(self.span_days, 3),
            "local": self.local.to_json(),
            "cost_usd": self.cost_usd,
            "kinds": [_group_json(one) for one in self.kinds],
            "clients": [_group_json(one) for one in self.clients],
            "groups": [_group_json(one) for one in self.groups],
            "findings": [asdict(one) for one in self.findings],
            "templates": [asdict(one) for one in self.templates],
        }


def _group_json(group: Group) -> dict[str, Any]:
    rates = ("share", "local", "repeated", "exact")
    return asdict(group) | {name: getattr(group, name).to_json() for name in rates}


def profile(rows: Sequence[Row], *, top: int = 10) -> Profile:
    """What ``rows`` repeat. ``top``: how many templates are told."""
    named = _named(rows)
    span_days = (max(r.at for r in rows) - min(r.at for r in rows)) / DAY_S if rows else 0.0
    pairs = _split(named, lambda row: (row.client, row.kind))
    return Profile(
        calls=len(rows),
        silent=sum(not row.prompt for row in rows),
        span_days=span_days,
        local=Rate(sum(row.local for row in rows), len(rows)),
        cost_usd=sum(row.cost_usd for row in rows),
        kinds=_groups(_split(named, lambda row: ("", row.kind)), len(rows)),
        clients=_groups(_split(named, lambda row: (row.client, "")), len(rows)),
        groups=_groups(pairs, len(rows)),
        findings=findings_of(pairs, span_days),
        templates=_top(pairs, top),
    )


def _named(rows: Sequence[Row]) -> list[Named]:
    """Each row with its template. Templates are looked for within one client and kind."""
    found: list[Named] = []
    split: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        split[row.client, row.kind].append(row)
    for some in split.values():
        spoken = [row for row in some if row.prompt]
        found += zip(spoken, templates_of([row.prompt for row in spoken]), strict=True)
        found += [(row, "") for row in some if not row.prompt]
    return found


def _split(named: Iterable[Named], key: Callable[[Row], tuple[str, str]]) -> Pairs:
    found: dict[tuple[str, str], list[Named]] = defaultdict(list)
    for row, template in named:
        found[key(row)].append((row, template))
    return found


def _groups(split: Pairs, all_calls: int) -> tuple[Group, ...]:
    """The largest first."""
    made = [_group(*key, named, all_calls) for key, named in split.items()]
    return tuple(sorted(made, key=lambda one: (-one.calls, one.client, one.kind)))


def _group(client: str, kind: str, named: Sequence[Named], all_calls: int) -> Group:
    rows = [row for row, _ in named]
    seen = counted(named)
    worded = sum(seen.values())
    asked = {(row.client, row.kind, " ".join(row.prompt.split())) for row, _ in requests(named)}
    return Group(
        client=client,
        kind=kind,
        calls=len(rows),
        share=Rate(len(rows), all_calls),
        local=Rate(sum(row.local for row in rows), len(rows)),
        sessions=len({(row.client, row.session) for row in rows if row.session}),
        tokens_in=sum(row.tokens_in for row in rows),
        tokens_out=sum(row.tokens_out for row in rows),
        cost_usd=sum(row.cost_usd for row in rows),
        local_p50_ms=median(row.latency_ms for row in rows if row.local),
        general_p50_ms=median(row.latency_ms for row in rows if not row.local),
        worded=worded,
        repeated=Rate(repeated(seen), worded),
        exact=Rate(worded - len(asked), worded),
        templates=len(seen),
        templates_95=covering(seen),
    )


def _top(split: Pairs, top: int) -> tuple[Template, ...]:
    made = []
    for (client, kind), named in split.items():
        local = counted((row, template) for row, template in named if row.local)
        made += [
            Template(client, kind, key[2], count, local[key])
            for key, count in counted(named).items()
            if count >= MIN_SEEN
        ]
    made.sort(key=lambda one: (-one.requests, one.client, one.kind, one.text))
    return tuple(made[:top])
