"""Secrets in text: the detectors of ``detect-secrets``, and labels that prose uses.

The library is made for files of source code, where a secret stands in quotes. Its detectors run
here on lines of prose: the keyword detector by its rules for configuration files, its entropy
measure on bare words as well, and only where the letters do not follow one another as they do
in words. Its verification, which asks the service whether a secret works, is never called.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from runtime.redact_span import PLACEHOLDER, Span

if TYPE_CHECKING:
    from detect_secrets.plugins.base import BasePlugin
    from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin

_ELSEWHERE = {"Public IP (ipv4)", "Private Key"}
"""Detectors whose find is personal data, or a part alone: the first line of a key."""

_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?"
    r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)

_LABEL = (
    r"(?:pass(?:word|code|phrase|wd)s?|pwd|secret|token|credentials?|"
    r"(?:api|access|auth|secret|licen[cs]e|recovery|security|private|encryption)[ _-]?(?:key|code))"
)
_LABELLED = (
    # the password is X, where X may be any word that is not said of passwords
    re.compile(
        r"pass(?:word|code|phrase|wd)s?\b(?:\s+(?:for|of|on)(?:\s+[\w.@-]+){1,4}?)?"
        r"(?:\s+(?:is|was)\s+|\s+to\s+|\s*[=:]\s*)(?P<q>[\"'`“‘]?)(?P<value>\S+)",
        re.IGNORECASE,
    ),
    # the token is X; change the password for the wifi to X; token = X
    re.compile(
        rf"{_LABEL}\b(?:\s+(?:for|of|on)(?:\s+[\w.@-]+){{1,4}}?)?"
        rf"(?:\s+(?:is|was|to|as|are)\s+|\s*[=:]\s*)(?P<q>[\"'`“‘]?)(?P<value>\S+)",
        re.IGNORECASE,
    ),
    # with the password X
    re.compile(rf"{_LABEL}\s+(?P<q>[\"'`“‘]?)(?P<value>\S+)", re.IGNORECASE),
    # the PIN of the card is 4821
    re.compile(r"\bpin\b(?P<q>)[^.;\d]{0,30}[\s:=](?P<value>\d{4,8})(?![\w.])", re.IGNORECASE),
    # access_token=X&…; "authToken": "X"; X-Auth-Token: X
    re.compile(
        r"(?:token|_key|-key|sig|signature|session|sid)[\"']?\s*[=:]\s*"
        r"(?P<q>[\"'`]?)(?P<value>[^\s\"'`&]{8,})",
        re.IGNORECASE,
    ),
    # Authorization: Bearer X
    re.compile(r"\b(?:bearer|basic|token)\s+(?P<q>)(?P<value>[\w.+/=~-]{8,})", re.IGNORECASE),
    # mysql --password X, curl --user name:X
    re.compile(
        rf"--?(?:{_LABEL}|key)[ =](?P<q>[\"'`]?)(?P<value>\S+)|(?:-u|--user)[ =](?P<q2>[\"'`]?)"
        r"[^\s:\"']+:(?!//)(?P<value2>[^\s\"']+)",
        re.IGNORECASE,
    ),
)

_LABELS = ("pass", "pwd", "secret", "token", "credential", "key", "code")
_NEEDED = (
    ("pass", "pwd"),
    _LABELS,
    _LABELS,
    ("pin",),
    ("token", "key", "sig", "session", "sid"),
    ("bearer", "basic", "token"),
    ("-u", *_LABELS),
)
"""For each of ``_LABELLED``: every match holds one of these, in any case."""
_KEYWORDS = ("key", "pass", "pwd", "secret", "contrase")
"""The same for the library's keyword detector."""

_CLOSING = {"“": "”", "‘": "’"}
_TAIL = ".,;:)]}>\"'`"
"""What can follow a bare value without being part of it."""

_CODE = re.compile(r"[A-Za-z_][\w.]*[\[(].*[\])]?|\$\{?\w+\}?|%\(?\w+\)?s?|\{+[^{}]*\}+|\*+|x+|\.+")
"""A reference to a value, or a blank to be filled in, not a value."""
_NO_VALUE = re.compile(
    "none|null|nil|true|false|str|string|bytes|int|bool|any|optional|required|empty|missing|unset|"
    "wrong|invalid|expired|correct|incorrect",
    re.IGNORECASE,
)

