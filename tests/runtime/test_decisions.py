"""From score to decision: every way that one can come out, and that it comes out so again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from runtime.budgets import Amount, Budget
from runtime.core import Candidate, Decision, Kind, Task, from_json, to_json
from runtime.decisions import Verdict, decide, is_unsure, verdict
from runtime.explain import flip
from runtime.given import Given
from runtime.policy import Policy
from runtime.rules import Rule

TASK = Task("t", "move the reports", privacy="auto")
WORST = Amount(0.003, 2100, 60.0)


def scored(probability: float = 0.8, kind: Kind = "shell", **changes: Any) -> Decision:
    values: dict[str, Any] = {
        "id": "d", "task_id": "t", "step_id": "s", "kind": kind, "text": "move the reports",
        "chosen": "local:tool_user" if probability >= 0.5 else "general",
        "candidates": (
            Candidate("local:tool_user", "m", probability, None, 0.0),
            Candidate("general", "big", None, None, None),
        ),
        "probability": probability, "threshold": Policy().route_threshold[kind],
        "rule": f"threshold:{kind}", "reason": "the score", "route_ms": 1.0,
        "would_send": {"messages": []},
    }  # fmt: skip
    return Decision(**{**values, **changes})


def given(on: Decision, **changes: Any) -> Given:
    base = Given(
        kinds=(on.kind,),
        score_rule=on.rule,
        score_local=on.chosen.startswith("local:"),
        score_reason=on.reason,
        privacy="auto",
        general=True,
        person=True,
    )
    return replace(base, **changes)


def made(on: Decision, policy: Policy | None = None, **changes: Any) -> Verdict:
    return verdict(on, TASK, given(on, **changes), policy or Policy())


def rules(*found: Rule) -> Policy:
    return Policy(rules=found)


OUT = scored(0.2, "shell", rule="out-of-scope", chosen="general")
PLAN = scored(0.1, "plan", rule="kind:plan", chosen="general")
WEAK = scored(0.2, rule="accept:shell", chosen="general", previous="d0", threshold=0.35)
BROKEN = scored(0.2, "repair", rule="repair", chosen="general", previous="d0")


@pytest.mark.parametrize(
    ("on", "policy", "changes", "chosen", "rule"),
    [
        (scored(0.8), Policy(), {}, "local:tool_user", "threshold:shell"),
        (scored(0.2), Policy(), {}, "general", "threshold:shell"),
        # rules come before the score
        (scored(0.2), rules(Rule(1, route="local")), {}, "local:tool_user", "rule:1"),
        (scored(0.8), rules(Rule(1, route="general")), {}, "general", "rule:1"),
        (scored(0.8), rules(Rule(1, route="decline")), {}, "declined", "rule:1"),
        (OUT, rules(Rule(1, route="local")), {}, "local:tool_user", "rule:1"),
        (PLAN, rules(Rule(1, route="local")), {}, "declined", "rule:1"),
        (WEAK, rules(Rule(1, route="local")), {}, "local:tool_user", "rule:1"),
        (WEAK, rules(Rule(1, route="general")), {}, "general", "accept:shell"),
        (scored(0.8), rules(Rule(1, kind=("gui",), route="general")), {}, "local:tool_user",
         "threshold:shell"),
        # privacy
        (scored(0.2), Policy(), {"privacy": "local"}, "local:tool_user", "no-general"),
        (scored(0.2), rules(Rule(2, privacy="local")), {}, "local:tool_user", "rule:2"),
        (scored(0.2), rules(Rule(2, privacy="ask")), {"person": False}, "local:tool_user",
         "rule:2"),
        (scored(0.2), rules(Rule(2, privacy="auto")), {"privacy": "ask", "person": False},
         "general", "threshold:shell"),
        (scored(0.2), rules(Rule(2, privacy="auto")), {"privacy": "local"}, "local:tool_user",
         "no-general"),
        (PLAN, rules(Rule(2, privacy="local")), {}, "declined", "rule:2"),
        # nobody there
        (scored(0.2), Policy(), {"general": False}, "local:tool_user", "no-general"),
        (scored(0.2), Policy(), {"privacy": "ask", "person": False}, "local:tool_user",
         "no-general"),
        (PLAN, Policy(), {"general": False}, "declined", "no-general"),
        (OUT, Policy(), {"general": False}, "declined", "no-general"),
        (BROKEN, Policy(), {"general": False, "kinds": ("shell", "repair")}, "declined",
         "no-general"),
        # hysteresis
        (scored(0.46), Policy(), {"incumbent": "local"}, "local:tool_user", "hysteresis"),
        (scored(0.46), Policy(), {"incumbent": "general"}, "general", "threshold:shell"),
        (scored(0.54), Policy(), {"incumbent": "general"}, "general", "hysteresis"),
        (scored(0.56), Policy(), {"incumbent": "general"}, "local:tool_user", "threshold:shell"),
        (scored(0.44), Policy(), {"incumbent": "local"}, "general", "threshold:shell"),
        (scored(0.46), Policy(hysteresis_margin=0.0), {"incumbent": "local"}, "general",
         "threshold:shell"),
        (scored(0.46), Policy(), {}, "general", "threshold:shell"),
        (OUT, Policy(), {"incumbent": "local"}, "general", "out-of-scope"),
        (scored(0.54), rules(Rule(1, route="local")), {"incumbent": "general"},
         "local:tool_user", "rule:1"),
        # a General that failed
        (scored(0.2), Policy(), {"failed": "503"}, "local:tool_user", "general-failed"),
        (PLAN, Policy(), {"failed": "503"}, "declined", "general-failed"),
        (PLAN, Policy(general_failed="ask"), {"failed": "503"}, "declined", "general-failed"),
        (scored(0.2), Policy(general_failed="ask"), {"failed": "503"}, "declined",
         "general-failed"),
        (scored(0.2), Policy(general_failed="ask"), {"failed": "503", "answer": "local"},
         "local:tool_user", "general-failed"),
        (scored(0.2), Policy(general_failed="ask"), {"failed": "503", "person": False},
         "local:tool_user", "general-failed"),
    ],
)  # fmt: skip
def test_every_way_that_a_decision_comes_out(
    on: Decision, policy: Policy, changes: dict[str, Any], chosen: str, rule: str
) -> None:
    found = made(on, policy, **changes)
    assert (found.chosen, found.rule) == (chosen, rule)
    # Whatever was decided is decided again from its record, field by field.
    base = given(on, **changes)
    first = replace(decide(on, TASK, base, policy), flip=flip(on, TASK, base, policy))
    stored = from_json("decision", json.loads(json.dumps(to_json(first))))
    assert isinstance(stored, Decision)
    again = decide(stored, TASK, Given.from_json(stored.given), policy)
    assert again.reason == first.reason
    assert replace(again, given=stored.given) == stored
    assert flip(stored, TASK, Given.from_json(stored.given), policy) == first.flip


@pytest.mark.parametrize(
    ("action", "on", "chosen", "rule"),
    [
        ("warn", scored(0.2), "general", "threshold:shell"),
        ("local-only", scored(0.2), "local:tool_user", "budget:day"),
        ("block", scored(0.2), "declined", "budget:day"),
        ("local-only", PLAN, "declined", "budget:day"),
        ("local-only", scored(0.8), "local:tool_user", "threshold:shell"),
    ],
)
def test_what_happens_beyond_a_budget(action: Any, on: Decision, chosen: str, rule: str) -> None:
    policy = Policy(budgets=(Budget("day", usd=0.01, action=action),))
    found = made(on, policy, worst=WORST, spent={"day": Amount(0.008)})
    assert (found.chosen, found.rule) == (chosen, rule)
    if on.probability < 0.5:
        assert "over the day's budget of $0.0100" in found.reason
    within = made(on, policy, worst=WORST, spent={"day": Amount(0.007)})
    assert within.rule == on.rule


def test_the_task_s_own_budget_is_one_more() -> None:
    on = scored(0.2)
    found = made(on, worst=WORST, budget_usd=0.002, spent={"task": Amount()})
    assert (found.chosen, found.rule) == ("local:tool_user", "budget:task")
    assert made(on, worst=WORST, budget_usd=0.003).chosen == "general"


def test_a_local_answer_in_the_general_s_place_is_unsure() -> None:
    on = scored(0.2)
    assert is_unsure(decide(on, TASK, given(on, general=False), Policy()))
    assert not is_unsure(decide(on, TASK, given(on), Policy()))
    pinned = decide(on, TASK, given(on), rules(Rule(1, route="local")))
    assert not is_unsure(pinned)  # the user's own rule is no doubt


@pytest.mark.parametrize(
    ("on", "policy", "changes", "says"),
    [
        (scored(0.8), Policy(), {}, "threshold 0.81 or above: general"),
        (scored(0.427), Policy(), {}, "threshold 0.42 or below: local"),
        (scored(0.427), Policy(), {"general": False}, "a General configured: general"),
        (WEAK, Policy(), {}, "accept threshold 0.20 or below: local"),
        (scored(0.8), rules(Rule(2, route="general")), {}, "without rule no 2: local"),
        (scored(0.2), rules(Rule(2, "mine", privacy="local")), {},
         "without rule no 2 (mine): general"),
        (PLAN, Policy(), {"general": False}, "a General configured: general"),
        (PLAN, Policy(), {"privacy": "ask", "person": False}, "somebody to ask: general"),
        (PLAN, Policy(), {"privacy": "local", "general": False},
         "a General configured and privacy 'auto': general"),
        (PLAN, Policy(), {}, "privacy 'local': declined"),
        (PLAN, Policy(), {"failed": "503"}, "had the General answered: general"),
        (PLAN, Policy(budgets=(Budget("day", usd=0.01),)),
         {"worst": WORST, "spent": {"day": Amount(0.01)}},
         "$0.0030 more budget for the day: general"),
        (PLAN, Policy(), {"worst": WORST, "budget_usd": 0.001},
         "$0.0020 more budget for the task: general"),
        (PLAN, Policy(), {"worst": replace(WORST, usd=None), "budget_usd": 1.0},
         "a known price: general"),
        (scored(0.46), Policy(), {"incumbent": "local"}, "without hysteresis: general"),
    ],
)  # fmt: skip
def test_the_nearest_flip_is_named(
    on: Decision, policy: Policy, changes: dict[str, Any], says: str
) -> None:
    assert flip(on, TASK, given(on, **changes), policy) == says


@pytest.mark.parametrize("probability", [0.0, 0.004, 0.29, 0.427, 0.5, 0.58, 0.9996, 1.0])
def test_the_threshold_that_a_flip_names_does_flip(probability: float) -> None:
    on = scored(probability)
    words = flip(on, TASK, given(on), Policy())
    threshold = float(words.split()[1])
    moved = made(on, Policy(route_threshold={"shell": threshold}))
    assert moved.chosen.partition(":")[0] == words.rpartition(": ")[2]
    assert moved.chosen != made(on).chosen
