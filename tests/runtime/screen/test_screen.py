"""Input and reading on a real display with a real editor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import DisplayMissing, Interrupted, ToolFailed
from runtime.screen.changes import changed
from runtime.screen.display import OwnDisplay, PrivateDisplay
from runtime.screen.perception import Reader, find, screen_text
from runtime.screen.screen import Screen, key_names


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    with PrivateDisplay() as display, Screen(display) as screen:
        display.launch(["mousepad"], Path("/"))
        assert screen.wait(lambda: screen.active() is not None, 20)
        screen.sync()
        yield screen


TEXTS = {
    "markup": 'if (a < b && c > d) { é = "ü"; } // ^`´\'~|\\',
    "every ASCII character": "".join(map(chr, range(0x20, 0x7F))),
    "other scripts": "中文 ✓ ñ ß € “q” – — Ωμέγα кириллица עברית",
    "emoji": "😀 👩\u200d👩\u200d👧 🇩🇪 e\u0301 ✈\ufe0f",
    "tabs and lines": "a\tb\n\tc\n\n  d\n",
    "2 kB": ("Lörem <ípsum> 中 ✓ 😀 dolor_sit @amet\t#%& 'x'\n" * 50)[:2000],
    "more characters than keys": "".join(map(chr, range(0x4E00, 0x4E00 + 300))),
    "long": "Zeile <é> 中\n" * 500,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_what_is_written_reads_back_exactly(screen: Screen, text: str) -> None:
    screen.press("ctrl+a")
    screen.press("delete")
    screen.write(text)
    assert screen.selected_by("ctrl+shift+home") == text


def test_paste_gives_the_clipboard_back(screen: Screen) -> None:
    screen._do("set_clipboard", text="mine")
    screen.press("ctrl+a")
    screen.press("delete")
    screen.paste("pasted é <")
    assert screen.selected_by("ctrl+shift+home") == "pasted é <"
    assert screen.clipboard() == "mine"


def test_ocr_reads_the_menu_and_then_only_what_changed(screen: Screen) -> None:
    screen.press("ctrl+a")
    screen.press("delete")
    reader = Reader()
    first = screen.settle()
    elements = reader.read(first)
    assert find(elements, "File")
    assert find(elements, "Document")
    whole = reader.pixels_read
    screen.write("Quarterly report")
    second = screen.settle()
    assert changed(first, second)
    assert "Quarterly report" in screen_text(reader.read(second))
    assert 0 < reader.pixels_read < whole
    reader.read(second)
    assert reader.pixels_read == 0


def test_windows_have_titles_and_boxes(screen: Screen) -> None:
    window = screen.active()
    assert window is not None
    assert window.app == "Mousepad"
    assert window.title.endswith("Mousepad")
    assert window.box.width == 1280


def test_an_unknown_key_is_refused(screen: Screen) -> None:
    with pytest.raises(ToolFailed, match="no such key"):
        screen.press("ctrl+nonsense")


def test_the_fail_safe_stays_on_and_says_so(screen: Screen) -> None:
    assert screen.settings["failsafe"] is True
    screen.move(0, 0)
    try:
        with pytest.raises(Interrupted, match="fail-safe"):
            screen.press("a")
        with pytest.raises(Interrupted, match="fail-safe"):
            screen.write("a")
    finally:
        # The fail-safe blocks pyautogui itself, so the pointer is moved away by other means.
        import subprocess

        environment = dict(screen.display.environment)
        subprocess.run(["xdotool", "mousemove", "600", "400"], env=environment, check=True)
    screen.press("escape")


def test_a_display_that_is_not_there_is_missing() -> None:
    with pytest.raises(DisplayMissing, match=":9876"):
        Screen(OwnDisplay(":9876"))


@pytest.mark.parametrize(
    ("shortcut", "keys"),
    [
        ("Ctrl+Shift+S", ["ctrl", "shift", "s"]),
        ("control-a", ["ctrl", "a"]),
        ("Page Down", ["pagedown"]),
        ("ctrl++", ["ctrl", "+"]),
        ("+", ["+"]),
        ("-", ["-"]),
        ("Return", ["enter"]),
    ],
)
def test_key_names(shortcut: str, keys: list[str]) -> None:
    assert key_names(shortcut) == keys


def test_a_stopped_screen_refuses_every_later_call() -> None:
    with PrivateDisplay() as display, Screen(display) as screen:
        screen.frame()
        screen.stop()
        with pytest.raises(Interrupted, match="Stopped by the user"):
            screen.click(10, 10)
