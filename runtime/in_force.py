"""What a policy says, value by value, and what another would have done: as JSON.

Shared by ``aidecamp policy`` and the daemon.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from runtime.budgets import Amount
from runtime.core import Event
from runtime.policy import DEFAULT, SETTINGS, Policy
from runtime.policy_file import parse
from runtime.replay import over

PLAYED = ("task", "decision", "call")
"""Types of the events that :func:`check` reads."""


def values(policy: Policy) -> dict[str, dict[str, Any]]:
    """Every setting by its dotted name, with its value and where it comes from."""
    found: dict[str, dict[str, Any]] = {}
    for name in SETTINGS:
        value = getattr(policy, name)
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, one in inner:
            dotted = f"{name}.{key}" if key else name
            found[dotted] = {"value": one, "from": policy.origin.get(dotted, DEFAULT)}
    return found


def in_force(policy: Policy, spent: Mapping[str, Amount], file: str | None) -> dict[str, Any]:
    """``{file, values, rules, budgets}``; budgets with what was spent of them so far."""
    budgets = [
        {
            **dataclasses.asdict(budget),
            "spent": dataclasses.asdict(spent[budget.scope]) if budget.scope in spent else None,
        }
        for budget in policy.budgets
    ]
    rules = [dataclasses.asdict(rule) for rule in policy.rules]
    return {"file": file, "values": values(policy), "rules": rules, "budgets": budgets}


def check(text: str, base: Policy, events: Iterable[Event]) -> dict[str, Any]:
    """What is wrong with a ``policy.toml``, and where nothing is, its replay on ``events``."""
    policy, problems = parse(text, base)
    body: dict[str, Any] = {"problems": [dataclasses.asdict(p) for p in problems], "replay": None}
    if not any(problem.level == "error" for problem in problems):
        body["replay"] = over(events, policy).to_json()
    return body
