"""The Textual app: follows the daemon, shows its decisions, and is in command of its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Input, TextArea

from models.errors import AidecampError
from runtime.core import Event
from runtime.daemon.client import Client, Link, Waiting, Waits
from tui import panes
from tui.board import Board
from tui.screens.answer import AnswerScreen, Verdict
from tui.screens.decision import DecisionScreen
from tui.screens.help import HelpScreen
from tui.screens.pane import Pane
from tui.session import Session
from tui.themes import DARK, LIGHT
from tui.widgets.decision_table import DecisionTable
from tui.widgets.filter_bar import FilterBar
from tui.widgets.pane_tabs import PaneTabs
from tui.widgets.task_bar import TaskBar

HISTORY = 2_000
"""Decisions that are asked for at the start; the figures on top cover the whole ledger."""
FRAME_S = 1 / 30
"""Signals that arrive within one frame are drawn together."""
RETRY_S = (1.0, 2.0, 5.0, 15.0)
"""Pauses between attempts to start the daemon; the last one repeats."""


class AidecampApp(App[None]):
    """``start_daemon``: start one where none runs."""

    TITLE = "aidecamp"
    CSS_PATH = "app.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 - Textual's own type
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "task", "Task", tooltip="Start a task", id="app.task"),
        Binding(
            "slash", "filter", "Filter", key_display="/", tooltip="Filter rows", id="app.filter"
        ),
        Binding("a", "answer", "Answer", tooltip="Approve or deny what waits", id="app.answer"),
        Binding(
            "ctrl+x", "stop", "Stop all", priority=True, tooltip="Stop every task", id="app.stop"
        ),
        Binding("t", "theme", "Theme", show=False, tooltip="Dark or light", id="app.theme"),
        Binding(
            "question_mark,f1",
            "help",
            "Help",
            key_display="?",
            tooltip="Keys and signs",
            id="app.help",
        ),
        Binding("q", "quit", "Quit", tooltip="Leave; tasks go on", id="app.quit"),
        *(
            Binding(
                str(key),
                f"pane('{entry.id}')",
                entry.title,
                show=False,
                tooltip=entry.words,
                id=f"app.pane.{entry.id}",
            )
            for key, entry in enumerate(panes.PANES, 1)
        ),
    ]

    def __init__(
        self, client: Client, *, start_daemon: bool = True, folder: Path | None = None
    ) -> None:
        super().__init__()
        self.session = Session(client, folder or Path.cwd(), self.command)
        self._client = client
        self._start_daemon = start_daemon
        self._inbox: list[Event | Waits | Link] = []
        self._asked: set[str] = set()
        self._panes = {"decisions": panes.make(panes.PANES[0], self.session)}
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = DARK.name

    @property
    def board(self) -> Board:
        return self.session.board

    @property
    def main(self) -> Pane:
        """The decisions."""
        return self._panes["decisions"]

    @property
    def pane(self) -> Pane:
        """The pane that is shown, or lies under what is shown."""
        return next(one for one in reversed(self.screen_stack) if isinstance(one, Pane))

    def get_default_screen(self) -> Screen[None]:
        return self.main

    def on_mount(self) -> None:
        self.follow()

    @work(exclusive=True, group="follow")
    async def follow(self) -> None:
        """Load what there is, then take every signal as it comes; never ends."""
        after = await self._load()
        async for signal in self._client.follow(after=after):
            if not self._inbox:
                self.set_timer(FRAME_S, self._take_in)
            self._inbox.append(signal)

    async def _load(self) -> int:
        attempt = 0
        while True:
            try:
                if self._start_daemon:
                    await self._client.ensure_running()
                page = await self._client.decisions(limit=HISTORY)
                totals = await self._client.savings()
            except AidecampError as error:
                self.session.lost = f"{error.message} {error.hint}"
                self.pane.draw()
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1
            else:
                self.board.load(reversed(page.rows), totals)
                self.session.loaded, self.session.lost = True, ""
                self.pane.draw()
                return page.last_event_id

    def _take_in(self) -> None:
        """Everything that came within the frame, in one redraw."""
        signals, self._inbox = self._inbox, []
        self.board.add([one for one in signals if isinstance(one, Event)])
        for signal in signals:
            if isinstance(signal, Waits):
                self.board.waiting = signal.waiting
            elif isinstance(signal, Link):
                self.session.lost = "" if signal.up else signal.message
        self.pane.take(signals)
        self.pane.draw()
        self._ask_new()
        if isinstance(self.screen, DecisionScreen) and any(
            isinstance(one, Event)
            and self.screen.story is not None
            and one.task_id == self.screen.story.decision.task_id
            for one in signals
        ):
            self.screen.reload()

    def _ask_new(self) -> None:
        """Open the dialog for what has not been shown yet; close it where it waits no more."""
        open_ = {one.id for one in self.board.waiting}
        if isinstance(self.screen, AnswerScreen):
            if self.screen.waiting.id not in open_:
                self.screen.dismiss(None)
            return
        if isinstance(self.focused, Input):
            # Whoever types must not answer by it: the banner tells, and the dialog comes after.
            return
        for one in self.board.waiting:
            if one.id not in self._asked:
                self._asked.add(one.id)
                self._ask(one)
                return

    def _ask(self, one: Waiting) -> None:
        def answered(verdict: Verdict | None) -> None:
            if verdict == "approve":
                self.command(self._client.approve(one.task_id, one.id), "Approved.")
            elif verdict == "deny":
                self.command(self._client.deny(one.task_id, one.id), "Denied.")

        self.push_screen(AnswerScreen(one), answered)

    @work(group="command")
    async def command(self, request: Awaitable[object], done: str) -> None:
        """Ask something of the daemon in the background, and tell how it went."""
        try:
            result = await request
        except AidecampError as error:
            self.notify(error.hint or " ", title=error.message, severity="error", timeout=8)
        else:
            self.notify(done.format(result))

    def action_pane(self, pane: str) -> None:
        """Show a pane; whatever lay over the one before is closed."""
        entry = next(one for one in panes.PANES if one.id == pane)
        if pane not in self._panes:
            self._panes[pane] = panes.make(entry, self.session)
            # Installed: it keeps what it knows while another is shown.
            self.install_screen(self._panes[pane], pane)
        while len(self.screen_stack) > 1 and self.screen is not self._panes[pane]:
            self.pop_screen()
        if self.screen is not self._panes[pane]:
            self.push_screen(self._panes[pane])

    def on_pane_tabs_chosen(self, message: PaneTabs.Chosen) -> None:
        self.action_pane(message.pane)

    def action_task(self) -> None:
        self.main.query_one(TaskBar).open()

    def action_filter(self) -> None:
        self.main.query_one(FilterBar).open()

    def action_answer(self) -> None:
        if self.board.waiting:
            self._ask(self.board.waiting[0])
        else:
            self.notify("Nothing waits for an answer.")

    def action_stop(self) -> None:
        self.command(self._client.cancel_all(), "Stopping {} running task(s).")

    def action_theme(self) -> None:
        self.theme = LIGHT.name if self.theme == DARK.name else DARK.name

    def action_help(self) -> None:
        self.push_screen(HelpScreen())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("pane", "answer", "theme", "help", "quit"):
            # Whoever types means letters by these keys.
            return not isinstance(self.focused, Input | TextArea)
        if action in ("task", "filter"):
            return self.screen is self.main and not isinstance(self.focused, Input)
        return True

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield SystemCommand("Start a task", "Type what to do", self.action_task)
        yield SystemCommand(
            "Filter decisions", "kind:gui outcome:failed >300ms", self.action_filter
        )
        yield SystemCommand("Stop everything", "Cancel every running task", self.action_stop)
        yield SystemCommand("Dark or light", "Switch the theme", self.action_theme)
        yield from super().get_system_commands(screen)

    def on_decision_table_opened(self, message: DecisionTable.Opened) -> None:
        self.push_screen(DecisionScreen(self._client, message.decision_id))

    def on_decision_table_moved(self) -> None:
        self.main.draw()

    def on_filter_bar_changed(self, message: FilterBar.Changed) -> None:
        self.board.search(message.filter)
        self.main.draw()

    def on_filter_bar_closed(self) -> None:
        self._back_to_table()

    def on_task_bar_closed(self) -> None:
        self._back_to_table()

    def _back_to_table(self) -> None:
        self.main.query_one(DecisionTable).focus()
        self.call_after_refresh(self._ask_new)

    def on_task_bar_started(self, message: TaskBar.Started) -> None:
        self.command(
            self._client.start_task(
                message.text,
                surface=message.surface,
                privacy=message.privacy,
                folder=str(self.session.folder),
            ),
            "Started.",
        )
