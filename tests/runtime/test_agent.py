"""The loop: what is decided, what is asked, what is done, and what a crash leaves to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import Denied, SchemaRefused, UsageError
from models.remote import Permit, RemoteGenerator
from runtime.accept import check_task
from runtime.agent import Agent, Approver, Team
from runtime.config import Price
from runtime.core import Action, Call, Decision, Event, Gate, Outcome, Result, Step, Task, new_id
from runtime.drive import cut_off, drive
from runtime.ledger import Ledger, records
from runtime.policy import Policy
from runtime.report import summary
from runtime.roles.general import General
from tests.fakes import (
    FakeFormatter,
    FakeGeneral,
    FakeGenerator,
    FakeRefiner,
    FakeRouter,
    FakeTool,
    FakeToolUser,
    recipe,
)


def general(url: str = "", timeout_s: float = 5.0) -> General:
    remote = RemoteGenerator(base_url=url, model="big", timeout_s=timeout_s) if url else None
    return General(
        remote,
        model="big",
        price=Price(input=1.0, output=2.0, as_of="2026-05-04"),
        max_tokens=100,
        count_tokens=FakeGenerator().count_tokens,
    )


def team(tool: FakeTool | None = None, **changes: Any) -> Team:
    tool = tool or FakeTool()
    made = Team(
        router=FakeRouter(),
        refiner=FakeRefiner(),
        tool_user=FakeToolUser(),
        formatter=FakeFormatter(),
        general=general(),
        tools={"shell": tool, "gui": tool},
        functions=lambda task: (recipe("call", "parse", "read"),),
    )
    return replace(made, **changes)


def task(text: str = "one", **changes: Any) -> Task:
    return replace(Task(new_id("task"), text, yes=True), **changes)


async def run(agent: Agent, task_: Task, path: Path) -> tuple[Result, list[Event]]:
    ledger = Ledger(path / "ledger.db")
    try:
        result = await drive(agent, task_, ledger)
        return result, list(ledger.events(task_.id))
    finally:
        ledger.close()


async def test_every_action_is_recorded_before_it_happens(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    seen: list[list[str]] = []

    class Looking(FakeTool):
        def run(self, task: Task, action: Action) -> Outcome:
            other = Ledger(path)  # another process would see the same
            seen.append([e.type for e in other.events(task.id)])
            other.close()
            return super().run(task, action)

    ledger = Ledger(path)
    result = await drive(Agent(team(Looking()), Policy()), task("one"), ledger)
    ledger.close()
    assert result.status == "done"
    assert seen[0][-2:] == ["action", "gate"]
    assert {"task", "step", "decision", "call"} <= set(seen[0])


async def test_steps_are_done_in_order_and_answered_as_a_list(tmp_path: Path) -> None:
    tool = FakeTool()
    result, events = await run(Agent(team(tool), Policy()), task("one;two;three"), tmp_path)
    assert tool.done == ["one", "two", "three"]
    assert result.answer == ["one", "two", "three"]
    body = summary(events)
    assert [s["kind"] for s in body["steps"]] == ["refine", "shell", "shell", "shell"]
    assert body["local_share"] == 1.0
    assert body["bytes_sent"] == 0


async def test_a_schema_formats_everything_into_one_answer(tmp_path: Path) -> None:
    asked = task("one;two", schema={"type": "object"})
    result, _ = await run(Agent(team(), Policy()), asked, tmp_path)
    assert result.answer == {"value": ["one", "two"]}


async def test_a_plan_with_no_general_is_declined_with_what_would_be_sent(tmp_path: Path) -> None:
    tool = FakeTool()
    result, events = await run(Agent(team(tool), Policy()), task("plan: a move"), tmp_path)
    decision = records(events, Decision)[-1]
    assert result.status == "declined"
    assert decision.chosen == "declined"
    assert decision.would_send is not None
    assert "plan: a move" in decision.would_send["messages"][1]["content"]
    tokens = decision.would_send["tokens_in_estimated"]
    assert decision.would_send["usd_at_most_estimated"] == pytest.approx((tokens + 200) / 1e6)
    assert tool.done == []


async def test_a_plan_is_done_by_the_general_where_sending_is_allowed(tmp_path: Path) -> None:
    with FakeGeneral(["first this, then that"]) as server:
        agent = Agent(team(general=general(server.base_url)), Policy())
        result, events = await run(agent, task("plan: x", privacy="auto"), tmp_path)
        body = summary(events)
        assert result.answer == "first this, then that"
        assert body["bytes_sent"] == len(server.received[0])
        assert body["cost_usd"] == pytest.approx((50 * 1.0 + 20 * 2.0) / 1e6)
        assert body["local_share"] == 0.0


@pytest.mark.parametrize("approve", [True, False])
async def test_privacy_ask_shows_the_payload_and_waits(tmp_path: Path, approve: bool) -> None:
    shown: list[Mapping[str, Any]] = []

    async def ask_send(preview: Mapping[str, Any]) -> bool:
        shown.append(preview)
        return approve

    async def ask_action(action: Action, reason: str) -> bool:
        raise AssertionError("no action is expected")

    with FakeGeneral(["a plan"]) as server:
        agent = Agent(
            team(general=general(server.base_url)), Policy(), Approver(ask_action, ask_send)
        )
        result, _ = await run(agent, task("plan: x", privacy="ask"), tmp_path)
        assert "plan: x" in shown[0]["messages"][1]["content"]
        assert len(server.received) == int(approve)
        assert result.status == ("done" if approve else "declined")


@pytest.mark.parametrize("privacy", ["local", "ask"])
async def test_nothing_leaves_under_local_or_with_nobody_to_ask(
    tmp_path: Path, privacy: str
) -> None:
    with FakeGeneral(["never"]) as server:
        agent = Agent(team(general=general(server.base_url)), Policy())
        result, _ = await run(agent, task("plan: x", privacy=privacy), tmp_path)
        assert result.status == "declined"
        assert server.received == []


async def test_the_connection_itself_refuses_privacy_local() -> None:
    with FakeGeneral(["never"]) as server:
        remote = RemoteGenerator(base_url=server.base_url, model="big")
        with pytest.raises(Denied, match="nothing was sent"):
            await remote.complete([{"role": "user", "content": "x"}], Permit("local", "bug"))
        assert server.received == []


async def test_a_budget_is_checked_before_the_call(tmp_path: Path) -> None:
    with FakeGeneral(["never"]) as server:
        agent = Agent(team(general=general(server.base_url)), Policy())
        asked = task("plan: x", privacy="auto", budget_usd=0.0001)
        result, _ = await run(agent, asked, tmp_path)
        assert result.status == "declined"
        assert "over the task's budget" in result.reason
        assert server.received == []


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((503, '{"error": {"message": "overloaded"}}'), "503"),
        ((401, '{"error": {"message": "no"}}'), "refused the API key"),
        ((200, "<html>hello</html>"), "cannot be used"),
        ((200, '{"choices": []}'), "answered nothing"),
        ("   ", "answered nothing"),
    ],
)
async def test_a_general_that_fails_declines_a_plan_and_leaves_a_whole_record(
    tmp_path: Path, reply: str | tuple[int, str], message: str
) -> None:
    with FakeGeneral([reply, reply]) as server:
        agent = Agent(team(general=general(server.base_url)), Policy())
        asked = task("plan: x", privacy="auto")
        result, events = await run(agent, asked, tmp_path)
    assert result.status == "declined"
    assert message in result.reason
    assert records(events, Decision)[-1].rule == "general-failed"
    assert summary(events)["bytes_sent"] > 0  # what left is on record, answer or not
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.check()
    ledger.close()


async def test_a_general_that_is_down_is_named(tmp_path: Path) -> None:
    with FakeGeneral() as server:
        url = server.base_url
    agent = Agent(team(general=general(url)), Policy())
    result, events = await run(agent, task("plan: x", privacy="auto"), tmp_path)
    assert "cannot be reached" in result.reason
    assert summary(events)["bytes_sent"] == 0


async def test_a_weak_local_answer_escalates_and_names_the_first_decision(tmp_path: Path) -> None:
    with FakeGeneral(['{"recipe": "make", "arguments": {"name": "from afar"}}']) as server:
        tool = FakeTool()
        weak = team(tool, tool_user=FakeToolUser(0.1), general=general(server.base_url))
        result, events = await run(Agent(weak, Policy()), task(privacy="auto"), tmp_path)
    first, second = [d for d in records(events, Decision) if d.kind == "shell"]
    assert second.previous == first.id
    assert (second.rule, second.chosen) == ("accept:shell", "general")
    assert tool.done == ["from afar"]
    assert result.status == "done"


async def test_problems_found_by_the_verifier_escalate_whatever_the_confidence(
    tmp_path: Path,
) -> None:
    reader = FakeTool(recipes=(recipe(risk="read"),))
    doubtful = team(reader, tool_user=FakeToolUser(0.99, ("there is no such folder",)))
    result, events = await run(Agent(doubtful, Policy()), task(), tmp_path)
    assert records(events, Decision)[-1].rule == "no-general"
    assert "there is no such folder" in records(events, Decision)[-1].reason
    assert result.status == "unsure"
    assert reader.done == ["one"]  # --yes covers unsure reads


@pytest.mark.parametrize(
    "answer", ['{"recipe": "rm -rf", "arguments": {}}', "sure, I will", '{"arguments": 3}', "[1]"]
)
async def test_a_nonsense_call_of_the_general_is_never_acted_on(
    tmp_path: Path, answer: str
) -> None:
    tool = FakeTool()
    with FakeGeneral([answer]) as server:
        weak = team(tool, tool_user=FakeToolUser(0.1), general=general(server.base_url))
        result, events = await run(Agent(weak, Policy()), task(privacy="auto"), tmp_path)
    assert records(events, Decision)[-1].rule == "general-failed"
    assert result.status == "denied"  # what is left is the weak local answer: an unsure write
    assert tool.done == []


async def test_an_unsure_write_is_never_automatic(tmp_path: Path) -> None:
    tool = FakeTool()
    unsure = team(tool, tool_user=FakeToolUser(0.1))
    result, events = await run(Agent(unsure, Policy()), task(yes=True), tmp_path)
    assert tool.done == []
    assert result.status == "denied"
    assert records(events, Gate)[0].by == "nobody-to-ask"


async def test_sensitive_actions_are_not_covered_by_yes(tmp_path: Path) -> None:
    tool = FakeTool(recipes=(recipe(risk="sensitive"),))
    result, _ = await run(Agent(team(tool), Policy()), task(yes=True), tmp_path)
    assert (result.status, tool.done) == ("denied", [])


async def test_a_person_is_asked_with_the_preview(tmp_path: Path) -> None:
    asked: list[str] = []

    async def ask_action(action: Action, reason: str) -> bool:
        asked.append(action.preview)
        return True

    async def ask_send(preview: Mapping[str, Any]) -> bool:
        return False

    tool = FakeTool()
    agent = Agent(team(tool), Policy(), Approver(ask_action, ask_send))
    result, events = await run(agent, task(yes=False), tmp_path)
    assert asked == ["make one"]
    assert records(events, Gate)[0].by == "user"
    assert (result.status, tool.done) == ("done", ["one"])


async def test_a_dry_run_does_nothing_and_shows_what_it_would(tmp_path: Path) -> None:
    tool = FakeTool()
    result, _ = await run(Agent(team(tool), Policy()), task(dry_run=True), tmp_path)
    assert tool.done == []
    assert result.answer == {"would_run": "make one"}


async def test_a_failed_action_is_repaired_once_with_another_recipe(tmp_path: Path) -> None:
    tool = FakeTool(recipes=(recipe("bad"), recipe("good")), fails=frozenset({"bad"}))
    result, events = await run(Agent(team(tool), Policy()), task(), tmp_path)
    repair = records(events, Decision)[-1]
    assert (repair.kind, repair.rule) == ("repair", "repair")
    assert "bad failed: it broke" in repair.reason
    assert (result.status, tool.done) == ("done", ["one"])


async def test_a_failure_that_no_recipe_mends_goes_to_the_general_with_the_error(
    tmp_path: Path,
) -> None:
    tool = FakeTool(recipes=(recipe("bad"), recipe("worse")), fails=frozenset({"bad", "worse"}))

    class Narrow(FakeToolUser):
        async def propose(self, task: Task, step: Step, decision: Decision, recipes: Any) -> Any:
            self.confidence = 0.9 if len(recipes) == 2 else 0.1
            return await super().propose(task, step, decision, recipes)

    with FakeGeneral(['{"recipe": null}']) as server:
        failing = team(tool, tool_user=Narrow(), general=general(server.base_url))
        result, _ = await run(Agent(failing, Policy()), task(privacy="auto"), tmp_path)
        assert b"it broke" in server.received[0]
    assert result.status == "failed"


@pytest.mark.parametrize("cut_at", range(1, 14))
async def test_resumed_after_any_event_nothing_is_lost_or_repeated(
    tmp_path: Path, cut_at: int
) -> None:
    """The process dies right after its n-th commit; the same task is then resumed."""
    ledger = Ledger(tmp_path / "ledger.db")
    tool, asked = FakeTool(), task("one;two")
    stream = Agent(team(tool), Policy()).run(asked)
    for _ in range(cut_at):
        try:
            ledger.append(await anext(stream))
        except StopAsyncIteration:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    before = list(tool.done)
    result = await drive(Agent(team(tool), Policy()), asked, ledger, resume=True)
    events = list(ledger.events(asked.id))
    begun = [e for e in events if isinstance(e.record, Action)]
    assert len(tool.done) == len(set(tool.done))  # no action twice
    assert tool.done[: len(before)] == before
    if tool.looked:  # cut between the gate's yes and the outcome: looked at, never repeated
        assert result.status == "interrupted"
        assert records(events, Outcome)[-1].status == "interrupted"
    else:
        assert result.status == "done"
        assert tool.done == ["one", "two"]
    assert begun
    ledger.close()


async def test_a_finished_task_is_not_run_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    tool, asked = FakeTool(), task()
    first = await drive(Agent(team(tool), Policy()), asked, ledger)
    again = await drive(Agent(team(tool), Policy()), asked, ledger, resume=True)
    assert first == again
    assert tool.done == ["one"]
    ledger.close()


async def test_cancelling_records_what_was_cut_off(tmp_path: Path) -> None:
    started, release = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(FakeTool):
        def run(self, task: Task, action: Action) -> Outcome:
            loop.call_soon_threadsafe(started.set)
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
            return super().run(task, action)

    ledger = Ledger(tmp_path / "ledger.db")
    asked = task()
    running = asyncio.create_task(drive(Agent(team(Slow()), Policy()), asked, ledger))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    release.set()
    events = list(ledger.events(asked.id))
    assert records(events, Outcome)[-1].status == "interrupted"
    assert records(events, Result)[-1].status == "cancelled"
    ledger.close()


async def test_one_task_is_not_run_by_two_at_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    asked = task()
    refused: list[str] = []

    class Nested(FakeTool):
        def run(self, task: Task, action: Action) -> Outcome:
            try:
                asyncio.run(drive(Agent(team(), Policy()), task, ledger, resume=True))
            except UsageError as error:
                refused.append(error.message)
            return super().run(task, action)

    await drive(Agent(team(Nested()), Policy()), asked, ledger)
    assert "running in another process" in refused[0]
    ledger.close()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Task("t", "   \n"), "empty"),
        (Task("t", "x" * 100_000), "100,000 characters; at most 20,000"),
        (Task("t", "x", folder="/nowhere/at/all"), "does not exist"),
    ],
)
def test_a_task_that_cannot_be_accepted_is_refused(bad: Task, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_task(bad, Policy())


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(SchemaRefused, match="no JSON Schema"):
        check_task(Task("t", "x", schema={"type": "no such type"}), Policy())


def test_a_schema_that_refers_elsewhere_is_refused_without_asking() -> None:
    for reference in ("#/$defs/missing", "http://127.0.0.1:9/x.json"):
        with pytest.raises(SchemaRefused, match="does not hold"):
            check_task(Task("t", "x", schema={"items": {"$ref": reference}}), Policy())


def test_a_tool_without_a_function_is_refused() -> None:
    with pytest.raises(UsageError, match="no function with a name"):
        check_task(Task("t", "x", tools=({"a": 1},)), Policy())


async def test_a_repair_of_an_unsure_step_is_still_unsure(tmp_path: Path) -> None:
    tool = FakeTool(recipes=(recipe("bad", risk="read"), recipe("good")), fails=frozenset({"bad"}))

    class ThenConfident(FakeToolUser):
        async def propose(self, task: Task, step: Step, decision: Decision, recipes: Any) -> Any:
            self.confidence = 0.1 if len(recipes) == 2 else 0.9
            return await super().propose(task, step, decision, recipes)

    result, _ = await run(Agent(team(tool, tool_user=ThenConfident()), Policy()), task(), tmp_path)
    assert tool.done == []  # the repair writes, and --yes covers no unsure write
    assert result.status == "denied"


async def test_a_budget_counts_what_was_spent_before(tmp_path: Path) -> None:
    with FakeGeneral(["a", "b"]) as server:
        agent = Agent(team(general=general(server.base_url)), Policy())
        # One call is priced at $0.0002 and some at most, and costs $0.00009.
        asked = task("plan: x;plan: y", privacy="auto", budget_usd=0.00028)
        result, _ = await run(agent, asked, tmp_path)
        assert len(server.received) == 1
    assert "on top of $0.0001 spent" in result.reason


async def test_an_unsure_task_is_unsure_when_resumed_too(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    reader = FakeTool(recipes=(recipe(risk="read"),))
    asked = task("one;two")
    stream = Agent(team(reader, tool_user=FakeToolUser(0.1)), Policy()).run(asked)
    async for event in stream:
        ledger.append(event)
        if isinstance(event.record, Outcome):
            break
    result = await drive(Agent(team(reader), Policy()), asked, ledger, resume=True)
    ledger.close()
    assert (result.status, reader.done) == ("unsure", ["one", "two"])


async def test_cancelling_stops_the_action_itself(tmp_path: Path) -> None:
    started, loop = asyncio.Event(), asyncio.get_running_loop()
    released = threading.Event()

    class Stoppable(FakeTool):
        def run(self, task: Task, action: Action) -> Outcome:
            loop.call_soon_threadsafe(started.set)
            assert released.wait(30)
            return super().run(task, action)

        def stop(self, action: Action) -> None:
            released.set()

    ledger = Ledger(tmp_path / "ledger.db")
    running = asyncio.create_task(drive(Agent(team(Stoppable()), Policy()), task(), ledger))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert released.is_set()
    ledger.close()


async def test_a_server_that_counts_no_tokens_is_counted_for(tmp_path: Path) -> None:
    reply = '{"choices": [{"message": {"role": "assistant", "content": "a plan"}}]}'
    with FakeGeneral([(200, reply)]) as server:
        agent = Agent(team(general=general(server.base_url)), Policy())
        _, events = await run(agent, task("plan: x", privacy="auto"), tmp_path)
    call = records(events, Call)[-1]
    assert call.parameters["tokens"] == "estimated"
    assert call.tokens_out == 2
    assert call.cost_usd > 0


async def test_a_general_that_cannot_be_reached_is_no_local_call(tmp_path: Path) -> None:
    with FakeGeneral() as server:
        url = server.base_url
    asked = task("plan: x", privacy="auto")
    _, events = await run(Agent(team(general=general(url)), Policy()), asked, tmp_path)
    assert summary(events)["local_share"] == 0.0


async def test_a_task_that_a_crash_cut_off_is_found(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    asked, running = task(), task()
    ledger.append(Event(asked.id, 0, asked))
    seen: list[list[str]] = []

    class Looking(FakeTool):
        def run(self, task: Task, action: Action) -> Outcome:
            seen.append([t.id for t in cut_off(ledger)])
            return super().run(task, action)

    await drive(Agent(team(Looking()), Policy()), running, ledger)
    assert seen == [[asked.id]]  # not the one that runs at that moment
    ledger.close()
