"""Where one request ends and the next begins: clauses of a task, by connectors and verbs.

A connector splits only where what follows is an order of its own: it begins with a verb that
somebody gives orders with. Quotations, paths and links are never split. Nor are words that the
user dictates ("remind me to call Sam and buy milk"), and refinements of the same question
("larger than 1 MB and older than a week", "… and show the lines").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runtime.roles.grounding import Span

Strength = Literal["sentence", "sequence", "weak"]


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece of a task, and how strongly it is parted from the piece before."""

    text: str
    start: int
    strength: Strength
    end: int
    rewritten: bool = False
    """True where the text no longer stands in the task word for word."""


ORDERS = frozenset(
    (
    "add", "append", "archive", "ask", "bold", "book", "bring", "build", "calculate", "call",
    "change", "check", "choose", "clear", "click", "close", "compare", "compress", "compute",
    "convert", "copy", "count", "create", "cut", "decompress", "delete", "dim", "display", "divide",
    "double-click", "download", "draft", "drag", "duplicate", "edit", "email", "empty", "enter",
    "erase", "explain", "export", "extract", "fetch", "fill", "find", "fire", "format", "get",
    "give", "go", "grep", "hit", "import", "insert", "install", "invite", "kill", "launch", "let",
    "list", "load", "locate", "lock", "look", "mail", "make", "message", "minimise", "minimize",
    "mkdir", "move", "mute", "name", "navigate", "note", "open", "organise", "organize", "paste",
    "pause", "pick", "ping", "plan", "play", "press", "print", "put", "quit", "read", "redo",
    "remind", "remove", "rename", "replace", "reply", "report", "reset", "resize", "restart",
    "resume", "right-click", "rotate", "run", "save", "say", "scan", "schedule", "scroll", "search",
    "select", "send", "set", "show", "shut", "skip", "sort", "start", "stop", "store", "submit",
    "summarise", "summarize", "switch", "tell", "text", "time", "toggle", "touch", "translate",
    "turn", "type", "undo", "uninstall", "unpack", "untar", "unzip", "update", "upload", "wait",
    "what", "what's", "when", "where", "which", "who", "how", "write", "zip", "zoom",
))  # fmt: skip
"""Words that begin an order or a question of its own."""

_COURTESY = re.compile(
    r"^(?:(?:please|kindly|also|just|now|next|first|finally|lastly|afterwards|again|hey|ok|okay|so"
    r"|can you|could you|would you|will you|i want you to|i need you to|i'd like you to|you should)"
    r"[\s,]+)+",
    re.IGNORECASE,
)
_CONNECTOR = re.compile(
    r"(?P<sentence>(?<=[\w\"'”’)\]])[.!?](?=\s+\S)\s+|\s*\n\s*(?:[-*•]\s+|\d+[.)]\s+)?|\s*;\s*)"
    r"|(?P<sequence>,?\s*\b(?:and\s+)?(?:then|after\s+that|afterwards|after\s+which|followed\s+by"
    r"|and\s+finally|and\s+lastly)\b,?\s+|\s*(?:->|=>|→)\s*)"
    r"|(?P<weak>,\s+and\s+|,\s+|\s+and\s+(?:also\s+)?|\s+&\s+)",
    re.IGNORECASE,
)
_DICTATED = re.compile(
    r"\b(?:remind\s+me|reminder|don['’]t\s+let\s+me\s+forget|tell|text(?!\s+(?:editor|file|document|window)s?\b)|message|inform|let\s+\S+\s+know"
    r"|send|say(?:ing|s)?|note|todo|to-do)\b",
    re.IGNORECASE,
)
_REFINEMENT = re.compile(
    r"^(?:(?:show|print|list|display|give|tell|return|report|sort|order|group|limit|count)\b"
    r"(?:\s+me)?\s+(?:it|them|those|the\s+(?:matching\s+)?(?:lines?|match(?:es)?|results?|output|counts?"
    r"|names?|sizes?|numbers?|total|top|first|last|answer|largest|smallest)|how\s+many|only|by|just)\b"
    r"|(?:which|where|who|when)\b)",
    re.IGNORECASE,
)