_SAID_OF_PASSWORDS = re.compile(
    "not|no|too|now|always|never|also|still|only|already|the|an?|my|his|her|its|our|your|their|"
    "this|that|it|in|on|at|for|from|with|by|be|being|been|what|which|stored|saved|kept|hidden|"
    "shown|sent|set|reset|changed|asked|needed|used|entered|typed|given|forgotten|lost|leaked|"
    "known|unknown|default|encrypted|hashed|protected|weak|strong|safe|secure|short|long|"
    "something|anything|open|unlock|log|access|decrypt|get|use|do|all|every|each|one|protect|login",
    re.IGNORECASE,
)

_WORD = re.compile(r"[\w+/.~%-]{16,}={0,2}")
_HEX = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{32,}(?![0-9A-Za-z])")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PIECE = re.compile(r"[^/.%]{16,}")

_MAX_NATURAL = 0.4
"""Share of neighbouring characters that follow one another as in words; from there on, a word."""
_MAX_NATURAL_LETTERS = 0.25
"""The same without any digit in it: abbreviations in names are unlike words too."""
_MAX_SEPARATORS = 0.12
"""Share of signs between letters and digits; above it, a path, a name or a version."""
_ENTROPY_SHARE = 0.78
"""Of the entropy that a word of its length, in an alphabet of 32, can have at most."""

# The 140 most frequent letter pairs of English documentation and requests: 87 % of all pairs
# there, 21 % of the pairs of random letters.
_PAIRS = (
    "ab ac ai al am an ar as at be bj bl bu by ca ce ch ci cl co ct cu de di ea ec ed ee ef el em "
    "en ep er es et ex fi fo fu ge ha he hi ho ic id ie if ig il im in io is it je ke la ld le li "
    "ll lo ls lu ly ma me mo mp na nc nd ne ng ni no ns nt ob oc od of ol om on op or ot ou ow pa "
    "pe pl po pr pt qu ra re rg ri rm rn ro rr rs rt ry se sh si so sp ss st su ta te th ti to tr "
    "ts tt tu ty ue ul um un ur us ut va ve wh wi yp"
)
_USUAL = frozenset(_PAIRS.split())


def secrets(text: str) -> Iterator[Span]:
    """Spans of secrets; they may overlap. Placeholders that stand for a value are not found."""
    for match in _PEM.finditer(text):
        yield Span(match.start(), match.end(), "SECRET")
    start = 0
    for line in text.splitlines(keepends=True):
        for at, end in _in_line(line):
            if end > at and not PLACEHOLDER.fullmatch(line, at, end):
                yield Span(start + at, start + end, "SECRET")
        start += len(line)


def _in_line(line: str) -> Iterator[tuple[int, int]]:
    yield from _by_format(line)
    if _may_hold(line, _KEYWORDS):
        yield from _by_keyword(line)
    yield from _by_label(line)
    yield from _by_entropy(line)


def _may_hold(line: str, needed: tuple[str, ...]) -> bool:
    """False where a pattern, each of whose matches holds one of ``needed`` in any case, finds
    nothing: asked before it is tried, which takes a hundred times as long."""
    if not line.isascii():  # A long s, a dotless i or the sign of Kelvin is a letter too to it.
        return True
    lower = line.lower()
    return any(word in lower for word in needed)


