"""What stands in place of the table while there is nothing to show: and what to do about it."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

MARK = "◆"

LOADING = Content.assemble(("reading the ledger …", "$quiet"))


def empty() -> Content:
    """No decision was ever made."""
    return Content.assemble(
        (f"{MARK}  No decisions yet", "bold $primary"),
        "\n\n",
        "Press ",
        ("n", "bold $accent"),
        " and say what to do, for example\n",
        ("which five files under /usr/share are the largest?", "italic $success"),
        "\n\nor run it in another terminal: every decision on this machine\n"
        "shows up here, with the reason for it.",
    )


def nothing_matches(text: str, total: int) -> Content:
    return Content.assemble(
        ("Nothing matches ", "$quiet"),
        (text, "bold"),
        ("\n\n", ""),
        (f"{total:,} decisions are hidden. ", "$quiet"),
        ("esc", "bold $accent"),
        (" in the filter line shows them again.", "$quiet"),
    )


def too_small(width: int, height: int) -> Content:
    return Content.assemble(
        (f"{width}×{height} is too small.\n", "bold $warning"),
        ("Make the terminal at least 60×12.", "$quiet"),
    )


class Notice(Static):
    """A few centred words. Shown where they have something to say."""

    def say(self, words: Content | None) -> None:
        self.set_class(words is not None, "shown")
        if words is not None:
            self.update(words)
