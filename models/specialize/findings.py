"""What a specialist could take over from the General, and why; and what it could not.

Where the General answers the same few kinds of request in the same few short forms, a specialist
could learn it: the argument of *Small Language Models are the Future of Agentic AI* (arXiv
2506.02153). How many examples that takes is a rule of thumb here, and is called one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.specialize.rates import Rate
from models.specialize.rows import (
    MIN_SEEN,
    Named,
    Pairs,
    Row,
    counted,
    covering,
    median,
    repeated,
    requests,
)

MIN_CALLS = 30
"""Requests of a group, with words on record, below which nothing is concluded from it."""
REPEATED = 0.5
"""Share of calls in repeated templates from which a group counts as repetitive."""
CLOSED = 0.8
"""Share of answers that the few forms must hold, for a group's answers to count as closed."""
MAX_FORMS = 10
"""Forms of answer that a specialist is expected to learn."""
SHOWN = 3
"""Forms that are named."""
WORDS = "words"
"""The form of an answer that has none."""
MAX_WORD = 40
"""Characters of an answer that is one word of a few."""
SHORT_TOKENS = 100
"""Median length of an answer that a small model can be trusted with."""
RIGHT = 0.7
"""Share of right answers below which the General's answers are no example to learn from."""
MIN_TOLD = 10
"""Answers of known outcome from which that share is looked at."""
PER_FORM = 100
MIN_EXAMPLES = 500
MAX_EXAMPLES = 10_000
"""Rule of thumb: a hundred examples of each form and template, and the paper's 10,000 at most."""
MIN_SPAN_DAYS = 1.0
"""Time on record below which no amount a month is told."""
NEVER = {
    "plan": "planning is what the General is for",
    "repair": "each error is a new one",
}
"""Kinds that are not handed to a specialist, and why."""