@functools.cache
def _detectors() -> tuple[tuple[re.Pattern[str], ...], HighEntropyStringsPlugin]:
    """The library's patterns of secrets that have a format, and its measure for hex strings."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector
    from detect_secrets.plugins.high_entropy_strings import HexHighEntropyString

    classes: Mapping[str, type[BasePlugin]] = get_mapping_from_secret_type_to_class()
    patterns = [
        pattern
        for name, cls in classes.items()
        if issubclass(cls, RegexBasedDetector) and name not in _ELSEWHERE
        for pattern in cls().denylist
    ]
    return tuple(patterns), HexHighEntropyString()


def _by_format(line: str) -> Iterator[tuple[int, int]]:
    for pattern in _detectors()[0]:
        for match in pattern.finditer(line):
            groups = [match.span(i + 1) for i, group in enumerate(match.groups()) if group]
            # A group is the secret among what tells it, or the prefix that begins the secret.
            if groups and groups[0][0] > match.start():
                yield from groups
            else:
                yield match.span()


def _by_keyword(line: str) -> Iterator[tuple[int, int]]:
    from detect_secrets.plugins.keyword import CONFIG_DENYLIST_REGEX_TO_GROUP

    for pattern, group in CONFIG_DENYLIST_REGEX_TO_GROUP.items():
        # The library looks for the first one in a line; a sentence can hold several.
        at = 0
        while match := pattern.search(line, at):
            start, end = match.span(group)
            quoted = line[start - 1 : start] in ("'", '"', "`")
            if not quoted:
                end = _end_of_word(line, start, end)
            value = line[start:end]
            named_password = re.search(r"pass|pwd|contrase", line[max(0, start - 24) : start], re.I)
            if _is_value(value) and (quoted or named_password or _is_no_word(value)):
                yield start, end
            at = max(end, match.start() + 1)


def _by_label(line: str) -> Iterator[tuple[int, int]]:
    for pattern, needed in zip(_LABELLED, _NEEDED, strict=True):
        if not _may_hold(line, needed):
            continue
        at = 0
        while match := pattern.search(line, at):
            which = "value" if match["value"] else "value2"
            start, end = match.span(which)
            quote = match["q" if which == "value" else "q2"]
            closing = line.find(_CLOSING.get(quote, quote), start) if quote else -1
            end = closing if closing >= 0 else _end_of_word(line, start, end)
            value = line[start:end]
            quoted = closing >= 0 and pattern in _LABELLED[:3]
            any_word = pattern is _LABELLED[0] and not _SAID_OF_PASSWORDS.fullmatch(value)
            if _is_value(value) and (quoted or any_word or _is_no_word(value)):
                yield start, end
                at = end
            else:
                at = start
            at = max(at, match.start() + 1)


def _end_of_word(line: str, start: int, end: int) -> int:
    """Where a bare value ends: at white space, without the punctuation of the sentence."""
    space = re.search(r"\s", line[start:end])
    word = line[start : start + space.start()] if space else line[start:end]
    if PLACEHOLDER.match(word):
        return start + len(word.rstrip(_TAIL.replace(">", "")))
    return start + len(word.rstrip(_TAIL))


def _is_value(value: str) -> bool:
    return (
        len(value) > 1
        and _NO_VALUE.fullmatch(value) is None
        and _CODE.fullmatch(value) is None
        and PLACEHOLDER.fullmatch(value) is None
    )


def _is_no_word(value: str) -> bool:
    """Has what a password has and a word or a name in code has not: a digit, a sign, a capital
    inside."""
    if len(value) < 4:
        return False
    letters = re.sub(r"[-'’_./]", "", value)
    return not letters.isalpha() or not (letters.islower() or letters[1:].islower())


def _by_entropy(line: str) -> Iterator[tuple[int, int]]:
    hex_ = _detectors()[1]
    for match in _HEX.finditer(line):
        if hex_.calculate_shannon_entropy(match.group()) > hex_.entropy_limit:
            yield match.span()
    for match in _WORD.finditer(line):
        word = match.group().rstrip(".")
        if _is_random(word):
            yield match.start(), match.start() + len(word)
            continue
        for piece in _PIECE.finditer(word):
            if _is_random(piece.group()):
                yield match.start() + piece.start(), match.start() + piece.end()


def _is_random(word: str) -> bool:
    if len(word) < 16 or (word.islower() and word.isalpha()) or not re.search("[A-Za-z]", word):
        return False
    if _UUID.fullmatch(word) or PLACEHOLDER.search(word):
        return False
    if sum(not c.isalnum() for c in word.rstrip("=")) > _MAX_SEPARATORS * len(word):
        return False
    natural = _MAX_NATURAL if re.search(r"\d", word) else _MAX_NATURAL_LETTERS
    most = math.log2(min(len(word), 32))
    return _entropy(word) >= _ENTROPY_SHARE * most and _natural(word) < natural


def _entropy(word: str) -> float:
    """Shannon entropy in bits a character."""
    counts = (word.count(c) for c in set(word))
    return -sum(n / len(word) * math.log2(n / len(word)) for n in counts)


def _natural(word: str) -> float:
    """Share of the pairs of neighbouring letters and digits that words and numbers have."""
    pairs = [(a, b) for a, b in itertools.pairwise(word) if a.isalnum() and b.isalnum()]
    if not pairs:
        return 1.0
    usual = sum(
        (a.isdigit() and b.isdigit())
        or ((a + b).lower() in _USUAL and not (a.islower() and b.isupper()))
        for a, b in pairs
    )
    return usual / len(pairs)
