"""The risk class of any command line: read, write or sensitive, and why.

Everything that the line would start or redirect is looked at, wherever it is nested. An unknown
program, an option that is only known at run time, and a line that does not parse are sensitive.
This is a judgement before the fact; the sandbox holds whatever the judgement missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from runtime.core import Risk
from runtime.tools.shell.options import ORDER, Finding, worst_of
from runtime.tools.shell.parse import Invocation, Parsed, Redirect, Unparsable, Word, parse
from runtime.tools.shell.programs import assess, plain_name
from runtime.tools.shell.starters import safe_assignment

_SHELLS = ("bash", "sh", "dash", "zsh", "ksh")
_HARMLESS_TARGETS = ("/dev/null", "/dev/stdout", "/dev/stderr")
_SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib64", "proc", "root", "sbin", "sys", "usr", "var")
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Assessment:
    """``reasons``: one for each thing that raised the risk above read, in the line's order."""

    risk: Risk
    reasons: tuple[str, ...]
    programs: tuple[str, ...]
    parsed: bool


def classify(command: str) -> Assessment:
    """The risk of a command line, whoever wrote it."""
    try:
        parsed = parse(command)
    except Unparsable as error:
        return Assessment("sensitive", (f"It cannot be read as Bash: {error}.",), (), False)
    findings = _of(parsed, 0)
    risk = worst_of([("read", ""), *findings])[0]
    reasons = tuple(dict.fromkeys(reason for r, reason in findings if r != "read"))
    return Assessment(risk, reasons, parsed.programs, True)


def worse(one: Risk, other: Risk) -> Risk:
    """The higher of two risks."""
    return one if ORDER[one] >= ORDER[other] else other


def _of(parsed: Parsed, depth: int) -> list[Finding]:
    findings = [f for i in parsed.invocations for f in _of_invocation(i, depth)]
    findings += [_of_redirect(r) for r in parsed.redirects]
    return findings


def _of_invocation(invocation: Invocation, depth: int) -> list[Finding]:
    findings: list[Finding] = [
        ("sensitive", f"it sets {a.split('=')[0]}")
        for a in invocation.assignments
        if not safe_assignment(a)
    ]
    if invocation.words:
        findings.append(_of_words(invocation.words, depth))
    return findings


def _of_words(words: Sequence[Word], depth: int) -> Finding:
    if depth > _MAX_DEPTH:
        return ("sensitive", "it nests too deep")
    if words and words[0].exact and plain_name(words[0].text) in _SHELLS:
        return _of_shell(words, depth)
    if not words:
        return ("read", "")
    return assess(words, lambda inner: _of_words(inner, depth + 1))


def _of_shell(words: Sequence[Word], depth: int) -> Finding:
    """``bash -c TEXT`` is as risky as TEXT; any other use of a shell runs an unseen script."""
    if len(words) >= 3 and words[1].text == "-c" and words[2].exact:
        try:
            return worst_of([("read", ""), *_of(parse(words[2].text), depth + 1)])
        except Unparsable as error:
            return ("sensitive", f"it runs a script that cannot be read: {error}")
    return ("sensitive", f"{words[0].text} runs a script")


def _of_redirect(redirect: Redirect) -> Finding:
    target = redirect.target
    if target is None:
        return ("read", "")
    text = target.text
    if text.startswith(("/dev/tcp/", "/dev/udp/")):
        return ("sensitive", "it opens a network connection")
    if redirect.operator in ("<", "<<<") or text in _HARMLESS_TARGETS:
        return ("read", "")
    if redirect.operator in (">&", "<&") and (text.isdigit() or text == "-"):
        return ("read", "")
    parts = PurePosixPath(text).parts
    if ".." in parts or (len(parts) > 1 and parts[0] == "/" and parts[1] in _SYSTEM):
        return ("sensitive", f"it writes to {text}")
    return ("write", f"it writes to {text}")
