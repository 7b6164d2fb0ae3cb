"""Decisions found by what came of them: exactly those whose row shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.daemon import finding
from runtime.daemon.finding import find
from runtime.daemon.rows import OPEN
from runtime.ledger import Ledger
from tests.runtime.ledger_files import events, tasks

CAME_TO = (
    *("done", "unsure", "failed", "denied", "skipped", "kept", "escalated", "overruled"),
    *("declined", "cancelled"),
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    for client in ("one", "two", "three"):
        ledger.append_all(events(*tasks(client)))
    yield ledger
    ledger.close()


@pytest.mark.parametrize("outcome", [*CAME_TO, *OPEN, "interrupted"])
@pytest.mark.parametrize("many", [0, 500])
def test_an_outcome_finds_the_rows_that_show_it(
    ledger: Ledger, outcome: str, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the tasks that may have it are looked up, or the decisions gone through."""
    monkeypatch.setattr("runtime.ledger.IDS_AT_ONCE", many or 1)
    monkeypatch.setattr(finding, "PAGE", 4)
    every = find(ledger, limit=1000)
    expected = [row for row in every if row.outcome == outcome]
    assert find(ledger, outcome=outcome, limit=1000) == expected
    assert bool(expected) == (outcome not in ("acting", "answered", "interrupted"))
    assert find(ledger, outcome=outcome, limit=2) == expected[:2]
    mine = [row for row in expected if row.decision.task_id.startswith("two")]
    assert find(ledger, outcome=outcome, client="two") == mine


def test_rows_are_those_that_the_whole_record_makes(ledger: Ledger) -> None:
    from runtime.daemon.rows import Rows

    rows = Rows()
    for event in ledger.events():
        rows.add(event)
    newest = sorted(rows.by_id.values(), key=lambda row: -row.event_id)
    assert find(ledger, limit=1000) == newest
    assert find(ledger, before=newest[9].event_id, limit=5) == newest[10:15]
