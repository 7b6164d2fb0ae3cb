"""Budgets: the limit itself, what counts, and two processes that want the last cent."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from models.errors import StorageFailed
from runtime.budgets import (
    Amount,
    Budget,
    LedgerSpending,
    day_start,
    excess,
    month_start,
    shown,
)
from runtime.core import Call, Decision, Event, Purge, Record, Result, Task
from runtime.ledger import Ledger

NOW = datetime(2026, 5, 20, 15, 0).timestamp()
EARLIER_TODAY = datetime(2026, 5, 20, 0, 0, 1).timestamp()
YESTERDAY = datetime(2026, 5, 19, 23, 59).timestamp()
LAST_MONTH = datetime(2026, 4, 30, 23, 59).timestamp()
WORST = Amount(0.10, 1000, 60.0)


def a_call(id_: str = "c", decision: str = "d", role: str = "general", **changes: Any) -> Call:
    values: dict[str, Any] = {
        "id": id_, "task_id": "t", "step_id": "s", "decision_id": decision, "kind": "plan",
        "role": role, "model": "big", "messages": (), "parameters": {}, "answer": "",
        "confidence": None, "tokens_in": 100, "tokens_out": 50, "decode_ms": 2000.0,
        "cost_usd": 0.02, "bytes_sent": 10,
    }  # fmt: skip
    return Call(**{**values, **changes})


def a_decision(id_: str, task: str = "t", chosen: str = "general", **changes: Any) -> Decision:
    values: dict[str, Any] = {
        "id": id_, "task_id": task, "step_id": "s", "kind": "plan", "text": "x",
        "chosen": chosen, "candidates": (), "probability": 0.1, "threshold": 0.5,
        "rule": "kind:plan", "reason": "", "route_ms": 1.0,
        "given": {"worst": {"usd": 0.10, "tokens": 1000, "seconds": 60.0}},
    }  # fmt: skip
    return Decision(**{**values, **changes})


def ledger_of(path: Path, *entries: tuple[float, Record]) -> LedgerSpending:
    ledger = Ledger(path / "ledger.db")
    for at, record in entries:
        task = record.id if isinstance(record, Task | Purge) else record.task_id
        ledger.append(Event(task, at, record))
    ledger.close()
    return LedgerSpending(path / "ledger.db")


@pytest.mark.parametrize(
    ("spent", "over"), [(0.90, False), (0.9 + 1e-12, False), (0.9001, True), (1.2, True)]
)
def test_a_budget_may_be_used_to_the_last_cent(spent: float, over: bool) -> None:
    found = excess((Budget("day", usd=1.0),), {"day": Amount(spent)}, WORST)
    assert bool(found) is over


@pytest.mark.parametrize(
    ("budget", "unit", "short"),
    [
        (Budget("day", tokens=1099), "tokens", 1),
        (Budget("day", seconds=64.5), "seconds", 0.5),
        (Budget("day", usd=0.29), "usd", 0.01),
    ],
)
def test_every_unit_is_checked_against_the_worst_case(
    budget: Budget, unit: str, short: float
) -> None:
    (found,) = excess((budget,), {"day": Amount(0.20, 100, 5.0)}, WORST)
    assert (found.unit, found.rule) == (unit, "budget:day")
    assert found.short == pytest.approx(short)
    assert shown(unit, found.limit) in found.words


def test_a_price_that_is_not_known_fits_no_budget_in_dollars() -> None:
    unknown = Amount(None, 10, 1.0)
    (found,) = excess((Budget("task", usd=100.0),), {}, unknown)
    assert "price is not known" in found.words
    assert excess((Budget("task", tokens=100),), {}, unknown) == []


def test_the_strictest_action_comes_first() -> None:
    budgets = (
        Budget("task", usd=0.0, action="warn"),
        Budget("day", usd=0.0, action="block"),
        Budget("month", usd=0.0, action="local-only"),
    )
    assert [e.action for e in excess(budgets, {}, WORST)] == ["block", "local-only", "warn"]


def test_days_and_months_begin_at_local_midnight() -> None:
    assert datetime.fromtimestamp(day_start(NOW)) == datetime(2026, 5, 20)
    assert datetime.fromtimestamp(month_start(NOW)) == datetime(2026, 5, 1)


def test_the_ledger_s_calls_of_the_general_are_the_account(tmp_path: Path) -> None:
    spending = ledger_of(
        tmp_path,
        (LAST_MONTH, a_call("c0")),
        (YESTERDAY, a_call("c1")),
        (EARLIER_TODAY, a_call("c2")),
        (EARLIER_TODAY, a_call("c3", role="tool_user", cost_usd=0.0)),
    )
    assert spending.spent(NOW) == {
        "day": Amount(0.02, 150, 2.0),
        "month": Amount(0.04, 300, 4.0),
    }


def test_an_empty_or_missing_ledger_has_spent_nothing(tmp_path: Path) -> None:
    nothing = {"day": Amount(), "month": Amount()}
    assert LedgerSpending(tmp_path / "none.db").spent(NOW) == nothing
    assert ledger_of(tmp_path).spent(NOW) == nothing


def test_a_ledger_that_cannot_be_read_stops_the_call(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database, but long enough to be looked at" * 50)
    with pytest.raises(StorageFailed, match="no budget can be checked"):
        LedgerSpending(tmp_path / "ledger.db").spent(NOW)


def test_an_announced_call_counts_at_its_worst_until_it_is_recorded(tmp_path: Path) -> None:
    spending = ledger_of(tmp_path, (NOW, a_decision("d1")))
    assert spending.spent(NOW)["day"] == WORST
    ledger_of(tmp_path, (NOW, a_call("c1", "d1")))
    assert spending.spent(NOW)["day"] == Amount(0.02, 150, 2.0)


@pytest.mark.parametrize(
    ("later", "counts"),
    [
        (Result("t", "declined", None), False),  # sending was not approved
        (Result("t", "cancelled", None), True),  # perhaps in the middle of the call
        (Result("other", "declined", None), True),
        (a_decision("d2", chosen="local:tool_user", previous="d1"), False),
    ],
)
def test_what_ends_an_announcement(tmp_path: Path, later: Record, counts: bool) -> None:
    spending = ledger_of(tmp_path, (NOW, a_decision("d1")), (NOW, later))
    assert spending.spent(NOW)["day"] == (WORST if counts else Amount())


def test_only_what_was_announced_before_counts_against_a_decision(tmp_path: Path) -> None:
    spending = ledger_of(tmp_path, (NOW, a_decision("d1", "t1")), (NOW, a_decision("d2", "t2")))
    assert spending.spent(NOW, before="d1")["day"] == Amount()
    assert spending.spent(NOW, before="d2")["day"] == WORST
    assert spending.spent(NOW)["day"].usd == pytest.approx(0.20)


RACER = """
import asyncio, json, sys, time
from pathlib import Path
from runtime.agent import Agent
from runtime.budgets import Budget, LedgerSpending
from runtime.core import Decision
from runtime.drive import drive
from runtime.ledger import Ledger, records
from runtime.policy import Policy
from tests.runtime.test_agent import general, task, team

