"""sed and awk, which take a script of their own: a script not known to be harmless is not."""

from __future__ import annotations

import re
from collections.abc import Sequence

from runtime.tools.shell.options import LOOKS, Finding, worst_of
from runtime.tools.shell.parse import Word

_SED_S_FLAGS = set("gpiImM0123456789")


def safe_sed(script: str) -> bool:
    """True where every command of a sed script is one of ``s p d q =`` (and ``y``) with
    harmless flags: nothing that writes a file or runs a program."""
    i = 0

    def segment(start: int, delimiter: str) -> int:
        """Index after the next unescaped delimiter, or -1."""
        j = start
        while j < len(script):
            if script[j] == "\\":
                j += 2
            elif script[j] == delimiter:
                return j + 1
            else:
                j += 1
        return -1

    while i < len(script):
        c = script[i]
        if c in " \t\n;{}!,$~+" or c.isdigit():
            i += 1
        elif c == "/" or (c == "\\" and i + 1 < len(script)):
            delimiter = "/" if c == "/" else script[i + 1]
            i = segment(i + (1 if c == "/" else 2), delimiter)
            if i < 0:
                return False
            while i < len(script) and script[i] in "IM":
                i += 1
        elif c in "sy":
            if i + 1 >= len(script):
                return False
            delimiter = script[i + 1]
            middle = segment(i + 2, delimiter)
            end = segment(middle, delimiter) if middle > 0 else -1
            if end < 0:
                return False
            i = end
            while i < len(script) and script[i] not in " \t\n;}":
                if script[i] not in _SED_S_FLAGS:
                    return False
                i += 1
        elif c in "pdq=":
            i += 1
            while i < len(script) and script[i].isdigit():
                i += 1
        else:
            return False
    return True


def sed(words: Sequence[Word]) -> Finding:
    findings: list[Finding] = [LOOKS]
    scripts: list[Word] = []
    operands: list[Word] = []
    i = 0
    only_operands = False
    while i < len(words):
        word = words[i]
        text = word.text
        i += 1
        if not word.exact and not only_operands and (not operands or text.startswith("-")):
            return ("sensitive", "an argument of sed is only known later")
        if only_operands or not text.startswith("-") or text == "-":
            operands.append(word)
        elif text == "--":
            only_operands = True
        elif text.startswith("--in") or (not text.startswith("--") and "i" in text[1:]):
            findings.append(("write", "edits files in place"))
        elif text in ("-e", "--expression") and i < len(words):
            scripts.append(words[i])
            i += 1
        elif text.startswith("--expression="):
            scripts.append(Word(text.split("=", 1)[1], word.exact))
        elif text.startswith("--"):
            if text.split("=")[0][2:] not in (
                *("quiet", "silent", "regexp-extended", "null-data", "separate", "sandbox"),
                *("unbuffered", "posix", "line-length", "zero-terminated", "follow-symlinks"),
            ):
                return ("sensitive", f"sed option {text} is not in the table")
        elif set(text[1:]) - set("nErsuz"):
            return ("sensitive", f"sed option {text} is not in the table")
    if not scripts and operands:
        scripts.append(operands.pop(0))
    for script in scripts:
        if not script.exact or not safe_sed(script.text):
            findings.append(("sensitive", "its sed script may write files or run programs"))
    return worst_of(findings)


def awk(words: Sequence[Word]) -> Finding:
    script = None
    i = 0
    while i < len(words):
        word = words[i]
        if not word.exact:
            return ("sensitive", "an argument of awk is only known later")
        if word.text in ("-v", "-F"):
            i += 2
            continue
        if re.fullmatch(r"-[vF].+", word.text):
            i += 1
            continue
        if word.text.startswith("-") and word.text != "-":
            return ("sensitive", f"awk option {word.text} is not in the table")
        script = word.text
        break
    if script is None:
        return ("sensitive", "it has no awk script to read")
    if re.search(r"system|@|\||extension", script.replace("||", "")):
        return ("sensitive", "its awk script may run programs")
    if re.search(r"print[^;}\n]*>", script):
        return ("write", "its awk script may write files")
    return LOOKS
