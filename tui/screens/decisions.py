"""The main screen: every decision on this machine, live."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer

from runtime.plain import plain
from tui.board import Board
from tui.widgets import notice
from tui.widgets.banner import Banner
from tui.widgets.decision_table import DecisionTable
from tui.widgets.filter_bar import FilterBar
from tui.widgets.notice import Notice
from tui.widgets.task_bar import TaskBar
from tui.widgets.totals_bar import TotalsBar

LEAST = (60, 12)
"""Columns and lines that the screen needs."""


class DecisionsScreen(Screen[None]):
    """Shows a board. ``draw`` brings everything on it up to date, in one redraw."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self.board = board
        self.loaded = False
        self.lost = ""
        """Why no daemon answers; empty while one does."""

    def compose(self) -> ComposeResult:
        yield TotalsBar(id="totals")
        yield Banner(id="lost")
        yield Banner(id="waits")
        with Container(id="body"):
            yield DecisionTable(self.board, id="table")
            yield Notice(id="notice")
        yield FilterBar(id="filter")
        yield TaskBar(id="task")
        yield Footer()
        yield Notice(id="small")

    def on_mount(self) -> None:
        self.query_one(DecisionTable).focus()
        self.draw()

    def on_resize(self) -> None:
        width, height = self.size
        small = width < LEAST[0] or height < LEAST[1]
        self.query_one("#small", Notice).say(notice.too_small(width, height) if small else None)

    def draw(self) -> None:
        """Everything that depends on the board."""
        if not self.is_mounted:
            return
        self.draw_state()
        self.query_one("#notice", Notice).say(self._words())
        self.query_one("#lost", Banner).say(self._lost())
        self.query_one("#waits", Banner).say(self._waits())
        self.query_one(FilterBar).tell(self._kept())
        self.query_one(DecisionTable).show_changes()

    def draw_state(self) -> None:
        """The strip at the top: figures, connection, and where the cursor stands."""
        board, table = self.board, self.query_one(DecisionTable)
        below = len(board.visible) - 1 - table.cursor_row
        if self.lost:
            state, hint = ("✗ no daemon", "bold $error"), "reconnecting"
        elif not self.loaded:
            state, hint = ("○ connecting", "$quiet"), ""
        elif table.following:
            state, hint = ("● live", "bold $success"), "following"
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
        if self.loaded:
            return notice.empty()
        return None if self.lost else notice.LOADING

    def _lost(self) -> Content | None:
        if not self.lost:
            return None
        return Content.assemble((" ✗ ", "bold"), plain(self.lost), ("  Trying again …", "bold"))

    def _waits(self) -> Content | None:
        waiting = self.board.waiting
        if not waiting:
            return None
        first = waiting[0]
        what = first.action.preview if first.action else "words for the General"
        more = f"  and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        return Content.assemble(
            (" ? ", "bold"),
            "waits for you: ",
            (plain(what)[:200], "bold"),
            more,
            "   ",
            (" a ", "reverse bold"),
            " answer",
        )

    def _kept(self) -> str:
        board = self.board
        if board.filter.problem:
            return board.filter.problem
        return f"{len(board.visible):,} of {len(board):,}" if board.filter else ""
