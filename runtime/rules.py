"""Rules: what the user pins before the score is asked.

A rule matches a step by what is known of it beforehand, and pins its route, its privacy mode, or
both. For each of the two, the first rule that matches and says something about it wins. Reading
rules out of ``policy.toml`` is in ``policy_file``.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

from runtime.core import Kind, Privacy, Task

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator

Route = Literal["local", "general", "decline"]
ROUTES: tuple[Route, ...] = get_args(Route)
MAX_REGEX_CHARS = 500
_PATH_LIKE = re.compile(r"\"([^\"]{1,500})\"|'([^']{1,500})'|([^\s\"',;]{1,500})")


@dataclass(frozen=True, slots=True)
class Situation:
    """What rules match: known before any model is asked."""

    kinds: tuple[Kind, ...]
    """The step's kind; a repair has its step's kind, too."""
    text: str
    """The step's words."""
    task_text: str
    tools: tuple[str, ...] = ()
    """The tool that serves this kind of step, or the functions that the task brings."""
    folder: str = ""
    """Work folder that relative paths are resolved against."""
    window: str = ""
    """Title of the window in front, where one is known."""

    @staticmethod
    def of(task: Task, kinds: Sequence[Kind], text: str, window: str = "") -> Situation:
        tools = [k for k in kinds if k in ("shell", "gui")]
        names = [str(t.get("function", {}).get("name", "")) for t in task.tools]
        offered = tools or (names if {"tool", "parse"} & set(kinds) else [])
        return Situation(tuple(kinds), text, task.text, tuple(offered), task.folder, window)


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``[[rule]]``. Every condition that is given must hold; lists mean "any of"."""

    number: int
    """Place in the file, from 1."""
    name: str = ""
    kind: tuple[str, ...] = ()
    keyword: tuple[str, ...] = ()
    """Whole words or phrases, in any case."""
    regex: str = ""
    tool: tuple[str, ...] = ()
    """Globs over tool and function names."""
    path: tuple[str, ...] = ()
    """Globs over the paths that the step names, made absolute; ``~`` is the home folder."""
    window: tuple[str, ...] = ()
    """Globs over the title of the window in front, in any case."""
    longer_than: int | None = None
    """Characters."""
    shorter_than: int | None = None
    route: Route | None = None
    privacy: Privacy | None = None
    line: int = 0

    @property
    def id(self) -> str:
        """As it stands in a Decision: ``rule:2``."""
        return f"rule:{self.number}"

    @property
    def words(self) -> str:
        """``rule no 2 (secrets stay)``."""
        return f"rule no {self.number}" + (f" ({self.name})" if self.name else "")

    @property
    def conditions(self) -> dict[str, object]:
        """The conditions that are given, by name."""
        found: dict[str, object] = {}
        for name in CONDITIONS:
            value = getattr(self, name)
            if value not in ((), "", None):
                found[name] = value
        return found

    def matches(self, at: Situation) -> bool:
        """True where every condition holds."""
        text = at.text
        return (
            (not self.kind or any(kind in self.kind for kind in at.kinds))
            and (self.longer_than is None or len(text) > self.longer_than)
            and (self.shorter_than is None or len(text) < self.shorter_than)
            and (not self.tool or _any_glob(self.tool, at.tools))
            and (not self.window or _any_glob(self.window, (at.window,) if at.window else ()))
            and (not self.keyword or _has_word(self.keyword, text))
            and (not self.path or _any_path(self.path, text, at.folder))
            and (not self.regex or bool(compiled(self.regex).isinstance_python(text)))
        )


CONDITIONS = (
    "kind", "keyword", "regex", "tool", "path", "window", "longer_than", "shorter_than",
)  # fmt: skip


def pinned_route(rules: Sequence[Rule], at: Situation) -> Rule | None:
    """The rule that says who serves the step; None where the score does."""
    return next((r for r in rules if r.route is not None and r.matches(at)), None)


def pinned_privacy(rules: Sequence[Rule], at: Situation) -> Rule | None:
    """The rule that says what may leave for the step.

    Whatever is sent for a step carries the whole task's words, so a rule that holds back
    (``local``, ``ask``) also matches on those; one that lets go (``auto``) on the step's alone.
    """
    whole = replace(at, text=at.task_text)
    for rule in rules:
        holds_back = rule.privacy in ("local", "ask")
        if rule.privacy and (rule.matches(at) or (holds_back and rule.matches(whole))):
            return rule
    return None


def privacy_under(rules: Sequence[Rule], at: Situation, asked: Privacy) -> Privacy:
    """The mode in force. ``local`` that was asked for is never loosened by a rule."""
    rule = pinned_privacy(rules, at)
    return rule.privacy if rule is not None and rule.privacy and asked != "local" else asked


@lru_cache(maxsize=256)
def compiled(expression: str) -> SchemaValidator:
    """The expression as a search that takes time linear in the text, whatever it is.

    Rust's ``regex`` (in pydantic-core): finite automata, no look-around and no back-references,
    so no expression can backtrack. ``isinstance_python(text)`` is True where it is found.
    Raises ValueError, with what is wrong, where it cannot be compiled.
    """
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    if len(expression) > MAX_REGEX_CHARS:
        raise ValueError(f"{len(expression)} characters; at most {MAX_REGEX_CHARS} are allowed")
    try:
        return SchemaValidator(
            core_schema.str_schema(pattern=expression, regex_engine="rust-regex")
        )
    except SchemaError as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(said[-1].removeprefix("error: ").removeprefix("SchemaError: ")) from error


def _has_word(words: Sequence[str], text: str) -> bool:
    folded = text.casefold()
    for word in words:
        wanted = word.casefold()
        at = folded.find(wanted)
        while at >= 0:
            before, after = folded[at - 1 : at], folded[at + len(wanted) : at + len(wanted) + 1]
            if not (wanted[:1].isalnum() and before.isalnum()) and not (
                wanted[-1:].isalnum() and after.isalnum()
            ):
                return True
            at = folded.find(wanted, at + 1)
    return False


def _any_glob(globs: Sequence[str], names: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(name.casefold(), glob.casefold()) for glob in globs for name in names
    )


def _any_path(globs: Sequence[str], text: str, folder: str) -> bool:
    """A path or a folder above it matches: a rule for ``~/secret`` holds for all that is in it."""
    wanted = [_absolute(glob, folder) for glob in globs]
    for match in _PATH_LIKE.finditer(text):
        words = next(g for g in match.groups() if g is not None).rstrip(".:!?)]}")
        if not ("/" in words or "." in words or words.startswith("~")):
            continue
        path = _absolute(words, folder)
        above = [path]
        while (parent := os.path.dirname(above[-1])) != above[-1]:  # noqa: PTH120 (no file need be there)
            above.append(parent)
        if any(fnmatch.fnmatchcase(place, glob) for place in above for glob in wanted):
            return True
    return False


def _absolute(path: str, folder: str) -> str:
    joined = os.path.join(folder or "/", os.path.expanduser(path))  # noqa: PTH111, PTH118 (globs too)
    return os.path.normpath(joined)
