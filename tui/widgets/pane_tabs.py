"""The line on top of every pane: which panes there are, and whether the daemon answers."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from tui.panes import PANES

NAME = " ◆ aidecamp  "
NARROW = 96
"""Below this many columns the panes that are not shown are told by their key and first letters."""


class PaneTabs(Widget):
    """Each pane with its key; a click chooses one."""

    @dataclass
    class Chosen(Message):
        """The user wants this pane."""

        pane: str

    def __init__(self, shown: str, **kwargs: str) -> None:
        super().__init__(id=kwargs.get("id"))
        self._shown = shown
        self._state = ("○ connecting", "$quiet")

    def show(self, state: tuple[str, str]) -> None:
        """``state``: of the connection, a text and its style."""
        if state != self._state:
            self._state = state
            self.refresh()

    def _tabs(self) -> list[tuple[str, str]]:
        """(pane id, label) in order."""
        narrow = self.size.width < NARROW
        labels = []
        for key, entry in enumerate(PANES, 1):
            title = entry.title[:4] if narrow and entry.id != self._shown else entry.title
            labels.append((entry.id, f" {key} {title} "))
        return labels

    def render(self) -> Content:
        parts: list[tuple[str, str]] = [(NAME, "bold $primary")]
        for pane, label in self._tabs():
            parts.append((label, "bold reverse $primary" if pane == self._shown else "$quiet"))
        left = Content.assemble(*parts)
        right = Content.assemble(self._state, " ")
        space = self.size.width - left.cell_length - right.cell_length
        if space < 1:
            return left.truncate(self.size.width)
        return Content.assemble(left, " " * space, right)

    def on_click(self, event: events.Click) -> None:
        at = len(NAME)
        for pane, label in self._tabs():
            if at <= event.x < at + len(label):
                self.post_message(self.Chosen(pane))
            at += len(label)
