"""Local answers are kept by what is certified of them, and the record says which promise held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.agent import Agent, Team
from runtime.calibration import ALPHAS, Calibrated, Calibration, Row
from runtime.cascade import Signals, fit_cascade
from runtime.core import Decision, Event, Judgement, Task
from runtime.decisions import is_unsure
from runtime.ledger import records
from runtime.outcomes import History, Told, known
from runtime.policy import Policy, with_settings
from runtime.replay import again
from runtime.risk import Certified, certify
from runtime.rules import Rule
from runtime.trust import Trust, digests, signals_of
from tests.fakes import FakeGeneral, FakeRefiner, FakeTool, FakeToolUser, recipe
from tests.runtime.test_agent import general, run, task, team

FILES = "+".join(FakeToolUser.models)
REPLY = '{"recipe": "make", "arguments": {"name": "far"}}'


def reader() -> FakeTool:
    return FakeTool(recipes=(recipe(risk="read"),))


def rows(n: int, seed: int) -> list[Row]:
    """Answers that are right almost always where their confidence is high, and never below."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        confidence = float(rng.uniform(0.02, 0.99))
        signals = Signals(0.9, pick=confidence, confidence=confidence, problems=0)
        right = bool(rng.random() < (0.97 if confidence > 0.5 else 0.1))
        found.append(Row("shell", FILES, signals, right))
    return found


def trusted(alphas: tuple[float, ...] = ALPHAS) -> Trust:
    """Calibrated for the fakes: their confidence says how likely they are right."""
    fitting, certifying = rows(1500, 1), rows(4000, 2)
    cascade = fit_cascade([r.signals for r in fitting], [r.right for r in fitting], model=FILES)
    scores = cascade.probability([r.signals for r in certifying])
    right = np.array([r.right for r in certifying])
    held: dict[float, Certified] = {a: certify(scores, right, a) for a in alphas}
    entry = Calibrated(cascade, held, len(certifying), int(right.sum()), "a test")
    return Trust(Calibration({("shell", FILES): entry}))


TRUST = trusted()


def made(confidence: float, **changes: Any) -> Team:
    return team(reader(), **{"trust": TRUST, "tool_user": FakeToolUser(confidence), **changes})


def judged(events: list[Event]) -> Decision:
    """The decision on the local answer."""
    return next(d for d in records(events, Decision) if "problems" in d.signals)


async def test_a_kept_answer_leaves_a_decision_with_score_threshold_and_promise(
    tmp_path: Path,
) -> None:
    result, events = await run(Agent(made(0.98), Policy(risk_alpha=0.05)), task(), tmp_path)
    decision = judged(events)
    assert result.status == "done" and decision.keeps
    assert decision.rule == "accept:shell" and decision.previous is not None
    assert decision.probability > 0.9 and decision.threshold < 1.0
    assert "at most 0.05 of such answers wrong, certified" in decision.reason
    assert decision.given["certified"]["0.05"] == pytest.approx(decision.threshold)
    assert decision.effects["confidence"] > 0
    here = next(c for c in decision.candidates if c.worker.startswith("local:"))
    assert here.probability == decision.probability


async def test_a_doubtful_answer_is_escalated_where_the_general_is_likelier_right(
    tmp_path: Path,
) -> None:
    with FakeGeneral([REPLY]) as server:
        agent = Agent(made(0.3, general=general(server.base_url)), Policy(risk_alpha=0.05))
        result, events = await run(agent, task(privacy="auto"), tmp_path)
    decision = judged(events)
    assert (decision.chosen, result.answer) == ("general", "far")
    assert decision.given["benefit"] > 0.5
    away = next(c for c in decision.candidates if c.worker == "general")
    assert away.probability == pytest.approx(0.9)


