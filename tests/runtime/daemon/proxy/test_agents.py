"""What agents send that people do not: stop sequences beside tools, results as a user's words."""

from __future__ import annotations

from tests.fakes import FakeGeneral
from tests.runtime.daemon.proxy.proxied import TIMER, Start


async def test_a_stop_sequence_sends_a_call_away_only_where_the_call_would_hold_it(
    start: Start,
) -> None:
    with FakeGeneral(["cut"]) as general:
        async with start(general, policy="risk_alpha = 0.0") as daemon:
            for stop, route in (("Observation:", "local:tool_user"), ('":5', "general")):
                answer = await daemon.chat(
                    "set a timer for 5 minutes",
                    model="auto",
                    tools=[TIMER],
                    tool_choice="required",
                    stop=[stop],
                )
                assert answer.headers["x-aidecamp-route"] == route
                made = daemon.decisions(answer)
                assert len({decision.id for decision in made}) == len(made) == 2
            assert "stop sequence '\":5'" in made[1].reason


async def test_who_must_call_a_tool_after_a_result_is_not_answered_in_words(start: Start) -> None:
    async with start() as daemon:
        messages = [
            {"role": "user", "content": "New task:\nset a timer for 5 minutes"},
            {"role": "assistant", "content": "Calling tools: set_timer"},
            {"role": "user", "content": "Observation:\nset a timer for 9 minutes"},
        ]
        body = {"messages": messages, "tools": [TIMER], "tool_choice": "required"}
        answer = await daemon.post("/chat/completions", {"model": "local/smollm2-135m", **body})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tool_choice")
