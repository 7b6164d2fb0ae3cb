"""The line that filters the table as it is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label

from tui.filter import Filter


class FilterBar(Horizontal):
    """Hidden until it is opened. Enter keeps the filter, Escape clears it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "clear", "Clear the filter")]

    @dataclass
    class Changed(Message):
        """The filter is another one now."""

        filter: Filter

    class Closed(Message):
        """The table has the focus again."""

    def compose(self) -> ComposeResult:
        yield Label("filter ›", classes="prompt")
        yield Input(
            placeholder="kind:gui  chosen:general  outcome:failed  >300ms  -word", id="find"
        )
        yield Label(id="filter-count")

    def open(self) -> None:
        self.add_class("open")
        self.query_one(Input).focus()

    def tell(self, text: str) -> None:
        """Say at the right how much the filter keeps, or what it cannot read."""
        self.query_one("#filter-count", Label).update(text)

    def action_clear(self) -> None:
        self.query_one(Input).clear()
        self.remove_class("open")
        self.post_message(self.Closed())

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(Filter.parse(event.value)))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not event.value.strip():
            self.remove_class("open")
        self.post_message(self.Closed())
