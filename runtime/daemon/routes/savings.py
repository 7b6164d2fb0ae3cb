"""What was served here, and what it saved."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from runtime.daemon.desk import Desk
from runtime.daemon.guard import needs


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["savings"])

    @router.get("/v1/savings", dependencies=[needs("admin")])
    async def savings() -> dict[str, Any]:
        return (await desk.totals()).to_json()

    return router
