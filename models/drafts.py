"""Drafts: guesses of what a model writes next, mostly copied from its prompt.

Formatting and calls copy spans of the prompt: a name, a number, a sentence in quotes. A draft is
verified in one batch, so a wrong token costs a fraction of a decode and a right one saves a whole
one: guessing pays even where it is right one time in five. After Saxena's prompt lookup decoding
(2023), with three additions: it works on text, since ``Paris`` after a quote and `` Paris`` in a
sentence are different tokens; the keys of a JSON object are anchors (what follows the word "city"
in the request is likely the value of ``city``); and a guess goes on over what the grammar forces
after a value, so that one draft may span several fields.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from models.base import Token

if TYPE_CHECKING:
    from models.grammar import Constraint

REACH = 96
"""Characters of one guess, at most."""
_SUFFIX = 24
"""Characters of what was written that are looked up, at most."""
_REPEAT = 8
"""Characters that have to stand in a text twice before it is taken to repeat itself."""
_HABITS = 512
_WORDS = 48
"""Words of the source that are tried where a grammar allows few, at most."""
_KEY = re.compile(r'"([^"\\]{1,48})":"?$')
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_WORD = re.compile(r"[^\s,;:!?()\[\]{}\"'`]*[^\s,;:!?()\[\]{}\"'`.]")
_QUOTED = re.compile(
    r"\"([^\"\n]{1,80})\"|(?<!\w)'([^'\n]{1,80})'(?!\w)|`([^`\n]{1,80})`|“([^”\n]{1,80})”"
)
_NAMES = re.compile(
    r"[\w.+-]+@[\w.-]+\w|[\w.-]*[/\\][\w./\\-]*\w|\w[\w-]*\.\w+"
    r"|(?<![.!?\n] )(?<!^)\b[A-Z][\w-]*(?: [A-Z][\w-]*)*"
)
_BOUND = re.compile(r"[\n\r,;:!?()\[\]{}\"]|\.(?=\s|$)| - | and | or | with ")
_BETWEEN = re.compile(r"(?:\s|[:=\"'`*_-]|\b(?:is|are|to|of|as|at|in|for|named|called|the|an?)\b)*")


_STRUCTURE = re.compile(r"""((?<!\s)[^\w\s]*["{}\[\]][^\w\s]*)""")
"""A run of punctuation between the values of a JSON text."""

Habits = dict[str, list[int]]
"""How a model spells such a run: which tokens it takes where it has the choice."""


class Vocabulary(Protocol):
    """Texts and tokens, as ``LlamaContext`` has them."""

    def piece(self, token: int) -> bytes: ...
    def tokenize(self, text: str, *, special: bool) -> list[int]: ...


@dataclass(slots=True)
class Drafter:
    """Drafts out of ``source``, the text of the prompt, searched without case."""

    source: str
    vocabulary: Vocabulary
    habits: Habits
    """Shared by all calls of a model, and learned from what it wrote."""
    keys: Sequence[str] = ()
    """Names of the properties that the answer may have, in the order of its schema."""
    _folded: str = ""
    _words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        folded = self.source.lower()
        # Some letters change their length with their case, and positions would not match.
        self._folded = folded if len(folded) == len(self.source) else self.source
        self._words = list(dict.fromkeys(_WORD.findall(self.source)))[-_WORDS:]

    def draft(self, written: str, constraint: Constraint | None, limit: int) -> list[int]:
        """Tokens that may follow ``written``, at most ``limit``; ``constraint`` accepts them, and
        is left as it was."""
        if constraint is None:
            return self._tokens(self._after(written))[:limit]
        draft: list[int] = []
        while len(draft) < limit:
            step = self._value(written, constraint)
            if not step:
                break
            for token in step:
                constraint.consume(token)
            draft += step
            written += b"".join(map(self.vocabulary.piece, step)).decode("utf-8", "replace")
        constraint.rollback(len(draft))
        return draft[:limit]

    def learn(self, tokens: Sequence[Token]) -> None:
        """How the model spelled punctuation in an answer, where the grammar left it the choice."""
        run: list[Token] = []
        for token in tokens:
            if token.text and not re.search(r"[\w\s]", token.text):
                run.append(token)
                continue
            self._learn_run(run)
            run = []
        self._learn_run(run)

    def _learn_run(self, run: Sequence[Token]) -> None:
        text = "".join(token.text for token in run)
        if run and not run[0].forced and _STRUCTURE.fullmatch(text):
            if len(self.habits) >= _HABITS:
                self.habits.clear()
            self.habits[text] = [token.id for token in run]

    def _value(self, written: str, constraint: Constraint) -> list[int]:
        """Tokens of one guessed value, closed, and with what the grammar forces behind it, so
        that they are the tokens of the whole text. A value that does not close gives its
        beginning; the draft ends there."""
        best: list[int] = []
        for text in self._texts(written, constraint):
            tokens = self._tokens(text)
            fits = constraint.accepts(tokens)
            if fits < len(tokens):
                best = max(best, tokens[:fits], key=len)
                continue
            for more in self._ends(written + text, constraint.forced_text(tokens)):
                whole = self._tokens(text + more)
                if constraint.accepts(whole) == len(whole):
                    return self._tokens(text + more + constraint.forced_text(whole))
            return tokens
        return best

    def _ends(self, written: str, forced: str) -> Iterator[str]:
        """What may follow a finished value: what the grammar forces, a key that the source
        speaks of, or the end."""
        if forced:
            yield forced
            return
        begun = written.endswith(("{", ","))
        for key in self.keys:
            quoted = json.dumps(key, ensure_ascii=False)
            if f"{quoted}:" not in written and self._names(key):
                yield f"{quoted}:" if begun else f",{quoted}:"
        yield from ("}", "]}", "}}")

    def _names(self, key: str) -> bool:
        """True where the source holds a word of a key."""
        return any(re.search(rf"\b{re.escape(w)}", self._folded) for w in _spoken(key).split())

    def _texts(self, written: str, constraint: Constraint) -> Iterator[str]:
        """Guesses of the rest of a value, the likeliest first."""
        string = open_string(written)
        if string is None:
            yield from self._bare(written)
            return
        if not string and not constraint.accepts(self._tokens("~ ~")):
            # Few texts are allowed here: one that the prompt names.
            for word in reversed(self._words):
                yield word + '"'
            return
        guesses = [self._after(string)] if string else self._starts(written)
        for guess in guesses:
            inside = json.dumps(guess.rstrip(), ensure_ascii=False)[1:-1]
            if inside or string:
                yield inside + '"'

    def _bare(self, written: str) -> Iterator[str]:
        """Guesses outside of strings: a number, or how one ends, or true."""
        digits = re.search(r"-?[\d.]*$", written)
        begun = digits[0] if digits else ""
        key = _KEY.search(written.removesuffix(begun))
        anchored = _NUMBER.match(self._after_key(key[1])) if key else None
        numbers = [anchored[0]] if anchored else []
        numbers += [n for n in _NUMBER.findall(self.source) if not _holds(written, n)]
        for number in numbers[:4]:
            if number.startswith(begun):
                for closer in (",", "}", "]"):
                    yield number.removeprefix(begun) + closer
        if written.endswith("{"):
            yield from self._ends(written, "")
        elif not begun:
            yield "true"

    def _starts(self, written: str) -> list[str]:
        """Guesses of a whole value: what follows its key's name in the source, then quoted
        spans and names that were not written yet."""
        guesses = []
        key = _KEY.search(written)
        if key and (anchored := self._after_key(key[1])):
            guesses.append(anchored)
        for pattern in (_QUOTED, _NAMES):
            for found in pattern.finditer(self.source):
                span = next((g for g in found.groups() if g), found[0])
                if span not in written:
                    guesses.append(span)
                    return guesses
        return guesses

    def _after_key(self, key: str) -> str:
        words = _spoken(key)
        for name in dict.fromkeys((key.lower(), words, words.rpartition(" ")[2])):
            if not name:
                continue
            for found in reversed([*re.finditer(rf"\b{re.escape(name)}\b", self._folded)]):
                between = _BETWEEN.match(self._folded, found.end())
                if between and between.end() > found.end() and (guess := self._span(between.end())):
                    return guess
        return ""

    def _after(self, text: str) -> str:
        """What follows the longest tail of ``text`` that the source holds at a word's begin."""
        tail = text[-_SUFFIX:].lower()
        for start in range(len(tail)):
            piece = tail[start:]
            if len(piece.strip()) < 2 and start:
                break
            if not piece.strip() or (start and (piece[0].isspace() or tail[start - 1].isalnum())):
                continue
            bound = r"(?<!\w)" if piece[0].isalnum() else ""
            found = [*re.finditer(bound + re.escape(piece), self._folded)]
            if found:
                return self._span(found[-1].end())
        return _repeated(text)

    def _span(self, start: int) -> str:
        rest = self.source[start : start + REACH]
        end = _BOUND.search(rest)
        return rest[: end.start()] if end else rest

    def _tokens(self, text: str) -> list[int]:
        """``text`` as the model would spell it."""
        tokens: list[int] = []
        for part in _STRUCTURE.split(text):
            if part in self.habits:
                tokens += self.habits[part]
            elif part:
                tokens += self.vocabulary.tokenize(part, special=False)
        return tokens


def open_string(written: str) -> str | None:
    """What stands in the string that JSON breaks off in; None where it breaks off outside."""
    inside = None
    position = 0
    for quote in re.finditer(r'\\.|"', written, re.S):
        if quote[0] == '"':
            inside = quote.end() if inside is None else None
            position = quote.end()
    return written[position:] if inside is not None else None


def _spoken(key: str) -> str:
    """A key as one would say it: ``startDate`` and ``start_date`` are "start date"."""
    return re.sub(r"[_\-\s]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key)).strip().lower()


def schema_keys(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of all properties in a schema, in their order, those of inner objects after."""
    keys: dict[str, None] = {}
    waiting: deque[Any] = deque([schema])
    while waiting:
        part = waiting.popleft()
        if isinstance(part, Mapping):
            if isinstance(part.get("properties"), Mapping):
                keys.update(dict.fromkeys(part["properties"]))
            waiting.extend(part.values())
        elif isinstance(part, (list, tuple)):
            waiting.extend(part)
    return tuple(keys)


def _repeated(text: str) -> str:
    """What followed the end of a text where it stood in the text before: small models repeat."""
    tail = text[-_REPEAT:]
    before = text.rfind(tail, 0, len(text) - 1) if len(tail) == _REPEAT else -1
    return text[before + _REPEAT :][:REACH] if before >= 0 else ""


def _holds(written: str, number: str) -> bool:
    return re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", written) is not None
