"""The filter line: ``kind:gui chosen:general outcome:failed >300ms some words``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from runtime.daemon.client import Row

Test = Callable[[Row], bool]

_LATENCY = re.compile(r"([<>])(\d+(?:\.\d+)?)(ms|s)?")
FIELDS: dict[str, Callable[[Row], str]] = {
    "kind": lambda row: row.decision.kind,
    "chosen": lambda row: row.decision.chosen,
    "outcome": lambda row: row.outcome,
    "rule": lambda row: row.decision.rule,
    "task": lambda row: row.decision.task_id,
    "model": lambda row: " ".join(c.model for c in row.decision.candidates),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """Every part must hold. A part that begins with ``-`` must not."""

    text: str = ""
    tests: tuple[Test, ...] = ()
    problem: str = ""
    """What could not be read; the rest still filters."""

    def __bool__(self) -> bool:
        return bool(self.tests)

    def matches(self, row: Row) -> bool:
        return all(test(row) for test in self.tests)

    @staticmethod
    def parse(text: str) -> Filter:
        tests: list[Test] = []
        problem = ""
        for word in text.lower().split():
            negated = word.startswith("-") and len(word) > 1
            part = word[1:] if negated else word
            test = _latency(part) or _field(part)
            name, colon, value = part.partition(":")
            if test is None and colon and name.isalpha() and not value.startswith("//"):
                problem = f"no field {name!r}; there are {', '.join(FIELDS)}"
                continue
            test = test or _words(part)
            tests.append(_not(test) if negated else test)
        return Filter(text, tuple(tests), problem)


def _latency(part: str) -> Test | None:
    match = _LATENCY.fullmatch(part)
    if match is None:
        return None
    limit = float(match[2]) * (1000 if match[3] == "s" else 1)
    return (lambda row: row.ms > limit) if match[1] == ">" else (lambda row: row.ms < limit)


def _field(part: str) -> Test | None:
    name, colon, value = part.partition(":")
    read = FIELDS.get(name)
    return (lambda row: value in read(row).lower()) if colon and read else None


def _words(part: str) -> Test:
    def test(row: Row) -> bool:
        decision = row.decision
        return any(
            part in text.lower()
            for text in (decision.text, decision.reason, decision.chosen, row.preview, row.note)
        )

    return test


def _not(test: Test) -> Test:
    return lambda row: not test(row)
