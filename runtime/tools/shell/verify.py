"""What can be checked about a filled recipe before anything runs, with no model call."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.tools.shell.command import inside, paths
from runtime.tools.shell.recipes import ShellRecipe

_BUILTIN_NAMES = (
    ": [ . break cd command continue echo exit export false printf pwd read return set shift "
    "test true type ulimit unset wait"
)
_BUILTINS = frozenset(_BUILTIN_NAMES.split())


def missing_programs(programs: tuple[str, ...]) -> tuple[str, ...]:
    """Of the programs that a command names, those that are not on this machine."""
    path = "/usr/sbin:/sbin"
    return tuple(
        p
        for p in programs
        if p not in _BUILTINS and shutil.which(p) is None and shutil.which(p, path=path) is None
    )


def problems(recipe: ShellRecipe, arguments: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """What is wrong with the paths of completed arguments, one sentence each; empty: nothing."""
    found: list[str] = []
    for name, path in paths(recipe, arguments, folder).items():
        if name in recipe.writes and not inside(path, folder):
            found.append(f"{path} is outside the work folder {folder}, where nothing is written.")
        if name in recipe.writes and path == folder and recipe.effect in ("absent", "moved"):
            found.append("The work folder itself is never moved or deleted.")
        if recipe.slot(name).type == "path":
            found += _existing(path, recipe.want.get(name, ""))
        elif not path.parent.is_dir() and recipe.want.get(name) == "in_folder":
            found.append(f"There is no folder {path.parent} to put {path.name} in.")
    return tuple(found)


def _existing(path: Path, want: str) -> list[str]:
    try:
        exists = path.exists() or path.is_symlink()
    except OSError as error:
        return [f"{path} cannot be looked at: {error.strerror}."]
    if not exists:
        close = _close_names(path)
        return [f"There is no file or folder {path}." + (f" Close: {close}." if close else "")]
    if want == "file" and path.is_dir():
        return [f"{path} is a folder, not a file."]
    if want == "folder" and not path.is_dir():
        return [f"{path} is a file, not a folder."]
    return []


def _close_names(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        return ""
    return ", ".join(difflib.get_close_matches(path.name, names, n=3))