folder, url = Path(sys.argv[1]), sys.argv[2]
path = folder / "ledger.db"

class Together(LedgerSpending):
    '''Lets no process go on from its first look before the other has looked, too.'''
    def spent(self, now, before=None):
        found = super().spent(now, before)
        if before is None:
            (folder / f"looked-{sys.argv[3]}").touch()
            while len(list(folder.glob("looked-*"))) < 2:
                time.sleep(0.001)
        return found

policy = Policy(budgets=(Budget("day", usd=float(sys.argv[4])),))
ledger = Ledger(path)
asked = task("plan: x", privacy="auto")
agent = Agent(team(general=general(url)), policy, spending=Together(path))
result = asyncio.run(drive(agent, asked, ledger))
rules = [d.rule for d in records(list(ledger.events(asked.id)), Decision)]
print(json.dumps([result.status, rules[-1]]))
ledger.close()
"""


@pytest.mark.parametrize(("budget_usd", "served"), [("0.00035", 1), ("1.0", 2)])
def test_two_processes_do_not_both_pass_the_last_cent(
    tmp_path: Path, budget_usd: str, served: int
) -> None:
    import json

    from tests.fakes import FakeGeneral

    with FakeGeneral(["a plan", "a plan"]) as server:
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, str(tmp_path), server.base_url, name, budget_usd],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            )
            for name in "ab"
        ]
        ends = []
        for racer in racers:
            out, err = racer.communicate(timeout=60)
            assert racer.returncode == 0, err
            ends.append(tuple(json.loads(out)))
        assert len(server.received) == served
    assert [status for status, _ in ends].count("done") == served
    if served == 1:
        assert ("declined", "budget:day") in ends
