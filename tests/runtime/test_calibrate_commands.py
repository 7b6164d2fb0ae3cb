"""``calibrate`` and ``decisions mark`` as a user meets them, on the default models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import StorageFailed, UsageError
from models.store import Store
from runtime.agent import Agent
from runtime.calibration import Calibration
from runtime.commands import calibrate, decisions, route
from runtime.config import data_dir
from runtime.core import Decision, Event, Judgement, new_id
from runtime.ledger import Ledger, records
from runtime.policy import Policy
from runtime.recall import drifts, record_rows
from tests.runtime.test_agent import general, run, task
from tests.runtime.test_policy_commands import invoke
from tests.runtime.test_trust import FILES, TRUST, judged, made


@pytest.fixture
def home(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models").symlink_to(data_dir() / "models")
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    return tmp_path


def entry_at(at: float) -> Calibration:
    entry = TRUST.calibration.get("shell", FILES)
    assert entry is not None
    return Calibration({("shell", FILES): replace(entry, at=at)})


async def kept(path: Path, confidence: float = 0.98) -> tuple[list[Event], Decision]:
    _, events = await run(Agent(made(confidence), Policy(risk_alpha=0.05)), task(), path)
    return events, judged(events)


def out(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


async def test_a_mark_is_recorded_and_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    _, decision = await kept(tmp_path)
    assert invoke(decisions.app, "mark", decision.id, "wrong", "--note", "the other file") == 0
    assert "was wrong on" in capsys.readouterr().out
    ledger = Ledger(tmp_path / "ledger.db")
    told = ledger.told()
    ledger.close()
    (mark,) = records(told, Judgement)
    assert (mark.decision_id, mark.right, mark.note) == (decision.id, False, "the other file")
    ((id_, row),) = record_rows(told)
    assert (id_, row.kind, row.model, row.right) == (decision.id, "shell", FILES, False)
    assert (row.signals.pick, row.signals.problems) == (0.98, 0)


async def test_a_mark_needs_an_answer_to_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    _, events = await run(Agent(made(0.9), Policy()), task("plan: x"), tmp_path)
    declined = records(events, Decision)[-1]
    with pytest.raises(UsageError, match="no answer to judge"):
        invoke(decisions.app, "mark", declined.id, "wrong")
    _, more = await run(Agent(made(0.98), Policy(risk_alpha=0.05)), task(), tmp_path)
    first = next(d for d in records(more, Decision) if d.rule == "threshold:shell")
    with pytest.raises(UsageError, match=f"later decision, {judged(more).id}"):
        invoke(decisions.app, "mark", first.id, "right")
    with pytest.raises(UsageError, match="no decision dec_none"):
        invoke(decisions.app, "mark", "dec_none", "right")
    with pytest.raises(UsageError, match="right, wrong"):
        invoke(decisions.app, "mark", declined.id, "perhaps")


async def test_answers_that_go_wrong_too_often_propose_to_calibrate_again(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    for number in range(30):
        own, decision = await kept(tmp_path / str(number))
        right = number % 3 > 0
        said = Judgement(new_id("jud"), decision.task_id, decision.id, right)
        events += [*own, Event(decision.task_id, 1.0, said)]
    watch = drifts(events, 0.05, TRUST.calibration)["shell", FILES]
    assert watch.recalibrate and "calibrate again" in watch.reason
    assert not drifts(events[: len(events) // 10], 0.05, TRUST.calibration)[
        "shell", FILES
    ].recalibrate
    assert drifts(events, 0.0, TRUST.calibration) == {}
    later = entry_at(2.0)
    assert drifts(events, 0.05, later) == {}  # calibrated since: the watch begins anew


async def test_an_escalated_answer_is_not_held_against_the_local_promise(tmp_path: Path) -> None:
    from tests.fakes import FakeGeneral

    with FakeGeneral(['{"recipe": "make", "arguments": {"name": "far"}}']) as server:
        away = made(0.3, general=general(server.base_url))
        _, events = await run(Agent(away, Policy(risk_alpha=0.05)), task(privacy="auto"), tmp_path)
    decision = judged(events)
    said = Judgement(new_id("jud"), decision.task_id, decision.id, False)
    events.append(Event(decision.task_id, 1.0, said))
    assert drifts(events, 0.05, TRUST.calibration) == {} and record_rows(events) == []


def test_show_says_what_the_shipped_calibration_holds(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(calibrate.app, "show", "--json") == 0
    body = out(capsys)
    assert {"shell", "gui", "parse"} <= set(body["kinds"])
    shell = body["kinds"]["shell"]
    assert shell["rows"] > 200 and 0 < shell["right"] < shell["rows"]
    assert set(shell["certified"]) == {"0.01", "0.02", "0.05", "0.1", "0.2"}
    for one in shell["certified"].values():
        assert (one["threshold"] is None) == (one["coverage"] == 0.0)
    assert invoke(calibrate.app, "show") == 0
    assert "shell" in capsys.readouterr().out


def test_run_with_too_few_steps_says_what_is_missing_and_keeps_nothing_made_up(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(calibrate.app, "run", "--limit", "2", "--json") == 0
    body = out(capsys)
    assert body["kinds"] == {}
    assert body["refused"] and all("too few" in why for why in body["refused"].values())
    assert json.loads((home / "calibration.json").read_text("utf-8"))["calibrated"] == []


def test_a_damaged_calibration_stops_a_run_and_is_kept(home: Path) -> None:
    (home / "calibration.json").write_text("{", "utf-8")
    with pytest.raises(StorageFailed, match="the file was kept"):
        invoke(calibrate.app, "show")
    assert (home / "calibration.json").read_text("utf-8") == "{"


def test_route_shows_how_likely_each_side_is_right(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(route.app, "list the five largest files in /usr/share", "--json") == 0
    body = out(capsys)
    here, away = body["candidates"]
    assert 0.0 < here["probability"] < 1.0 and away["probability"] == pytest.approx(0.9)
    assert body["given"]["benefit"] == pytest.approx(
        away["probability"] - here["probability"], abs=1e-3
    )
    assert body["given"]["certified"]
