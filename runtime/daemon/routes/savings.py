"""What was served here, and what it saved."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from runtime.daemon.declared import Absent, declared
from runtime.daemon.desk import Desk
from runtime.daemon.settings import config_of
from runtime.daemon.shapes import SavingsBody, TotalsBody

Model = Annotated[
    str | Absent, Query(description="Price list entry to compare with; else the General's.")
]
WhatIf = Annotated[
    list[str] | Absent,
    Query(
        description="KEY=VALUE, may be repeated: price, model, threshold, alpha, local-share, "
        "watts.",
        examples=["price=gpt-5.4-mini"],
    ),
]


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["savings"])

    @router.get(
        "/v1/savings",
        summary="Sums over the record",
        response_model=TotalsBody,
        **declared("admin"),
    )
    async def savings() -> dict[str, Any]:
        return (await desk.totals()).to_json()

    @router.get(
        "/v1/savings/report",
        summary="Shares, cost, time and energy, against all by the General; and what if",
        response_model=SavingsBody,
        **declared("admin"),
    )
    def report(model: Model = None, what_if: WhatIf = None) -> dict[str, Any]:
        from models.machine import Machine
        from runtime.energy import busy_watts
        from runtime.savings_report import Wish
        from runtime.savings_report import report as report_on

        wish = Wish.of(config_of(desk), model, what_if or ())
        watts = busy_watts(Machine.measure().cores)
        return report_on(wish, list(desk.ledger.events()), watts).to_json()

    return router
