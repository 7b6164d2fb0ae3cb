"""The help: what the signs mean, and which keys there are."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui import look
from tui.filter import FIELDS

KEYS = (
    ("n", "start a task; each of its steps shows up here"),
    ("enter", "why this decision was made, and what came of it"),
    ("/", "filter as you type; esc clears"),
    ("f", "follow the newest, or stay where you are; any arrow key stays"),
    ("a", "approve or deny what waits: an action, or words that would leave"),
    ("ctrl+x", "stop every task that runs, at once, from any screen"),
    ("t", "dark or light"),
    ("ctrl+p", "everything else"),
    ("q", "leave; the daemon and its tasks go on"),
)
LEGEND = (
    ("here", "●", "a local model on this machine serves; nothing leaves"),
    ("here", "◐", "a local model serves, although the rule would have escalated"),
    ("away", "▲", "the General, the remote LLM, serves"),
    ("declined", "◇", "only the General could, and nothing was sent"),
)


class HelpScreen(ModalScreen[None]):
    """Closes on any of the keys that open it, and on Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "dismiss", "Close"),
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as dialog:
            dialog.border_title = "help"
            dialog.border_subtitle = "esc closes"
            yield Static(_help())


def _help() -> Content:
    parts: list[Content | tuple[str, str] | str] = [("Who serves\n", "bold $primary")]
    for tone, glyph, words in LEGEND:
        parts += [(f"  {glyph}  ", look.STYLES[tone]), f"{words}\n"]
    parts += [
        ("\nThe bar\n", "bold $primary"),
        "  ",
        ("━━━━━", "$success"),
        ("┃", "bold"),
        ("──", "$border"),
        "  P(a local answer is right); below the mark it escalates\n",
        ("\nHow it ended\n", "bold $primary"),
    ]
    for index, one in enumerate(look.OUTCOMES.values()):
        parts += [("  " + str(one).ljust(13), look.STYLES[one.tone])]
        if index % 4 == 3:
            parts += ["\n"]
    parts += [("\n\nFilter\n", "bold $primary"), "  "]
    parts += [("  ".join(f"{name}:…" for name in FIELDS), "$accent"), "\n  "]
    parts += [(">300ms  <2s  -kind:shell", "$accent"), "  and any words\n"]
    parts += [("\nKeys\n", "bold $primary")]
    for key, words in KEYS:
        parts += [(f"  {key:<8}", "bold $accent"), f"{words}\n"]
    return Content.assemble(*parts)
