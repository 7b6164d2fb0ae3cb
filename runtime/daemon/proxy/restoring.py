"""The General's answer on its way to the client, with the originals in the place of our
placeholders: a JSON body, or a stream of chat chunks or of responses events.

Everything else stays as it was spelled, event by event, and where nothing was redacted the bytes
pass untouched. In a stream a placeholder may be spread over any number of events; what may be the
beginning of one waits for the next event of the same text, and for nothing else. Where a text
ends with something held back, an event is put in that holds it. Not restored: the tokens that
``logprobs`` list, which are pieces; an event whose JSON is spread over several ``data`` lines.
Whatever cannot be read is passed on. Pure: nothing here waits for a connection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from runtime.daemon.proxy.outgoing import Outgoing
from runtime.daemon.proxy.placeholders import Form, Piecewise, Placeholders
from runtime.daemon.proxy.spelling import Edit, Path, edited, spelled, spliced, strings

# A carriage return in the last place of what has come may be the first half of a line end.
_LINE_END = rb"(?:\r\n|\n|\r(?=[^\n]))"
_EVENT_END = re.compile(_LINE_END * 2)
_DATA = re.compile(rb"(?:\A|(?<=[\r\n]))data:[ ]?([^\r\n]*)")
_NAMED = re.compile(rb"(?:\A|(?<=[\r\n]))event:")
_DONE = b"[DONE]"

Key = tuple[str | int, ...]
"""Which text a piece belongs to: the fields of an event that tell, and its place."""


class Restoring(Protocol):
    """Takes the bytes of an answer as they come, and gives those that the client gets."""

    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> bytes: ...


def restoring(outgoing: Outgoing, content_type: str) -> Restoring:
    """What puts the originals back into the answer to ``outgoing``."""
    if not outgoing.originals:
        return Untouched()
    placeholders = Placeholders(outgoing.originals)
    answer: Form = "maybe" if outgoing.json_answer else "words"
    if "json" in content_type:
        return WholeBody(placeholders, answer)
    return EventStream(placeholders, answer)


class Untouched:
    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


class WholeBody:
    """An answer in one piece: it is held until it has ended."""

    def __init__(self, placeholders: Placeholders, answer: Form) -> None:
        self._restore = _in_place(placeholders, answer)
        self._body = bytearray()

    def feed(self, data: bytes) -> bytes:
        self._body += data
        return b""

    def end(self) -> bytes:
        body = bytes(self._body)
        try:
            text = body.decode("utf-8")
            json.loads(text)
            return edited(text, self._restore).encode("utf-8")
        except (ValueError, RecursionError):
            return body


def _in_place(placeholders: Placeholders, answer: Form) -> Callable[[Path, str], str]:
    """How a text is restored that stands whole in a record."""

    def restore(path: Path, value: str) -> str:
        return placeholders.restore(value, _form(path[-1] if path else "", answer))

    return restore


def _form(key: str | int, answer: Form) -> Form:
    """What kind of text the field ``key`` holds; ``answer``: what kind the answer itself is."""
    if key == "arguments":
        return "json"
    return answer if key in ("content", "text") else "words"


@dataclass
class _Text:
    """A text of the stream. ``make``: an event with some more of it, like the last one."""

    pieces: Piecewise
    make: Callable[[str], dict[str, Any]] = field(default=lambda _: {})


class EventStream:
    """An answer as server-sent events (WHATWG HTML, section 9.2)."""

    def __init__(self, placeholders: Placeholders, answer: Form) -> None:
        self._placeholders = placeholders
        self._answer = answer
        self._restore = _in_place(placeholders, answer)
        self._texts: dict[Key, _Text] = {}
        self._rest = bytearray()
        self._looked = 0
        """Bytes of ``_rest`` that are known to hold no end of an event."""

    def feed(self, data: bytes) -> bytes:
        self._rest += data
        at, out = 0, []
        while match := _EVENT_END.search(self._rest, max(at, self._looked)):
            out.append(self._event(bytes(self._rest[at : match.end()])))
            at = match.end()
        del self._rest[:at]
        self._looked = max(0, len(self._rest) - 3)
        return b"".join(out)

    def end(self) -> bytes:
        rest = self._event(bytes(self._rest))
        self._rest.clear()
        # What was held back goes before an event that was never ended.
        return b"".join(self._flushed(self._texts, rest)) + rest

    def _event(self, block: bytes) -> bytes:
        """One event with its blank line, and before it what it brings to an end."""
        before: list[bytes] = []
        edits: list[tuple[int, int, bytes]] = []
        for match in _DATA.finditer(block):
            start, end = match.span(1)
            if match[1].strip() == _DONE:
                before += self._flushed(self._texts, block)
                continue
            try:
                text = match[1].decode("utf-8")
                record = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if not isinstance(record, dict):
                continue
            kind = record.get("type")
            if isinstance(kind, str) and kind.startswith("response."):
                new = self._responses_event(kind, text, record, block, before)
            else:
                new = self._chat_chunk(text, record, block, before)
            edits.append((start, end, new.encode("utf-8")))
        for start, end, data in reversed(edits):
            block = block[:start] + data + block[end:]
        return b"".join([*before, block])

    # ---- chat completions

    def _chat_chunk(
        self, text: str, record: Mapping[str, Any], block: bytes, before: list[bytes]
    ) -> str:
        new: list[str] = []
        fed: dict[Key, int] = {}
        places = list(strings(text))
        for place in places:
            if (piece := _piece_of_chunk(record, place.path)) is None:
                new.append(self._restore(place.path, place.value))
                continue
            key, make = piece
            one = self._text(key, _form(place.path[-1], self._answer), make)
            fed[key] = len(new)
            new.append(one.pieces.feed(place.value))
        choices = record.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict) or not choice.get("finish_reason"):
                continue
            ended = [key for key in self._texts if key[0] == _index(choice, 0)]
            for key in ended:
                if key in fed:  # this very event can take what is held back
                    new[fed[key]] += self._texts[key].pieces.end()
            before += self._flushed(ended, block)
        changed = zip(places, new, strict=True)
        return spliced(text, [Edit(p.start, p.end, spelled(n)) for p, n in changed if n != p.value])

    # ---- responses

    def _responses_event(
        self, kind: str, text: str, record: dict[str, Any], block: bytes, before: list[bytes]
    ) -> str:
        stem, _, last = kind.rpartition(".")
        names = ("item_id", "output_index", "content_index", "summary_index")
        key: Key = (stem, *(str(record.get(name)) for name in names))
        if last == "done":
            before += self._flushed([key], block)
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            before += self._flushed(self._texts, block)
        delta = record.get("delta")
        if last != "delta" or not isinstance(delta, str):
            return edited(text, self._restore)
        form: Form = "words"
        if stem.endswith("arguments"):
            form = "json"
        elif stem == "response.output_text":
            form = self._answer
        one = self._text(key, form, partial(_more, record))
        new = one.pieces.feed(delta)
        return edited(
            text, lambda path, value: new if path == ("delta",) else self._restore(path, value)
        )

    # ---- both

    def _text(self, key: Key, form: Form, make: Callable[[str], dict[str, Any]]) -> _Text:
        one = self._texts.get(key)
        if one is None:
            one = self._texts[key] = _Text(Piecewise(self._placeholders, form))
        one.make = make
        return one

    def _flushed(self, ended: Iterable[Key], like: bytes) -> Iterator[bytes]:
        """An event for each text that ends with something held back, written as ``like`` is."""
        for one in (self._texts[key] for key in ended if key in self._texts):
            if held := one.pieces.end():
                yield _as_event(one.make(held), like)


def _more(record: Mapping[str, Any], held: str) -> dict[str, Any]:
    """A responses event like ``record`` with ``held`` for its text. Its ``sequence_number`` is
    the same: none is free between two events."""
    return {**record, "delta": held, **({"logprobs": []} if "logprobs" in record else {})}


def _as_event(record: Mapping[str, Any], like: bytes) -> bytes:
    line_end = b"\r\n" if b"\r\n" in like else b"\n"
    named = _NAMED.search(like) is not None and isinstance(record.get("type"), str)
    lines = [b"event: " + str(record["type"]).encode()] if named else []
    data = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    lines.append(b"data: " + data.encode("utf-8", "replace"))
    return line_end.join([*lines, b"", b""])


def _piece_of_chunk(
    record: Mapping[str, Any], path: Path
) -> tuple[Key, Callable[[str], dict[str, Any]]] | None:
    """The text that the string at ``path`` of a chunk is a piece of, and how to make a chunk with
    more of it; None where it is no piece of one."""
    if len(path) < 4 or path[0] != "choices" or path[2] != "delta":
        return None
    at: Any = record
    key: list[str | int] = []
    for step in path:
        try:
            at = at[step]
        except (LookupError, TypeError):  # a key stands twice, with values that differ
            return None
        # Items of a list say themselves which one they are: their place in the list is another.
        key.append(_index(at, step) if isinstance(step, int) else step)
    index, place = key[1], key[3:]
    if place[-1] in ("role", "type", "id", "name"):
        return None

    def make(held: str) -> dict[str, Any]:
        value: Any = held
        for step in reversed(place):
            value = [{"index": step, **value}] if isinstance(step, int) else {step: value}
        choice = {"index": index, "delta": value, "finish_reason": None}
        rest = {k: v for k, v in record.items() if k not in ("choices", "usage")}
        return {**rest, "choices": [choice]}

    return (index, *place), make


def _index(item: Any, default: int) -> int:
    index = item.get("index") if isinstance(item, dict) else None
    return index if isinstance(index, int) else default
