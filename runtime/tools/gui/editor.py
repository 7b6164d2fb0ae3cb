"""Driving a text editor (Mousepad), with every effect read back.

What the document holds is read through the selection (Ctrl+Shift+Home, Ctrl+Shift+End), which
is exact for any Unicode text, leaves the clipboard alone and puts the caret back.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

from models.errors import ToolFailed
from runtime.screen.elements import Window
from runtime.tools.gui.desk import Desk

PROGRAM, WINDOW_CLASS, NAME = "mousepad", "Mousepad", "Mousepad"
SUFFIX = " - Mousepad"
NAME_TRIES = 4
ACCEPT_TRIES = 10
ESCAPE_TRIES = 3
ACCEPT_TIMEOUT_S = 0.5

Unsaved = Literal["keep", "save", "discard"]


class Editor:
    """Mousepad on a desk. Methods raise ToolFailed with what differs from what should be."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.screen = desk.screen
        self.selection: Literal["none", "all", "unknown"] = "none"
        """What is known to be selected: typing replaces it."""

    # Windows

    def window(self) -> Window | None:
        """Its topmost main window, or None where it is not open."""
        windows = [w for w in self.screen.windows() if w.app == WINDOW_CLASS and not w.dialog]
        return windows[-1] if windows else None

    def require(self) -> Window:
        window = self.window()
        if window is None:
            raise ToolFailed(f"{NAME} is not open.", hint="Open it, or name the file to edit.")
        if not window.active:
            active = self.screen.active()
            if active is not None and active.dialog and active.app == WINDOW_CLASS:
                raise ToolFailed(f"A dialog is open in {NAME}: {active.title!r}.")
            self.screen.activate(window)
        return window

    def ensure(self, folder: Path) -> bool:
        """Open it where it is not; True where it had to be."""
        if self.window() is not None:
            self.require()
            return False
        self.desk.launch([PROGRAM], folder, NAME)
        self.selection = "none"
        return True

    @property
    def title(self) -> str:
        window = self.window()
        return window.title if window else ""

    @property
    def modified(self) -> bool:
        return self.title.startswith("*")

    @property
    def file(self) -> Path | None:
        """The file behind the document in front, or None where it has no name yet."""
        name = self.title.removeprefix("*").removesuffix(" [Read Only]")
        name = name.partition(SUFFIX)[0].removesuffix(" [Read Only]")
        return Path(name) if name.startswith("/") else None

    # The document

    def around_caret(self) -> tuple[str, str]:
        """The text before the caret and behind it."""
        self.require()
        before = self.screen.selected_by("ctrl+shift+home")
        if before:
            self.screen.press("right")
        behind = self.screen.selected_by("ctrl+shift+end")
        if behind:
            self.screen.press("left")
        self.selection = "none"
        return before, behind

    def text(self) -> str:
        before, behind = self.around_caret()
        return before + behind

    def insert(self, text: str) -> None:
        """Type at the caret, over a selection of all; read back, and repair once by pasting."""
        self.require()
        if self.selection == "unknown":
            self.desk.write(text)
            self._expect_before_caret(text)
            return
        before, behind = ("", "") if self.selection == "all" else self.around_caret()
        self.desk.write(text)
        self.selection = "none"
        if self._reads(before + text, behind):
            return
        self.desk.press("ctrl+a")
        self.screen.paste(before + text + behind)
        self.desk.note("paste the text again")
        if not self._reads(before + text + behind, ""):
            raise ToolFailed(_difference("The text was not typed as asked", text, self.text()))

    def _reads(self, before: str, behind: str) -> bool:
        return self.around_caret() == (before, behind)

    def _expect_before_caret(self, text: str) -> None:
        before, _behind = self.around_caret()
        if not before.endswith(text):
            found = before[-len(text) :]
            raise ToolFailed(_difference("The text was not typed as asked", text, found))

    def go_to_end(self) -> None:
        self.require()
        self.desk.press("ctrl+end")
        self.selection = "none"

    def go_to_start(self) -> None:
        self.require()
        self.desk.press("ctrl+home")
        self.selection = "none"

    def append_line(self, line: str) -> None:
        """``line`` as new last line (or lines) of the document."""
        self.go_to_end()
        before, _ = self.around_caret()
        ends_line = before == "" or before.endswith("\n")
        self.insert(line + "\n" if before.endswith("\n") else line if ends_line else "\n" + line)

    def select_all(self) -> str:
        self.require()
        # Ctrl+A does not tell the selection again where all is selected already.
        self.screen.press("ctrl+end")
        selected = self.screen.selected_by("ctrl+shift+home")
        self.desk.note("select all")
        self.selection = "all" if selected else "none"
        return selected

    def set_text(self, text: str) -> None:
        """Make the document hold ``text`` and nothing else."""
        self.select_all()
        if text:
            self.insert(text)
        elif self.selection == "all":
            self.desk.press("delete")
            self.selection = "none"
        if (now := self.text()) != text:
            raise ToolFailed(_difference("The document is not as asked", text, now))

    def new_document(self, folder: Path) -> bool:
        """An empty document in front; True where the editor had to be opened for it."""
        if self.ensure(folder):
            return True
        if self.file is None and not self.modified and self.text() == "":
            return False
        before = self.title
        self.desk.press("ctrl+n")
        if not self.screen.wait(lambda: self.title != before and self.file is None):
            raise ToolFailed(f"{NAME} opened no new document.")
        self.screen.sync()
        self.selection = "none"
        return False

    def new_window(self) -> None:
        """A window of its own with an empty document, in front of those that are open."""
        self.require()
        known = {w.id for w in self.screen.windows()}
        self.desk.press("ctrl+shift+n")
        if self.desk.wait_for_dialog(known) is None:
            raise ToolFailed(f"{NAME} opened no new window.")
        self.selection = "none"

    def replace_all(self, old: str, new: str) -> int:
        """Replace every ``old`` (its case exactly) through the dialog; how many there were."""
        text = self.text()
        count = text.count(old)
        if not count:
            other = old.casefold() in text.casefold()
            hint = "It is there in other upper or lower case." if other else ""
            raise ToolFailed(f"The document does not contain {old!r}.", hint=hint)
        wanted = text.replace(old, new)
        if "\n" not in old + new:
            known = {w.id for w in self.screen.windows()}
            self.desk.press("ctrl+r")
            dialog = self.desk.wait_for_dialog(known)
            if dialog is not None:
                self._fill_replace_dialog(old, new)
                self.desk.press("alt+r")
                self.desk.press("esc")
                self.desk.wait_gone(dialog)
        if self.text() != wanted:
            self.set_text(wanted)
        return count

    def _fill_replace_dialog(self, old: str, new: str) -> None:
        for mnemonic, value in (("alt+s", old), ("alt+w", new)):
            self.screen.press(mnemonic)
            self.screen.press("ctrl+a")
            if value:
                self.desk.write(value)
            else:
                self.screen.press("delete")

    def undo(self, shortcut: str = "ctrl+z") -> str:
        """Undo (or redo) once; the text after it."""
        before = self.text()
        self.desk.press(shortcut)
        self.selection = "none"
        after = self.text()
        if after == before:
            raise ToolFailed("Nothing changed: there was nothing to take back.")
        return after

    # Files

    def open(self, path: Path, folder: Path) -> None:
        """``path`` in front; its text is read back and compared with the file."""
        window = self.window()
        known = {w.id for w in self.screen.windows()}
        if window is None:
            self.desk.launch([PROGRAM, str(path)], folder, NAME)
        elif self.file != path:
            self.require()
            self.screen.display.launch([PROGRAM, str(path)], folder)
        if not self.screen.wait(lambda: self.file == path or self._dialog(known) is not None, 10):
            raise ToolFailed(f"{NAME} did not open {path}: its title is {self.title!r}.")
        if dialog := self._dialog(known):
            raise self._refused(dialog, f"{NAME} could not open {path}")
        self.selection = "none"
        self.desk.note(f"open {path}")
        if not self.modified and not _holds(path, self.text()):
            raise ToolFailed(f"{NAME} shows other text than {path} holds.")

    def save(self) -> Path:
        """Save under the name it has; the path."""
        self.require()
        path = self.file
        if path is None:
            raise ToolFailed("The document has no name yet.", hint="Say where to save it.")
        text = self.text()
        known = {w.id for w in self.screen.windows()}
        self.desk.press("ctrl+s")
        self._expect_saved(path, text, known)
        return path

    def save_as(self, path: Path, *, overwrite: bool) -> Path:
        """Save under ``path``, through the dialog. An existing file only with ``overwrite``."""
        self.require()
        if self.file == path:
            return self.save()
        text = self.text()
        known = {w.id for w in self.screen.windows()}
        self.desk.press("ctrl+shift+s")
        dialog = self.desk.wait_for_dialog(known)
        if dialog is None:
            raise ToolFailed("The Save As dialog did not open.")
        try:
            self._name_file(dialog, path)
            existed = path.exists()
            # The chooser reads the folder in the background, and ignores us until it has. A
            # second Enter could reach the document; Alt+S would only open a menu there.
            self.screen.settle()
            self.desk.press("enter")
            for _ in range(ACCEPT_TRIES):
                if self._answered(dialog):
                    break
                self.screen.press("alt+s")
                active = self.screen.active()
                if active is not None and not active.dialog:
                    self.screen.press("esc")
            if existed:
                self._confirm_overwrite(path, dialog, overwrite)
            self._expect_saved(path, text, {*known, dialog.id})
        except ToolFailed:
            if any(w.id == dialog.id for w in self.screen.windows()):
                self._escape(dialog)
            raise
        return path

    def _name_file(self, dialog: Window, path: Path) -> None:
        """Put ``path`` into the dialog's name field, and read back that it is there.

        The field completes names while one types, so the path is pasted whole, and what
        completion adds behind it (selected) is deleted.
        """
        named = ""
        for _ in range(NAME_TRIES):
            self.screen.settle()
            self.screen.press("alt+n")
            self.screen.press("ctrl+a")
            self.screen.paste(str(path))
            self.screen.press("delete")
            # Ctrl+A says nothing where all is selected already.
            self.screen.press("end")
            named = self.screen.selected_by("shift+home")
            if named == str(path):
                self.desk.note(f"name it {path}")
                return
        raise ToolFailed(f"The Save As dialog took {named!r} for {str(path)!r}.")

    def _answered(self, dialog: Window) -> bool:
        """True once the dialog has gone or asks something."""

        def answered() -> bool:
            windows = self.screen.windows()
            return all(w.id != dialog.id or w.id in {v.parent for v in windows} for w in windows)

        return self.screen.wait(answered, ACCEPT_TIMEOUT_S)

    def _confirm_overwrite(self, path: Path, dialog: Window, overwrite: bool) -> None:
        known = {w.id for w in self.screen.windows() if w.app != WINDOW_CLASS} | {dialog.id}
        main = self.window()
        known |= {main.id} if main else set()
        question = self.desk.wait_for_dialog(known, 2.0)
        if question is None:
            return
        if not overwrite:
            self._escape(question)
            raise ToolFailed(
                f"{path} exists already: not overwritten.",
                hint="Ask for it to be overwritten, or choose another name.",
            )
        self.desk.note(f"replace {path.name}")
        self.desk.press("alt+r")
        self.desk.wait_gone(question)

    def _expect_saved(self, path: Path, text: str, known: set[int]) -> None:
        def settled() -> bool:
            return (self.file == path and not self.modified and _holds(path, text)) or (
                self._dialog(known) is not None
            )

        self.screen.wait(settled)
        if dialog := self._dialog(known):
            raise self._refused(dialog, f"{NAME} could not save {path}")
        self.desk.note(f"saved {path}")
        if self.file != path or self.modified:
            raise ToolFailed(f"{path} was not saved: the title says {self.title!r}.")
        if not _holds(path, text):
            raise ToolFailed(f"{path} was saved, but does not hold the document's text.")

    def close(self, unsaved: Unsaved = "keep") -> bool:
        """Close the window in front; True where changes were discarded.

        With unsaved changes: ``keep`` leaves it open and raises, ``save`` saves a named
        document, ``discard`` drops them.
        """
        window = self.require()
        if self.modified and unsaved == "save":
            self.save()
        known = {w.id for w in self.screen.windows()}
        self.screen.close_window(window)
        discarded = False
        while (dialog := self._asked_or_closed(window, known)) is not None:
            if unsaved != "discard":
                self._escape(dialog)
                raise ToolFailed(
                    "The document has unsaved changes: it stays open.",
                    hint="Save it first, or say that the changes may be discarded.",
                )
            self.desk.press("alt+d")
            discarded = True
            if not self.desk.wait_gone(dialog):
                raise ToolFailed(f"{NAME} did not close.")
        self.desk.note("closed")
        return discarded

    def _asked_or_closed(self, window: Window, known: set[int]) -> Window | None:
        """The question about unsaved changes, one for each document, or None once closed."""

        def gone() -> bool:
            return all(w.id != window.id for w in self.screen.windows())

        if not self.screen.wait(lambda: gone() or self._dialog(known) is not None):
            raise ToolFailed(f"{NAME} did not close.")
        return None if gone() else self._dialog(known)

    def _dialog(self, known: set[int]) -> Window | None:
        return next(
            (
                w
                for w in self.screen.windows()
                if w.id not in known and w.app == WINDOW_CLASS and w.dialog
            ),
            None,
        )

    def _escape(self, dialog: Window) -> None:
        for _ in range(ESCAPE_TRIES):
            self.screen.press("esc")
            if self.desk.wait_gone(dialog, 1.0):
                return
        raise ToolFailed(f"A dialog would not close: {dialog.title!r}.")

    def _refused(self, dialog: Window, what: str) -> ToolFailed:
        """Read what a dialog says, dismiss it, and make an error of it."""
        frame = self.screen.settle()
        said = " ".join(e.text for e in self.desk.reader.read_box(frame, dialog.box))
        with contextlib.suppress(ToolFailed):
            self._escape(dialog)
        return ToolFailed(f"{what}: {said or dialog.title}")


def _holds(path: Path, text: str) -> bool:
    """True where the file's bytes are ``text`` in UTF-8, with LF or CRLF line ends."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return content in (text.encode(), text.replace("\n", "\r\n").encode())


def _difference(what: str, wanted: str, found: str) -> str:
    """Names the first place where two texts differ."""
    same = 0
    for a, b in zip(wanted, found, strict=False):
        if a != b:
            break
        same += 1
    return (
        f"{what}: after {same} characters, {wanted[same : same + 20]!r} was wanted "
        f"and {found[same : same + 20]!r} is there."
    )
