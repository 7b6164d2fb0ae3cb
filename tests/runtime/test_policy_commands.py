"""``policy``, ``route --explain`` and ``decisions replay`` as a user meets them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from models.errors import UsageError
from runtime.agent import Agent
from runtime.commands import decisions, explained, policy
from runtime.core import Decision, Event, to_json
from runtime.ledger import Ledger
from runtime.policy import Policy
from runtime.replay import again
from tests.fakes import FakeRouter, FakeTool, recipe
from tests.runtime.test_agent import run, task, team
from tests.runtime.test_cli import aidecamp


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with two tasks on record: one served here, one unsure for want of a
    General."""
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    for router in (FakeRouter(0.9), FakeRouter(0.3)):
        tool = FakeTool(recipes=(recipe(risk="read"),))
        await run(Agent(team(tool, router=router), Policy()), task("list files"), tmp_path)
    return tmp_path


def on_record(home: Path) -> list[Event]:
    ledger = Ledger(home / "ledger.db")
    found = [
        e
        for e in ledger.events(types=("decision",))
        if isinstance(e.record, Decision) and e.record.given
    ]
    ledger.close()
    return found


def invoke(app: Any, *arguments: str) -> int:
    code = app(args=list(arguments), standalone_mode=False)
    return code if isinstance(code, int) else 0


def test_check_tells_what_would_have_changed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = home / "other.toml"
    other.write_text('[[rule]]\nkeyword = "files"\nroute = "decline"\n')
    assert invoke(policy.app, "check", str(other), "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["problems"], body["replayed"], len(body["changed"])) == ([], 2, 2)
    assert body["moot"] == 1  # whether an answer is kept that would not have been asked for
    assert body["before"] == {"local": 1, "unsure": 1}
    assert body["after"] == {"declined": 2}
    assert {c["rule"] for c in body["changed"]} == {"rule:1"}
    assert invoke(policy.app, "check", str(other)) == 0
    out = capsys.readouterr().out
    assert "of 2 past decisions, 2 would have been made otherwise" in out
    assert "local 1 → 0 · unsure 1 → 0" in out
    decisions = [e.record for e in on_record(home) if isinstance(e.record, Decision)]
    assert all(d.id in out for d in decisions if not d.keeps)


def test_check_names_every_mistake_and_exits_with_2(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "policy.toml").write_text('[[rule]]\nkeywrod = "files"\nroute = "nowhere"\n')
    assert invoke(policy.app, "check", "--json") == 2
    body = json.loads(capsys.readouterr().out)
    assert [p["line"] for p in body["problems"]] == [2, 3]
    assert "changed" not in body  # such a policy decides nothing
    assert invoke(policy.app, "check") == 2
    out = capsys.readouterr().out
    assert "line 2: a rule has no 'keywrod'" in out
    assert "Did you mean 'keyword'?" in out


def test_check_without_a_file_says_so(home: Path) -> None:
    with pytest.raises(UsageError, match="no policy file"):
        invoke(policy.app, "check")


def test_show_names_where_each_value_comes_from(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config.toml").write_text("[policy]\nmax_steps = 7\n")
    (home / "policy.toml").write_text(
        '[route_threshold]\nshell = 0.6\n[[rule]]\nname = "mine"\nkind = "plan"\n'
        'route = "local"\n[budget.day]\nusd = 0.5\n[budget.task]\ntokens = 10\n'
    )
    assert invoke(policy.app, "show", "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert body["values"]["max_steps"] == {"value": 7, "from": "config.toml"}
    assert body["values"]["route_threshold.shell"] == {"value": 0.6, "from": "policy.toml, line 2"}
    assert body["values"]["route_threshold.gui"]["from"] == "default"
    assert body["rules"][0]["name"] == "mine"
    assert [b["scope"] for b in body["budgets"]] == ["task", "day"]
    assert body["budgets"][1]["spent"]["usd"] == 0.0
    assert invoke(policy.app, "show") == 0
    out = capsys.readouterr().out
    assert "rule no 1 (mine)  kind plan → route local" in out
    assert "$0.5000 ($0.0000 so far), then local-only" in out


def test_a_decision_is_made_again_under_another_policy(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = on_record(home)[0].record
    assert isinstance(first, Decision)
    assert invoke(decisions.app, "replay", first.id, "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert body["changed"] is False
    assert body["after"] == body["before"] == json.loads(json.dumps(to_json(first)))
    other = home / "other.toml"
    other.write_text("[route_threshold]\nshell = 0.95\n")
    assert invoke(decisions.app, "replay", first.id, "--policy", str(other), "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert body["after"]["rule"] == "no-general"
    assert body["after"]["threshold"] == 0.95
    assert body["changed"] is True  # the same worker, but in the General's place
    other.write_text('[[rule]]\nroute = "decline"\n')
    assert invoke(decisions.app, "replay", first.id, "--policy", str(other)) == 0
    out = capsys.readouterr().out
    assert "changed" in out
    assert "rule:1" in out


def test_what_no_policy_decided_is_not_made_again(home: Path) -> None:
    ledger = Ledger(home / "ledger.db")
    events = list(ledger.events(types=("decision", "task")))
    ledger.close()
    role = next(e for e in events if isinstance(e.record, Decision) and not e.record.given)
    with pytest.raises(UsageError, match="a role's own work"):
        again(role, task(), Policy())
    with pytest.raises(UsageError, match="no decision dec_none"):
        invoke(decisions.app, "replay", "dec_none")


@pytest.mark.parametrize("width", [80, 120])
def test_an_explanation_fits_the_terminal(home: Path, width: int) -> None:
    unsure = on_record(home)[-1].record
    assert isinstance(unsure, Decision)
    out = io.StringIO()
    Console(file=out, width=width).print(explained.explained(unsure))
    text = out.getvalue()
    assert max(len(line) for line in text.splitlines()) <= width
    assert "no-general" in text
    assert "a General configured and somebody to ask: general" in text
    assert "no General · nobody to ask" in text


def test_a_broken_policy_file_stops_a_run_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('[[rule]]\n\nkeywrod = "x"\nroute = "local"\n')
    done = aidecamp("run", "x", "--json", home=tmp_path)
    body = json.loads(done.stdout)
    assert (done.returncode, body["error"]) == (2, "UsageError")
    assert "policy.toml, line 3" in body["message"]
    assert "keyword" in body["hint"]


def test_route_explains_with_rules_and_the_nearest_flip(tmp_path: Path) -> None:
    from runtime.config import data_dir

    (tmp_path / "models").symlink_to(data_dir() / "models")
    (tmp_path / "policy.toml").write_text('[[rule]]\nkeyword = "logs"\nroute = "local"\n')
    done = aidecamp("route", "count the files in logs", "--json", home=tmp_path)
    body = json.loads(done.stdout)
    assert (body["rule"], body["chosen"]) == ("rule:1", "local:tool_user")
    assert body["effects"]
    assert "without rule no 1" in body["flip"] or "privacy" in body["flip"]
    done = aidecamp("route", "count the files in logs", "--explain", home=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in ("rule:1", "what moved the score", "its meaning (embedding)", "flip"):
        assert words in done.stdout
