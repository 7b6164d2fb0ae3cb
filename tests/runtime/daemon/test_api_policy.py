"""Policy, replay, judgement, savings and the Decision alone, over the API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from models.errors import UsageError
from models.pool import Pool
from models.store import Store
from runtime.agent import Agent
from runtime.core import Decision, Event, Judgement
from runtime.daemon.client import Client
from runtime.daemon.errors import Conflict, NotFound, Unreadable
from runtime.policy import Policy
from tests.fakes import FakeRouter, FakeTool, recipe
from tests.runtime.daemon.scripted import daemon, ended, plain
from tests.runtime.test_agent import run, task, team
from tests.runtime.test_cli import aidecamp

FILE = """
risk_alpha = 0.2
[route_threshold]
shell = 0.6
[[rule]]
keyword = "secret"
privacy = "local"
[budget.day]
usd = 2.0
"""


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with two tasks on record: one served here, one unsure for want of a
    General."""
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    for router in (FakeRouter(0.9), FakeRouter(0.3)):
        tool = FakeTool(recipes=(recipe(risk="read"),))
        await run(Agent(team(tool, router=router), Policy()), task("list files"), tmp_path)
    return tmp_path


@pytest.fixture
async def client(home: Path) -> AsyncIterator[Client]:
    async with daemon(home, plain) as served:
        yield served.client


def command(*arguments: str, home: Path) -> dict[str, Any]:
    """What the command line says to the same question."""
    done = aidecamp(*arguments, "--json", home=home)
    assert done.returncode == 0, done.stderr
    body: dict[str, Any] = json.loads(done.stdout)
    return body


async def replayable(client: Client) -> list[Decision]:
    """Decisions that a policy made, the newest first."""
    rows = (await client.decisions()).rows
    return [row.decision for row in rows if row.decision.given]


async def test_the_policy_in_force_tells_where_each_value_comes_from(home: Path) -> None:
    (home / "policy.toml").write_text(FILE)
    (home / "config.toml").write_text("[policy]\nmax_steps = 7\n")
    async with daemon(home, plain) as served:
        body = await served.client.policy()
    assert body["file"] == str(home / "policy.toml")
    assert body["values"]["risk_alpha"] == {"value": 0.2, "from": "policy.toml, line 2"}
    assert body["values"]["route_threshold.shell"]["value"] == 0.6
    assert body["values"]["max_steps"] == {"value": 7, "from": "config.toml"}
    assert body["values"]["route_threshold.gui"]["from"] == "default"
    (rule,), (budget,) = body["rules"], body["budgets"]
    assert (rule["keyword"], rule["privacy"]) == (["secret"], "local")
    assert (budget["scope"], budget["usd"], budget["spent"]["usd"]) == ("day", 2.0, 0.0)


async def test_a_policy_is_checked_and_played_over_the_record(client: Client) -> None:
    body = await client.check_policy('[[rule]]\nkeyword = "files"\nroute = "decline"\n')
    assert body["problems"] == []
    replay = body["replay"]
    assert (replay["replayed"], replay["changed_total"], len(replay["changed"])) == (2, 2, 2)
    assert {change["to"] for change in replay["changed"]} == {"declined"}
    broken = await client.check_policy("risk_alfa = 0.1\n")
    assert broken["replay"] is None
    (problem,) = broken["problems"]
    assert (problem["level"], problem["line"]) == ("error", 1)
    assert "risk_alpha" in problem["hint"]


async def test_a_check_says_what_the_command_line_says(home: Path) -> None:
    file = home / "other.toml"
    file.write_text('[[rule]]\nkeyword = "files"\nroute = "general"\n')
    told = command("policy", "check", str(file), home=home)
    async with daemon(home, plain) as served:
        body = await served.client.check_policy(file.read_text())
    assert told["replayed"] == body["replay"]["replayed"]
    assert told["changed"] == body["replay"]["changed"]


async def test_a_decision_is_made_again_under_another_policy(client: Client) -> None:
    _, kept, sure = await replayable(client)
    same = await client.replay(sure.id)
    assert not same.changed and same.before == sure
    assert (same.after.chosen, same.after.rule) == (sure.chosen, sure.rule)
    declined = '[[rule]]\nkeyword = "files"\nroute = "decline"\n'
    other = await client.replay(sure.id, toml=declined)
    assert other.changed and (other.after.chosen, other.after.rule) == ("declined", "rule:1")
    promised = await client.replay(kept.id, settings={"risk_alpha": 0.1})
    free = await client.replay(kept.id, settings={"risk_alpha": 0})
    assert promised.changed and not free.changed  # nothing is calibrated here
    assert (await client.decision(sure.id)).decision == sure


