"""``specialize profile``: rows from a real ledger, and the command over them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from models.errors import UsageError
from models.specialize.rows import Row
from runtime.call_rows import OWN, TYPES, rows_of
from runtime.commands.specialize import seconds
from runtime.core import Action, Call, Decision, Event, Judgement, Kind, Outcome, Record, Step, Task
from runtime.ledger import Ledger
from tests.runtime.test_cli import aidecamp

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CITIES = ("Bern", "Paris", "Oslo", "Rome", "Cairo")
NOW = time.time()


class Log:
    """Proxied calls as the daemon records them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.at = NOW - 10 * 86_400.0

    def add(self, task_id: str, *records: Record) -> None:
        self.events += [Event(task_id, self.at, record) for record in records]

    def call(
        self,
        number: int,
        *,
        client: str = "shop",
        words: str = "",
        role: str = "general",
        kind: Kind = "tool",
        answer: str = '[{"name": "weather", "arguments": "{}"}]',
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """One request, an hour after the one before."""
        self.at += 3600
        task, step, decision = f"task_{number}", f"step_{number}", f"dec_{number}"
        words = words or f"weather in {CITIES[number % 5]}"
        chosen = "general" if role == "general" else f"local:{role}"
        self.add(
            task,
            Task(task, words, tools=(WEATHER,), client=client, session="ses_1"),
            Step(step, task, 1, kind, words),
            Decision(decision, task, step, kind, words, chosen, (), 0.5, 0.5, "r", "because", 0.0),
            Call(
                f"call_{number}",
                task,
                step,
                decision,
                kind,
                role,
                "gpt" if role == "general" else "sha256:0",
                ({"role": "system", "content": "Be brief."}, {"role": "user", "content": words}),
                parameters or {},
                answer,
                None,
                tokens_in=300,
                tokens_out=12,
                prefill_ms=400.0,
                decode_ms=100.0,
                cost_usd=0.01 if role == "general" else 0.0,
                bytes_sent=900 if role == "general" else 0,
            ),
        )

    def rows(self, **wanted: Any) -> list[Row]:
        return rows_of(self.events, **wanted)


def test_a_proxied_call_becomes_a_row() -> None:
    log = Log()
    log.call(1)
    (row,) = log.rows()
    assert (row.client, row.session, row.kind, row.role) == ("shop", "ses_1", "tool", "general")
    assert (row.local, row.tokens_in, row.tokens_out, row.cost_usd) == (False, 300, 12, 0.01)
    assert (row.latency_ms, row.prompt) == (500.0, "weather in Paris")
    assert (row.offered, row.called, row.outcome) == (("weather",), ("weather",), "unknown")


def test_what_was_asked_is_the_last_message_so_that_a_tool_loop_is_no_repetition() -> None:
    log = Log()
    log.call(1)
    call = log.events[-1].record
    assert isinstance(call, Call)
    messages = (*call.messages, {"role": "tool", "content": "sunny"})
    log.add("task_1", Call(**{**_fields(call), "id": "call_2", "messages": messages}))
    assert [one.prompt for one in log.rows()] == ["weather in Paris", "sunny"]


def _fields(call: Call) -> dict[str, Any]:
    return {name: getattr(call, name) for name in call.__dataclass_fields__}


def test_a_second_opinion_is_no_row() -> None:
    log = Log()
    log.call(1, role="verifier")
    log.call(2, role="tool_user")
    assert [one.role for one in log.rows()] == ["tool_user"]


def test_a_local_call_is_told_by_its_step_and_by_what_it_came_to() -> None:
    log = Log()
    log.call(1, role="tool_user", answer="Paris")
    log.add("task_1", Action("act_1", "task_1", "step_1", "tool", "weather", {}, "weather", "read"))
    (row,) = log.rows()
    assert (row.local, row.prompt, row.called) == (True, "weather in Paris", ("weather",))


def test_what_became_of_an_answer_is_told_where_it_is_known() -> None:
    log = Log()
    for number in range(6):
        log.call(number, parameters={"error": "timed out"} if number == 5 else None)
    log.add("task_0", Judgement("jud_0", "task_0", "dec_0", right=True))
    log.add("task_1", Judgement("jud_1", "task_1", "dec_1", right=False))
    log.add("task_2", Outcome("act_2", "task_2", "step_2", "failed"))
    log.add("task_3", Outcome("act_3", "task_3", "step_3", "done"))
    log.add("task_0", Outcome("act_0", "task_0", "step_0", "failed"))
    told = [one.outcome for one in log.rows()]
    assert told == ["right", "wrong", "wrong", "unknown", "unknown", "wrong"]


def test_a_failed_action_is_held_against_the_answer_that_was_used() -> None:
    log = Log()
    log.call(1, role="tool_user")
    later = Decision("dec_9", "task_1", "step_1", "tool", "w", "general", (), 0, 0, "r", "x", 0)
    log.add("task_1", later, Outcome("act_1", "task_1", "step_1", "failed"))
    assert [one.outcome for one in log.rows()] == ["unknown"]


def test_rows_are_narrowed_by_client_and_age() -> None:
    log = Log()
    log.call(1)
    log.call(2, client="")
    log.call(3)
    assert [one.client for one in log.rows()] == ["shop", OWN, "shop"]
    assert len(log.rows(client="shop")) == 2
    assert len(log.rows(since=log.at)) == 1


def test_a_length_of_time_is_read() -> None:
    assert (seconds("12h"), seconds("30d"), seconds(" 2W ")) == (43_200, 2_592_000, 1_209_600)
    for wrong in ("30", "d", "-1d", "1.5d", "3 months", ""):
        with pytest.raises(UsageError):
            seconds(wrong)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with ten days of one agent's calls in its ledger, and some of another's."""
    shown = aidecamp("specialize", "profile", home=tmp_path)
    assert shown.returncode == 0
    assert "No model call on record yet." in shown.stdout
    log = Log()
    for number in range(45):
        log.call(number)
    for number in range(45, 50):
        log.call(number, client="[red]writer", kind="dialogue", role="generator", answer="Hello.")
    (path,) = tmp_path.rglob("ledger.db")
    ledger = Ledger(path)
    ledger.append_all(log.events)
    assert rows_of(ledger.events(types=TYPES)) == log.rows()
    ledger.close()
    return tmp_path


def profiled(home: Path, *arguments: str) -> dict[str, Any]:
    shown = aidecamp("specialize", "profile", "--json", *arguments, home=home)
    assert shown.returncode == 0, shown.stderr
    body: dict[str, Any] = json.loads(shown.stdout)
    return body


def test_the_command_tells_what_repeats_and_what_is_replaceable(home: Path) -> None:
    body = profiled(home)
    assert body["calls"] == 50
    assert [(one["client"], one["calls"]) for one in body["groups"]] == [
        ("shop", 45),
        ("[red]writer", 5),
    ]
    assert body["templates"][0]["text"] == "weather in <*>"
    (finding,) = body["findings"]
    assert finding["verdict"] == "replaceable"
    assert finding["usd_per_month"] == pytest.approx(0.45 / (49 / 24) * 30)

    shown = aidecamp("specialize", "profile", home=home)
    assert shown.returncode == 0, shown.stderr
    said = " ".join(shown.stdout.split())
    assert "[red]writer" in said
    assert "weather in <*>" in said
    assert "45 calls to the General by shop, kind tool: a specialist could learn it" in said
    assert "5 on record, about 500 needed (a rule of thumb)" in said


def test_the_command_narrows_and_says_where_nothing_matches(home: Path) -> None:
    assert profiled(home, "--client", "shop")["calls"] == 45
    assert profiled(home, "--since", "1h")["calls"] == 0
    assert len(profiled(home, "--top", "1")["templates"]) == 1
    shown = aidecamp("specialize", "profile", "--client", "nobody", home=home)
    assert "No call on record matches." in shown.stdout


def test_a_wrong_length_of_time_is_an_error_with_a_hint(home: Path) -> None:
    shown: subprocess.CompletedProcess[str] = aidecamp(
        "specialize", "profile", "--since", "yesterday", home=home
    )
    assert shown.returncode == 2
    assert "12h, 30d or 4w" in shown.stderr
