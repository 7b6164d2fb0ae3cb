"""The GUI tool: skills acted out on a private display, each effect verified.

The display comes up with the first action and stays until ``close``. What is read on the
screen is data: arguments and risk come from the request alone.
"""

from __future__ import annotations

import threading
import time
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import DisplayMissing, Interrupted, ToolFailed
from runtime.core import Action, Outcome, Risk, Step, Task, new_id
from runtime.screen.screen import key_names
from runtime.tools.gui.acts import ACTS, Seat, is_editor
from runtime.tools.gui.desk import Desk
from runtime.tools.gui.editor import NAME, Editor
from runtime.tools.gui.skills import BY_ID, SKILLS
from runtime.tools.recipe import Proposal, Recipe

SAVES = {"save_as": "path", "write_file": "path", "save_copy": "copy"}
"""Skills that save to a file, and the argument that names it."""
EDITS = frozenset(
    ["append_to_file", "prepend_to_file", "replace_in_file", "delete_in_file",
     "delete_line_in_file"]
)  # fmt: skip
"""Skills that change an existing file that they are given."""
LOOKS = frozenset(["list_windows", "read_screen"])
GRAVE = frozenset(
    {
        *("delete", "remove", "discard", "erase", "send", "submit", "buy", "pay", "order"),
        *("install", "uninstall", "reset", "format", "replace", "overwrite", "sign", "publish"),
        *("post", "transfer", "confirm", "agree", "accept"),
    }
)
"""A click on a label with one of these words is sensitive."""
READ_KEYS = frozenset(["esc", "up", "down", "left", "right", "home", "end", "pageup", "pagedown"])
PREVIEW_CHARACTERS = 200