async def test_a_replay_takes_no_file_and_no_nonsense(client: Client, home: Path) -> None:
    (decision, *_) = await replayable(client)
    before = (await client.health())["last_event_id"]
    (home / "other.toml").write_text("risk_alpha = 0.2\n")
    with pytest.raises(UsageError, match="TOML"):
        await client.replay(decision.id, toml=str(home / "other.toml"))
    with pytest.raises(UsageError, match="no setting 'risk_alfa'"):
        await client.replay(decision.id, settings={"risk_alfa": 0.2})
    with pytest.raises(UsageError, match="share below 1"):
        await client.replay(decision.id, settings={"risk_alpha": 5})
    with pytest.raises(Unreadable, match="exclude each other"):
        await client.replay(decision.id, toml="", settings={})
    with pytest.raises(NotFound):
        await client.replay("dec_none")
    assert (await client.health())["last_event_id"] == before


async def test_an_answer_is_judged_under_the_decision_that_gave_it(client: Client) -> None:
    _, kept, first = await replayable(client)
    event = await client.mark(kept.id, False, note="it named the wrong folder")
    assert isinstance(event, Event) and isinstance(event.record, Judgement)
    assert (event.record.right, event.record.note) == (False, "it named the wrong folder")
    assert event.id == (await client.health())["last_event_id"]
    with pytest.raises(Conflict, match=f"later decision, {kept.id}"):
        await client.mark(first.id, True)
    rows = (await client.decisions()).rows
    role = next(row.decision for row in rows if row.decision.rule.startswith("role:"))
    with pytest.raises(Conflict, match="a role's own work"):
        await client.mark(role.id, True)
    with pytest.raises(NotFound):
        await client.mark("dec_none", True)


@pytest.mark.parametrize(
    "odd", ["dec/../x", "dec_" + "9" * 5_000, "%00", "\u2028é中", "?a=b#c", "' OR 1=1 --", ".."]
)
async def test_odd_ids_are_unknown_ids(client: Client, odd: str) -> None:
    for ask in (client.decision(odd), client.replay(odd), client.mark(odd, True), client.task(odd)):
        with pytest.raises(NotFound):
            await ask


async def test_the_savings_report_is_the_command_lines(home: Path) -> None:
    told = command("savings", "--what-if", "local-share=0.5", home=home)
    async with daemon(home, plain) as served:
        body = dict(await served.client.savings_report(what_if=["local-share=0.5"]))
        with pytest.raises(UsageError, match="No price is known"):
            await served.client.savings_report(model="no-such-model")
        with pytest.raises(UsageError, match="no key 'luck'"):
            await served.client.savings_report(what_if=["luck=1"])
    assert told.pop("plot") is None
    for one in (body, told):  # Watts may be measured each time.
        del one["energy_j_compared"], one["what_if"]["energy_j"]
    assert body == told
    assert body["what_if"]["local_share"] == pytest.approx(0.5)


async def test_savings_of_an_empty_record(tmp_path: Path) -> None:
    async with daemon(tmp_path, plain) as served:
        assert (await served.client.savings_report())["calls"] == 0
        with pytest.raises(UsageError, match="no model call yet"):
            await served.client.savings_report(what_if=["local-share=0.5"])


async def test_the_decision_alone_is_the_command_lines_and_records_nothing(
    store: Store, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    (tmp_path / "models").symlink_to(store.root)
    text = "list the files in this folder"
    told = command("route", text, home=tmp_path)
    async with daemon(tmp_path, plain, pool=pool) as served:
        decision = await served.client.route(text)
        with pytest.raises(UsageError, match="at most 20,000"):
            await served.client.route("x" * 20_001)
        assert (await served.client.decisions()).rows == ()
    same = ("kind", "chosen", "rule", "reason", "flip", "threshold")
    assert {name: getattr(decision, name) for name in same} == {name: told[name] for name in same}
    assert decision.probability == pytest.approx(told["probability"])


async def test_pages_of_decisions_join_without_a_gap(home: Path) -> None:
    async with daemon(home, plain) as served:
        for number in range(5):
            await ended(served.client, await served.client.start_task(f"count {number}"))
        whole = (await served.client.decisions()).rows
        assert len(whole) >= 7
        paged: list[Any] = []
        before: int | None = None
        while True:
            page = await served.client.decisions(limit=3, before=before)
            paged += page.rows
            if page.next_before is None:
                break
            before = page.next_before
        assert paged == list(whole)
