"""The dialog in which a person says yes or no, with everything that there is to know."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from runtime.daemon.client import Waiting
from runtime.plain import plain
from tui.explain import shown_action, shown_message

Verdict = Literal["approve", "deny"]


class AnswerScreen(ModalScreen[Verdict | None]):
    """Approve or deny one thing. Escape leaves it waiting."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer('approve')", "Approve"),
        Binding("d", "answer('deny')", "Deny"),
        Binding("escape", "dismiss(None)", "Later"),
        Binding("left,right", "app.focus_next", "Other button", show=False),
    ]

    def __init__(self, waiting: Waiting) -> None:
        super().__init__()
        self.waiting = waiting

    def compose(self) -> ComposeResult:
        one = self.waiting
        with Vertical(classes="dialog ask") as dialog:
            dialog.border_title = "may this happen?" if one.action else "may this leave?"
            dialog.border_subtitle = "esc: decide later"
            yield Static(
                Content.assemble(
                    ("for the task  ", "$quiet"),
                    plain(one.task),
                    "\n",
                    ("asked because ", "$quiet"),
                    plain(one.reason),
                )
            )
            with VerticalScroll(can_focus=False):
                yield Static(_shown(one), id="asked")
            with Horizontal(classes="buttons"):
                yield Button("Deny (d)", variant="error", id="deny")
                yield Button("Approve (y)", variant="success", id="approve")

    def on_mount(self) -> None:
        # The safe answer has the focus: a hurried Enter changes nothing.
        self.query_one("#deny").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss("approve" if event.button.id == "approve" else "deny")

    def action_answer(self, verdict: Verdict) -> None:
        self.dismiss(verdict)


def _shown(one: Waiting) -> Content:
    if one.action is not None:
        return shown_action(one.action)
    send = one.send or {}
    parts: list[Content | tuple[str, str] | str] = [
        ("to     ", "$quiet"),
        plain(str(send.get("to"))),
        "\n",
        ("model  ", "$quiet"),
        plain(str(send.get("model"))),
        "\n",
        ("about  ", "$quiet"),
        f"{send.get('tokens_in_estimated', '?')} tokens, estimated",
    ]
    if (usd := send.get("usd_at_most_estimated")) is not None:
        parts.append(f"; at most ${usd:.4f} with the answer")
    parts.append("\n")
    for message in send.get("messages", ()):
        parts += ["\n", shown_message(message)]
    return Content.assemble(*parts)
