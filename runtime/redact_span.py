"""What a detector found: a stretch of text and what kind of thing it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

PLACEHOLDER = re.compile(r"<[A-Z]+_[0-9]+>")
"""How a placeholder looks. Detectors leave a value alone that is one already."""


class Span(NamedTuple):
    """``text[start:end]`` is of ``type``, such as ``SECRET`` or ``EMAIL``."""

    start: int
    end: int
    type: str


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans that overlap become one, of the type of the one that begins first (then: ends
    last), so that no part of a find is left over. Sorted, disjoint."""
    result: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if result and span.start < result[-1].end:
            last = result[-1]
            result[-1] = Span(last.start, max(last.end, span.end), last.type)
        else:
            result.append(span)
    return result
