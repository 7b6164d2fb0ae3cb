"""A screen to look at and act on: one display, its worker process, and waiting for conditions.

Raises Interrupted where the fail-safe fired, ToolFailed where input was refused, and
DisplayMissing where the display or its worker is gone.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Self, cast

from models.errors import DisplayMissing, Interrupted, ToolFailed
from runtime.screen.display import Display, python_environment
from runtime.screen.elements import Box, Frame, Window

POLL_S = 0.01
PASTE_CHARACTERS = 4000
"""Longer texts are pasted: typing takes about 0.2 ms a character, twice that under load."""
WAIT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 3.0

_KEY_NAMES = {
    "control": "ctrl",
    "ctl": "ctrl",
    "strg": "ctrl",
    "return": "enter",
    "escape": "esc",
    "del": "delete",
    "page up": "pageup",
    "page down": "pagedown",
    "pgup": "pageup",
    "pgdn": "pagedown",
    "super": "win",
    "windows": "win",
    "spacebar": "space",
    "back space": "backspace",
    "arrow up": "up",
    "arrow down": "down",
    "arrow left": "left",
    "arrow right": "right",
}


def key_names(shortcut: str) -> list[str]:
    """``Ctrl+Shift+S`` as pyautogui's key names: ``["ctrl", "shift", "s"]``."""
    text = shortcut.strip().lower()
    if text == "+" or text.endswith("++"):
        head = text[:-1].rstrip("+")
        return [*(key_names(head) if head else []), "+"]
    parts = [p.strip() for p in text.replace("-", "+").split("+")] if len(text) > 1 else [text]
    return [_KEY_NAMES.get(p, p) for p in parts if p]


class Screen:
    """Acts on one display through its worker. One caller at a time; calls block."""

    def __init__(self, display: Display) -> None:
        self.display = display
        self._lock = threading.Lock()
        self.stopped = False
        """Whether ``stop`` ended the worker."""
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "runtime.screen.worker", *["private"][: display.private]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=python_environment(display.environment),
            start_new_session=True,
        )
        try:
            self.settings: dict[str, Any] = self._answer()
        except ToolFailed as error:
            self.close()
            raise DisplayMissing(
                f"Display {display.name} cannot be used: {error.message}",
                hint="Is it running, and may this user connect to it?",
            ) from error

    # The protocol with the worker

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        return cast(IO[bytes], self._worker.stdin), cast(IO[bytes], self._worker.stdout)

    def _answer(self) -> Any:
        line = self._pipes()[1].readline()
        if self.stopped:
            raise Interrupted("Stopped by the user.")
        if not line:
            raise DisplayMissing(
                f"The process that works on display {self.display.name} ended.",
                hint="Run the task again; a new display is started.",
            )
        answer = json.loads(line)
        if "error" not in answer:
            return answer["value"]
        if answer["kind"] == "FailSafeException":
            raise Interrupted(
                "Stopped by the fail-safe: the pointer was moved to the screen's top left corner.",
                hint="Move the pointer away from the corner and run the task again.",
            )
        raise ToolFailed(f"The screen refused: {answer['error']}")

    def _send(self, do: str, **arguments: Any) -> None:
        if self.stopped:
            raise Interrupted("Stopped by the user.")
        requests, _ = self._pipes()
        try:
            requests.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            requests.flush()
        except (BrokenPipeError, ValueError) as error:
            raise DisplayMissing(
                f"Display {self.display.name} is closed.",
                hint="Run the task again; a new display is started.",
            ) from error

    def _do(self, do: str, **arguments: Any) -> Any:
        with self._lock:
            self._send(do, **arguments)
            return self._answer()

    # Looking

    def frame(self) -> Frame:
        """The pixels as they are now."""
        import numpy as np

        with self._lock:
            self._send("capture")
            head = self._answer()
            raw = self._pipes()[1].read(head["bytes"])
        bgra = np.frombuffer(raw, np.uint8).reshape(head["height"], head["width"], 4)
        return Frame(np.ascontiguousarray(bgra[:, :, 2::-1]), time.time())

    def windows(self) -> list[Window]:
        """The top-level windows, lowest first."""
        return [Window(**{**w, "box": Box(*w["box"])}) for w in self._do("windows")]

    def active(self) -> Window | None:
        return next((w for w in self.windows() if w.active), None)

    def pointer(self) -> tuple[int, int]:
        x, y = self._do("pointer")
        return x, y

    # Acting

    def move(self, x: int, y: int) -> None:
        self._do("move", x=x, y=y)

    def click(self, x: int, y: int, button: str = "left", times: int = 1) -> None:
        self._do("click", x=x, y=y, button=button, times=times)

    def scroll(self, x: int, y: int, amount: int) -> None:
        """``amount`` wheel clicks; positive scrolls up."""
        self._do("scroll", x=x, y=y, amount=amount)

    def press(self, shortcut: str) -> None:
        """A key or shortcut, such as ``ctrl+s``; returns when the window has handled it."""
        self._do("press", keys=key_names(shortcut))
        self.sync()

    def write(self, text: str) -> None:
        """Put in any Unicode text; returns when the window has handled it.

        With key events, or by pasting where the text is long, or has more kinds of characters
        than there are keycodes to lend them.
        """
        if len(text) > PASTE_CHARACTERS or not self._do("type", text=text):
            self.paste(text)

    def paste(self, text: str) -> None:
        """Put ``text`` in through the clipboard (Ctrl+V), and give the clipboard back."""
        if not self._do("paste", text=text):
            raise ToolFailed("The window in front did not take the pasted text.")

    def activate(self, window: Window) -> None:
        self._do("activate", window=window.id)
        self.wait(lambda: (w := self.active()) is not None and w.id == window.id)

    def close_window(self, window: Window) -> None:
        self._do("close", window=window.id)

    def sync(self) -> bool:
        """Wait until the active window has handled all input; False where it cannot say."""
        return bool(self._do("sync"))

    # Selections

    def clipboard(self) -> str | None:
        got: str | None = self._do("clipboard")
        return got

    def selected_by(self, shortcut: str) -> str:
        """What ``shortcut`` selects in the active window ("" where it selects nothing)."""
        self._do("take_primary")
        self.press(shortcut)
        got: str | None = self._do("primary")
        return got or ""

    # Waiting

    def wait(self, condition: Callable[[], bool], timeout_s: float = WAIT_TIMEOUT_S) -> bool:
        """Poll until ``condition`` holds; False where it did not within ``timeout_s``."""
        until = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until:
                return False
            time.sleep(POLL_S)
        return True

    def settle(self, quiet_s: float = 0.06, timeout_s: float = 2.0) -> Frame:
        """Wait until the picture has stood still for ``quiet_s``; the last frame."""
        import numpy as np

        last = self.frame()
        still_since = time.monotonic()
        until = still_since + timeout_s
        while time.monotonic() - still_since < quiet_s and time.monotonic() < until:
            time.sleep(POLL_S)
            now = self.frame()
            if not np.array_equal(now.rgb, last.rgb):
                still_since = time.monotonic()
            last = now
        return last

    def stop(self) -> None:
        """Kill the worker, from any thread: whoever waits for it gets Interrupted, as does every
        later call. The display itself stays."""
        self.stopped = True
        self._worker.kill()

    def close(self) -> None:
        """End the worker. The display itself stays."""
        requests, answers = self._pipes()
        with contextlib.suppress(BrokenPipeError):
            requests.close()
        try:
            self._worker.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            self._worker.wait()
        answers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
