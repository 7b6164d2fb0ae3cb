"""A display with someone at it: primitives that each leave a trace, and looks before it clicks."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.errors import ToolFailed
from runtime.screen.changes import changed
from runtime.screen.display import Display, OwnDisplay, PrivateDisplay
from runtime.screen.elements import Box, Element, Frame, Window
from runtime.screen.perception import Reader, find, screen_text
from runtime.screen.screen import Screen
from runtime.tools.gui.recorder import Recorder

WINDOW_TIMEOUT_S = 20.0
CHANGE_TIMEOUT_S = 1.5
CAPTION_CHARACTERS = 70


class Desk:
    """One display and its screen, with OCR and, when watched, a recording.

    Raises DisplayMissing where there is no display; ToolFailed where a step did not work;
    Interrupted where the fail-safe fired.
    """

    def __init__(self, *, own: bool = False, own_name: str = "", watch: Path | None = None) -> None:
        self.display: Display = OwnDisplay(own_name) if own else PrivateDisplay()
        try:
            self.screen = Screen(self.display)
        except BaseException:
            self.display.close()
            raise
        self.reader = Reader()
        # The OCR models load while the first program starts.
        threading.Thread(target=self.reader.load, daemon=True).start()
        self.recorder = Recorder(watch) if watch is not None else None

    def close(self) -> None:
        self.screen.close()
        self.display.close()
        if self.recorder is not None:
            self.recorder.close()

    def note(self, caption: str, target: Box | None = None) -> None:
        """Record the screen as it is, when watched."""
        if self.recorder is not None:
            short = caption.replace("\n", " ⏎ ")
            if len(short) > CAPTION_CHARACTERS:
                short = short[: CAPTION_CHARACTERS - 1] + "…"
            self.recorder.add(self.screen.settle(), short, target)

    @property
    def frames(self) -> list[str]:
        return [] if self.recorder is None else [str(p) for p in self.recorder.frames]

    # Primitives

    def press(self, shortcut: str) -> None:
        self.screen.press(shortcut)
        self.note(f"press {shortcut}")

    def write(self, text: str) -> None:
        self.screen.write(text)
        self.note(f"type {text}")

    def launch(self, argv: Sequence[str], folder: Path, app: str) -> Window:
        """Start a program and wait for a window of class ``app``."""
        before = {w.id for w in self.screen.windows()}
        pid = self.display.launch(argv, folder)
        found: list[Window] = []

        def came() -> bool:
            found[:] = [w for w in self.screen.windows() if w.id not in before and w.active]
            return bool(found) or not self.display.running(pid)

        self.screen.wait(came, WINDOW_TIMEOUT_S)
        if not found:
            raise ToolFailed(f"{argv[0]} opened no window within {WINDOW_TIMEOUT_S:.0f} s.")
        self.screen.sync()
        self.note(f"open {app}")
        return found[0]

    def wait_for_dialog(self, known: set[int], timeout_s: float = 5.0) -> Window | None:
        """The window that became active and is not among ``known``, or None."""
        found: list[Window] = []

        def came() -> bool:
            found[:] = [w for w in self.screen.windows() if w.active and w.id not in known]
            return bool(found)

        self.screen.wait(came, timeout_s)
        if found:
            self.screen.sync()
        return found[0] if found else None

    def wait_gone(self, window: Window, timeout_s: float = 5.0) -> bool:
        gone = self.screen.wait(
            lambda: all(w.id != window.id for w in self.screen.windows()), timeout_s
        )
        self.screen.wait(lambda: self.screen.active() is not None, 1.0)
        return gone

    # Looking and clicking

    def look(self) -> tuple[Frame, tuple[Element, ...]]:
        """The screen once it stands still, and what is written on it."""
        frame = self.screen.settle()
        return frame, self.reader.read(frame)

    def text_since(self, before: Frame) -> str:
        """What is written where the screen differs from ``before``."""
        frame = self.screen.settle()
        elements = [e for box in changed(before, frame) for e in self.reader.read_box(frame, box)]
        return screen_text(elements)

    def text(self) -> str:
        return screen_text(self.look()[1])

    def locate(self, label: str) -> tuple[Frame, Element]:
        """The one place that says ``label``, and the frame that it was read from."""
        frame, elements = self.look()
        window = self.screen.active()
        found = find(elements, label, window.box if window else None)
        if not found:
            seen = ", ".join(repr(e.text) for e in elements[:12])
            raise ToolFailed(f"Nothing on the screen says {label!r}.", hint=f"It says: {seen}")
        if len(found) > 1:
            places = ", ".join(str(e.box.center) for e in found)
            raise ToolFailed(f"{len(found)} places on the screen say {label!r}: {places}.")
        return frame, found[0]

    def click(self, label: str, seen: Frame, element: Element) -> None:
        """Click ``element``, which was read as ``label`` on ``seen``, if it is still there.

        The target's region is looked at again just before; afterwards something on the screen
        must have changed.
        """
        now = self.screen.frame()
        if not np.array_equal(now.crop(element.box), seen.crop(element.box)):
            again = find(self.reader.read_box(now, element.box), label)
            if not any(e.box.meets(element.box) for e in again):
                raise ToolFailed(
                    f"{label!r} is no longer where it was: not clicked.",
                    hint="The screen changed between looking and clicking.",
                )
        x, y = element.box.center
        # Hovering alone may change the picture: that must not pass for an effect.
        self.screen.move(x, y)
        before = self.screen.settle()
        windows = {w.id: w.title for w in self.screen.windows()}
        self.screen.click(x, y)
        until = time.monotonic() + CHANGE_TIMEOUT_S
        while not changed(before, self.screen.frame()):
            if {w.id: w.title for w in self.screen.windows()} != windows:
                break
            if time.monotonic() > until:
                raise ToolFailed(f"Clicked {label!r}, but nothing changed on the screen.")
        self.screen.sync()
        self.note(f"click {label}", element.box)
