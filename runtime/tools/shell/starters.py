"""Programs that start another one (find, xargs, env, …): their rules class that one too."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from runtime.tools.shell.options import LOOKS, Classify, Finding, worst_of
from runtime.tools.shell.parse import Word


def find(words: Sequence[Word], classify: Classify) -> Finding:
    findings: list[Finding] = [LOOKS]
    i = 0
    while i < len(words):
        text = words[i].text
        if not words[i].exact:
            return ("sensitive", "an argument of find is only known later: it could delete or run")
        if text == "-delete":
            findings.append(("sensitive", "deletes what it finds"))
        elif text in ("-exec", "-execdir", "-ok", "-okdir"):
            end = i + 1
            while end < len(words) and words[end].text not in (";", "+"):
                end += 1
            inner = [
                Word(w.text, w.exact and ("{}" not in w.text or w.text == "{}"))
                for w in words[i + 1 : end]
            ]
            findings.append(classify(inner))
            i = end
        elif text in ("-fprint", "-fprint0", "-fprintf", "-fls"):
            findings.append(("write", "writes a list to a file"))
        elif text == "-files0-from":
            pass
        i += 1
    return worst_of(findings)


def xargs(words: Sequence[Word], classify: Classify) -> Finding:
    i = 0
    while i < len(words) and words[i].text.startswith("-"):
        if not words[i].exact:
            return ("sensitive", "an option of xargs is only known later")
        text = words[i].text
        i += 1
        if text == "--":
            break
        separate = len(text) == 2 and text[1] in "adEILnPs"
        i += separate
    inner = list(words[i:])
    if not inner:
        return LOOKS
    return classify([*inner, Word("", exact=False)])


_SAFE_VARIABLES = re.compile(
    r"(LC_\w+|LANG|TZ|COLUMNS|LINES|NO_COLOR|IFS|[a-z_][a-z0-9_]*)\+?=.*", re.S
)


def safe_assignment(assignment: str) -> bool:
    """True for a variable that cannot change what a program does beyond its language and time
    zone; ``PATH``, ``LD_PRELOAD`` and the like can."""
    return _SAFE_VARIABLES.fullmatch(assignment) is not None


def env(words: Sequence[Word], classify: Classify) -> Finding:
    findings: list[Finding] = [LOOKS]
    i = 0
    while i < len(words):
        text = words[i].text
        if not words[i].exact or text.startswith(("-S", "--split", "-C", "--chdir")):
            return ("sensitive", "env starts something that is only known later")
        if text in ("-u", "--unset"):
            i += 2
        elif text.startswith("-"):
            i += 1
        elif "=" in text:
            if not safe_assignment(text):
                findings.append(("sensitive", f"it sets {text.split('=')[0]}"))
            i += 1
        else:
            findings.append(classify(list(words[i:])))
            break
    return worst_of(findings)


def prefix(takes: str = "", operands: int = 0) -> Callable[[Sequence[Word], Classify], Finding]:
    """A rule for ``prefix [options] [operands] program …``; ``takes``: options with a value."""

    def rule(words: Sequence[Word], classify: Classify) -> Finding:
        i = 0
        while i < len(words) and words[i].text.startswith("-"):
            if not words[i].exact:
                return ("sensitive", "an option is only known later")
            text = words[i].text
            i += 1
            if text == "--":
                break
            i += len(text) == 2 and text[1] in takes
        inner = list(words[i + operands :])
        return classify(inner) if inner else LOOKS

    return rule
