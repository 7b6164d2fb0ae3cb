"""How each skill is acted out: one function for each recipe id.

A function gets the seat (display, editor, folder) and the action's arguments, and returns a
sentence about what happened and data. It raises ToolFailed with what differs from what should
be.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ToolFailed
from runtime.screen.elements import Frame
from runtime.tools.gui.desk import Desk
from runtime.tools.gui.editor import NAME, Editor, Unsaved

Done = tuple[str, dict[str, Any]]

EDITOR_NAMES = frozenset(
    ["mousepad", "editor", "text editor", "notepad", "notes", "a text editor", "the editor"]
)
SEEN_LINES = 20
"""So many lines are compared with what OCR sees; further ones may be scrolled out of view."""


@dataclass
class Seat:
    """Where the skills work."""

    desk: Desk
    editor: Editor
    folder: Path
    may_overwrite: bool
    """True where the action was approved as one that replaces a file."""


def is_editor(name: str) -> bool:
    return name.strip().casefold().removeprefix("the ") in EDITOR_NAMES


def _opened(seat: Seat) -> str:
    return f"Opened {NAME}. " if seat.editor.ensure(seat.folder) else ""


def _seen(seat: Seat, before: Frame, text: str) -> float | None:
    """How much of ``text`` OCR finds in what changed since ``before``, in [0, 1].

    None where the text is too long to be in view.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines or len(lines) > SEEN_LINES or max(map(len, lines)) > 120:
        return None
    wanted = "".join("".join(lines).split())
    shown = "".join(seat.desk.text_since(before).split())
    matcher = difflib.SequenceMatcher(None, wanted, shown, autojunk=False)
    return round(sum(m.size for m in matcher.get_matching_blocks()) / len(wanted), 3)


def _typed(lines: str) -> str:
    count = lines.count("\n") + 1
    return f"{len(lines)} characters" if count == 1 else f"{count} lines"


def open_app(seat: Seat, app: str = "") -> Done:
    note = _opened(seat)
    return note or f"{NAME} was open already.", {}


def new_document(seat: Seat) -> Done:
    started = seat.editor.new_document(seat.folder)
    return f"Opened {NAME}." if started else "A new, empty document is in front.", {}


def open_file(seat: Seat, path: str) -> Done:
    seat.editor.open(Path(path), seat.folder)
    return f"Opened {path}.", {"file": path, "text": seat.editor.text()}


def type_text(seat: Seat, lines: str) -> Done:
    active = seat.desk.screen.active()
    if active is not None and active.dialog:
        seat.desk.write(lines)
        return f"Typed {_typed(lines)} into {active.title!r}.", {"read_back": False}
    note = _opened(seat)
    before = seat.desk.screen.settle()
    seat.editor.insert(lines)
    return f"{note}Typed {_typed(lines)}, read back exactly.", {
        "text": seat.editor.text(),
        "seen": _seen(seat, before, lines),
    }


def append_line(seat: Seat, lines: str) -> Done:
    note = _opened(seat)
    seat.editor.append_line(lines)
    return f"{note}Added {_typed(lines)} at the end, read back exactly.", {
        "text": seat.editor.text()
    }


def insert_first_line(seat: Seat, lines: str) -> Done:
    note = _opened(seat)
    seat.editor.go_to_start()
    seat.editor.insert(lines + "\n")
    return f"{note}Inserted {_typed(lines)} at the top.", {"text": seat.editor.text()}


def new_line(seat: Seat) -> Done:
    note = _opened(seat)
    seat.editor.insert("\n")
    return f"{note}Started a new line.", {}


def save_as(seat: Seat, path: str, overwrite: bool = False) -> Done:
    seat.editor.save_as(Path(path), overwrite=seat.may_overwrite)
    return f"Saved {path}; the file holds the document's text.", _file(path)


def save(seat: Seat) -> Done:
    path = str(seat.editor.save())
    return f"Saved {path}; the file holds the document's text.", _file(path)


