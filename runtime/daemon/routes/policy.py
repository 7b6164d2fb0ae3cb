"""The policy: what is in force and where it comes from; what another would have changed."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter

from runtime.daemon.bodies import CheckBody
from runtime.daemon.declared import declared
from runtime.daemon.desk import Desk
from runtime.daemon.settings import config_of, policy_of
from runtime.daemon.shapes import Checked, InForce
from runtime.in_force import PLAYED, check, in_force

MAX_CHANGED = 1_000
"""Changed decisions that are told one by one; how many there are is told always."""


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["policy"])

    @router.get(
        "/v1/policy",
        summary="Every value in force and where it comes from, rules, and what budgets have left",
        response_model=InForce,
        **declared("admin"),
    )
    def show() -> dict[str, Any]:
        from runtime.budgets import LedgerSpending
        from runtime.config import policy_file

        spent = LedgerSpending(desk.ledger.path).spent(time.time())
        file = policy_file()
        return in_force(policy_of(desk), spent, str(file) if file.is_file() else None)

    @router.post(
        "/v1/policy/check",
        summary="What is wrong with a policy.toml, and what it would have changed on record",
        response_model=Checked,
        **declared("admin"),
    )
    def check_(body: CheckBody) -> dict[str, Any]:
        base = config_of(desk).base_policy()
        found = check(body.toml, base, desk.ledger.events(types=PLAYED))
        if (replay := found["replay"]) is not None:
            replay["changed_total"] = len(replay["changed"])
            del replay["changed"][MAX_CHANGED:]
        return found

    return router
