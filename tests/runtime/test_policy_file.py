"""``policy.toml``: what is read, and how a mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import UsageError
from runtime.budgets import Budget
from runtime.config import Config
from runtime.policy import Policy
from runtime.policy_file import Problem, parse, read
from runtime.rules import Rule

WHOLE = """\
general_failed = "ask"
hysteresis_margin = 0.1

[route_threshold]
shell = 0.6

[[rule]]
name = "secrets stay here"
keyword = ["password", "passport"]
privacy = "local"

[[rule]]
kind = "plan"
longer_than = 400
route = "general"

[budget.day]
usd = 0.5
action = "block"

[budget.task]
tokens = 9000
"""


def errors(text: str) -> list[Problem]:
    return [p for p in parse(text, Policy())[1] if p.level == "error"]


def warnings(text: str) -> list[str]:
    _, problems = parse(text, Policy())
    assert [p for p in problems if p.level == "error"] == []
    return [p.words for p in problems]


def test_a_whole_file_is_read() -> None:
    policy, problems = parse(WHOLE, Policy())
    assert problems == []
    assert policy.general_failed == "ask"
    assert policy.hysteresis_margin == 0.1
    assert policy.route_threshold == {**Policy().route_threshold, "shell": 0.6}
    first, second = policy.rules
    assert first == Rule(
        1, "secrets stay here", keyword=("password", "passport"), privacy="local", line=7
    )
    assert (second.kind, second.longer_than, second.route) == (("plan",), 400, "general")
    assert policy.budgets == (
        Budget("task", tokens=9000),
        Budget("day", usd=0.5, action="block"),
    )
    assert policy.origin["route_threshold.shell"] == "policy.toml, line 5"
    assert policy.origin["general_failed"] == "policy.toml, line 1"


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ('[[rule]]\nkeywrod = "x"\nroute = "local"', 2, "keywrod", "Did you mean 'keyword'?"),
        ('[[rule]]\nroute = "remote"', 2, "remote", "local, general, decline"),
        ('[[rule]]\nkind = "shel"\nroute = "local"', 2, "shel", "Did you mean 'shell'?"),
        ('[[rule]]\n\nkeyword = "x"', 1, "does nothing", "Give it a route"),
        ('[[rule]]\nroute = "local"\n[[rule]]\nregex = "("\nroute = "local"', 4, "unclosed", ""),
        ('[[rule]]\nregex = "(?=x)"\nroute = "local"', 2, "look-around", "Look-around"),
        ('[[rule]]\nlonger_than = "5"\nroute = "local"', 2, "whole number", ""),
        ('[[rule]]\nkeyword = []\nroute = "local"', 2, "none of them empty", ""),
        ("[rule]\nx = 1", 1, "[[rule]]", ""),
        ("[budget.week]\nusd = 1", 1, "week", "task, day, month"),
        ("[budget.day]\nusd = 1\neur = 1", 3, "eur", "There are"),
        ('[budget.day]\naction = "warn"', 1, "no limit", "usd"),
        ("[budget.day]\nusd = -1", 2, "not negative", ""),
        ('[budget.day]\nusd = 1\naction = "stop"', 3, "stop", "warn, local-only, block"),
        ("hysteresis = 0.1", 1, "hysteresis", "Did you mean 'hysteresis_margin'?"),
        ("\n[route_threshold]\nshell = 2", 3, "from 0 to 1.01", ""),
        ("[route_threshold]\nshel = 0.5", 2, "shel", "Did you mean 'shell'?"),
        ('general_failed = "retry"', 1, "one of local, ask", ""),
        ("max_steps = true", 1, "a number", ""),
        ("a = ", 1, "TOML", ""),
    ],
)
def test_a_mistake_is_named_with_its_line_and_a_suggestion(
    text: str, line: int, message: str, hint: str
) -> None:
    (found,) = errors(text)
    assert found.line == line
    assert message in found.message
    assert hint in found.hint


def test_all_mistakes_are_found_at_once_in_the_order_of_the_file() -> None:
    text = 'maxsteps = 1\n[[rule]]\nkeywrod = "x"\nroute = "nowhere"\n[budget.day]\neur = 1'
    assert [p.line for p in errors(text)] == [1, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[rule]]\nlonger_than = 9\nshorter_than = 10\nroute = "local"', "never matches"),
        ('[[rule]]\nkind = "shell"\nroute = "general"\nprivacy = "local"', "nothing leave"),
        ('[[rule]]\nkind = "plan"\nroute = "local"', "declined"),
        (
            '[[rule]]\nroute = "local"\n[[rule]]\nkind = "gui"\nroute = "general"',
            "line 3: rule no 2: its route is never used, because rule no 1",
        ),
    ],
)
def test_what_cannot_have_been_meant_is_a_warning(text: str, says: str) -> None:
    (warning,) = warnings(text)
    assert says in warning


def test_a_rule_that_another_one_narrows_first_is_no_mistake() -> None:
    text = '[[rule]]\nkind = "gui"\nroute = "general"\n[[rule]]\nroute = "local"\n'
    assert warnings(text) == []
    text = '[[rule]]\nprivacy = "auto"\n[[rule]]\nprivacy = "local"\n'
    assert warnings(text) == []  # the second also reads the task's other words


def test_reading_raises_the_first_mistake(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('[[rule]]\nkeywrod = "x"\nroute = "local"')
    with pytest.raises(
        UsageError, match=r"policy\.toml, line 2: a rule has no 'keywrod'"
    ) as caught:
        read(file, Policy())
    assert "keyword" in caught.value.hint


def test_the_file_stands_above_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    table = {"max_steps": 3, "route_threshold": {"shell": 0.7, "gui": 0.7}}
    (tmp_path / "policy.toml").write_text("[route_threshold]\nshell = 0.8\n")
    policy = Config(policy=table).make_policy()
    assert policy.max_steps == 3
    assert (policy.route_threshold["shell"], policy.route_threshold["gui"]) == (0.8, 0.7)
    assert policy.origin["route_threshold.gui"] == "config.toml"
    (tmp_path / "policy.toml").unlink()
    assert Config(policy=table).make_policy().route_threshold["shell"] == 0.7