def write_file(seat: Seat, lines: str, path: str, overwrite: bool = False) -> Done:
    if Path(path).exists() and not seat.may_overwrite:
        raise ToolFailed(
            f"{path} exists already: not overwritten.",
            hint="Ask for it to be overwritten, or choose another name.",
        )
    started = seat.editor.new_document(seat.folder)
    before = seat.desk.screen.settle()
    seat.editor.set_text(lines)
    seen = _seen(seat, before, lines)
    seat.editor.save_as(Path(path), overwrite=seat.may_overwrite)
    note = f"Opened {NAME}, typed" if started else "Typed"
    return f"{note} {_typed(lines)} and saved {path}; the file holds exactly that.", {
        **_file(path),
        "text": lines,
        "seen": seen,
    }


def append_to_file(seat: Seat, path: str, lines: str) -> Done:
    seat.editor.open(Path(path), seat.folder)
    seat.editor.append_line(lines)
    seat.editor.save()
    return f"Added {_typed(lines)} at the end of {path} and saved it.", {
        **_file(path),
        "text": seat.editor.text(),
    }


def prepend_to_file(seat: Seat, path: str, lines: str) -> Done:
    seat.editor.open(Path(path), seat.folder)
    seat.editor.go_to_start()
    seat.editor.insert(lines + "\n")
    seat.editor.save()
    return f"Inserted {_typed(lines)} at the top of {path} and saved it.", {
        **_file(path),
        "text": seat.editor.text(),
    }


def replace_in_file(seat: Seat, path: str, find: str, replacement: str) -> Done:
    seat.editor.open(Path(path), seat.folder)
    count = seat.editor.replace_all(find, replacement)
    seat.editor.save()
    return f"Replaced {find!r} by {replacement!r} {count} times in {path} and saved it.", {
        **_file(path),
        "count": count,
        "text": seat.editor.text(),
    }


def delete_in_file(seat: Seat, path: str, find: str) -> Done:
    seat.editor.open(Path(path), seat.folder)
    said, data = delete_text(seat, find)
    seat.editor.save()
    return f"{said} Saved {path}.", {**_file(path), **data}


def delete_line_in_file(seat: Seat, path: str, find: str) -> Done:
    seat.editor.open(Path(path), seat.folder)
    said, data = delete_line(seat, find)
    seat.editor.save()
    return f"{said} Saved {path}.", {**_file(path), **data}


def save_copy(seat: Seat, path: str, copy: str, overwrite: bool = False) -> Done:
    if Path(copy).exists() and not seat.may_overwrite:
        raise ToolFailed(
            f"{copy} exists already: not overwritten.",
            hint="Ask for it to be overwritten, or choose another name.",
        )
    seat.editor.open(Path(path), seat.folder)
    seat.editor.save_as(Path(copy), overwrite=seat.may_overwrite)
    return f"Saved {path} as {copy}.", _file(copy)


def read_file(seat: Seat, path: str) -> Done:
    seat.editor.open(Path(path), seat.folder)
    return read_document(seat)


def find_and_replace(seat: Seat, find: str, replacement: str) -> Done:
    count = seat.editor.replace_all(find, replacement)
    return f"Replaced {find!r} by {replacement!r} {count} times.", {
        "count": count,
        "text": seat.editor.text(),
    }


def delete_text(seat: Seat, find: str) -> Done:
    count = seat.editor.replace_all(find, "")
    return f"Deleted {find!r} {count} times.", {"count": count, "text": seat.editor.text()}


def delete_line(seat: Seat, find: str) -> Done:
    text = seat.editor.text()
    lines = text.splitlines(keepends=True)
    wanted = lines_saying(lines, find)
    if not wanted:
        raise ToolFailed(f"No line of the document says {find!r}.")
    seat.editor.set_text("".join(line for i, line in enumerate(lines) if i not in wanted))
    return f"Deleted {len(wanted)} lines.", {"count": len(wanted), "text": seat.editor.text()}


