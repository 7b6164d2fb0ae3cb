"""Grammars in Lark (llguidance's dialect) or GBNF (llama.cpp's), made ready for llguidance.

GBNF is turned into Lark. Refused are control tokens, which are no part of any answer, and grammars
whose texts never end: llguidance would follow those without end. A ``%json`` schema is held to what
``models/enforceable.py`` asks of any schema, and written as compact JSON.
Syntax: github.com/guidance-ai/llguidance, docs/syntax.md; github.com/ggml-org/llama.cpp, grammars.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from models.errors import SchemaRefused

_GBNF_RULE: Final = re.compile(r"^[ \t]*[\w-]+[ \t]*::=", re.MULTILINE)
_GBNF_ESCAPE: Final = re.compile(r"(\\\\)|\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})")
_UNWRITABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
_TOKEN: Final = re.compile(
    r"""
    (?P<skip>\s+|//[^\n]*)
    |(?P<text>"(?:\\.|[^"\\\n])*"i?|/(?:\\.|[^/\\\n])+/[imslux]*)
    |(?P<control><[^<>\s]+>)
    |(?P<json>%(?:json|regex|llguidance)\b\s*)
    |(?P<directive>%\w+)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<number>-?\d+)
    |(?P<mark>\.\.|->|::|.)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


Alternatives = list[list["str | Alternatives"]]
"""What a rule can be: each option is a list of the rules and groups that it cannot do without."""


def lark_text(grammar: str, compact: Callable[[Any], dict[str, Any]]) -> str:
    """``grammar`` as Lark text for llguidance; ``compact`` prepares each ``%json`` schema in it.

    Raises SchemaRefused.
    """
    refuse_unwritable(grammar, "grammar")
    if _GBNF_RULE.search(grammar):
        grammar = _from_gbnf(grammar)
    text, tokens = _scan(grammar, compact)
    try:
        rules = _rules(tokens)
    except RecursionError as error:
        raise SchemaRefused("this grammar is nested too deep") from error
    if "start" in rules and "start" not in _ending(rules):
        raise SchemaRefused(
            "no text of this grammar ever ends: what `start` needs always needs itself again",
            hint="give the recursion a way out, such as an option without it",
        )
    return text


def refuse_unwritable(text: str, what: str) -> None:
    """Raises SchemaRefused where ``text`` holds a NUL or half a surrogate pair."""
    if found := _UNWRITABLE.search(text):
        raise SchemaRefused(
            f"the {what} holds U+{ord(found[0]):04X} at character {found.start()}",
            hint="leave out NUL characters and lone surrogates",
        )


def _from_gbnf(grammar: str) -> str:
    from llguidance.gbnf_to_lark import gbnf_to_lark

    def spelled(match: re.Match[str]) -> str:
        number = int(match[2] or match[3] or "0", 16)
        # The converter breaks \u escapes; the character itself says the same, unless it has a
        # meaning of its own in a literal or a set.
        if match[1] or number < 0x80 or 0xD800 <= number < 0xE000 or number > 0x10FFFF:
            return match[0] if match[1] or number > 0xFF else f"\\x{number:02X}"
        return chr(number)

    try:
        return str(gbnf_to_lark(_GBNF_ESCAPE.sub(spelled, grammar)))
    except Exception as error:  # it raises plain Exception, whatever it meets
        reason = " ".join(str(error).split())
        raise SchemaRefused(
            f"this GBNF grammar cannot be read: {reason}",
            hint="its first rule is `root ::=`; rules differ in more than case; none is `start`",
        ) from error


def _scan(grammar: str, compact: Callable[[Any], dict[str, Any]]) -> tuple[str, list[_Token]]:
    """The text with each ``%json`` schema prepared, and its tokens."""
    text: list[str] = []
    tokens: list[_Token] = []
    position = 0
    while position < len(grammar):
        match = _TOKEN.match(grammar, position)
        if match is None:  # never: every character is at least a mark
            break
        kind, piece = str(match.lastgroup), match[0]
        position = match.end()
        if kind == "control":
            raise SchemaRefused(
                f"the grammar asks for the control token {piece}, which is no part of an answer",
                hint="put it in quotes to have it spelled out",
            )
        if kind == "json":
            try:
                value, position = json.JSONDecoder().raw_decode(grammar, position)
            except (ValueError, RecursionError) as error:
                raise SchemaRefused(f"what follows {piece.strip()} is no JSON: {error}") from error
            prepared = compact(value) if piece.strip() == "%json" else value
            text.append(f"{piece.strip()} {json.dumps(prepared)}")
            tokens.append(_Token("text" if piece[1] != "l" else "directive", piece))
            continue
        text.append(piece)
        if kind != "skip":
            tokens.append(_Token(kind, piece))
    return "".join(text), tokens


def _rules(tokens: list[_Token]) -> dict[str, Alternatives]:
    """What each rule needs. Terminals and what is not understood count as texts that end."""
    starts = [index for index in range(len(tokens)) if _colon(tokens, index)]
    rules: dict[str, Alternatives] = {}
    for start, end in pairwise([*starts, len(tokens)]):
        body = tokens[_colon(tokens, start) : end]
        cut = next((i for i, t in enumerate(body) if t.kind == "directive"), len(body))
        rules.setdefault(tokens[start].text, []).extend(_Parser(body[:cut]).alternatives())
    return rules


def _colon(tokens: list[_Token], index: int) -> int:
    """Where the body of a rule begins whose name stands at ``index``; 0 where none does."""
    if tokens[index].kind != "name" or (index and tokens[index - 1].text in ("::", ".")):
        return 0
    at = index + 1
    depth = 0
    while at < len(tokens):
        text = tokens[at].text
        if text == "[":
            depth += 1
        elif text == "]":
            depth -= 1
        elif depth == 0 and text == ":":
            return at + 1
        elif depth == 0 and text not in (".", "::") and tokens[at - 1].text not in (".", "::"):
            return 0
        at += 1
    return 0


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def alternatives(self, close: str = "") -> Alternatives:
        options: Alternatives = [[]]
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token.text == close:
                break
            if token.text == "|":
                options.append([])
            elif token.text == "->":
                self._at += 1
            elif token.text == "(":
                self._add(options[-1], self.alternatives(")"))
            elif token.text == "[":
                self.alternatives("]")  # optional: nothing in it is needed
            elif token.kind == "name":
                self._add(options[-1], token.text)
        return options

    def _add(self, option: list[str | Alternatives], item: str | Alternatives) -> None:
        """``item``, unless what follows it says that it may be left out."""
        ahead = [token.text for token in self._tokens[self._at : self._at + 2]]
        if ahead[:1] in (["?"], ["*"]) or ahead in (["{", "0"], ["~", "0"], ["{", ","]):
            return
        option.append(item)


def _ending(rules: dict[str, Alternatives]) -> set[str]:
    """The rules that have a finite text: a least fixed point."""
    ending: set[str] = set()

    def ends(options: Alternatives) -> bool:
        return any(
            all(
                (item in ending or item not in rules) if isinstance(item, str) else ends(item)
                for item in option
            )
            for option in options
        )

    while True:
        found = {name for name, options in rules.items() if ends(options)}
        if found <= ending:
            return ending
        ending |= found
