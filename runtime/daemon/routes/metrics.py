"""``/metrics`` for Prometheus: what was decided and served, what it cost, and what happens now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from runtime.core import KINDS
from runtime.daemon.declared import declared
from runtime.daemon.desk import Desk
from runtime.daemon.measure import OTHER, Meter
from runtime.daemon.routes.health import ledger_bytes, queue_of, resident
from runtime.daemon.totals import Totals

CHOSEN = frozenset(
    {"general", "declined"}
    | {f"local:{role}" for role in ("refiner", "tool_user", "formatter", "generator", "encoder")}
)
"""Workers that are told apart; whatever else the record names is ``other``."""


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["metrics"])
    declaration = declared("admin")

    @router.get(
        "/metrics",
        summary="Counters and gauges in Prometheus's text format",
        response_class=Response,
        **{
            **declaration,
            "responses": {
                **declaration["responses"],
                200: {
                    "description": "Prometheus text",
                    "content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}},
                },
            },
        },
    )
    async def metrics(request: Request) -> Response:
        totals = await desk.totals()
        scraped = CollectorRegistry()
        scraped.register(_Now([*_recorded(totals), *_now(desk, totals)]))
        text = generate_latest(Meter.of(request).registry) + generate_latest(scraped)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router


class _Now:
    """Metrics that were put together already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _recorded(totals: Totals) -> Iterator[Metric]:
    """Sums over the record, as far as this process has read it."""
    decisions = CounterMetricFamily(
        "aidecamp_decisions", "Decisions by kind and who was chosen.", labels=("kind", "chosen")
    )
    counts: dict[tuple[str, str], int] = {}
    for kind, by_worker in totals.chosen.items():
        for worker, count in by_worker.items():
            label = (_kind(kind), worker if worker in CHOSEN else OTHER)
            counts[label] = counts.get(label, 0) + count
    for label, count in sorted(counts.items()):
        decisions.add_metric(label, count)
    yield decisions
    calls = CounterMetricFamily(
        "aidecamp_calls",
        "Model calls by kind and where they were served.",
        labels=("kind", "where"),
    )
    served: dict[tuple[str, str], int] = {}
    for kind, share in totals.by_kind.items():
        for where, count in (("local", share.local), ("general", share.calls - share.local)):
            served[_kind(kind), where] = served.get((_kind(kind), where), 0) + count
    for label, count in sorted(served.items()):
        calls.add_metric(label, count)
    yield calls
    tokens = CounterMetricFamily(
        "aidecamp_tokens", "Tokens read (in) and written (out) by models.", labels=("direction",)
    )
    tokens.add_metric(("in",), totals.tokens_in)
    tokens.add_metric(("out",), totals.tokens_out)
    yield tokens
    for name, says, value in (
        ("aidecamp_cost_usd", "What the General cost, by list price.", totals.cost_usd),
        ("aidecamp_sent_bytes", "Bytes that left this machine.", totals.bytes_sent),
        ("aidecamp_model_seconds", "Time of model calls.", totals.model_ms / 1000),
    ):
        yield CounterMetricFamily(name, says, value=value)


def _now(desk: Desk, totals: Totals) -> Iterator[Metric]:
    slots = GaugeMetricFamily(
        "aidecamp_slots", "Tasks and proxied calls, now.", labels=("what", "state")
    )
    slots.add_metric(("task", "running"), len(desk.runner.running))
    slots.add_metric(("task", "waiting"), len(desk.runner.waiting))
    for state in ("running", "waiting"):
        slots.add_metric(("call", state), queue_of(desk)[state])
    yield slots
    yield GaugeMetricFamily(
        "aidecamp_ledger_bytes", "The ledger's files.", value=ledger_bytes(desk.ledger.path)
    )
    yield GaugeMetricFamily(
        "aidecamp_last_event_id", "Row id of the newest event.", value=totals.last_event_id
    )
    models = GaugeMetricFamily(
        "aidecamp_model_resident_bytes", "Memory of each loaded model.", labels=("model",)
    )
    for one in resident(desk):
        models.add_metric((one.name,), one.bytes)
    yield models


def _kind(kind: str) -> str:
    return kind if kind in KINDS else OTHER
