"""The numbers of the ledger in one record: what was served where, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from runtime.core import Call, Decision, Event, Purge


@dataclass(frozen=True, slots=True)
class Share:
    """Model calls of one kind, and how many of them sent no byte away."""

    calls: int = 0
    local: int = 0


@dataclass(frozen=True, slots=True)
class Gone:
    """What one purge removed from the record."""

    at: float
    """When, in Unix seconds."""
    tasks: int
    calls: int
    local_calls: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the events up to ``last_event_id``."""

    last_event_id: int = 0
    decisions: int = 0
    escalated: int = 0
    """Decisions that chose the General."""
    declined: int = 0
    """Decisions that only the General could serve, and that were not sent."""
    calls: int = 0
    local_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    local_tokens: int = 0
    model_ms: float = 0.0
    cost_usd: float = 0.0
    bytes_sent: int = 0
    by_kind: Mapping[str, Share] = field(default_factory=dict)
    chosen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Decisions by kind, and by who was chosen."""
    purges: Mapping[str, Gone] = field(default_factory=dict)
    """By the id of the purge: what the sums lack, but for what was counted before it went."""

    @property
    def local_share(self) -> float | None:
        """Calls with no byte sent / all calls; None before the first call."""
        return self.local_calls / self.calls if self.calls else None

    def add(self, event: Event) -> Totals:
        """The sums with one event more. An event that is in them already changes nothing."""
        if event.id <= self.last_event_id:
            return self
        moved = replace(self, last_event_id=event.id)
        record = event.record
        if isinstance(record, Call):
            return _with_call(moved, record)
        if isinstance(record, Decision):
            return replace(
                moved,
                decisions=self.decisions + 1,
                declined=self.declined + (record.chosen == "declined"),
                escalated=self.escalated + (record.chosen == "general"),
                chosen=_with_choice(self.chosen, record),
            )
        if isinstance(record, Purge):
            # Each record of one purge takes the place of the one before it.
            gone = Gone(event.at, record.tasks, record.calls, record.local_calls)
            return replace(moved, purges={**self.purges, record.id: gone})
        return moved

    @property
    def purged_words(self) -> str:
        """What the record no longer holds, in a sentence; empty where it holds everything."""
        if not self.purges:
            return ""
        tasks, calls, local = (
            sum(getattr(gone, name) for gone in self.purges.values())
            for name in ("tasks", "calls", "local_calls")
        )
        last = datetime.fromtimestamp(max(gone.at for gone in self.purges.values()))
        return (
            f"{tasks:,} older tasks were removed from the record, last on {last:%Y-%m-%d}: their"
            f" {calls:,} calls ({local:,} of them local) are not in these figures."
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "local_share": self.local_share}

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Totals:
        values = {k: v for k, v in body.items() if k in Totals.__dataclass_fields__}
        shares = {kind: Share(**share) for kind, share in values.pop("by_kind", {}).items()}
        purges = {id_: Gone(**gone) for id_, gone in values.pop("purges", {}).items()}
        return Totals(**values, by_kind=shares, purges=purges)


def _with_choice(
    chosen: Mapping[str, Mapping[str, int]], decision: Decision
) -> Mapping[str, Mapping[str, int]]:
    of_kind = chosen.get(decision.kind, {})
    counted = of_kind.get(decision.chosen, 0) + 1
    return {**chosen, decision.kind: {**of_kind, decision.chosen: counted}}


def _with_call(totals: Totals, call: Call) -> Totals:
    local, serves = call.local and call.serves, call.serves
    tokens = call.tokens_in + call.tokens_out
    before = totals.by_kind.get(call.kind, Share())
    share = Share(before.calls + serves, before.local + local)
    return replace(
        totals,
        calls=totals.calls + serves,
        local_calls=totals.local_calls + local,
        tokens_in=totals.tokens_in + call.tokens_in,
        tokens_out=totals.tokens_out + call.tokens_out,
        local_tokens=totals.local_tokens + (tokens if call.local else 0),
        model_ms=totals.model_ms + call.ms,
        cost_usd=totals.cost_usd + call.cost_usd,
        bytes_sent=totals.bytes_sent + call.bytes_sent,
        by_kind={**totals.by_kind, call.kind: share},
    )
