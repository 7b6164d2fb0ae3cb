"""``policy.toml``: read, checked, and every mistake named with its line.

::

    general_failed = "local"            # or "ask"
    hysteresis_margin = 0.05

    [route_threshold]
    shell = 0.6

    [[rule]]                            # the first that matches wins
    name = "secrets stay here"
    keyword = ["password", "passport"]
    privacy = "local"

    [[rule]]
    kind = "plan"
    longer_than = 400
    route = "general"

    [budget.day]
    usd = 0.50
    action = "local-only"               # or "warn", "block"
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from models.errors import UsageError
from runtime.budgets import ACTS, SCOPES, UNITS, Budget
from runtime.core import KINDS, Privacy
from runtime.policy import SETTINGS, Policy, with_settings
from runtime.rules import CONDITIONS, ROUTES, Rule, compiled

EFFECTS = ("route", "privacy")
PRIVACIES = get_args(Privacy)
TOP = ("rule", "budget", *SETTINGS)
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"^\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*=")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong (``error``) or cannot have been meant (``warning``)."""

    level: Literal["error", "warning"]
    line: int
    """1-based; 0 where it has none."""
    message: str
    hint: str = ""

    @property
    def words(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


def read(file: Path, base: Policy) -> Policy:
    """``base`` with the file's settings, rules and budgets. Raises UsageError: the first error."""
    policy, problems = check(file, base)
    return _sound(policy, problems, file.name, f"aidecamp policy check {file} lists everything.")


def parsed(text: str, base: Policy, *, name: str = "policy.toml") -> Policy:
    """``base`` with what ``text`` says. Raises UsageError: the first error."""
    policy, problems = parse(text, base, name=name)
    return _sound(policy, problems, name, "A policy check lists everything.")


def _sound(policy: Policy, problems: Iterable[Problem], name: str, hint: str) -> Policy:
    for problem in problems:
        if problem.level == "error":
            raise UsageError(f"{name}, {problem.words}", hint=problem.hint or hint)
    return policy


def check(file: Path, base: Policy) -> tuple[Policy, list[Problem]]:
    """The file on top of ``base``, with all that is wrong in it; wrong parts are left out.

    Raises UsageError where the file cannot be opened.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}.") from error
    return parse(text, base, name=file.name)


def parse(text: str, base: Policy, *, name: str = "policy.toml") -> tuple[Policy, list[Problem]]:
    """See :func:`check`."""
    try:
        body = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+)", str(error))
        line = int(place[1]) if place else len(text.splitlines())
        return base, [Problem("error", line, f"no valid TOML: {error}")]
    reader = _Reader(_Lines(text), name)
    policy = base
    for key, value in body.items():
        if key not in TOP:
            reader.error(reader.lines.of("", key), f"there is no {key!r}.", suggest(key, TOP))
        elif key == "rule":
            policy = dataclasses.replace(policy, rules=reader.rules(value))
        elif key == "budget":
            policy = dataclasses.replace(policy, budgets=reader.budgets(value, policy.budgets))
        else:
            policy = reader.setting(policy, key, value)
    return policy, sorted(reader.problems, key=lambda p: p.line)


def suggest(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'keyword'?``, or what there is."""
    names = list(known)
    close = difflib.get_close_matches(word, names, 1)
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names)}."


class _Lines:
    """Where in the text each key stands. ``of("rule#2", "regex")`` is a key of the second rule."""

    def __init__(self, text: str) -> None:
        self._found: dict[tuple[str, str], int] = {}
        table, count = "", 0
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = re.sub(r"\s*\.\s*", ".", header[2])
                if header[1] == "[[":
                    count += 1
                    table = f"{table}#{count}"
                self._found.setdefault((table, ""), number)
            elif key := _KEY.match(line):
                self._found.setdefault((table, key[1]), number)

    def of(self, table: str, key: str = "") -> int:
        """The key's line, or the table's where it is written inline; 0 where neither is found."""
        above = table.rpartition(".")
        return (
            self._found.get((table, key))
            or self._found.get((f"{table}.{key}".lstrip("."), ""))
            or self._found.get((table, ""))
            or self._found.get((above[0], above[2]))
            or self._found.get((f"{key}#1", ""), 0)
        )