async def test_where_escalating_gains_too_little_the_local_answer_stands_unsure(
    tmp_path: Path,
) -> None:
    history = History(away={"shell": Told(right=0, wrong=60)})
    policy = Policy(risk_alpha=0.05, least_benefit=0.2)
    with FakeGeneral([REPLY]) as server:
        team_ = made(0.4, general=general(server.base_url))
        kept, events = await run(
            Agent(team_, policy, history=history), task(privacy="auto"), tmp_path
        )
        assert server.received == []
        # A General of which nothing bad is known is worth asking.
        asked, _ = await run(Agent(team_, policy), task(privacy="auto"), tmp_path)
        assert len(server.received) == 1
    assert (kept.status, judged(events).rule) == ("unsure", "benefit")
    assert "expected to gain" in judged(events).reason
    assert "least_benefit" in judged(events).flip
    assert (asked.status, asked.answer) == ("done", "far")


async def test_a_rule_that_pins_the_general_stands_before_what_it_would_gain(
    tmp_path: Path,
) -> None:
    history = History(away={"shell": Told(right=0, wrong=60)})
    policy = Policy(
        risk_alpha=0.05, least_benefit=0.2, rules=(Rule(1, kind=("shell",), route="general"),)
    )
    with FakeGeneral([REPLY]) as server:
        pinned = Agent(made(0.98, general=general(server.base_url)), policy, history=history)
        result, _ = await run(pinned, task(privacy="auto"), tmp_path)
    assert result.answer == "far"


async def test_a_repair_is_tried_where_nothing_is_promised_of_it_and_marked_unsure(
    tmp_path: Path,
) -> None:
    for trust in (TRUST, Trust()):
        tool = FakeTool(
            recipes=(recipe("bad", risk="read"), recipe("good", risk="read")),
            fails=frozenset({"bad"}),
        )
        agent = Agent(
            team(tool, trust=trust, tool_user=FakeToolUser(0.98)), Policy(risk_alpha=0.05)
        )
        result, events = await run(agent, task(), tmp_path)
        repair = next(d for d in records(events, Decision) if d.kind == "repair")
        assert (result.status, tool.done) == ("unsure", ["one"])
        assert repair.signals["pick"] == 0.98


async def test_an_alpha_that_cannot_be_certified_keeps_nothing_as_sure_and_says_what_can(
    tmp_path: Path,
) -> None:
    result, events = await run(Agent(made(0.98), Policy(risk_alpha=0.001)), task(), tmp_path)
    decision = judged(events)
    assert result.status == "unsure" and is_unsure(decision)
    assert (
        "alpha 0.001 cannot be certified for shell; the smallest that is certified is"
        in result.reason
    )
    assert decision.threshold > 1.0
    assert decision.flip.startswith("risk_alpha") and decision.flip.endswith("local, sure")


async def test_without_a_promise_an_answer_is_sure_where_it_is_likelier_right(
    tmp_path: Path,
) -> None:
    result, events = await run(Agent(made(0.9), Policy(risk_alpha=0.0)), task(), tmp_path)
    assert (result.status, judged(events).threshold) == ("done", 0.5)


async def test_a_threshold_of_ones_own_stands_before_alpha(tmp_path: Path) -> None:
    policy = with_settings(Policy(), {"accept_threshold": {"shell": 0.05}}, where="policy.toml:")
    result, events = await run(Agent(made(0.3), policy), task(), tmp_path)
    assert result.status == "done"
    assert "your accept_threshold" in judged(events).reason


async def test_files_that_were_not_calibrated_say_so_and_go_by_confidence(tmp_path: Path) -> None:
    result, events = await run(Agent(made(0.9, trust=Trust()), Policy()), task(), tmp_path)
    decision = judged(events)
    assert (result.status, decision.probability) == ("done", 0.9)
    assert "not calibrated" in decision.reason and not decision.given["certified"]


async def test_a_promise_is_not_made_for_files_that_were_not_calibrated(tmp_path: Path) -> None:
    agent = Agent(made(0.99, trust=Trust()), Policy(risk_alpha=0.1))
    result, events = await run(agent, task(), tmp_path)
    assert result.status == "unsure" and judged(events).threshold > 1.0
    assert "alpha 0.1 is not promised of shell: nothing is calibrated for it" in result.reason


