"""What the daemon is doing."""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter

from runtime import core
from runtime.daemon.declared import declared
from runtime.daemon.desk import Desk
from runtime.daemon.nearby import fingerprint
from runtime.daemon.settings import config_of
from runtime.daemon.shapes import GeneralHealth, Health

if TYPE_CHECKING:
    from models.residency import Residency


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["health"])
    ledger, runner = desk.ledger, desk.runner

    @router.get("/v1/health", summary="What the daemon is, and what it does", **declared("infer"))
    def health() -> Health:
        return Health(
            status="ok",
            version=version("aidecamp"),
            settings=fingerprint(config_of(desk)),
            pid=os.getpid(),
            uptime_s=round(time.time() - desk.started, 3),
            ledger=str(ledger.path),
            ledger_bytes=ledger_bytes(ledger.path),
            last_event_id=ledger.last_id(),
            running=list(runner.running),
            waiting=len(runner.waiting),
            addresses=list(desk.addresses),
            models=[one.name for one in resident(desk)],
            generals=_generals(desk),
            queue=queue_of(desk),
            kinds=list(core.KINDS),
        )

    return router


def ledger_bytes(path: Path) -> int:
    """The ledger's file, and what SQLite keeps beside it."""
    files = (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"))
    return sum(file.stat().st_size for file in files if file.exists())


def resident(desk: Desk) -> list[Residency]:
    """The models that are loaded."""
    return desk.agents.resident if desk.agents is not None else []


def queue_of(desk: Desk) -> dict[str, int]:
    """Proxied calls that run and wait now, and how many of each there may be."""
    slots = desk.slots
    return {
        "running": slots.running,
        "waiting": slots.waiting,
        "parallel": slots.parallel,
        "queue": slots.queue,
    }


def _generals(desk: Desk) -> list[GeneralHealth]:
    team = desk.agents.staffed if desk.agents is not None else None
    if team is None:
        return []
    return [
        GeneralHealth(
            name=seat.name,
            state=seat.status.state,
            failures=seat.status.failures,
            retry_in_s=seat.status.retry_in_s,
            problem=seat.status.problem,
        )
        for seat in team.general.seats
    ]