class _Reader:
    """Turns TOML values into records, and collects what is wrong with them."""

    def __init__(self, lines: _Lines, name: str) -> None:
        self.lines = lines
        self.name = name
        self.problems: list[Problem] = []

    def error(self, line: int, message: str, hint: str = "") -> None:
        self.problems.append(Problem("error", line, message, hint))

    def warn(self, line: int, message: str, hint: str = "") -> None:
        self.problems.append(Problem("warning", line, message, hint))

    def setting(self, policy: Policy, key: str, value: Any) -> Policy:
        one_by_one = value.items() if isinstance(value, Mapping) else [("", value)]
        for inner, one in one_by_one:
            line = self.lines.of(key, inner) if inner else self.lines.of("", key)
            where = f"{self.name}, line {line}:"
            try:
                policy = with_settings(policy, {key: {inner: one} if inner else one}, where=where)
            except UsageError as error:
                hint = error.hint
                if inner and inner not in KINDS:
                    hint = suggest(inner, getattr(policy, key))
                self.error(line, error.message.removeprefix(where).strip(), hint)
        return policy

    def rules(self, tables: Any) -> tuple[Rule, ...]:
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            self.error(self.lines.of("", "rule"), "rules are written as [[rule]] tables.")
            return ()
        found: list[Rule] = []
        for number, table in enumerate(tables, 1):
            rule = self._rule(number, table)
            if rule is not None:
                self._doubts(rule, found)
                found.append(rule)
        return tuple(found)

    def _rule(self, number: int, table: Mapping[str, Any]) -> Rule | None:
        here, before = f"rule#{number}", len(self.problems)
        values: dict[str, Any] = {}
        for key, value in table.items():
            line = self.lines.of(here, key)
            if key not in ("name", *CONDITIONS, *EFFECTS):
                hint = suggest(key, ("name", *CONDITIONS, *EFFECTS))
                self.error(line, f"a rule has no {key!r}.", hint)
            elif key in ("longer_than", "shorter_than"):
                values[key] = self._count(line, key, value)
            elif key in EFFECTS:
                values[key] = self._one_of(
                    line, key, value, ROUTES if key == "route" else PRIVACIES
                )
            elif key in ("name", "regex"):
                values[key] = self._text(line, key, value)
            else:
                values[key] = self._texts(line, key, value)
        if not any(key in table for key in EFFECTS):
            self.error(
                self.lines.of(here), f"rule no {number} does nothing.",
                'Give it a route ("local", "general", "decline") or a privacy mode '
                '("local", "ask", "auto").',
            )  # fmt: skip
        errors = [p for p in self.problems[before:] if p.level == "error"]
        return None if errors else Rule(number=number, line=self.lines.of(here), **values)

    def _doubts(self, rule: Rule, earlier: list[Rule]) -> None:
        """What is allowed, and cannot have been meant."""
        low, high = rule.longer_than, rule.shorter_than
        if low is not None and high is not None and high <= low + 1:
            self.warn(
                rule.line, f"{rule.words} never matches: longer than {low}, shorter than {high}."
            )
        if rule.route == "general" and rule.privacy == "local":
            self.warn(rule.line, f"{rule.words} sends to the General, and lets nothing leave.")
        if rule.route == "local" and rule.kind == ("plan",):
            self.warn(
                rule.line, f"{rule.words}: no local worker plans, so these steps are declined."
            )
        for effect in EFFECTS:
            if getattr(rule, effect) is None:
                continue
            for other in earlier:
                same = other.conditions.items() <= rule.conditions.items()
                # Privacy that lets go is matched on less text than privacy that holds back.
                looser = effect == "privacy" and other.privacy == "auto" != rule.privacy
                if getattr(other, effect) is not None and same and not looser:
                    self.warn(
                        rule.line,
                        f"{rule.words}: its {effect} is never used, because {other.words} matches "
                        "whatever it matches.",
                        "The first rule that matches wins: put the narrower one first.",
                    )
                    break

    def budgets(self, tables: Any, before: tuple[Budget, ...]) -> tuple[Budget, ...]:
        if not isinstance(tables, dict):
            self.error(self.lines.of("", "budget"), "budgets are written as [budget.day] tables.")
            return before
        found: list[Budget] = []
        for scope, table in tables.items():
            here = f"budget.{scope}"
            if scope not in SCOPES or not isinstance(table, dict):
                self.error(
                    self.lines.of(here), f"there is no budget {scope!r}.", suggest(scope, SCOPES)
                )
                continue
            values: dict[str, Any] = {}
            for key, value in table.items():
                line = self.lines.of(here, key)
                if key == "action":
                    values[key] = self._one_of(line, key, value, ACTS)
                elif key in UNITS:
                    values[key] = self._amount(line, key, value)
                else:
                    self.error(line, f"a budget has no {key!r}.", suggest(key, (*UNITS, "action")))
            if not any(unit in table for unit in UNITS):
                self.error(self.lines.of(here), f"the {scope}'s budget has no limit.",
                           f"Give it one of {', '.join(UNITS)}.")  # fmt: skip
            found.append(Budget(scope, **{k: v for k, v in values.items() if v is not None}))
        return tuple(sorted(found, key=lambda b: SCOPES.index(b.scope)))

    def _texts(self, line: int, key: str, value: Any) -> tuple[str, ...]:
        listed = [value] if isinstance(value, str) else value
        fits = isinstance(listed, list) and listed and all(isinstance(v, str) and v for v in listed)
        if not fits:
            self.error(line, f"{key} must be a text or a list of texts, none of them empty.")
            return ()
        for one in listed if key == "kind" else ():
            if one not in KINDS:
                self.error(line, f"there is no kind {one!r}.", suggest(one, KINDS))
        return tuple(listed)

    def _text(self, line: int, key: str, value: Any) -> str:
        if not isinstance(value, str) or not value:
            self.error(line, f"{key} must be a text, and not empty.")
            return ""
        if key == "regex":
            try:
                compiled(value)
            except ValueError as error:
                self.error(line, f"regex {value[:60]!r} cannot be used: {error}.",
                           "Look-around and back-references are not available, so that no "
                           "expression can take long.")  # fmt: skip
        return value

    def _one_of(self, line: int, key: str, value: Any, allowed: Iterable[str]) -> Any:
        if value not in tuple(allowed):
            self.error(line, f"{key} cannot be {value!r}.", suggest(str(value), allowed))
            return None
        return value

    def _count(self, line: int, key: str, value: Any) -> int | None:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self.error(line, f"{key} must be a whole number of characters.")
            return None
        return value

    def _amount(self, line: int, key: str, value: Any) -> float | int | None:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
            self.error(line, f"{key} must be a number, and not negative.")
            return None
        return value
