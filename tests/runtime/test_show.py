"""What the commands print: text is shown, and never obeyed by the terminal."""

from __future__ import annotations

import builtins

import pytest

from runtime.commands import run, show
from runtime.core import Action, Event
from runtime.plain import plain

EVIL = "safe\x1b[2K\rls\x1b]0;title\x07\x9b31m\u202ered"


def obeyed(text: str) -> set[str]:
    """Characters in ``text`` that a terminal acts on, but for line ends."""
    return {c for c in text if (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c == "\u202e")} - {"\n"}


def test_plain_shows_control_characters_instead_of_sending_them() -> None:
    assert obeyed(EVIL) == {"\x1b", "\r", "\x07", "\x9b", "\u202e"}
    assert plain(EVIL) == "safe␛[2K␍ls␛]0;title␇␡31mred"
    assert plain("a\r\nb\tc", lines=True) == "a\nb    c"


@pytest.mark.parametrize("value", [EVIL, [{"name": EVIL, "bytes": 1}], {"name": EVIL}])
def test_an_answer_sends_the_terminal_no_escape_sequence(
    value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    show.console().print(show.answer(value))
    out = capsys.readouterr().out
    assert "safe" in out
    assert obeyed(out) == set()


def test_a_live_line_sends_the_terminal_no_escape_sequence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    action = Action("act", "task", "step", "shell", "make", {}, f"mkdir {EVIL}", "write")
    show.live(show.console())(Event("task", 0.0, action))
    out = capsys.readouterr().out
    assert "mkdir safe" in out
    assert obeyed(out) == set()


async def test_what_a_person_approves_cannot_rewrite_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return "y"

    monkeypatch.setattr(builtins, "input", answer)
    action = Action("act", "task", "step", "shell", "make", {}, f"mkdir {EVIL}", "write")
    assert await run.ask_action(action, "it writes")
    assert "mkdir safe" in asked[0]
    assert obeyed(asked[0]) == set()
