"""One line across the screen that asks for attention: a lost daemon, an action that waits."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class Banner(Static):
    """Hidden while it has nothing to say. Its class names its tone."""

    def say(self, words: Content | None) -> None:
        self.set_class(words is not None, "shown")
        if words is not None:
            self.update(words)
