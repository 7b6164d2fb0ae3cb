"""The main screen: every decision on this machine, live."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content

from tui.screens.pane import Pane
from tui.session import Session
from tui.widgets import notice
from tui.widgets.decision_table import DecisionTable
from tui.widgets.filter_bar import FilterBar
from tui.widgets.notice import Notice
from tui.widgets.task_bar import TaskBar
from tui.widgets.totals_bar import TotalsBar


class DecisionsScreen(Pane):
    """Shows the session's board."""

    PANE: ClassVar[str] = "decisions"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.board = session.board

    def compose_body(self) -> ComposeResult:
        yield TotalsBar(id="totals")
        with Container(id="body"):
            yield DecisionTable(self.board, id="table")
            yield Notice(id="notice")
        yield FilterBar(id="filter")
        yield TaskBar(id="task")

    def on_mount(self) -> None:
        self.query_one(DecisionTable).focus()

    def draw_body(self) -> None:
        self.draw_totals()
        self.query_one("#notice", Notice).say(self._words())
        self.query_one(FilterBar).tell(self._kept())
        self.query_one(DecisionTable).show_changes()

    def draw_totals(self) -> None:
        """The figures, and where the cursor stands."""
        board, table = self.board, self.query_one(DecisionTable)
        below = len(board.visible) - 1 - table.cursor_row
        if not self.session.loaded or self.session.lost:
            state, hint = ("", "$quiet"), ""
        elif table.following:
            state, hint = ("following", "$success"), "f stays here"
        else:
            state = ("‖ paused", "bold $accent")
            hint = f"{below:,} below" if below else "at the newest"
        self.query_one(TotalsBar).show(board.totals, state, hint)

    def _words(self) -> Content | None:
        board = self.board
        if board.visible:
            return None
        if board.filter and len(board):
            return notice.nothing_matches(board.filter.text, len(board))
        if self.session.loaded:
            return notice.empty()
        return None if self.session.lost else notice.LOADING

    def _kept(self) -> str:
        board = self.board
        if board.filter.problem:
            return board.filter.problem
        return f"{len(board.visible):,} of {len(board):,}" if board.filter else ""
