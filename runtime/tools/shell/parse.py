"""A Bash command line as the programs it starts and the files it redirects to.

Built on bashlex. What bashlex cannot read, or reads differently from Bash (``$'…'``, arithmetic,
``[[``, ``case``), raises Unparsable: nobody may call such a line harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


class Unparsable(Exception):
    """The line is no Bash that this parser understands; the text says why."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word after quote removal.

    ``exact`` is False where Bash would still expand it (a variable, a substitution, a glob,
    braces), so that its final text is unknown: it could become an option.
    """

    text: str
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Invocation:
    """One program with its arguments, and the variables set for it."""

    words: tuple[Word, ...]
    assignments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Redirect:
    """One redirection, such as ``>`` to ``Word("out.txt")``; no target where it copies an fd."""

    operator: str
    target: Word | None


@dataclass(frozen=True, slots=True)
class Parsed:
    """Everything that a command line would start or redirect, wherever it is nested."""

    invocations: tuple[Invocation, ...]
    redirects: tuple[Redirect, ...]

    @property
    def programs(self) -> tuple[str, ...]:
        """Names of the programs, in order, each once; those only known at run time left out."""
        names = (i.words[0] for i in self.invocations if i.words)
        return tuple(dict.fromkeys(w.text for w in names if w.exact))


def parse(command: str) -> Parsed:
    """The command line taken apart. Raises Unparsable."""
    import bashlex  # type: ignore[import-untyped,unused-ignore]

    if not command.strip():
        raise Unparsable("it is empty")
    if "\0" in command:
        raise Unparsable("it holds a NUL byte")
    _refuse_what_bashlex_misreads(command)
    try:
        trees = bashlex.parse(command)
    except NotImplementedError as error:
        raise Unparsable(f"it uses {error}, which the parser does not read") from error
    except Exception as error:  # bashlex raises its own, and plain ones on broken input
        raise Unparsable(str(error) or type(error).__name__) from error
    walker = _Walker(command)
    for tree in trees:
        walker.visit(tree)
    return Parsed(tuple(walker.invocations), tuple(walker.redirects))


class _Walker:
    def __init__(self, source: str) -> None:
        self.source = source
        self.invocations: list[Invocation] = []
        self.redirects: list[Redirect] = []

    def visit(self, node: Any) -> None:
        match node.kind:
            case "command":
                self._command(node)
            case "redirect":
                self._redirect(node)
            case "compound":
                for child in (*node.list, *node.redirects):
                    self.visit(child)
            case "for":
                for child in node.parts:
                    if child.kind == "word":
                        self._word(child)
                    else:
                        self.visit(child)
            case "list" | "pipeline" | "if" | "while" | "until":
                for child in node.parts:
                    self.visit(child)
            case "function":
                for child in node.parts:
                    if child.kind != "word":
                        self.visit(child)
            case "operator" | "pipe" | "reservedword":
                pass
            case other:
                raise Unparsable(f"it holds {other!r}, which the parser does not know")

    def _command(self, node: Any) -> None:
        words: list[Word] = []
        assignments: list[str] = []
        for child in node.parts:
            if child.kind == "word":
                words.append(self._word(child))
            elif child.kind == "assignment":
                assignments.append(self._word(child).text)
            else:
                self.visit(child)
        if words or assignments:
            self.invocations.append(Invocation(tuple(words), tuple(assignments)))

    def _redirect(self, node: Any) -> None:
        target = node.output
        if node.heredoc is not None:
            start, end = target.pos
            quoted = any(c in "'\"\\" for c in self.source[start:end])
            if not quoted and re.search(r"\$[({\[]|`", node.heredoc.value):
                raise Unparsable("a here-document holds a substitution")
            return
        word = None if isinstance(target, int) else self._word(target)
        self.redirects.append(Redirect(node.type, word))

    def _word(self, node: Any) -> Word:
        exact = True
        for part in node.parts:
            match part.kind:
                case "commandsubstitution":
                    exact = False
                    self.visit(part.command)
                case "processsubstitution":
                    self.visit(part.command)  # becomes /dev/fd/N: never an option
                case "parameter":
                    exact = False
                    if not re.fullmatch(r"\w+|[@*#?$!-]", part.value or ""):
                        raise Unparsable(f"it expands ${{{part.value}}}")
                case "tilde":
                    pass
                case other:
                    raise Unparsable(f"a word holds {other!r}")
        start, end = node.pos
        if any(c in "*?[{" for c in _unquoted(self.source[start:end])):
            exact = exact and node.word == "{}"
        return Word(node.word, exact)


def _unquoted(raw: str) -> Iterator[str]:
    """The characters of ``raw`` that stand outside any quotes and are not escaped."""
    quote = ""
    characters = iter(raw)
    for c in characters:
        if c == "\\" and quote != "'":
            next(characters, None)
        elif quote:
            if c == quote:
                quote = ""
        elif c in "'\"":
            quote = c
        else:
            yield c


def _refuse_what_bashlex_misreads(command: str) -> None:
    """``$'…'``, ``$"…"`` and ``$[…]`` outside quotes: bashlex takes the dollar for text."""
    nested = "$(" in command or "`" in command
    quote = ""
    i = 0
    while i < len(command):
        c = command[i]
        if c == "\\" and quote != "'":
            i += 2
            continue
        if c == "$" and command[i + 1 : i + 2] in ("'", '"', "[") and command[i + 1 : i + 2]:
            closes_text = quote == '"' and command[i + 1] == '"'
            if quote == "" or (quote == '"' and nested and not closes_text):
                raise Unparsable(f"it uses ${command[i + 1]}…, which the parser does not read")
        if quote:
            if c == quote:
                quote = ""
        elif c in "'\"":
            quote = c
        i += 1