class GuiTool:
    """Skills on a display. ``watch`` saves a frame of each primitive action into that folder.

    ``own_display`` works on the user's own desktop instead (``own_name`` such as ``:0``).
    """

    name = "gui"

    def __init__(
        self, *, watch: Path | None = None, own_display: bool = False, own_name: str = ""
    ) -> None:
        self._watch, self._own, self._own_name = watch, own_display, own_name
        self._lock = threading.Lock()
        self._desk: Desk | None = None
        self._acting = ""
        """Id of the action that runs now."""
        self._editor: Editor | None = None
        self._worked_in: Path | None = None

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        return SKILLS

    def prepare(self, task: Task, step: Step, proposal: Proposal) -> Action:
        recipe = BY_ID.get(proposal.recipe.id)
        if recipe is None:
            raise ToolFailed(f"The GUI tool has no skill {proposal.recipe.id!r}.")
        arguments = _arguments(task, recipe, proposal.arguments)
        where = f"your own desktop {self._own_name}".strip() if self._own else "a private display"
        return Action(
            id=new_id("action"),
            task_id=task.id,
            step_id=step.id,
            tool=self.name,
            recipe=recipe.id,
            arguments=arguments,
            preview=f"On {where}: {_words(recipe.id, arguments)}",
            risk=self._risk(task, recipe, arguments),
            sandbox="" if self._own else "private virtual display; files by the work folder's rule",
        )

    def _risk(self, task: Task, recipe: Recipe, arguments: Mapping[str, Any]) -> Risk:
        id_ = recipe.id
        if id_ in EDITS or id_ in SAVES:
            path = Path(arguments[SAVES.get(id_, "path")])
            replaces = id_ in SAVES and path.exists()
            return "sensitive" if replaces or not _inside(task, path) else "write"
        if id_ == "close_window" and arguments["unsaved"] == "discard":
            return "sensitive"
        if id_ in ("click", "press_keys") and self._own:
            return "sensitive"
        if id_ == "click" and GRAVE & set(str(arguments["label"]).casefold().split()):
            return "sensitive"
        if id_ == "press_keys" and set(key_names(str(arguments["keys"]))) <= READ_KEYS:
            return "read"
        if recipe.risk == "write" and self._file_outside(task):
            # Whatever changes the document may end up in a file that is not the task's.
            return "sensitive"
        return "write" if self._own and recipe.risk == "read" and id_ == "open_app" else recipe.risk

    def _is_stale(self, task: Task) -> bool:
        """On a private display: what is in front belongs to work in another folder. It stays
        open, behind a new window."""
        return not self._own and self._worked_in not in (None, _folder(task))

    def _file_outside(self, task: Task) -> bool:
        if self._editor is None or self._is_stale(task):
            return False  # a document of this task's own will be in front
        file = self._editor.file
        return file is not None and not _inside(task, file)

    def run(self, task: Task, action: Action) -> Outcome:
        start = time.perf_counter()
        with self._lock:
            self._acting = action.id
            try:
                said, data = self._act(task, action)
                status, error = "done", ""
            except Interrupted as stopped:
                if self._desk is not None and self._desk.screen.stopped:
                    self._drop()
                return _outcome(action, "interrupted", start, error=stopped.message)
            except ToolFailed as failed:
                said, status = "", "failed"
                error = f"{failed.message} {failed.hint}".strip()
                data = {}
            except DisplayMissing:
                self._drop()
                raise
            finally:
                self._acting = ""
            data = {**data, **self._state()}
        return _outcome(action, status, start, error=error, output=said, data=data)

    def _act(self, task: Task, action: Action) -> tuple[str, dict[str, Any]]:
        if self._desk is None:
            self._desk = Desk(own=self._own, own_name=self._own_name, watch=self._watch)
            self._editor = Editor(self._desk)
        assert self._editor is not None  # noqa: S101 (they come and go together)
        if action.recipe not in LOOKS:
            if self._is_stale(task) and self._editor.window():
                self._editor.new_window()
            self._worked_in = _folder(task)
        self._guard_files(task, action)
        seat = Seat(self._desk, self._editor, _folder(task), action.risk == "sensitive")
        return ACTS[action.recipe](seat, **action.arguments)

    def _guard_files(self, task: Task, action: Action) -> None:
        """The document in front may have changed since the action was approved."""
        if action.risk != "write" or action.recipe in EDITS or action.recipe in SAVES:
            return
        if self._file_outside(task):
            raise ToolFailed(
                "The document in front is outside the work folder, and changing it was not "
                "approved as sensitive."
            )

    def _state(self) -> dict[str, Any]:
        if self._desk is None or self._editor is None:
            return {}
        active = self._desk.screen.active()
        return {
            "title": active.title if active else "",
            "modified": self._editor.modified,
            **({"frames": self._desk.frames} if self._watch is not None else {}),
        }

    def picture(self) -> bytes:
        """The screen as it is now, as a PNG. Raises ToolFailed where there is none yet."""
        import io

        from PIL import Image

        with self._lock:
            if self._desk is None:
                raise ToolFailed("No screen is there yet.", hint="Look at it, or act on it, first.")
            frame = self._desk.screen.frame()
        file = io.BytesIO()
        Image.fromarray(frame.rgb).save(file, format="PNG", compress_level=1)
        return file.getvalue()

    def look(self, task: Task, action: Action) -> Outcome:
        """The display went with the process: only a file can tell what happened."""
        start = time.perf_counter()
        if BY_ID[action.recipe].risk == "read":
            return _outcome(action, "failed", start, error="Interrupted; it only read.")
        if action.recipe in EDITS or action.recipe in SAVES:
            verdict, why = _look_at_file(action)
            return _outcome(action, verdict, start, error=why)
        why = "The display is gone, and with it what was not saved."
        return _outcome(action, "interrupted", start, error=why)

    def stop(self, action: Action) -> None:
        desk = self._desk
        if self._acting == action.id and desk is not None:
            desk.screen.stop()

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        desk, self._desk, self._editor = self._desk, None, None
        self._worked_in = None
        if desk is not None:
            desk.close()


def _outcome(
    action: Action,
    status: Any,
    start: float,
    *,
    error: str = "",
    output: str = "",
    data: Any = None,
) -> Outcome:
    ms = (time.perf_counter() - start) * 1000
    return Outcome(
        action.id, action.task_id, action.step_id, status, output, data, error, round(ms, 1)
    )


