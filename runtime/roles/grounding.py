"""Typed spans of a request: every value that a slot may take, found by rule, with its place.

What is found here is *grounded*: its words stand in the request at ``start:end``. Spans of
different types may overlap (a quoted file name is text and a path); inside a quotation, a
URL or a path nothing else is read. English only. Sizes count in 1024s, as du and ls -h do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from runtime.roles.dates import MONTHS, ORDINAL, WEEKDAYS, moments, ordinal
from runtime.roles.durations import lengths
from runtime.roles.numbers import NUMBER, number, numbers
from runtime.tools.recipe import SlotType


@dataclass(frozen=True, slots=True)
class Span:
    """A value in a request. ``value`` is JSON: bytes for a size, seconds for a duration,
    local ISO 8601 for a datetime, else text or a number."""

    type: SlotType
    value: Any
    text: str
    start: int
    end: int
    exact: bool = True
    """False where a convention filled a gap ("on Friday" has no time)."""
    quoted: bool = False


_ORDINAL = re.compile(rf"\b{ORDINAL}\b(?!\s+(?:{NUMBER})\b)(?=\s+\w)", re.IGNORECASE)
_QUOTES = {'"': '"', "“": "”", "‘": "’", "«": "»", "„": "“", "`": "`"}
_URL = re.compile(r"\b(?:https?|ftp|file)://[^\s\"'<>]+|\bwww\.[^\s\"'<>]+", re.IGNORECASE)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_PATH = re.compile(
    r"(?<![\w.~/:<&])(?:~|\.{1,2})?/(?:[\w.@+~%-]+/?)*|(?<![\w.~/:])~(?!\w)|(?<![\w.~/:])\.\.?(?=/)"
)
_RELATIVE = re.compile(r"(?<![\w./~:@-])[\w.-]+(?:/[\w.@+-]+)+/?")
_FILE = re.compile(r"(?<![\w./~:@*])\.?[\w-][\w.+-]*\.[A-Za-z][A-Za-z0-9]{0,7}(?![\w@/])")
_HIDDEN = re.compile(r"(?<![\w./~:@*])\.[A-Za-z][\w.-]+")
_NOT_FILES = {"e.g", "i.e", "a.m", "p.m", "u.s", "u.k", "etc", "vs"}
_FOLDER = re.compile(
    r"\b(?:(?:folder|directory)\s+(?:called|named)\s+(?P<called>[\w./-]+)"
    r"|(?P<home>(?:my|the)\s+home(?:\s+(?:folder|directory))?|home\s+(?:folder|directory))"
    r"|(?P<here>(?:this|the\s+current|the\s+working|the\s+work|current|working|my\s+current)"
    r"\s+(?:folder|directory)|here)"
    r"|(?P<root>(?:the\s+)?root\s+(?:folder|directory)|the\s+whole\s+(?:file\s*system|disk))"
    r"|(?!(?:a|an|the|this|that|new|my|empty|work)\b)(?<![\w.-])(?P<before>[\w.-]{1,64})\s+(?:folder|directory)"
    r"|(?:folder|directory)\s+(?P<after>[A-Z][\w.-]+|[\w-]*[._-][\w.-]+)"
    r"|(?:in|into|inside|under|from|to|of)\s+(?:my\s+|the\s+)?(?P<known>Documents|Downloads|Desktop"
    r"|Pictures|Music|Videos))\b",
    re.IGNORECASE,
)
_WITHIN = re.compile(
    r"\s+(?:in|inside|under|within|below|from)\s+(?:the\s+)?(?:(?:folder|directory)\s+)?",
    re.IGNORECASE,
)
_AS = re.compile(
    r",?\s+(?:as|under\s+the\s+name(?:\s+of)?|with\s+the\s+name|called|named|by\s+the\s+name(?:\s+of)?)\s+",
    re.IGNORECASE,
)
_NO_FOLDER_NAMES = frozenset((
    "a", "an", "the", "this", "that", "my", "your", "our", "each", "every", "any", "new",
    "other", "same", "which", "what", "whole", "current", "empty", "of", "in", "to", "and",
    "or", "work", "working", "parent", "target", "largest", "biggest", "smallest", "first",
    "last", "per", "one", "hidden",
))  # fmt: skip
_SIZE = re.compile(
    rf"(?<![\w.-])(?P<n>{NUMBER}|an?|half\s+an?)\s*-?(?P<u>bytes?|[kmgt]i?b|kilobytes?|megabytes?|gigabytes?"
    rf"|terabytes?|kibibytes?|mebibytes?|gibibytes?|megs?|gigs?|(?<=\d)\s?[KMGT])(?!\w)",
    re.IGNORECASE,
)
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
EXTENSIONS = {
    "python": "py", "text": "txt", "plain text": "txt", "markdown": "md", "javascript": "js",
    "typescript": "ts", "jpeg": "jpg", "jpegs": "jpg", "jpgs": "jpg", "shell script": "sh",
    "shell": "sh", "bash": "sh", "excel": "xlsx", "word": "docx", "powerpoint": "pptx",
    "rust": "rs", "ruby": "rb", "perl": "pl", "kotlin": "kt", "c++": "cpp", "header": "h",
    "config": "conf", "configuration": "conf", "backup": "bak", "object": "o",
    "desktop entry": "desktop", "yml": "yml", "shared object": "so", "latex": "tex",
}  # fmt: skip
"""What people call a kind of file, where that is not the extension itself."""
_KNOWN = frozenset((
    "py", "txt", "md", "js", "ts", "jpg", "png", "gif", "svg", "pdf", "csv", "tsv", "json",
    "yaml", "yml", "toml", "xml", "html", "css", "log", "sh", "c", "h", "cpp", "rs", "rb", "go",
    "java", "kt", "pl", "tex", "zip", "tar", "gz", "bz2", "xz", "7z", "iso", "mp3", "mp4",
    "wav", "flac", "ogg", "mkv", "avi", "mov", "doc", "docx", "xls", "xlsx", "ppt", "pptx",
    "odt", "ods", "sql", "db", "sqlite", "ini", "cfg", "conf", "bak", "tmp", "so", "deb", "rpm",
    "whl", "ipynb", "webp", "bmp", "tif", "tiff", "epub", "ics", "eml", "lock", "diff", "patch",
    "po", "mo", "ttf", "otf", "desktop", "service", "gpg", "key", "pem", "crt",
))  # fmt: skip
_PLAIN = (
    "pdf|csv|tsv|json|xml|ya?ml|toml|html|css|png|gif|svg|jpe?g|mp3|mp4|wav|docx|xlsx|pptx|txt|pyc"
)
"""Extensions that are no other word: they need no "files" behind them."""
_NAMED_KIND = "|".join(sorted(map(re.escape, {*EXTENSIONS, *_KNOWN}), key=len, reverse=True))
_EXTENSION = re.compile(
    rf"(?<![\w/])\*\.(?P<star>[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)?)|(?<![\w*])\.(?P<dot>[A-Za-z0-9]+)(?=\s+(?:files?|extension|ending)\b)"
    rf"|\b(?P<kind>{_NAMED_KIND})\s+(?:source\s+|script\s+|code\s+)?(?:files?|images?|pictures?|photos?|documents?|scripts?|sources?|code"
    rf"|archives?|modules?|programs?|spreadsheets?|ones)\b|\b(?P<many>pdf|csv|jpe?g|png|gif|svg|mp3|mp4|zip|log|json)s\b"
    rf"|(?:every|each|which|what|any|latest|newest|oldest|biggest|largest|smallest)\s+(?P<one>log)\b"
    rf"|\b(?P<bare>{_PLAIN})\b(?!\s*[:=/.\w]*\.\w)"
    rf"|\b(?:ending\s+(?:in|with)|extension(?:\s+of)?|end\s+in)\s+\.?(?P<ending>[A-Za-z0-9]+)\b",
    re.IGNORECASE,
)
_KEY = (
    "ctrl|control|alt|shift|super|meta|win|cmd|command|option|enter|return|escape|esc|tab|space"
    "|backspace|delete|del|insert|home|end|page\\s?up|page\\s?down|up|down|left|right|f(?:1[0-2]|[1-9])"
)
_KEYS = re.compile(
    rf"(?<![\w+-])(?:(?:ctrl|control|alt|shift|super|meta|win|cmd|command|option)(?:\s*[+-]\s*(?:{_KEY}|[a-z0-9]))+"
    rf"|(?<=press )(?:the\s+)?(?:{_KEY})(?:\s+key)?|(?<=hit )(?:the\s+)?(?:{_KEY})(?:\s+key)?"
    rf"|f(?:1[0-2]|[1-9])(?=\s+key))(?![\w+])",
    re.IGNORECASE,
)
_CANONICAL_KEYS = {"control": "ctrl", "return": "enter", "escape": "esc", "command": "cmd",
                   "del": "delete", "meta": "super", "win": "super"}  # fmt: skip
_NAME = re.compile(
    r"(?<![\w'’.\-/])(?:(?:Dr|Mr|Mrs|Ms|Prof)\.?\s+)?[A-ZÀ-ÖØ-Þ][\w'’-]*(?:\s+(?:(?:de|van|von|der|la|of)\s+)?[A-ZÀ-ÖØ-Þ][\w'’-]*)*"
)
_RELATION = re.compile(
    r"\b(?P<my>(?:my|the|our)\s+)?(?P<who>mom|mum|mother|dad|father|grandma|grandpa|granny|wife|husband"
    r"|sister|brother|son|daughter|aunt|uncle|cousin|boss|manager|landlord|neighbou?r|dentist|doctor"
    r"|roommate|flatmate|girlfriend|boyfriend|partner|teacher|plumber|babysitter|team)\b",
    re.IGNORECASE,
)
_CALENDAR = frozenset(
    (*WEEKDAYS, *MONTHS, *(d[:3] for d in WEEKDAYS), *(m[:3] for m in MONTHS), "tues", "thurs")
)
_NOT_NAMES = frozenset((
    "i", "i'm", "i'll", "i'd", "i've", "ok", "okay", "please", "am", "pm", "tv",
))  # fmt: skip


def spans(text: str, *, now: datetime, folder: Path) -> tuple[Span, ...]:
    """Every typed span of ``text``, by place. ``folder`` tells which relative names exist."""
    verbatim = [*_quoted(text)]
    verbatim += [s for s in _links(text) if _free(s, verbatim)]
    verbatim += [s for s in _paths(text, folder) if _free(s, verbatim)]
    found = list(verbatim)
    found += [s for s in _folders(text, folder) if _free(s, verbatim)]
    found += _nested(text, [s for s in found if s.type == "path"])
    extensions = [s for s in _extensions(text) if _extension_free(s, verbatim)]
    found = [s for s in found if s.quoted or s.type == "text" or _free(s, extensions)] + extensions
    typed = [s for s in _typed(text, now) if _free(s, verbatim)]
    found += typed
    found += [s for s in _numbers(text) if _free(s, found)]
    found += [s for s in _ordinals(text) if _free(s, found)]
    found += [s for s in _names(text) if _free(s, [*verbatim, *typed, *extensions])]
    return tuple(sorted(set(found), key=lambda s: (s.start, -s.end, s.type)))


def nested_numbers(text: str, span: Span) -> tuple[Span, ...]:
    """The numbers inside a size or duration: 5 in "5 GB", for a slot that wants the bare number."""
    inner = _numbers(text[span.start : span.end])
    return tuple(
        Span(s.type, s.value, s.text, s.start + span.start, s.end + span.start) for s in inner
    )


def _extension_free(span: Span, verbatim: list[Span]) -> bool:
    """ "*.log" and ".env files" look like file names too; "csv" inside "a.csv" is part of one."""
    own = [v for v in verbatim if v.quoted or v.end - v.start > span.end - span.start]
    return _free(span, own)


def _free(span: Span, taken: list[Span]) -> bool:
    return not any(span.start < t.end and span.end > t.start for t in taken)


def _span(type_: SlotType, value: Any, match: re.Match[str]) -> Span:
    return Span(type_, value, match.group(), match.start(), match.end())


def _quoted(text: str) -> Iterator[Span]:
    """Quotations, outermost only. An apostrophe inside a word opens and closes nothing."""
    place = 0
    while place < len(text):
        end = _closing(text, place)
        if end is None:
            place += 1
            continue
        yield Span("text", text[place + 1 : end], text[place : end + 1], place, end + 1, True, True)
        place = end + 1


def _closing(text: str, start: int) -> int | None:
    mark = text[start]
    if mark in _QUOTES:
        if mark == '"' and start and text[start - 1].isdigit():
            return None  # inches
        end = text.find(_QUOTES[mark], start + 1)
        while end > 0 and _QUOTES[mark] == "’" and _in_word(text, end):
            end = text.find("’", end + 1)
        return end if end > start + 1 else None
    if mark == "'" and (start == 0 or not text[start - 1].isalnum()):
        if start + 1 >= len(text) or text[start + 1].isspace():
            return None
        for end in range(start + 2, len(text)):
            if (
                text[end] == "'"
                and not _in_word(text, end)
                and not text[end + 1 : end + 2].isalnum()
            ):
                return end
    return None


def _in_word(text: str, place: int) -> bool:
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    return before.isalnum() and after.isalnum()


def _links(text: str) -> Iterator[Span]:
    for pattern in (_URL, _EMAIL):
        for match in pattern.finditer(text):
            words = match.group().rstrip(".,;:!?)")
            yield Span("text", words, words, match.start(), match.start() + len(words))


def _paths(text: str, folder: Path) -> Iterator[Span]:
    found: list[Span] = []
    for pattern in (_PATH, _RELATIVE, _FILE, _HIDDEN):
        for match in pattern.finditer(text):
            if any(s.start < match.end() and s.end > match.start() for s in found):
                continue
            words = match.group().rstrip(".,;:!?") or match.group()
            if match.group().startswith("..") and not words.startswith(".."):
                words = match.group()
            if pattern is _PATH or _is_path(words, pattern, folder):
                found.append(Span("path", words, words, match.start(), match.start() + len(words)))
    yield from found


def _is_path(words: str, pattern: re.Pattern[str], folder: Path) -> bool:
    if words.lower() in _NOT_FILES or not words.strip("."):
        return False
    if _exists(folder / words):
        return True
    if pattern is _RELATIVE:
        # "and/or" and "km/h" are words: a path has an extension, depth, or a capital letter
        return bool(re.search(r"\.\w+$|/.+/|/$", words)) and not re.fullmatch(r"[\d/.]+", words)
    if pattern is _HIDDEN:
        return words[1:].lower() not in _KNOWN
    # one dot between two words with a capital after it is a sentence without its space
    return words.rsplit(".", 1)[1].lower() in _KNOWN or not re.search(r"\.[A-Z][a-z]+$", words)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for this file system
        return False


def _folders(text: str, folder: Path) -> Iterator[Span]:
    for match in _FOLDER.finditer(text):
        if match.group("home"):
            yield _span("path", "~", match)
        elif match.group("here"):
            yield _span("path", ".", match)
        elif match.group("root"):
            yield _span("path", "/", match)
        else:
            name = next(n for k in ("called", "before", "after", "known") if (n := match.group(k)))
            if name.lower() not in _NO_FOLDER_NAMES and name[0] not in "/~":
                group = next(k for k in ("called", "before", "after", "known") if match.group(k))
                start = match.start("known") if group == "known" else match.start()
                value = _place(name, folder)
                yield Span("path", value, text[start : match.end()], start, match.end())


def outermost(found: Sequence[Span]) -> list[Span]:
    """The spans that lie inside no other of them."""
    return [
        s
        for s in found
        if not any(
            o.start <= s.start and s.end <= o.end and (o.start, o.end) != (s.start, s.end)
            for o in found
        )
    ]


def _nested(text: str, paths: list[Span]) -> Iterator[Span]:
    """ "notes.txt in ~/work" and "in ~/work as notes.txt" as one path, beside the two."""
    ordered = sorted((p for p in paths if not p.quoted), key=lambda p: p.start)
    for left, right in pairwise(ordered):
        gap = text[left.end : right.start]
        if _WITHIN.fullmatch(gap):
            inner, outer = left.value, right.value
        elif _AS.fullmatch(gap):
            inner, outer = right.value, left.value
        else:
            continue
        if "/" in inner.rstrip("/") or inner in (".", "~"):
            continue
        whole = inner if outer == "." else f"{outer.rstrip('/')}/{inner}"
        yield Span("path", whole, text[left.start : right.end], left.start, right.end)


def _place(name: str, folder: Path) -> str:
    """Where a named folder is: in the work folder, else in the home folder, else as written."""
    for candidate in (name, name.capitalize(), name.lower()):
        if _exists(folder / candidate):
            return candidate
    for candidate in (name, name.capitalize()):
        if _exists(Path.home() / candidate):
            return f"~/{candidate}"
    return name


def _extensions(text: str) -> Iterator[Span]:
    for match in _EXTENSION.finditer(text):
        words = next(w for w in match.groups() if w).lower()
        literal = match.group("star") or match.group("dot") or match.group("ending")
        value = words if literal else EXTENSIONS.get(words, words)
        yield _span("extension", value, match)


def _typed(text: str, now: datetime) -> list[Span]:
    found = [_span("keys", _keys(m.group()), m) for m in _KEYS.finditer(text)]
    sizes = [_span("size", _bytes(m), m) for m in _SIZE.finditer(text)]
    found += sizes
    for moment in moments(text, now):
        value = moment.value.replace(microsecond=0).isoformat()
        start, end = moment.start, moment.end
        found.append(Span("datetime", value, text[start:end], start, end, moment.exact))
    for item in lengths(text):
        span = Span("duration", item.seconds, text[item.start : item.end], item.start, item.end)
        if _free(span, sizes):
            found.append(span)
    return found


def _bytes(match: re.Match[str]) -> int:
    words = match.group("n").lower()
    if words.startswith("half"):
        amount: float = 0.5
    else:
        amount = 1 if words in ("a", "an") else number(words)
    power = _POWERS[match.group("u").strip()[0].lower()]
    return round(amount * float(1024**power))


def _keys(words: str) -> str:
    parts = re.split(r"\s*[+-]\s*", re.sub(r"^the\s+|\s+key$", "", words.lower()))
    return "+".join(_CANONICAL_KEYS.get(p, p.replace(" ", "")) for p in parts)


def _numbers(text: str) -> Iterator[Span]:
    for item in numbers(text):
        type_: SlotType = "integer" if isinstance(item.value, int) else "number"
        yield Span(type_, item.value, text[item.start : item.end], item.start, item.end)


def _ordinals(text: str) -> Iterator[Span]:
    """ "the third line" counts as 3; "the first 20 lines" does not count as 1."""
    for match in _ORDINAL.finditer(text):
        yield _span("integer", ordinal(match.group()), match)


def _names(text: str) -> Iterator[Span]:
    """People by capital letters ("Ana María", "Dr. Smith") or by relation ("my boss")."""
    for match in _NAME.finditer(text):
        words, start = match.group(), match.start()
        if _starts_sentence(text, start):
            # the first word has its capital from the sentence: what follows may be the name
            first = re.match(r"\S+\s*", words)
            if first is None or first.end() == len(words):
                continue
            start += first.end()
            words = words[first.end() :]
        words = re.sub(r"['’]s$", "", words).rstrip("'’-")
        if words.lower() in _CALENDAR or words.lower() in _NOT_NAMES or not words:
            continue
        yield Span("name", words, words, start, start + len(words))
    for match in _RELATION.finditer(text):
        who = match.group("who")
        yield Span("name", who, who, match.start("who"), match.end("who"))


def _starts_sentence(text: str, start: int) -> bool:
    before = text[max(0, start - 8) : start].rstrip(" \t\"'“‘«(")
    if not before:
        return start < 8
    return before[-1] in ".!?\n:;"
