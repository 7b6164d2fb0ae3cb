"""Text that a terminal shows and does not obey.

Names of files, output of commands and answers of models are data. Raw, an escape sequence in
them could move the cursor, rewrite what a person is about to approve, or set a title.
"""

from __future__ import annotations

import unicodedata


def plain(text: str, *, lines: bool = False) -> str:
    """``text`` without anything that a terminal obeys: control characters, escape sequences and
    bidirectional overrides become visible or go. ``lines`` keeps line ends."""
    out = []
    for char in text.replace("\r\n", "\n"):
        if char == "\n":
            out.append("\n" if lines else " ⏎ ")
        elif char == "\t":
            out.append("    " if lines else " ")
        elif (category := unicodedata.category(char)) == "Cc":
            out.append(chr(0x2400 + ord(char)) if ord(char) < 0x20 else "␡")
        elif category in ("Cf", "Co", "Cs", "Zl", "Zp"):
            out.append("" if category == "Cf" else "�")
        else:
            out.append(char)
    return "".join(out)
