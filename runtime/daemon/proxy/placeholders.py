"""The originals in the place of our placeholders, in texts that come whole or in pieces.

A text may be JSON itself (the arguments of a tool call; an answer that was asked to be JSON): there
an original is written so that its quotes and line breaks leave it JSON. JSON within such JSON is
not looked into.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Literal

Form = Literal["words", "json", "maybe"]
"""``maybe``: JSON where the text begins as JSON does."""

_BEGINS_JSON = ("{", "[", '"')
_LEFT = ("<", "\\u003c", "\\u003C")
_RIGHT = (">", "\\u003e", "\\u003E")
"""How the brackets of a placeholder may be spelled in JSON."""


class _Spellings:
    """What to look for in one kind of text, and what comes in its place."""

    def __init__(self, replaced: Mapping[str, str]) -> None:
        self._replaced = replaced
        self._pattern = re.compile("|".join(map(re.escape, replaced)))
        self._beginnings = {key[:n] for key in replaced for n in range(1, len(key))}
        self._longest = max(map(len, replaced)) - 1

    def restore(self, text: str) -> str:
        return self._pattern.sub(lambda match: self._replaced[match[0]], text)

    def begun(self, text: str) -> int:
        """How many characters at the end of ``text`` may be the beginning of a placeholder."""
        for length in range(min(self._longest, len(text)), 0, -1):
            if text[-length:] in self._beginnings:
                return length
        return 0


class Placeholders:
    """The way back for one call. ``originals``: placeholder to original, oldest first."""

    def __init__(self, originals: Mapping[str, str]) -> None:
        """``originals`` is not empty."""
        whole: dict[str, str] = {}
        for placeholder, original in originals.items():
            # A later original can hold an earlier placeholder.
            for earlier, text in reversed(whole.items()):
                original = original.replace(earlier, text)  # noqa: PLW2901
            whole[placeholder] = original
        self._words = _Spellings(whole)
        self._json = _Spellings(
            {
                f"{left}{placeholder[1:-1]}{right}": json.dumps(original, ensure_ascii=False)[1:-1]
                for placeholder, original in whole.items()
                for left, right in itertools.product(_LEFT, _RIGHT)
            }
        )

    def restore(self, text: str, form: Form) -> str:
        return self.spellings(text, form).restore(text)

    def spellings(self, text: str, form: Form) -> _Spellings:
        is_json = form == "json" or (form == "maybe" and text.lstrip().startswith(_BEGINS_JSON))
        return self._json if is_json else self._words


class Piecewise:
    """One text that comes in pieces. No more is held back than what may be a placeholder."""

    def __init__(self, placeholders: Placeholders, form: Form) -> None:
        self._placeholders = placeholders
        self._form = form
        self._spellings: _Spellings | None = None
        self.held = ""

    def feed(self, piece: str) -> str:
        """What of the text can be shown now."""
        if self._spellings is None:
            if self._form == "maybe" and not piece.strip():
                return piece
            self._spellings = self._placeholders.spellings(piece, self._form)
        text = self.held + piece
        shown = len(text) - self._spellings.begun(text)
        self.held = text[shown:]
        return self._spellings.restore(text[:shown])

    def end(self) -> str:
        """What was held back, and was no placeholder after all."""
        held, self.held = self.held, ""
        return held
