"""Child process that alone touches one display: ``python -m runtime.screen.worker [private]``.

pyautogui binds ``DISPLAY`` when it is imported, so each display has a process of its own.
It reads one JSON request a line and answers one JSON line, ``{"value": …}`` or ``{"error",
"kind"}``; a frame's pixels (BGRA) follow their line as ``bytes`` raw bytes. It ends when its
input closes. pyautogui's fail-safe (pointer in the top left corner) stays on.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

CHARACTERS_PER_RUN = 200
"""Between two runs of typing the fail-safe is looked at, and the window is let catch up."""

CHARACTERS_PER_PASTE = 50_000
"""At most 200 kB in UTF-8: what one X request surely holds."""


class Worker:
    """One method for each request; the request's other fields are its arguments."""

    def __init__(self, private: bool) -> None:
        import mss
        import pyautogui

        from runtime.screen.x11 import X11

        pyautogui.PAUSE = 0
        pyautogui.FAILSAFE = True
        self.gui: Any = pyautogui
        self.grabber: Any = mss.MSS()
        self.x11 = X11(private)

    def capture(self) -> memoryview:
        self.shot = self.grabber.grab(self.grabber.monitors[0])
        return memoryview(self.shot.raw)

    def move(self, x: int, y: int) -> None:
        self.gui.moveTo(x, y)

    def click(self, x: int, y: int, button: str, times: int) -> None:
        self.gui.click(x, y, clicks=times, button=button)

    def scroll(self, x: int, y: int, amount: int) -> None:
        self.gui.scroll(amount, x, y)

    def press(self, keys: list[str]) -> None:
        """One shortcut: hold all but the last, press the last."""
        unknown = [k for k in keys if not self.gui.isValidKey(k)]
        if unknown:
            raise ValueError(f"no such key: {', '.join(unknown)}")
        self.gui.hotkey(*keys)

    def type(self, text: str) -> bool:
        """Type with key events; False where there are too few keycodes for this text."""
        if not self.x11.can_type(text):
            return False
        self.x11.ping()
        self.x11.prepare(text)
        for start in range(0, len(text), CHARACTERS_PER_RUN):
            self.gui.failSafeCheck()
            self.x11.type_run(text[start : start + CHARACTERS_PER_RUN])
            self.x11.ping()
        if not self.x11.private:
            self.x11.give_back()
        return True

    def paste(self, text: str) -> bool:
        """Paste with Ctrl+V, then give the clipboard back; False where nobody fetched it."""
        self.gui.failSafeCheck()
        before = self.clipboard()
        fetched = all(
            self.x11.paste(part, lambda: self.gui.hotkey("ctrl", "v")) for part in _parts(text)
        )
        if before is not None:
            self.set_clipboard(before)
        return fetched

    def sync(self) -> bool:
        return self.x11.ping()

    def windows(self) -> list[dict[str, Any]]:
        return self.x11.windows()

    def activate(self, window: int) -> None:
        self.x11.activate(window)

    def close(self, window: int) -> None:
        self.x11.close(window)

    def take_primary(self) -> None:
        self.x11.take_primary()

    def primary(self) -> str | None:
        """What is selected, or None where nothing was selected since ``take_primary``."""
        return self._selection("primary") if self.x11.primary_taken() else None

    def clipboard(self) -> str | None:
        return self._selection("clipboard")

    def set_clipboard(self, text: str) -> None:
        subprocess.run(
            ["xclip", "-in", "-selection", "clipboard"],
            input=text.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )

    def _selection(self, name: str) -> str | None:
        got = subprocess.run(
            ["xclip", "-out", "-selection", name, "-target", "UTF8_STRING"],
            capture_output=True,
            check=False,
        )
        return got.stdout.decode("utf-8", "replace") if got.returncode == 0 else None

    def pointer(self) -> list[int]:
        return [int(v) for v in self.gui.position()]

    def settings(self) -> dict[str, Any]:
        return {
            "failsafe": self.gui.FAILSAFE,
            "pause_s": self.gui.PAUSE,
            "spare_keycodes": self.x11.spare_keycodes,
            "display": os.environ.get("DISPLAY", ""),
        }


def _parts(text: str) -> list[str]:
    size = CHARACTERS_PER_PASTE
    return [text[i : i + size] for i in range(0, len(text), size)]


REQUESTS = frozenset(
    {
        *("capture", "move", "click", "scroll", "press", "type", "paste", "sync", "windows"),
        *("activate", "close", "take_primary", "primary", "clipboard", "set_clipboard"),
        *("pointer", "settings"),
    }
)


def answer(worker: Worker, request: dict[str, Any]) -> tuple[dict[str, Any], memoryview | None]:
    """Act on one request: the line to send back, and raw bytes to follow it."""
    name = request.pop("do")
    if name not in REQUESTS:
        return {"error": f"no such request: {name}", "kind": "ValueError"}, None
    method: Callable[..., Any] = getattr(worker, name)
    try:
        value = method(**request)
    except Exception as error:
        # Everything is reported to the parent, which decides; the worker itself goes on.
        return {"error": str(error), "kind": type(error).__name__}, None
    if isinstance(value, memoryview):
        size = worker.shot.size
        head = {"width": size.width, "height": size.height, "bytes": len(value)}
        return {"value": head}, value
    return {"value": value}, None


def serve(requests: BinaryIO, answers: BinaryIO, private: bool) -> None:
    try:
        worker = Worker(private)
    except Exception as error:
        answers.write(json.dumps({"error": str(error), "kind": "Start"}).encode() + b"\n")
        return
    answers.write(json.dumps({"value": worker.settings()}).encode() + b"\n")
    answers.flush()
    for line in requests:
        head, body = answer(worker, json.loads(line))
        answers.write(json.dumps(head).encode() + b"\n")
        if body is not None:
            answers.write(body)
        answers.flush()


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "wb")
    # What a library prints must not get between the answers.
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        serve(sys.stdin.buffer, out, sys.argv[1:] == ["private"])