def _folder(task: Task) -> Path:
    return Path(task.folder) if task.folder else Path.cwd()


def _inside(task: Task, path: Path) -> bool:
    """True where the file lies in the work folder, links followed."""
    return path.resolve().is_relative_to(_folder(task).resolve())


def _path(task: Task, value: Any) -> Path:
    path = Path(str(value)).expanduser()
    return Path(_folder(task).absolute() / path)


def _arguments(task: Task, recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with defaults, absolute paths and typeable text. Raises ToolFailed."""
    arguments: dict[str, Any] = {}
    for slot in recipe.slots:
        value = given.get(slot.name, slot.default)
        if value is None or (value == "" and slot.name != "replacement"):
            raise ToolFailed(f"{recipe.id}: {slot.does} is missing.")
        if slot.type in ("path", "new_path"):
            value = str(_checked_path(slot.type, _path(task, value)))
        elif slot.type == "lines":
            lines = value if isinstance(value, (list, tuple)) else [value]
            value = _typeable("\n".join(str(line) for line in lines))
        elif slot.type in ("text", "label", "name"):
            value = _typeable(str(value))
        elif slot.choices and value not in slot.choices:
            raise ToolFailed(f"{recipe.id}: {value!r} is none of {', '.join(slot.choices)}.")
        elif slot.type == "integer":
            value = int(min(max(int(value), slot.minimum or 0), slot.maximum or int(value)))
        arguments[slot.name] = value
    if recipe.id == "open_app" and not is_editor(arguments["app"]):
        raise ToolFailed(
            f"Opening {arguments['app']!r} is not on the list.", hint=f"It has: {NAME}."
        )
    return arguments


def _checked_path(type_: str, path: Path) -> Path:
    if path.is_dir():
        raise ToolFailed(f"{path} is a folder, not a file.")
    if type_ == "path" and not path.exists():
        raise ToolFailed(f"There is no file {path}.")
    if type_ == "new_path" and not path.parent.is_dir():
        raise ToolFailed(f"There is no folder {path.parent} to save in.")
    if "\n" in str(path):
        raise ToolFailed("A file name with a line break cannot be typed.")
    return path


def _typeable(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    bad = [c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    if bad:
        raise ToolFailed(f"The text has a character that cannot be typed: {bad[0]!r}.")
    return text


def _words(id_: str, arguments: Mapping[str, Any]) -> str:
    """The action in words, for a person to approve."""
    parts = []
    for name, value in arguments.items():
        if value is False:
            continue
        text = repr(value) if isinstance(value, str) else str(value)
        if len(text) > PREVIEW_CHARACTERS:
            text = f"{text[:PREVIEW_CHARACTERS]}… ({len(str(value))} characters)"
        parts.append(f"{name} = {text}")
    does = BY_ID[id_].does.lower() if not parts else BY_ID[id_].does
    note = ""
    if id_ in SAVES and Path(arguments[SAVES[id_]]).exists():
        note = " (REPLACES the file that is there)"
    return f"{does}{': ' if parts else ''}{', '.join(parts)}{note}"


def _look_at_file(action: Action) -> tuple[str, str]:
    """Whether a saving action happened, as far as the file can tell."""
    path = Path(action.arguments[SAVES.get(action.recipe, "path")])
    prepared_s = int(action.id.partition("_")[2][:11], 16) / 1000
    try:
        content = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
        saved_s = path.stat().st_mtime
    except OSError:
        return "failed", f"{path} was not saved."
    if saved_s < prepared_s:
        return "failed", f"{path} was not changed."
    lines = action.arguments.get("lines")
    if action.recipe == "write_file" and content == lines:
        return "done", ""
    if action.recipe == "append_to_file" and content.rstrip("\n").endswith(str(lines)):
        return "done", ""
    if action.recipe == "prepend_to_file" and content.startswith(f"{lines}\n"):
        return "done", ""
    if action.recipe in ("save_as", "save_copy"):
        return "done", ""
    return "interrupted", f"{path} was changed meanwhile; whether by this action cannot be told."