Verdict = Literal["replaceable", "maybe", "keep", "too few"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a specialist could take over what the General does for one client and kind."""

    client: str
    kind: str
    verdict: Verdict
    calls: int
    """Calls of the General."""
    says: str
    why: tuple[str, ...]
    """What speaks for it."""
    but: tuple[str, ...]
    """What speaks against it, or is not known."""
    needs: int
    """Examples that a specialist would be trained on; a rule of thumb."""
    has: int
    """Different requests on record with an answer that is not known to be wrong."""
    usd_per_month: float | None
    """What those calls cost at the present rate; None where the rate or the price is not known."""


def findings_of(split: Pairs, span_days: float) -> tuple[Finding, ...]:
    """One for each client and kind that the General served; what pays most comes first."""
    made = []
    for (client, kind), named in split.items():
        away = [(row, template) for row, template in named if not row.local]
        if away:
            made.append(_finding(client, kind, away, span_days))
    order: tuple[Verdict, ...] = ("replaceable", "maybe", "keep", "too few")
    made.sort(key=lambda f: (order.index(f.verdict), -(f.usd_per_month or 0), -f.calls, f.client))
    return tuple(made)


def _finding(client: str, kind: str, away: Sequence[Named], span_days: float) -> Finding:
    worded = requests(away)
    seen = counted(worded)
    forms = Counter(form_of(row) for row, _ in worded)
    told = [row.outcome for row, _ in away if row.outcome != "unknown"]
    right = Rate(told.count("right"), len(told))
    bad_teacher = len(told) >= MIN_TOLD and right.high < RIGHT
    points = [_asked(seen), _answered(forms), _length([row for row, _ in worded])]
    why = [words for good, words in points if good]
    but = [words for good, words in points if not good]
    if used := _tools(worded):
        why.append(used)
    if bad_teacher:
        but.append(f"the General itself was right in {right} of {len(told)} known answers")
    elif len(told) >= MIN_TOLD:
        why.append(f"the General was right in {right} of {len(told)} known answers")
    else:
        but.append(f"whether the answers were right is known of {len(told)} only")
    if kind in NEVER:
        but.insert(0, NEVER[kind])
    verdict: Verdict = "keep"
    if len(worded) < MIN_CALLS:
        verdict, why = "too few", []
        but = [f"{_count(len(worded), 'request')} with words on record, and {MIN_CALLS} are needed"]
    elif kind not in NEVER and not bad_teacher:
        speaks = sum(good for good, _ in points)
        verdict = "replaceable" if speaks == len(points) else "maybe" if speaks == 2 else "keep"
    wanted = PER_FORM * (min(len(forms), MAX_FORMS) + covering(seen))
    usd = _usd_per_month([row for row, _ in away], span_days)
    needs = min(MAX_EXAMPLES, max(MIN_EXAMPLES, wanted))
    has = len({row.prompt for row, _ in worded if row.outcome != "wrong"})
    begin = f"{_count(len(away), 'call')} to the General by {client or 'aidecamp'}, kind {kind}"
    return Finding(
        client=client,
        kind=kind,
        verdict=verdict,
        calls=len(away),
        says=f"{begin}: {_says(verdict, why, but)}",
        why=tuple(why),
        but=tuple(but),
        needs=needs,
        has=has,
        usd_per_month=usd,
    )


Point = tuple[bool, str]
"""Whether it speaks for a specialist, and in words."""


def _asked(seen: Counter[tuple[str, str, str]]) -> Point:
    """Is it the same few requests?"""
    calls = sum(seen.values())
    same = Rate(repeated(seen), calls)
    templates = covering(seen)
    if same.low >= REPEATED:
        return True, f"{_count(templates, 'template')} cover 95 % of the requests"
    return False, f"requests differ: {same} are of a template that came {MIN_SEEN} times"


def _answered(forms: Counter[str]) -> Point:
    """Are the answers of a few forms that can be checked?"""
    held = Counter({form: n for form, n in forms.items() if form != WORDS})
    top = held.most_common(MAX_FORMS)
    closed = Rate(sum(n for _, n in top), sum(forms.values()))
    if closed.low >= CLOSED:
        listed = "; ".join(form for form, _ in top[:SHOWN])
        more = f"; {len(top) - SHOWN} more" if len(top) > SHOWN else ""
        return True, f"answers are of {_count(len(top), 'form')} ({listed}{more}) in {closed}"
    return False, f"answers are open: {closed} are of a form that comes again"


def _tools(worded: Sequence[Named]) -> str:
    """How many of the tools on offer are ever called; "" where none is."""
    offered = {name for row, _ in worded for name in row.offered}
    called = {name for row, _ in worded for name in row.called} & offered
    return f"{len(called)} of {_count(len(offered), 'tool')} on offer are called" if called else ""


def _length(rows: Sequence[Row]) -> Point:
    """Are the answers short?"""
    tokens = median(row.tokens_out for row in rows) or 0.0
    return tokens <= SHORT_TOKENS, f"the median answer has {tokens:.0f} tokens"


def form_of(row: Row) -> str:
    """What an answer looks like: the functions it calls, the keys of its JSON, a single word of a
    few, or ``WORDS``."""
    if row.called:
        return "calls " + ", ".join(sorted(set(row.called)))
    text = row.answer.strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        word = len(text.split()) == 1 and len(text) <= MAX_WORD
        return f"says {text}" if word else WORDS
    if isinstance(value, dict):
        return "JSON with " + ", ".join(sorted(value)) if value else "JSON that is empty"
    return "a JSON list" if isinstance(value, list) else f"says {text[:MAX_WORD]}"


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _usd_per_month(rows: Sequence[Row], span_days: float) -> float | None:
    """None where the record is too short, or nothing was priced."""
    cost = sum(row.cost_usd for row in rows)
    if span_days < MIN_SPAN_DAYS or not cost:
        return None
    return cost / span_days * 30


def _says(verdict: Verdict, why: Sequence[str], but: Sequence[str]) -> str:
    if verdict == "too few":
        return f"too few to judge: {but[0]}."
    if verdict == "keep":
        return f"leave it there: {'; '.join(but)}."
    could = "could" if verdict == "replaceable" else "might"
    against = f" But {'; '.join(but)}." if but else ""
    return f"a specialist {could} learn it: {'; '.join(why)}.{against}"
