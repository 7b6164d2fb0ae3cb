"""The terminal UI, driven by keys: what it shows, and what it asks of the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from runtime.core import Action, Gate, Outcome, Result, Task
from runtime.daemon.client import Link, Waiting, Waits
from runtime.daemon.errors import DaemonMissing
from tests.runtime.daemon.scripted import action, asking, daemon, decision, ended, step
from tests.tui.fake_client import FakeClient, fill
from tui.app import AidecampApp
from tui.screens.answer import AnswerScreen
from tui.screens.decision import DecisionScreen
from tui.screens.help import HelpScreen
from tui.widgets.decision_table import DecisionTable
from tui.widgets.notice import Notice

SIZES = [(80, 24), (160, 45)]


@asynccontextmanager
async def running(
    client: FakeClient, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[AidecampApp, Pilot[None]]]:
    app = AidecampApp(client, folder=Path("/"))
    async with app.run_test(size=size) as pilot:
        yield app, pilot


async def until(pilot: Pilot[None], condition: Callable[[], bool], limit_s: float = 20) -> None:
    """Until ``condition()`` holds and is drawn."""
    async with asyncio.timeout(limit_s):
        while not condition():
            await pilot.pause()
    await pilot.pause()


def screen_text(app: AidecampApp) -> str:
    """What stands on the screen now, line by line."""
    return "\n".join(
        "".join(segment.text for segment in strip)
        for strip in app.screen._compositor.render_strips()
    )


@pytest.mark.parametrize("size", SIZES)
async def test_each_decision_is_a_line_that_tells_who_serves_and_how_it_ended(
    size: tuple[int, int],
) -> None:
    client = FakeClient()
    fill(client, 2)
    fill(client, 1, chosen="general", probability=0.2, reason="too hard")
    fill(client, 1, chosen="declined", kind="plan", threshold=1.01, reason="no General")
    async with running(client, size) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        lines = [line for line in screen_text(app).split("\n") if "step " in line]
        assert [line.split("step ")[1][0] for line in lines[-4:]] == ["0", "1", "0", "0"]
        assert "● tool_user" in lines[-4] and "✓ done" in lines[-4] and "0.91" in lines[-4]
        assert "▲ general" in lines[-2] and "0.20" in lines[-2]
        assert "◇ declined" in lines[-1]
        assert ("too hard" in lines[-2]) == (size[0] >= 118)
        assert ("60→12" in lines[-2]) == (size[0] >= 140)
        assert all(len(line) <= size[0] for line in lines)


async def test_the_strip_on_top_sums_the_ledger() -> None:
    client = FakeClient()
    fill(client, 3)
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        top = screen_text(app).split("\n")[1]
        assert "100%" in top and " 216" in top
        fill(client, 1)
        await until(pilot, lambda: app.board.totals.calls == 4)
        assert " 288" in screen_text(app).split("\n")[1]


async def test_a_flood_keeps_every_row_and_is_drawn_in_few_frames() -> None:
    client = FakeClient()
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        frames = 0
        draw = app.main.draw

        def counted() -> None:
            nonlocal frames
            frames += 1
            draw()

        app.main.draw = counted  # type: ignore[method-assign]
        ids = fill(client, 400)  # 2,000 events
        await until(pilot, lambda: len(app.board) == 400)
        assert [row.id for row in app.board.visible] == ids
        assert {row.outcome for row in app.board.visible} == {"done"}
        assert frames < 50
        assert "step 399" in screen_text(app)


async def test_moving_up_pauses_and_f_follows_again() -> None:
    client = FakeClient()
    fill(client, 60)
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        table = app.main.query_one(DecisionTable)
        assert table.following and "step 59" in screen_text(app)
        await pilot.press("home")
        await until(pilot, lambda: not table.following and "step 0" in screen_text(app))
        fill(client, 5)
        await until(pilot, lambda: len(app.board) == 65)
        assert table.cursor_row == 0 and "64 below" in screen_text(app)
        await pilot.press("f")
        await until(pilot, lambda: table.following and table.cursor_row == 64)
        assert "following" in screen_text(app)


async def test_the_filter_keeps_what_matches_and_escape_shows_all() -> None:
    client = FakeClient()
    fill(client, 3)
    (away,) = fill(client, 1, chosen="general", kind="gui")
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        await pilot.press("slash", *"kind:gui chosen:general step")
        await until(pilot, lambda: len(app.board.visible) == 1)
        assert app.board.visible[0].id == away
        assert "1 of 4" in screen_text(app)
        fill(client, 1, chosen="general", kind="gui")
        await until(pilot, lambda: len(app.board.visible) == 2)
        await pilot.press(*" nothing-like-this")
        await until(pilot, lambda: not app.board.visible)
        assert "5 decisions are hidden" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: len(app.board.visible) == 5)
        assert isinstance(app.focused, DecisionTable)


@pytest.mark.parametrize("size", SIZES)
async def test_enter_explains_one_decision(size: tuple[int, int]) -> None:
    client = FakeClient()
    task = Task(id="task_a", text="tidy up")
    one = step(task, text="make a folder")
    chosen = decision(one, signals={"similarity": 0.75})
    deed = action(one)
    for record in (
        task,
        one,
        chosen,
        deed,
        Gate(deed.id, task.id, "allow", "user", "it writes"),
        Outcome(deed.id, task.id, one.id, "done", "made", ms=3.0),
        Result(task.id, "done", {"made": "x"}),
    ):
        client.put(record)
    async with running(client, size) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DecisionScreen))
        screen = app.screen
        assert isinstance(screen, DecisionScreen)
        await until(pilot, lambda: screen.story is not None)
        shown = {w.id: str(w.render()) for w in screen.query(Static) if w.id}
        assert "clear and common" in shown["why"]
        assert "0.91" in shown["why"] and "limit 0.50" in shown["why"]
        assert "A limit above 0.91 would have escalated it." in shown["why"]
        assert "● tool_user" in shown["candidates"] and "▲ general" in shown["candidates"]
        assert "similarity" in shown["signals"] and "0.750" in shown["signals"]
        assert "Nothing left this machine" in shown["left-machine"]
        assert "no model was called" in shown["calls"]
        for words in ("mkdir x", "write", "bubblewrap", "allowed", "user", "made"):
            assert words in shown["deeds"]
        assert '"made": "x"' in shown["answer"]
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main)


async def test_a_declined_decision_shows_what_would_have_been_sent() -> None:
    client = FakeClient()
    would = {
        "model": "gpt-5.4",
        "messages": [{"role": "user", "content": "plan my [bold]wedding[/bold]"}],
        "tokens_in_estimated": 212,
        "usd_at_most_estimated": 0.0313,
    }
    fill(client, 1, chosen="declined", kind="plan", threshold=1.01, would_send=would)
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        await pilot.press("enter")
        await until(pilot, lambda: "212 tokens" in screen_text(app))
        shown = screen_text(app)
        assert "$0.0313" in shown and "plan my [bold]wedding[/bold]" in shown
        assert "never stay local" in shown


async def test_a_general_that_never_answered_is_not_said_to_have_got_nothing() -> None:
    client = FakeClient()
    task = Task(id="task_a", text="hard")
    one = step(task)
    would = {"messages": [{"role": "user", "content": "my words"}], "tokens_in_estimated": 7}
    for record in (task, one, decision(one, chosen="general", would_send=would)):
        client.put(record)
    client.put(Result(task.id, "failed", None, "the General is down"))
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        await pilot.press("enter")
        await until(pilot, lambda: "This may have left: 7 tokens" in screen_text(app))
        assert "Nothing left" not in screen_text(app) and "my words" in screen_text(app)


async def test_an_open_explanation_follows_what_happens_and_steps_to_its_neighbours() -> None:
    client = FakeClient()
    task = Task(id="task_a", text="two things")
    first, second = step(task, 1, text="first thing"), step(task, 2, text="second thing")
    for record in (task, first, second, decision(first), decision(second)):
        client.put(record)
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        await pilot.press("enter")
        await until(pilot, lambda: "second thing" in screen_text(app))
        assert "the task has not ended" in screen_text(app)
        client.put(Result(task.id, "done", "all of it"))
        await until(pilot, lambda: "all of it" in screen_text(app))
        await pilot.press("left")
        await until(pilot, lambda: "first thing" in screen_text(app))


async def test_a_task_is_typed_and_started() -> None:
    client = FakeClient()
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        assert "No decisions yet" in screen_text(app)
        await pilot.press("n", *"count files", "ctrl+o", "ctrl+y")
        await until(pilot, lambda: "surface: gui  privacy: auto" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: bool(client.asked))
        assert client.asked == [("start", "count files", "gui", "auto")]
        assert isinstance(app.focused, DecisionTable)


def wait_for(client: FakeClient) -> Action:
    task = Task(id="task_w", text="tidy up")
    one = step(task)
    deed = action(one)
    for record in (task, one, decision(one), deed):
        client.put(record)
    waiting = Waiting(deed.id, task.id, task.text, "it writes", action=deed)
    client.signals.put_nowait(Waits((waiting,)))
    return deed


@pytest.mark.parametrize(
    ("keys", "verdict"),
    [(["y"], "approve"), (["d"], "deny"), (["enter"], "deny"), (["right", "enter"], "approve")],
)
async def test_what_waits_opens_a_dialog_whose_first_choice_is_no(
    keys: list[str], verdict: str
) -> None:
    client = FakeClient()
    async with running(client, (80, 24)) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        deed = wait_for(client)
        await until(pilot, lambda: isinstance(app.screen, AnswerScreen))
        shown = screen_text(app)
        for words in ("mkdir x", "write", "bubblewrap", "tidy up", "it writes"):
            assert words in shown
        await pilot.press(*keys)
        await until(pilot, lambda: bool(client.asked))
        assert client.asked == [(verdict, "task_w", deed.id)]


async def test_a_dialog_never_opens_under_the_fingers_of_someone_who_types() -> None:
    client = FakeClient()
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        await pilot.press("n", *"den")
        wait_for(client)
        await until(pilot, lambda: "waits for you" in screen_text(app))
        await pilot.press("y")
        assert app.screen is app.main and client.asked == []
        assert app.main.query_one("#task-text", Input).value == "deny"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, AnswerScreen))
        assert client.asked == []


async def test_a_dialog_put_off_can_be_opened_again_and_closes_when_it_is_settled() -> None:
    client = FakeClient()
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        wait_for(client)
        await until(pilot, lambda: isinstance(app.screen, AnswerScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main)
        assert "waits for you" in screen_text(app) and "? waiting" in screen_text(app)
        assert client.asked == []
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, AnswerScreen))
        client.signals.put_nowait(Waits(()))
        await until(pilot, lambda: app.screen is app.main)
        assert "waits for you" not in screen_text(app)


@pytest.mark.parametrize("first", [[], ["enter"], ["question_mark"], ["n"], ["slash"]])
async def test_one_key_stops_everything_from_every_screen(first: list[str]) -> None:
    client = FakeClient()
    fill(client, 1)
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        await pilot.press(*first, "ctrl+x")
        await until(pilot, lambda: bool(client.asked))
        assert client.asked == [("stop",)]


async def test_a_lost_daemon_is_told_with_what_to_do_and_its_return_too() -> None:
    client = FakeClient()
    client.down = DaemonMissing("No daemon answers.", hint="Start it: aidecamp daemon start.")
    async with running(client) as (app, pilot):
        await until(pilot, lambda: "No daemon answers." in screen_text(app))
        assert "aidecamp daemon start" in screen_text(app)
        client.down = None
        await until(pilot, lambda: app.session.loaded)
        await until(pilot, lambda: "● live" in screen_text(app))
        client.signals.put_nowait(Link(False, "the daemon closed the stream"))
        await until(pilot, lambda: "the daemon closed the stream" in screen_text(app))
        client.signals.put_nowait(Link(True))
        await until(pilot, lambda: "● live" in screen_text(app))


async def test_absurd_text_is_shown_harmless() -> None:
    client = FakeClient()
    task = Task(id="task_x", text="x")
    one = step(task, text="\x1b[31mred\x07 [bold]b[/] \u202eevil\n" + "🙂漢" * 50_000)
    client.put(task)
    client.put(decision(one, reason="[/nonsense] \x9b2J"))
    async with running(client) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        shown = screen_text(app)
        assert "␛[31mred␇ [bold]b[/] evil" in shown
        assert not any(char in shown for char in "\x1b\x07\x9b\u202e")
        await pilot.press("enter")
        await until(pilot, lambda: "[/nonsense]" in screen_text(app))
        assert not any(char in screen_text(app) for char in "\x1b\x07\x9b\u202e")


async def test_a_terminal_that_is_too_small_says_so() -> None:
    client = FakeClient()
    async with running(client, (40, 10)) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        assert "40×10 is too small" in screen_text(app)
        await pilot.resize_terminal(100, 30)
        await until(pilot, lambda: not app.main.query_one("#small", Notice).has_class("shown"))
        assert "too small" not in screen_text(app)


async def test_help_and_themes() -> None:
    client = FakeClient()
    fill(client, 1)
    async with running(client, (80, 24)) as (app, pilot):
        await until(pilot, lambda: app.session.loaded)
        before = app.theme
        await pilot.press("t")
        await until(pilot, lambda: app.theme != before)
        assert not app.current_theme.dark
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        assert "Who serves" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main)


async def test_against_a_real_daemon_a_task_is_started_approved_and_done(tmp_path: Path) -> None:
    async with daemon(tmp_path, asking) as served:
        app = AidecampApp(served.client, start_daemon=False, folder=tmp_path)
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: app.session.loaded)
            await pilot.press("n", *"make it so", "enter")
            await until(pilot, lambda: isinstance(app.screen, AnswerScreen))
            await pilot.press("y")
            await until(
                pilot, lambda: bool(app.board.visible) and app.board.visible[0].outcome == "done"
            )
            task_id = app.board.visible[0].decision.task_id
            assert await ended(served.client, task_id) == "done"
            await until(pilot, lambda: "✓ done" in screen_text(app))
            await pilot.press("enter")
            await until(pilot, lambda: "mkdir x" in screen_text(app))
            assert app.query(Input)
