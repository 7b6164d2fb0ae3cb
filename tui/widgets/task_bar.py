"""The line in which a task is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Input, Label

from runtime.core import Privacy, Surface

PRIVACIES: tuple[Privacy, ...] = get_args(Privacy)
SURFACES: tuple[Surface, ...] = get_args(Surface)


class TaskBar(Horizontal):
    """Hidden until it is opened; Enter starts the task, Escape closes the line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close"),
        Binding("ctrl+o", "surface", "Surface", priority=True),
        Binding("ctrl+y", "privacy", "Privacy", priority=True),
    ]

    surface: reactive[Surface] = reactive[Surface](SURFACES[-1])
    privacy: reactive[Privacy] = reactive[Privacy](PRIVACIES[1])

    @dataclass
    class Started(Message):
        """The user wants this done."""

        text: str
        surface: Surface
        privacy: Privacy

    class Closed(Message):
        """The line is closed."""

    def compose(self) -> ComposeResult:
        yield Label("task ›", classes="prompt")
        yield Input(placeholder="say what to do, then Enter", id="task-text")
        yield Label(self._modes(), id="task-modes")

    def open(self) -> None:
        self.add_class("open")
        self.query_one(Input).focus()

    def action_close(self) -> None:
        self.remove_class("open")
        self.post_message(self.Closed())

    def action_surface(self) -> None:
        self.surface = SURFACES[(SURFACES.index(self.surface) + 1) % len(SURFACES)]

    def action_privacy(self) -> None:
        self.privacy = PRIVACIES[(PRIVACIES.index(self.privacy) + 1) % len(PRIVACIES)]

    def watch_surface(self) -> None:
        self._tell()

    def watch_privacy(self) -> None:
        self._tell()

    def _tell(self) -> None:
        for label in self.query("#task-modes").results(Label):
            label.update(self._modes())

    def _modes(self) -> str:
        return f"surface: {self.surface}  privacy: {self.privacy}"

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value.strip()
        if text:
            event.input.clear()
            self.post_message(self.Started(text, self.surface, self.privacy))
            self.action_close()
