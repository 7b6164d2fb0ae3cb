"""What leaves the machine, without the user's secrets and personal data.

``Redactor.redact`` puts a placeholder such as ``<SECRET_1>`` in the place of everything that
the detectors find (``runtime.redact_secrets``, ``runtime.redact_personal``), and
``Redacted.restore`` puts the originals back into the answer. Detection is by format: names of
people, postal addresses, and secrets that are plain words without a label are not found.
Nothing here opens a connection or writes a file.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from models.base import Message
from runtime.redact_span import PLACEHOLDER, Span, merged

REGIONS = ("US", "GB", "DE", "FR", "IN")
"""Where a phone number without a country code is looked up (ISO 3166)."""

MIN_REPEATED = 4
"""A found value of fewer characters is replaced only where it was found: ``abc`` elsewhere is
more likely another word."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """Messages that may leave, and the way back. ``found`` counts distinct values by type."""

    messages: tuple[Message, ...]
    found: Mapping[str, int]
    originals: Mapping[str, str] = field(repr=False)
    """Placeholder to original, in the order in which they were made. Never to be sent."""

    def restore(self, text: str) -> str:
        """``text`` with the originals in the place of our placeholders.

        For text. Parse an answer that is JSON first and use ``restore_value`` on what it holds:
        an original with a quote or a line break would break the JSON around it.
        """
        # A later original can hold an earlier placeholder, so the way back is reversed.
        for placeholder, original in reversed(list(self.originals.items())):
            text = text.replace(placeholder, original)
        return text

    def restore_value(self, value: Any) -> Any:
        """A JSON value with the originals back in all its strings, keys too."""
        if isinstance(value, str):
            return self.restore(value)
        if isinstance(value, Mapping):
            return {self.restore_value(k): self.restore_value(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.restore_value(v) for v in value]
        return value


class Redactor:
    """Finds secrets and personal data, and replaces them reversibly."""

    def __init__(self, regions: Sequence[str] = REGIONS) -> None:
        """``regions``: countries whose phone numbers are known without their country code."""
        self._regions = tuple(regions)

    def redact(self, messages: Sequence[Message]) -> Redacted:
        """The messages with a placeholder for each value found; roles stay as they are.

        One value has one placeholder in all messages. A placeholder that the text holds already
        is not used again. Redacting what was redacted changes nothing.
        """
        fields = [(i, name) for i, m in enumerate(messages) for name in m if name != "role"]
        texts = [messages[i][name] for i, name in fields]
        names = _Names(texts)
        # A replacement can bring to light what was hidden behind it, so until nothing is found.
        while spans := self._spans(texts):
            texts = [names.replace(text, found) for text, found in zip(texts, spans, strict=True)]
        changed = [dict(m) for m in messages]
        for (i, name), text in zip(fields, texts, strict=True):
            changed[i][name] = text
        return Redacted(
            tuple(changed),
            MappingProxyType(dict(names.found)),
            MappingProxyType(dict(names.originals)),
        )

    def _spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """What to replace in each text; empty where there is nothing in any."""
        found = [_detected(text, self._regions) for text in texts]
        values = {
            text[s.start : s.end]: s.type
            for text, spans in zip(texts, found, strict=True)
            for s in spans
        }
        if not values:
            return []
        return [
            merged([*spans, *_repeated(text, values)])
            for text, spans in zip(texts, found, strict=True)
        ]


@functools.lru_cache(maxsize=64)
def _detected(text: str, regions: tuple[str, ...]) -> tuple[Span, ...]:
    """Sorted, disjoint. Kept, since a step's payload is shown, priced and sent: three times the
    same, with a long list of tools in front that changes with no step."""
    from runtime.redact_personal import personal_data
    from runtime.redact_secrets import secrets

    # Of two detectors that find the very same span, the first one names it.
    return tuple(merged([*personal_data(text, regions), *secrets(text)]))


class _Names:
    """Hands out placeholders: one for each value, none that the text already held."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.originals: dict[str, str] = {}
        self.found: Counter[str] = Counter()
        self._of: dict[str, str] = {}
        self._taken = {m.upper() for text in texts for m in _LIKE_OURS.findall(text)}
        self._numbers: Counter[str] = Counter()

    def replace(self, text: str, spans: Sequence[Span]) -> str:
        parts, at = [], 0
        for span in spans:
            parts += [text[at : span.start], self._name(text[span.start : span.end], span.type)]
            at = span.end
        return "".join([*parts, text[at:]])

    def _name(self, value: str, type_: str) -> str:
        if value not in self._of:
            placeholder = ""
            while not placeholder or placeholder in self._taken:
                self._numbers[type_] += 1
                placeholder = f"<{type_}_{self._numbers[type_]}>"
            self._of[value] = placeholder
            self.originals[placeholder] = value
            self.found[type_] += 1
        return self._of[value]


_LIKE_OURS = re.compile(PLACEHOLDER.pattern, re.IGNORECASE)


def _repeated(text: str, values: Mapping[str, str]) -> Iterator[Span]:
    """Where the values occur once more as words of their own, with nothing to tell them by."""
    for value, type_ in values.items():
        if len(value) < MIN_REPEATED or value not in text:
            continue
        for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", text):
            yield Span(match.start(), match.end(), type_)