_WISH = re.compile(
    r"(?i)\s*(?:i|we)(?:['’]d|\s+would)?(?:\s+(?:also|really|just))?"
    r"\s+(?:want|need|like|love|wish|have\s+to|must|should)\b"
)
"""How an order in the first person begins; any other "I …" tells something."""
_FOLLOW_UP = re.compile(
    r"(?i)\s*(?:and\s+)?(?:please\s+)?(?:which(?:\s+ones?)?|what\s+are\s+they|how\s+many|where"
    r"|(?:name|list|show|print|give|tell)(?:\s+me)?\s+(?:them|those|the\s+(?:names?|results?|answer)))"
    r"\s*[.?!]*\s*"
)
"""What only asks for the result of the sentence before."""


def without_follow_up(text: str) -> str:
    """``text`` without a last sentence that only asks for the result ("Name them.")."""
    parts = re.split(r"(?<=[?.!])\s+", text.strip())
    if len(parts) > 1 and _FOLLOW_UP.fullmatch(parts[-1]) and "how" not in parts[-1].lower():
        return text.strip()[: -len(parts[-1])].strip()
    return text.strip()


def clauses(text: str, spans: Sequence[Span]) -> list[Clause]:
    """The orders in ``text``, in order. One where nothing splits it."""
    shut = [(s.start, s.end) for s in spans if s.quoted or s.type in ("path", "text", "datetime")]
    found: list[Clause] = []
    begin, strength = 0, "sentence"
    for match in _CONNECTOR.finditer(text):
        if any(a < match.end() and b > match.start() and not (b <= match.start()) for a, b in shut):
            continue
        left = text[begin : match.start()]
        right = text[match.end() :]
        kind: Strength = (
            "sentence"
            if match.group("sentence")
            else "sequence"
            if match.group("sequence")
            else "weak"
        )
        if _parts(left, right, kind):
            _add(found, left, begin, strength, match.start())  # type: ignore[arg-type]
            begin, strength = match.end(), kind
    _add(found, text[begin:], begin, strength, len(text))  # type: ignore[arg-type]
    return found


def _add(found: list[Clause], text: str, start: int, strength: Strength, end: int) -> None:
    plain = text.strip().strip(",;").strip()
    plain = re.sub(r"(?<=[\w\"'”’)])[.!]$", "", plain)
    plain = _COURTESY.sub("", plain) or plain
    if plain:
        found.append(Clause(plain, start, strength, end))


def _parts(left: str, right: str, strength: Strength) -> bool:
    """Whether a connector between these two parts two orders."""
    if not left.strip() or not right.strip() or not _is_order(right):
        return False
    if _FOLLOW_UP.fullmatch(right):
        return False
    if strength == "sentence":
        return True
    if not _is_order(left) and not _WISH.match(left):
        return False  # "in mousepad, type …" opens with no order
    if _DICTATED.search(left):
        # what is dictated runs on until something marks a new order clearly
        return strength == "sequence"
    return strength == "sequence" or not _REFINEMENT.match(_COURTESY.sub("", right.lstrip()))


def _is_order(text: str) -> bool:
    plain = _COURTESY.sub("", text.strip())
    first = re.match(r"[\w'’-]+", plain)
    return bool(first) and first.group().lower().replace("’", "'") in ORDERS  # type: ignore[union-attr]


_ITS = re.compile(r"\bits\s+((?:first|last)\s+\S+\s+\w+|\w+)", re.IGNORECASE)
_IT = re.compile(r"\b(?:it|them|that\s+(?:file|folder|archive)|the\s+(?:new|same)\s+(?:file|folder)"
                 r"|this\s+file)\b", re.IGNORECASE)  # fmt: skip


def resolved(text: str, thing: str, most: int = 0) -> str:
    """``text`` with "it", "its size" and the like put as ``thing``; at most ``most`` times,
    where that is not 0."""
    if not most:
        text = _ITS.sub(lambda m: f"the {m.group(1)} of {thing}", text)
    return _IT.sub(lambda _: thing, text, count=most)


def refers(text: str, spans: Sequence[Span]) -> bool:
    """Whether ``text`` needs something said before it, outside its quotations."""
    quoted = [(s.start, s.end) for s in spans if s.quoted]
    return any(
        not any(a <= m.start() < b for a, b in quoted)
        for pattern in (_ITS, _IT)
        for m in pattern.finditer(text)
    )
