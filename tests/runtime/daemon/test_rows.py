"""Rows and totals, folded from what the real loop records with a fake team."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.errors import AidecampError
from runtime.agent import Agent
from runtime.core import Event
from runtime.daemon.rows import Row, Rows
from runtime.daemon.story import Story, tell
from runtime.daemon.totals import Totals
from runtime.drive import drive
from runtime.ledger import Ledger
from runtime.policy import Policy
from tests.fakes import FakeGeneral, FakeTool, FakeToolUser, recipe
from tests.runtime.test_agent import general, task, team

READER = FakeTool(recipes=(recipe(risk="read"),))


async def recorded(path: Path, agent: Agent, **changes: Any) -> list[Event]:
    ledger = Ledger(path / "ledger.db")
    one = task(**changes)
    try:
        await drive(agent, one, ledger)
    except AidecampError:
        pass
    finally:
        events = list(ledger.events(one.id))
        ledger.close()
    return events


def folded(events: list[Event]) -> Rows:
    rows = Rows()
    for event in events:
        rows.add(event)
    return rows


def shown(events: list[Event]) -> list[tuple[str, str, str]]:
    return [
        (row.decision.kind, row.decision.chosen, row.outcome)
        for row in folded(events).by_id.values()
    ]


async def test_a_served_task(tmp_path: Path) -> None:
    events = await recorded(tmp_path, Agent(team(), Policy()), text="one; two")
    assert shown(events) == [
        ("refine", "local:refiner", "done"),
        ("shell", "local:tool_user", "kept"),
        ("shell", "local:tool_user", "done"),
        ("shell", "local:tool_user", "kept"),
        ("shell", "local:tool_user", "done"),
    ]


async def test_a_plan_that_nobody_may_answer(tmp_path: Path) -> None:
    events = await recorded(tmp_path, Agent(team(), Policy()), text="plan: a wedding")
    assert shown(events) == [("refine", "local:refiner", "done"), ("plan", "declined", "declined")]
    totals = Totals()
    for event in events:
        totals = totals.add(event)
    assert (totals.declined, totals.escalated, totals.calls) == (1, 0, 0)
    assert totals.local_share is None


async def test_a_weak_answer_is_overruled_and_served_unsure(tmp_path: Path) -> None:
    weak = team(READER, tool_user=FakeToolUser(0.2))
    events = await recorded(tmp_path, Agent(weak, Policy()))
    assert shown(events) == [
        ("refine", "local:refiner", "done"),
        ("shell", "local:tool_user", "overruled"),
        ("shell", "local:tool_user", "unsure"),
    ]


async def test_a_weak_answer_is_escalated_to_the_general(tmp_path: Path) -> None:
    with FakeGeneral(['{"recipe": "make", "arguments": {"name": "x"}}']) as far:
        weak = team(tool_user=FakeToolUser(0.2), general=general(far.base_url))
        events = await recorded(tmp_path, Agent(weak, Policy()), privacy="auto")
    assert shown(events)[1:] == [
        ("shell", "local:tool_user", "escalated"),
        ("shell", "general", "done"),
    ]
    away = list(folded(events).by_id.values())[-1]
    assert away.bytes_sent > 0 and away.calls == 1


async def test_a_failed_action_stays_failed_and_its_repair_has_a_row(tmp_path: Path) -> None:
    tool = FakeTool(recipes=(recipe("first"), recipe("second")), fails=frozenset({"first"}))
    events = await recorded(tmp_path, Agent(team(tool), Policy()))
    assert shown(events)[1:] == [
        ("shell", "local:tool_user", "kept"),
        ("shell", "local:tool_user", "failed"),
        ("repair", "local:tool_user", "done"),
    ]


@pytest.mark.parametrize(
    ("changes", "outcome"), [({"yes": False}, "denied"), ({"dry_run": True}, "skipped")]
)
async def test_what_the_gate_kept_from_happening(
    tmp_path: Path, changes: dict[str, Any], outcome: str
) -> None:
    events = await recorded(tmp_path, Agent(team(), Policy()), **changes)
    assert shown(events)[-1] == ("shell", "local:tool_user", outcome)


async def test_every_prefix_of_a_record_folds_and_survives_json(tmp_path: Path) -> None:
    weak = team(READER, tool_user=FakeToolUser(0.2))
    events = await recorded(tmp_path, Agent(weak, Policy()), schema={"type": "object"})
    for end in range(len(events) + 1):
        rows = folded(events[:end])
        for row in rows.by_id.values():
            assert Row.from_json(row.to_json()) == row
            story = tell(row.id, events[:end])
            assert story is not None and story.row == row
            assert Story.from_json(story.to_json()) == story
            # Going on from rows that were sent is the same as having seen every event.
        resumed = Rows(Row.from_json(row.to_json()) for row in rows.by_id.values())
        for event in events[end:]:
            resumed.add(event)
        assert resumed.by_id == folded(events).by_id


async def test_an_event_is_counted_once_however_often_it_is_told(tmp_path: Path) -> None:
    events = await recorded(tmp_path, Agent(team(), Policy()))
    once, twice = Totals(), Totals()
    for event in events:
        once = once.add(event)
        twice = twice.add(event).add(event)
    assert once == twice
    assert once.calls == 1 and once.decisions == 3
