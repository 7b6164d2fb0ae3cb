"""The table of decisions: draws only the lines that are seen, so a flood of rows costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from runtime.daemon.client import Row
from tui import figures, look
from tui.board import Board
from tui.widgets.columns import Column, columns


class DecisionTable(ScrollView, can_focus=True):
    """One line a decision, the newest last. Follows the newest until the cursor is moved."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--head",
        "table--cursor",
        "table--plain",
        "table--strong",
        "table--faint",
        *(f"table--{tone}" for tone in look.STYLES),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "first", "First", show=False),
        Binding("end,G", "last", "Newest", show=False),
        Binding("enter", "open", "Why?", tooltip="Show one decision in detail"),
        Binding("f,space", "follow", "Follow", tooltip="Follow the newest, or stay here"),
    ]

    following: reactive[bool] = reactive(True)

    @dataclass
    class Opened(Message):
        """The user wants this decision explained."""

        decision_id: str

    class Moved(Message):
        """The cursor stands on another row, or following was switched on or off."""

    def __init__(self, board: Board, **kwargs: str) -> None:
        super().__init__(id=kwargs.get("id"))
        self._board = board
        self._cursor: str | None = None
        self._styles: dict[str, Style] = {}

    @property
    def cursor_row(self) -> int:
        """Index of the row under the cursor; -1 in an empty table."""
        place = self._board.index(self._cursor)
        return len(self._board.visible) - 1 if place is None else place

    def show_changes(self) -> None:
        """The board has changed: measure and draw again, once."""
        self.virtual_size = Size(self.size.width, len(self._board.visible) + 1)
        self._settle()
        # What can be scrolled to is known only after the layout that the new size asks for.
        self.call_after_refresh(self._settle)
        self.refresh()

    def _settle(self) -> None:
        if self.following:
            self._reveal(len(self._board.visible) - 1)

    def on_resize(self) -> None:
        self.show_changes()
        if not self.following:
            self._reveal(self.cursor_row)

    def notify_style_update(self) -> None:
        self._styles.clear()
        super().notify_style_update()

    def action_move(self, by: int) -> None:
        self._to(self.cursor_row + by)

    def action_page(self, pages: int) -> None:
        self._to(self.cursor_row + pages * max(1, self.size.height - 2))

    def action_first(self) -> None:
        self._to(0)

    def action_last(self) -> None:
        self.following = True

    def action_follow(self) -> None:
        self.following = not self.following

    def action_open(self) -> None:
        if self._board.visible:
            self.post_message(self.Opened(self._board.visible[self.cursor_row].id))

    def watch_following(self, following: bool) -> None:
        if following:
            self._cursor = None
            self.show_changes()
        elif self._board.visible:
            self._cursor = self._board.visible[self.cursor_row].id
        self.post_message(self.Moved())

    def on_click(self, event: events.Click) -> None:
        row = int(self.scroll_y) + event.y - 1
        if event.y == 0 or not 0 <= row < len(self._board.visible):
            return
        again = row == self.cursor_row
        self._to(row)
        if again or event.chain > 1:
            self.action_open()

    def _to(self, row: int) -> None:
        rows = self._board.visible
        if not rows:
            return
        row = max(0, min(row, len(rows) - 1))
        self.following = False
        self._cursor = rows[row].id
        self._reveal(row)
        self.post_message(self.Moved())
        self.refresh()

    def _reveal(self, row: int) -> None:
        height = max(1, self.size.height - 1)
        top = self.scroll_offset.y
        if row < top:
            self.scroll_to(y=row, animate=False, immediate=True)
        elif row >= top + height:
            self.scroll_to(y=row - height + 1, animate=False, immediate=True)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        shown = columns(width)
        if y == 0:
            return self._head(shown, width)
        index = self.scroll_offset.y + y - 1
        rows = self._board.visible
        if not 0 <= index < len(rows):
            return Strip.blank(width, self._style("plain"))
        return self._line(index, shown, width)

    def _head(self, shown: tuple[Column, ...], width: int) -> Strip:
        style = self._style("head")
        text = "  " + " ".join(figures.fit(c.title, c.width, right=c.right) for c in shown)
        return Strip([Segment(figures.fit(text, width), style)], width)

    def _line(self, index: int, shown: tuple[Column, ...], width: int) -> Strip:
        row = self._board.visible[index]
        segments = [Segment(self._bracket(index) + " ", self._style("faint"))]
        for column in shown:
            for text, name in column.cell(row, column.width, self._board.waiting_actions):
                segments.append(Segment(text, self._style(name)))
            segments.append(Segment(" ", self._style("plain")))
        strip = Strip(segments).adjust_cell_length(width, self._style("plain"))
        if index == self.cursor_row:
            under = self.get_component_rich_style("table--cursor", partial=True)
            strip = Strip(
                [Segment(s.text, (s.style or Style.null()) + under) for s in strip], width
            )
        return strip

    def _bracket(self, index: int) -> str:
        """Holds the decisions of one task together, at the left."""
        rows = self._board.visible
        task = rows[index].decision.task_id

        def same(other: int) -> bool:
            return 0 <= other < len(rows) and _task(rows[other]) == task

        above, below = same(index - 1), same(index + 1)
        if above:
            return "│" if below else "╰"
        return "╭" if below else "╶"

    def _style(self, name: str) -> Style:
        if name not in self._styles:
            self._styles[name] = self.get_component_rich_style(f"table--{name}")
        return self._styles[name]


def _task(row: Row) -> str:
    return row.decision.task_id
