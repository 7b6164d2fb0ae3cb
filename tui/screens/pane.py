"""What every pane has: the tabs on top, what asks for attention under them, and the keys below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Footer

from models.errors import AidecampError
from runtime.core import Event
from runtime.daemon.client import Link, Waits
from runtime.plain import plain
from tui.session import Session
from tui.widgets import notice
from tui.widgets.banner import Banner
from tui.widgets.notice import Notice
from tui.widgets.pane_tabs import PaneTabs

LEAST = (60, 12)
"""Columns and lines that a pane needs."""

Signal = Event | Waits | Link


class Pane(Screen[None]):
    """A main screen. A subclass gives ``compose_body`` and ``draw_body``, and, where it asks the
    daemon for more than events, ``poll``."""

    PANE: ClassVar[str] = ""
    """Its id in ``tui.panes.PANES``."""
    SIGNS: ClassVar[Sequence[tuple[str, str]]] = ()
    """What is on it, for the help: pairs of a sign or name and what it means."""
    POLL_S: ClassVar[float | None] = None
    """Pause between two calls of ``poll`` while the pane is shown; None: on showing alone."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "f5,ctrl+r",
            "ask",
            "Ask again",
            show=False,
            id="pane.ask",
            tooltip="Ask the daemon again",
        ),
    ]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.trouble: AidecampError | None = None
        """What the last ``poll`` met; None where it went well."""
        self._clock: Timer | None = None

    def compose_body(self) -> ComposeResult:
        """What stands between the banners and the footer."""
        raise NotImplementedError

    def draw_body(self) -> None:
        """Bring the body up to date, in one redraw. Called in a mounted pane alone."""

    async def poll(self) -> None:
        """Ask the daemon for what this pane shows beyond events. May raise AidecampError: it is
        told in a banner, and what was known stays on the screen."""

    def take(self, signals: Sequence[Signal]) -> None:
        """What came within one frame, while the pane is shown; ``draw`` follows."""

    def compose(self) -> ComposeResult:
        yield PaneTabs(self.PANE, id="tabs")
        yield Banner(id="lost")
        yield Banner(id="trouble")
        yield Banner(id="waits")
        yield from self.compose_body()
        yield Footer()
        yield Notice(id="small")

    def on_mount(self) -> None:
        self.draw()

    def on_screen_resume(self) -> None:
        self.draw()
        self.action_ask()
        if self.POLL_S is not None and self._clock is None:
            self._clock = self.set_interval(self.POLL_S, self.action_ask)

    def on_screen_suspend(self) -> None:
        if self._clock is not None:
            self._clock.stop()
            self._clock = None

    def on_resize(self) -> None:
        width, height = self.size
        small = width < LEAST[0] or height < LEAST[1]
        self.query_one("#small", Notice).say(notice.too_small(width, height) if small else None)

    def action_ask(self) -> None:
        """Ask now; a question that still runs gives way."""
        self.run_worker(self._ask(), exclusive=True, group="poll")

    async def _ask(self) -> None:
        try:
            await self.poll()
        except AidecampError as error:
            self.trouble = error
        else:
            self.trouble = None
        self.draw()

    def draw(self) -> None:
        """Everything on the pane."""
        if not self.is_mounted:
            return
        self.query_one(PaneTabs).show(self._state())
        self.query_one("#lost", Banner).say(self._lost())
        self.query_one("#trouble", Banner).say(self._trouble())
        self.query_one("#waits", Banner).say(self._waits())
        self.draw_body()

    def _state(self) -> tuple[str, str]:
        if self.session.lost:
            return "✗ no daemon", "bold $error"
        return ("● live", "bold $success") if self.session.loaded else ("○ connecting", "$quiet")

    def _lost(self) -> Content | None:
        if not self.session.lost:
            return None
        return Content.assemble(
            (" ✗ ", "bold"), plain(self.session.lost), ("  Trying again …", "bold")
        )

    def _trouble(self) -> Content | None:
        # One that cannot be reached has a banner of its own already.
        if self.trouble is None or self.session.lost:
            return None
        words = f"{self.trouble.message} {self.trouble.hint}"
        return Content.assemble((" ! ", "bold"), plain(words), ("  F5 asks again.", "bold"))

    def _waits(self) -> Content | None:
        waiting = self.session.board.waiting
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

    def commands(self) -> Iterable[tuple[str, str, str]]:
        """What the palette offers of this pane: (title, help, action) of every binding of it."""
        seen = set()
        for binding in self.active_bindings.values():
            one = binding.binding
            if one.action in seen or not (one.tooltip or one.description):
                continue
            seen.add(one.action)
            yield one.description or one.action, one.tooltip, one.action
