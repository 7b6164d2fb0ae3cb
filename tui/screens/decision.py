"""One decision, explained: why, who else could have, what left the machine, what came of it."""

from __future__ import annotations

import json
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from models.errors import AidecampError
from runtime.daemon.client import Client, Story
from tui import explain

SECTIONS = (
    ("why", "why", "left"),
    ("candidates", "who could have served", "left"),
    ("left-machine", "what left this machine", "left"),
    ("signals", "signals", "left"),
    ("calls", "model calls", "right"),
    ("deeds", "action", "right"),
    ("answer", "the task's answer", "right"),
)


class DecisionScreen(Screen[None]):
    """Asked of the daemon when it opens, and again whenever :meth:`reload` is called."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss", "Back", key_display="esc"),
        Binding("left,h", "neighbour('before')", "Step before", key_display="←"),
        Binding("right,l", "neighbour('after')", "Step after", key_display="→"),
        Binding("c", "copy", "Copy as JSON"),
    ]

    def __init__(self, client: Client, decision_id: str) -> None:
        super().__init__()
        self._client = client
        self.decision_id = decision_id
        self.story: Story | None = None

    def compose(self) -> ComposeResult:
        yield Static("…", id="headline")
        with VerticalScroll(id="story"), Horizontal(id="columns"):
            for side in ("left", "right"):
                with Vertical(classes="side", id=side):
                    for id_, title, where in SECTIONS:
                        if where == side:
                            section = Static(id=id_, classes="section")
                            section.border_title = title
                            yield section
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#story").focus()
        self.reload()

    def reload(self) -> None:
        """Fetch the story and show it."""
        self.run_worker(self._load(), exclusive=True, group="story")

    async def _load(self) -> None:
        try:
            story = await self._client.decision(self.decision_id)
        except AidecampError as error:
            words = Content.assemble((error.message, "$error"), "\n", (error.hint, "$quiet"))
            self.query_one("#headline", Static).update(words)
            return
        self.story = story
        shown = {
            "headline": explain.headline(story),
            "why": explain.why(story),
            "candidates": explain.candidates(story),
            "signals": explain.signals(story),
            "left-machine": explain.left_machine(story),
            "calls": explain.calls(story),
            "deeds": explain.deeds(story),
            "answer": explain.answer(story),
        }
        for id_, content in shown.items():
            self.query_one(f"#{id_}", Static).update(content.rstrip())
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "neighbour" and self.story is not None:
            return True if getattr(self.story, str(parameters[0])) else None
        return True

    def action_neighbour(self, which: str) -> None:
        to = getattr(self.story, which, None)
        if to is not None:
            self.decision_id = to
            self.query_one("#story").scroll_home(animate=False)
            self.reload()

    def action_copy(self) -> None:
        if self.story is not None:
            self.app.copy_to_clipboard(json.dumps(self.story.to_json(), ensure_ascii=False))
            self.notify("The decision is in the clipboard, as JSON.")