def lines_saying(lines: Sequence[str], words: str) -> set[int]:
    """Which lines are meant: those that say exactly ``words``, else the only one that holds
    them. None where several lines hold them: which of those is meant was not said."""
    exact = {i for i, line in enumerate(lines) if line.strip() == words.strip()}
    holding = {i for i, line in enumerate(lines) if words in line}
    return exact or (holding if len(holding) == 1 else set())


def clear_document(seat: Seat) -> Done:
    seat.editor.set_text("")
    return "The document is empty.", {"text": ""}


def select_all(seat: Seat) -> Done:
    text = seat.editor.select_all()
    return f"Selected {len(text)} characters.", {"text": text}


def copy_all(seat: Seat) -> Done:
    text = seat.editor.select_all()
    if not text:
        raise ToolFailed("There is nothing to copy: the document is empty.")
    seat.desk.press("ctrl+c")
    if seat.desk.screen.clipboard() != text:
        raise ToolFailed("The clipboard does not hold what was copied.")
    return f"Copied {len(text)} characters.", {"text": text}


def paste(seat: Seat) -> Done:
    text = seat.desk.screen.clipboard()
    if not text:
        raise ToolFailed("The clipboard is empty.")
    note = _opened(seat)
    seat.editor.insert(text)
    return f"{note}Pasted {_typed(text)}.", {"text": seat.editor.text()}


def undo(seat: Seat) -> Done:
    return "Undid the last change.", {"text": seat.editor.undo()}


def redo(seat: Seat) -> Done:
    return "Redid the change.", {"text": seat.editor.undo("ctrl+shift+z")}


def read_document(seat: Seat) -> Done:
    text = seat.editor.text()
    return text, {"text": text, "file": str(seat.editor.file or "")}


def read_screen(seat: Seat) -> Done:
    text = seat.desk.text()
    elements = [e.as_dict() for e in seat.desk.look()[1]]
    return text, {"text": text, "elements": elements}


def list_windows(seat: Seat) -> Done:
    titles = [w.title for w in seat.desk.screen.windows()]
    return "\n".join(titles) or "No window is open.", {"windows": titles}


def click(seat: Seat, label: str) -> Done:
    frame, element = seat.desk.locate(label)
    seat.desk.click(label, frame, element)
    seat.editor.selection = "unknown"
    return f"Clicked {label!r}.", {"box": element.box.as_list()}


def press_keys(seat: Seat, keys: str) -> Done:
    seat.desk.press(keys)
    seat.editor.selection = "unknown"
    return f"Pressed {keys}.", {}


def scroll(seat: Seat, direction: str = "down", amount: int = 5) -> Done:
    active = seat.desk.screen.active()
    if active is None:
        raise ToolFailed("There is no window to scroll.")
    x, y = active.box.center
    seat.desk.screen.scroll(x, y, amount if direction == "up" else -amount)
    seat.desk.screen.sync()
    seat.desk.note(f"scroll {direction} {amount}")
    return f"Scrolled {direction} by {amount}.", {}


def close_window(seat: Seat, unsaved: Unsaved = "keep") -> Done:
    discarded = seat.editor.close(unsaved)
    return "Closed the window" + (", changes discarded." if discarded else "."), {}


def _file(path: str) -> dict[str, Any]:
    return {"file": path, "bytes": Path(path).stat().st_size}


ACTS: Mapping[str, Callable[..., Done]] = {
    act.__name__: act
    for act in (
        open_app, new_document, open_file, type_text, append_line, insert_first_line, new_line,
        save_as, save, write_file, append_to_file, prepend_to_file, replace_in_file,
        delete_in_file, delete_line_in_file, save_copy, read_file, find_and_replace,
        delete_text, delete_line, clear_document, select_all, copy_all, paste, undo, redo,
        read_document,
        read_screen, list_windows, click, press_keys, scroll, close_window,
    )
}  # fmt: skip
