"""What the daemon is doing."""

from __future__ import annotations

import os
import time
from typing import Any

from fastapi import APIRouter

from runtime import core
from runtime.daemon.desk import Desk
from runtime.daemon.guard import needs


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["health"])
    ledger, runner = desk.ledger, desk.runner

    @router.get("/v1/health", dependencies=[needs("infer")])
    def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "pid": os.getpid(),
            "uptime_s": round(time.time() - desk.started, 3),
            "ledger": str(ledger.path),
            "last_event_id": ledger.last_id(),
            "running": list(runner.running),
            "waiting": len(runner.waiting),
            "kinds": list(core.KINDS),
        }

    return router
