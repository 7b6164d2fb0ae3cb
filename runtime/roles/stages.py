"""Stages of one piece of work in a text editor: open, edit, save, said as several orders.

"Open plan.txt in the editor. Put 'done' at the end. Save it." is one change of one file, and the
GUI tool has a skill for each such change that opens, edits, saves and looks at the file after.
Clauses that are stages of one change become one again; where several edits or files are asked
for, they stay apart and are done one after another in the same window.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from runtime.roles.grounding import Span, outermost
from runtime.roles.segments import Clause, resolved

Stage = Literal["open", "edit", "save", "told", "other"]

EDITOR = re.compile(
    r"\b(?:mousepad|notepad|gedit|(?:text\s+)?editor(?:\s+window)?|text\s+editing\s+program)\b",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"^(?:in|with|using|inside|within|from|via|through)\s+(?:the\s+|a\s+|an\s+|my\s+)?"
    r"(?:new\s+|open\s+)?(?:mousepad|notepad|gedit|(?:text\s+)?editor|document|file|window)"
    r"(?:\s+window)?\s*[:,]?\s+",
    re.IGNORECASE,
)
_STAGES: tuple[tuple[Stage, re.Pattern[str]], ...] = (
    ("save", re.compile(r"(?:save|store|keep)\b", re.IGNORECASE)),
    (
        "open",
        re.compile(
            r"(?:open|load|start|launch|fire\s+up|bring\s+up|run|use|switch\s+to|go\s+to|look\s+at"
            r"|create\s+a\s+(?:new|blank|empty)|make\s+a\s+(?:new|blank|empty))\b",
            re.IGNORECASE,
        ),
    ),
    (
        "edit",
        re.compile(
            r"(?:type|write|enter|key\s+in|input|put|add|append|prepend|insert|jot|note|replace"
            r"|change|swap|substitute|correct|delete|remove|erase|strip|cut|take)\b",
            re.IGNORECASE,
        ),
    ),
    ("told", re.compile(r"(?:there(?:'s|\s+is|\s+are)|i\s+have|i've\s+got|the\s+file)\b", re.I)),
)


def names_editor(text: str) -> bool:
    """Whether ``text`` speaks of a text editor."""
    return EDITOR.search(text) is not None


def stage(text: str) -> Stage:
    """What a clause does in the editor, by its first verb."""
    plain = _PLACE.sub("", text.strip())
    return next((name for name, pattern in _STAGES if pattern.match(plain)), "other")


def joined(text: str, pieces: Sequence[Clause], spans: Callable[[str], Sequence[Span]]) -> list[
    Clause
]:  # fmt: skip
    """``pieces`` with those that are stages of one change of one file made one again."""
    result: list[Clause] = []
    place = 0
    while place < len(pieces):
        end = _extent(pieces, place, spans)
        first, last = pieces[place], pieces[end - 1]
        if end - place > 1:
            told = stage(first.text) == "told"
            begin = pieces[place + 1].start if told else first.start
            whole = text[begin : last.end].strip().rstrip(",;").strip()
            if told:
                whole = resolved(whole, _file(first, spans), 1)
            first = Clause(whole, first.start, first.strength, last.end, rewritten=told)
        result.append(first)
        place = end
    return result


def _file(clause: Clause, spans: Callable[[str], Sequence[Span]]) -> str:
    paths = outermost([s for s in spans(clause.text) if s.type == "path"])
    return str(paths[-1].value) if paths else "it"


def _extent(pieces: Sequence[Clause], place: int, spans: Callable[[str], Sequence[Span]]) -> int:
    """Where the longest change that begins at ``place`` ends; ``place + 1`` where none does."""
    best = place + 1
    for end in range(place + 2, len(pieces) + 1):
        if not _is_one_change(pieces[place:end], spans):
            continue
        best = end
    return best


def _is_one_change(run: Sequence[Clause], spans: Callable[[str], Sequence[Span]]) -> bool:
    stages = [stage(c.text) for c in run]
    order = ["told", "open", "edit", "save"]
    if "other" in stages or [order.index(s) for s in stages] != sorted(map(order.index, stages)):
        return False
    if not any(names_editor(c.text) for c in run) or stages.count("save") > 1:
        return False
    files = {
        s.value
        for c in run
        for s in outermost([s for s in spans(c.text) if s.type == "path" and not s.quoted])
    }
    return stages.count("edit") == 1 and len(files) == 1