async def test_a_promise_is_not_made_for_formatting_which_nothing_calibrates(
    tmp_path: Path,
) -> None:
    for alpha, status in ((0.1, "unsure"), (0.0, "done")):
        formats = made(0.9, refiner=FakeRefiner("format"))
        result, _ = await run(Agent(formats, Policy(risk_alpha=alpha)), task(), tmp_path)
        assert result.status == status
    assert result.reason == ""


async def test_a_kept_answer_can_be_decided_again_under_a_stricter_alpha(tmp_path: Path) -> None:
    asked = task()
    _, events = await run(Agent(made(0.98), Policy(risk_alpha=0.05)), asked, tmp_path)
    event = next(e for e in events if e.record is judged(events))
    same = again(event, asked, Policy(risk_alpha=0.05))
    assert same == event.record
    stricter = again(event, asked, Policy(risk_alpha=0.001))
    assert is_unsure(stricter) and "cannot be certified" in stricter.reason


async def test_what_the_verifier_found_is_never_kept_however_high_the_score(
    tmp_path: Path,
) -> None:
    bad = made(0.99, tool_user=FakeToolUser(0.99, problems=("It is not on the screen.",)))
    result, events = await run(Agent(bad, Policy(risk_alpha=0.2)), task(), tmp_path)
    assert (result.status, judged(events).rule) == ("unsure", "no-general")
    assert "It is not on the screen." in judged(events).reason


async def test_outcomes_are_what_people_said_and_what_failed(tmp_path: Path) -> None:
    _, events = await run(Agent(made(0.98), Policy(risk_alpha=0.05)), task(), tmp_path)
    kept = judged(events)
    assert known(events) == []  # that an action ran says nothing about whether it was right
    said = Event(kept.task_id, 1.0, Judgement("jud_1", kept.task_id, kept.id, False))
    (one,) = known([*events, said])
    assert (one.decision.id, one.kind, one.right, one.local) == (kept.id, "shell", False, True)
    better = Event(kept.task_id, 2.0, Judgement("jud_2", kept.task_id, kept.id, True))
    assert [k.right for k in known([*events, said, better])] == [True]
    assert History.of([*events, said, better]).general("shell") == Told()  # it answered here


async def test_a_failed_action_counts_as_wrong(tmp_path: Path) -> None:
    tool = FakeTool(recipes=(recipe("bad"), recipe("good")), fails=frozenset({"bad"}))
    _, events = await run(Agent(team(tool, trust=TRUST), Policy()), task(), tmp_path)
    assert [(k.right, k.local) for k in known(events)] == [(False, True)]


async def test_before_an_answer_the_local_candidate_has_its_expected_chance(
    tmp_path: Path,
) -> None:
    _, events = await run(Agent(made(0.98), Policy(risk_alpha=0.05)), task(), tmp_path)
    first = next(d for d in records(events, Decision) if d.rule == "threshold:shell")
    here, away = first.candidates
    # Half of the answers are right where nothing is known of them yet.
    assert here.probability == pytest.approx(0.53, abs=0.1)
    assert away.probability == pytest.approx(0.9)


def test_signals_after_an_answer_hold_those_before_it() -> None:
    made_team = made(0.9)
    assert digests(made_team) == FILES
    asked = Task("task_1", "x", tools=({"type": "function"},))
    from runtime.core import Step
    from runtime.tools.recipe import Proposal

    step = Step("step_1", "task_1", 1, "shell", "list files")
    decision = made_team.router.route(asked, step, Policy(), general=None)
    proposal = Proposal(recipe(), {}, 0.7, ("wrong",), {"pick": 0.8, "leftover": 2.0})
    found = signals_of(asked, decision, proposal)
    assert (found.pick, found.leftover, found.problems) == (0.8, 2, 1)
    assert (found.chars, found.tools, found.probability) == (10, 1, 0.9)
