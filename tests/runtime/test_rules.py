"""Rules: which one matches, and what it may pin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.core import Kind, Privacy, Task
from runtime.rules import (
    Rule,
    Situation,
    compiled,
    pinned_privacy,
    pinned_route,
    privacy_under,
)


def at(text: str, kind: Kind = "shell", **more: Any) -> Situation:
    return Situation(**{"kinds": (kind,), "text": text, "task_text": text, **more})


@pytest.mark.parametrize(
    ("conditions", "text", "matches"),
    [
        ({}, "anything", True),
        ({"kind": ("shell", "gui")}, "ls", True),
        ({"kind": ("plan",)}, "ls", False),
        ({"keyword": ("pass word",)}, "my PASS WORD is", True),
        ({"keyword": ("pass",)}, "my password is", False),
        ({"keyword": ("pass",)}, "password, pass", True),
        ({"keyword": ("c++",)}, "learn c++ today", True),
        ({"keyword": ("straße",)}, "in der STRASSE", True),
        ({"regex": r"(?i)iban\s+[a-z]{2}\d+"}, "to IBAN DE44", True),
        ({"regex": r"^ls"}, "run ls", False),
        ({"path": ("/etc/*",)}, "show /etc/passwd", True),
        ({"path": ("/etc",)}, "show /etc/ssh/keys/a.pem", True),
        ({"path": ("/etc",)}, "show /etcetera/a", False),
        ({"path": ("/work/private",)}, "list private/notes.txt", True),
        ({"path": ("*.pem",)}, 'open "my key.pem"', True),
        ({"path": ("/etc",)}, "show ../etc/passwd", True),
        ({"path": ("/etc",)}, "nothing here", False),
        ({"longer_than": 3}, "abc", False),
        ({"longer_than": 3}, "abcd", True),
        ({"shorter_than": 3}, "abc", False),
        ({"shorter_than": 4, "longer_than": 2}, "abc", True),
        ({"kind": ("shell",), "keyword": ("tax",)}, "tax", True),
        ({"kind": ("shell",), "keyword": ("tax",)}, "axt", False),
    ],
)
def test_every_condition_must_hold(conditions: Any, text: str, matches: bool) -> None:
    rule = Rule(1, route="local", **conditions)
    assert rule.matches(at(text, folder="/work")) is matches


def test_home_is_the_home_folder() -> None:
    rule = Rule(1, path=("~/secret",), route="local")
    assert rule.matches(at(f"list {Path.home()}/secret/a.txt"))
    assert rule.matches(at("list ~/secret"))
    assert not rule.matches(at("list ~/public"))


def test_tools_and_windows_are_matched_by_glob() -> None:
    task = Task("t", "x", tools=({"function": {"name": "bank_transfer"}},))
    offered = Situation.of(task, ("parse",), "x")
    assert Rule(1, tool=("bank_*",), route="local").matches(offered)
    assert not Rule(1, tool=("mail_*",), route="local").matches(offered)
    assert Rule(1, tool=("shell",), route="local").matches(Situation.of(task, ("shell",), "x"))
    window = Rule(1, window=("*keepass*",), privacy="local")
    assert window.matches(at("click ok", "gui", window="vault - KeePassXC"))
    assert not window.matches(at("click ok", "gui"))  # unknown is no match


def test_a_repair_is_also_of_its_step_s_kind() -> None:
    repair = at("x", kinds=("shell", "repair"))
    assert Rule(1, kind=("shell",), privacy="local").matches(repair)
    assert Rule(1, kind=("repair",), privacy="local").matches(repair)


def test_the_first_rule_that_says_something_wins() -> None:
    rules = (
        Rule(1, keyword=("weather",), privacy="auto"),
        Rule(2, keyword=("weather",), route="local"),
        Rule(3, route="general", privacy="local"),
    )
    here = at("the weather")
    assert pinned_route(rules, here) == rules[1]
    assert pinned_privacy(rules, here) == rules[0]
    assert pinned_route(rules, at("a plan")) == rules[2]
    assert pinned_route(rules[:2], at("a plan")) is None


def test_what_holds_back_also_reads_the_task_and_what_lets_go_the_step_alone() -> None:
    # Whatever is sent for a step carries the task's words.
    step = at("list the files", task_text="list the files, then change my password")
    assert pinned_privacy((Rule(1, keyword=("password",), privacy="local"),), step) is not None
    assert pinned_privacy((Rule(1, keyword=("password",), privacy="ask"),), step) is not None
    assert pinned_privacy((Rule(1, keyword=("password",), privacy="auto"),), step) is None
    assert pinned_route((Rule(1, keyword=("password",), route="general"),), step) is None


@pytest.mark.parametrize(
    ("asked", "pinned", "in_force"),
    [
        ("ask", "auto", "auto"),
        ("ask", "local", "local"),
        ("auto", "local", "local"),
        ("auto", "ask", "ask"),
        ("local", "auto", "local"),
        ("local", "ask", "local"),
    ],
)
def test_local_is_never_loosened(asked: Privacy, pinned: Privacy, in_force: str) -> None:
    assert privacy_under((Rule(1, privacy=pinned),), at("x"), asked) == in_force


@pytest.mark.parametrize("expression", ["(?=x)", r"(a)\1", "(", r"(\w{1000}){1000}", "a" * 501])
def test_an_expression_that_could_take_long_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        compiled(expression)


def test_nested_quantifiers_do_not_backtrack() -> None:
    # With backtracking, this would take longer than the universe is old.
    assert not compiled("^(a+)+$").isinstance_python("a" * 20_000 + "b")
    assert compiled("^(a+)+$").isinstance_python("a" * 20_000)
