"""The loop under a policy: rules, budgets, hysteresis, and a General that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.agent import Agent, Approver
from runtime.budgets import Budget, LedgerSpending
from runtime.core import Action, Call, Decision, Event, Outcome, Step, Task
from runtime.drive import drive
from runtime.ledger import Ledger, records
from runtime.policy import Policy
from runtime.replay import again, over
from runtime.report import summary
from runtime.rules import Rule
from tests.fakes import FakeGeneral, FakeRefiner, FakeRouter, FakeTool, FakeToolUser, recipe
from tests.runtime.test_agent import general, run, task, team

REFUSES = (401, '{"error": {"message": "no"}}')
"""Nothing that is worth trying again."""


def reader() -> FakeTool:
    return FakeTool(recipes=(recipe(risk="read"),))


class Asked:
    """A person who answers as told, and what they were asked."""

    def __init__(self, *, action: bool = True, send: bool = True) -> None:
        self.actions: list[str] = []
        self.sends: list[Mapping[str, Any]] = []
        self._answers = action, send

    @property
    def approver(self) -> Approver:
        return Approver(self._action, self._send)

    async def _action(self, action: Action, reason: str) -> bool:
        self.actions.append(f"{action.preview} | {reason}")
        return self._answers[0]

    async def _send(self, preview: Mapping[str, Any]) -> bool:
        self.sends.append(preview)
        return self._answers[1]


def spent(path: Path) -> LedgerSpending:
    return LedgerSpending(path / "ledger.db")


def last(events: list[Event]) -> Decision:
    return records(events, Decision)[-1]


async def test_a_failing_general_leaves_the_best_local_answer_marked_unsure(
    tmp_path: Path,
) -> None:
    tool = reader()
    with FakeGeneral([REFUSES]) as server:
        weak = team(tool, tool_user=FakeToolUser(0.1), general=general(server.base_url))
        result, events = await run(Agent(weak, Policy()), task(privacy="auto"), tmp_path)
    assert (result.status, result.answer, tool.done) == ("unsure", "one", ["one"])
    first, second, third = [d for d in records(events, Decision) if d.kind == "shell"]
    assert [d.rule for d in (first, second, third)] == [
        "threshold:shell", "accept:shell", "general-failed",
    ]  # fmt: skip
    assert third.previous == second.id
    assert "refused the API key" in third.reason
    failed = [c for c in records(events, Call) if c.role == "general"]
    assert len(failed) == 1  # what left is on record, and the same step does not ask twice
    assert failed[0].bytes_sent > 0
    # The weak answer that was there already is the one that is used.
    assert len([c for c in records(events, Call) if c.role == "tool_user"]) == 1


async def test_a_step_that_went_straight_to_a_failing_general_is_done_here(
    tmp_path: Path,
) -> None:
    tool = reader()
    with FakeGeneral([REFUSES]) as server:
        doubtful = team(tool, router=FakeRouter(0.3), general=general(server.base_url))
        result, events = await run(Agent(doubtful, Policy()), task(privacy="auto"), tmp_path)
    assert (result.status, tool.done) == ("unsure", ["one"])
    assert "refused the API key" in result.reason
    assert last(events).rule == "general-failed"


async def test_later_steps_still_get_done_after_a_failing_general(tmp_path: Path) -> None:
    tool = reader()
    with FakeGeneral([REFUSES, '{"recipe": "make", "arguments": {"name": "two!"}}']) as server:
        doubtful = team(tool, router=FakeRouter(0.3), general=general(server.base_url))
        result, _ = await run(Agent(doubtful, Policy()), task("one;two", privacy="auto"), tmp_path)
    assert tool.done == ["one", "two!"]
    assert result.status == "unsure"


@pytest.mark.parametrize("wanted", [True, False])
async def test_by_policy_a_person_is_asked_whether_the_local_answer_will_do(
    tmp_path: Path, wanted: bool
) -> None:
    tool, person = reader(), Asked(action=wanted)
    policy = Policy(general_failed="ask")
    with FakeGeneral([REFUSES]) as server:
        doubtful = team(tool, router=FakeRouter(0.3), general=general(server.base_url))
        agent = Agent(doubtful, policy, person.approver)
        result, events = await run(agent, task(privacy="auto"), tmp_path)
    assert person.actions[0].startswith("answer on this machine instead, marked unsure: one")
    assert "refused the API key" in person.actions[0]
    assert result.status == ("unsure" if wanted else "declined")
    assert tool.done == (["one"] if wanted else [])
    assert last(events).given["answer"] == ("local" if wanted else "general")


async def test_nobody_is_asked_about_a_plan_that_only_the_general_makes(tmp_path: Path) -> None:
    person = Asked()
    with FakeGeneral([REFUSES]) as server:
        agent = Agent(
            team(general=general(server.base_url)), Policy(general_failed="ask"), person.approver
        )
        result, _ = await run(agent, task("plan: x", privacy="auto"), tmp_path)
    assert (result.status, person.actions) == ("declined", [])
    assert "refused the API key" in result.reason


async def test_a_repair_that_the_general_fails_at_names_both_failures(tmp_path: Path) -> None:
    tool = FakeTool(recipes=(recipe("bad"),), fails=frozenset({"bad"}))
    with FakeGeneral([REFUSES]) as server:

        class NoOther(FakeToolUser):
            async def propose(
                self, task: Task, step: Step, decision: Decision, recipes: Any
            ) -> Any:
                self.confidence = 0.9 if recipes else 0.1
                return await super().propose(task, step, decision, recipes)

        failing = team(tool, tool_user=NoOther(), general=general(server.base_url))
        result, events = await run(Agent(failing, Policy()), task(privacy="auto"), tmp_path)
    assert result.status == "failed"
    assert "it broke" in result.reason
    assert "refused the API key" in result.reason
    assert (last(events).kind, last(events).chosen) == ("repair", "declined")


async def test_a_rule_pins_local_and_a_weak_answer_does_not_escalate(tmp_path: Path) -> None:
    tool = reader()
    policy = Policy(rules=(Rule(1, keyword=("one",), route="local"),))
    with FakeGeneral(["never"]) as server:
        weak = team(tool, tool_user=FakeToolUser(0.1), general=general(server.base_url))
        result, events = await run(Agent(weak, policy), task(privacy="auto"), tmp_path)
        assert server.received == []
    assert (result.status, last(events).rule) == ("unsure", "rule:1")


async def test_a_rule_sends_to_the_general_what_the_score_would_keep(tmp_path: Path) -> None:
    policy = Policy(rules=(Rule(1, keyword=("one",), route="general"),))
    tool = reader()
    with FakeGeneral(['{"recipe": "make", "arguments": {"name": "from afar"}}']) as server:
        result, _ = await run(
            Agent(team(tool, general=general(server.base_url)), policy),
            task(privacy="auto"),
            tmp_path,
        )
    assert (result.status, tool.done) == ("done", ["from afar"])


async def test_a_rule_declines(tmp_path: Path) -> None:
    tool = reader()
    policy = Policy(rules=(Rule(1, "no games", keyword=("two",), route="decline"),))
    result, _ = await run(Agent(team(tool), policy), task("one;two;three"), tmp_path)
    assert (result.status, tool.done) == ("declined", ["one"])
    assert "rule no 1 (no games) declines it" in result.reason


async def test_a_rule_that_pins_privacy_keeps_every_byte_here(tmp_path: Path) -> None:
    policy = Policy(rules=(Rule(1, keyword=("salary",), privacy="local"),))
    with FakeGeneral(["never"]) as server:
        agent = Agent(team(general=general(server.base_url)), policy)
        # The plan's own words are harmless, but the task's would leave with them.
        asked = task("list the salary file;plan: x", privacy="auto")
        result, events = await run(agent, asked, tmp_path)
        assert server.received == []
    assert (result.status, last(events).rule) == ("declined", "rule:1")
    assert summary(events)["bytes_sent"] == 0


async def test_a_rule_that_pins_ask_shows_the_payload_of_a_task_under_auto(tmp_path: Path) -> None:
    person = Asked(send=False)
    policy = Policy(rules=(Rule(1, kind=("plan",), privacy="ask"),))
    with FakeGeneral(["never"]) as server:
        agent = Agent(team(general=general(server.base_url)), policy, person.approver)
        result, _ = await run(agent, task("plan: x", privacy="auto"), tmp_path)
        assert server.received == []
    assert (result.status, len(person.sends)) == ("declined", 1)


async def test_a_rule_that_pins_auto_asks_nobody(tmp_path: Path) -> None:
    policy = Policy(rules=(Rule(1, kind=("plan",), privacy="auto"),))
    with FakeGeneral(["a plan"]) as server:
        agent = Agent(team(general=general(server.base_url)), policy)
        result, _ = await run(agent, task("plan: x", privacy="ask"), tmp_path)
    assert result.answer == "a plan"


async def test_a_rule_reads_the_window_that_the_last_action_left_in_front(tmp_path: Path) -> None:
    class Windowed(FakeTool):
        def run(self, task: Task, action: Action) -> Outcome:
            super().run(task, action)
            data = {"title": "vault - KeePassXC"}
            return Outcome(action.id, task.id, action.step_id, "done", data=data)

    policy = Policy(rules=(Rule(1, window=("*keepass*",), route="decline"),))
    gui = team(Windowed(name="gui"), refiner=FakeRefiner("gui"))
    result, events = await run(Agent(gui, policy), task("open it;copy it"), tmp_path)
    assert result.status == "declined"
    assert [d.rule for d in records(events, Decision) if d.kind == "gui"] == [
        "threshold:gui", "accept:gui", "rule:1",
    ]  # fmt: skip
    assert last(events).given["window"] == "vault - KeePassXC"


@pytest.mark.parametrize(
    ("action", "status", "sent"),
    [("warn", "done", 2), ("local-only", "unsure", 1), ("block", "declined", 1)],
)
async def test_a_day_s_budget_is_checked_before_the_call_across_tasks(
    tmp_path: Path, action: Any, status: str, sent: int
) -> None:
    # A call is priced at $0.0002 and some at most, and costs $0.00009.
    policy = Policy(budgets=(Budget("day", usd=0.00027, action=action),))
    reply = '{"recipe": "make", "arguments": {"name": "far"}}'
    with FakeGeneral([reply, reply]) as server:
        doubtful = team(reader(), router=FakeRouter(0.3), general=general(server.base_url))
        agent = Agent(doubtful, policy, spending=spent(tmp_path))
        first, _ = await run(agent, task(privacy="auto"), tmp_path)
        second, events = await run(agent, task(privacy="auto"), tmp_path)
        assert len(server.received) == sent
    assert (first.status, second.status) == ("done", status)
    assert "the day's budget of $0.0003" in last(events).reason


async def test_a_budget_of_tokens_binds_within_a_task(tmp_path: Path) -> None:
    policy = Policy(budgets=(Budget("task", tokens=200),))
    with FakeGeneral(["a", "b"]) as server:
        agent = Agent(team(general=general(server.base_url)), policy)
        result, _ = await run(agent, task("plan: x;plan: y", privacy="auto"), tmp_path)
        assert len(server.received) == 1  # 70 tokens used, and at most some 130 more
    assert "over the task's budget of 200 tokens" in result.reason


async def test_a_step_near_its_threshold_stays_with_who_served_before(tmp_path: Path) -> None:
    class Sequence(FakeRouter):
        def route(self, *arguments: Any, **named: Any) -> Decision:
            self.probability = {"one": 0.9, "two": 0.47, "three": 0.3, "four": 0.53}[
                arguments[1].text
            ]
            return replace(super().route(*arguments, **named), rule="threshold:shell")

    reply = '{"recipe": "make", "arguments": {"name": "far"}}'
    tool = reader()
    with FakeGeneral([reply, reply]) as server:
        flighty = team(tool, router=Sequence(), general=general(server.base_url))
        asked = task("one;two;three;four", privacy="auto")
        _, events = await run(Agent(flighty, Policy()), asked, tmp_path)
    decisions = [d for d in records(events, Decision) if d.kind == "shell" and not d.keeps]
    assert [(d.chosen, d.rule) for d in decisions] == [
        ("local:tool_user", "threshold:shell"),
        ("local:tool_user", "hysteresis"),
        ("general", "threshold:shell"),
        ("general", "hysteresis"),
    ]
    assert tool.done == ["one", "two", "far", "far"]


async def test_what_was_allowed_to_leave_is_decided_again_when_resumed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    asked = task("plan: x", privacy="auto")
    with FakeGeneral(["never"]) as server:
        stream = Agent(team(general=general(server.base_url)), Policy()).run(asked)
        async for event in stream:
            ledger.append(event)
            if isinstance(event.record, Decision) and event.record.chosen == "general":
                break
        stricter = Policy(rules=(Rule(1, kind=("plan",), privacy="local"),))
        agent = Agent(team(general=general(server.base_url)), stricter)
        result = await drive(agent, asked, ledger, resume=True)
        assert server.received == []
    ledger.close()
    assert result.status == "declined"


async def history(path: Path) -> list[Event]:
    """A ledger with every kind of decision in it."""
    reply = '{"recipe": "make", "arguments": {"name": "far"}}'
    with FakeGeneral(["a plan", REFUSES, reply]) as server:
        policy = Policy(
            budgets=(Budget("day", usd=0.001), Budget("month", tokens=100_000)),
            rules=(Rule(1, keyword=("stay",), route="local"),),
        )
        remote = general(server.base_url)
        for made, words in (
            (team(reader(), general=remote), "one;plan: x"),
            (team(reader(), general=remote, router=FakeRouter(0.3)), "two"),
            (team(reader(), general=remote, tool_user=FakeToolUser(0.1)), "three"),
            (team(reader(), router=FakeRouter(0.3)), "stay;four"),
            (team(reader()), "plan: y"),
        ):
            agent = Agent(made, policy, spending=spent(path))
            await run(agent, task(words, privacy="auto"), path)
    ledger = Ledger(path / "ledger.db")
    events = list(ledger.events())
    ledger.close()
    return events


async def test_under_its_own_policy_the_record_replays_as_it_was(tmp_path: Path) -> None:
    events = await history(tmp_path)
    policy = Policy(
        budgets=(Budget("day", usd=0.001), Budget("month", tokens=100_000)),
        rules=(Rule(1, keyword=("stay",), route="local"),),
    )
    replay = over(events, policy)
    assert replay.changed == []
    assert replay.replayed == 11
    assert replay.before == replay.after
    assert {"local", "general", "declined"} <= set(replay.before)
    tasks = {t.id: t for t in records(events, Task)}
    for event in events:
        decision = event.record
        if isinstance(decision, Decision) and decision.given:
            earlier = [e for e in events if e.id < event.id]
            assert again(event, tasks[decision.task_id], policy, earlier) == decision


async def test_another_policy_changes_what_it_says_and_what_follows_is_moot(
    tmp_path: Path,
) -> None:
    events = await history(tmp_path)
    replay = over(events, Policy(rules=(Rule(1, kind=("shell",), route="decline"),)))
    assert {c.after.chosen for c in replay.changed} == {"declined"}
    assert {c.before.kind for c in replay.changed} == {"shell"}
    assert replay.moot > 0  # the plan after "one", and what came of "two" and "three"
    body = replay.changed[0].to_json()
    assert (body["to"], body["rule"]) == ("declined", "rule:1")


async def test_a_smaller_budget_is_kept_account_of_over_the_record(tmp_path: Path) -> None:
    with FakeGeneral(["a", "b", "c"]) as server:
        agent = Agent(team(general=general(server.base_url)), Policy())
        for _ in range(3):
            await run(agent, task("plan: x", privacy="auto"), tmp_path)
    ledger = Ledger(tmp_path / "ledger.db")
    events = list(ledger.events())
    ledger.close()
    assert over(events, Policy(budgets=(Budget("day", usd=1.0),))).changed == []
    # Each costs $0.00009 and could have cost $0.000232: one beside another fits, a third does not.
    tight = over(events, Policy(budgets=(Budget("day", usd=0.00035),)))
    assert len(tight.changed) == 1
    # What a refused call would have cost is not spent, so the order of refusals is that of time.
    none = over(events, Policy(budgets=(Budget("day", usd=0.0001),)))
    assert [c.after.chosen for c in none.changed] == ["declined"] * 3
