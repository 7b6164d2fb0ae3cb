"""An answer's text while it is written: what of it can be shown already.

Tokens are bytes: one may end in the middle of a character, and a text that ends the answer may
begin in one and end in another. Whatever may still turn out to be neither waits.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Bytes of tokens in, text out: all that it gives, joined, is ``Generation.text``.

    ``stop``: the stop texts of the call. ``feed`` wants the pieces one token at a time, since an
    answer ends with the first token that completes one of them.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self.stopped = False
        """A stop text was met: nothing more will come."""
        self._stop = [text for text in stop if text]
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, piece: bytes) -> str:
        """Take the bytes of the next token; the text that can be shown now, "" where none can."""
        if self.stopped:
            return ""
        self._take(self._characters.decode(piece))
        safe = len(self._held) if self.stopped else self._begun()
        text, self._held = self._held[:safe], self._held[safe:]
        return text

    def finish(self) -> str:
        """The rest of the text, once the last token was fed; bytes of half a character are
        U+FFFD in it."""
        if not self.stopped:
            self._take(self._characters.decode(b"", final=True))
        text, self._held = self._held, ""
        return text

    def _take(self, text: str) -> None:
        self._held += text
        found = [at for at in map(self._held.find, self._stop) if at >= 0]
        if found:
            self.stopped = True
            self._held = self._held[: min(found)]

    def _begun(self) -> int:
        """Where in the held text a stop text may have begun; its length where none may."""
        first = len(self._held)
        for stop in self._stop:
            at = max(0, len(self._held) - len(stop) + 1)
            while 0 <= (at := self._held.find(stop[0], at)) < first:
                if stop.startswith(self._held[at:]):
                    first = at
                at += 1
        return first
