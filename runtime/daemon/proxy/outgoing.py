"""A client's request as it leaves for the General: its own text, but for the model's name, what
is ours in it, and, where the policy asks for it, what no remote server should see.

Looked at for secrets and personal data, wherever they stand: ``messages``, ``input``,
``instructions``, ``prompt`` and ``prediction`` (contents, parts of text, tool results, the
arguments of tool calls), ``metadata`` and ``user``; of tools and answer formats the descriptions
and the values on offer (``enum``, ``const``, ``default``, ``examples``). Left alone: keys, names,
ids, roles and types; URLs, which the General must be able to open; what is encoded (images,
audio, files, encrypted reasoning). Pure: nothing here opens a connection.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from models.base import Message
from models.errors import UsageError
from runtime.daemon.proxy.spelling import (
    Edit,
    Member,
    Path,
    Place,
    members,
    read,
    spelled,
    spliced,
    strings,
    without,
)
from runtime.daemon.proxy.tagging import text_of
from runtime.redact import Redactor

OURS = ("aidecamp",)
"""Parameters that are meant for us, and never leave."""
SPOKEN = frozenset(("messages", "input", "prompt", "prediction"))
"""Parameters that hold what was said, in objects with names, ids and encoded parts."""
WHOLE = frozenset(("instructions", "metadata", "user", "safety_identifier"))
"""Parameters of which every string is somebody's words."""
SHAPES = frozenset(("tools", "functions", "response_format", "text"))
"""Parameters that hold JSON Schemas."""
SAID_IN_SHAPES = frozenset(("description", "enum", "const", "default", "examples"))
UNSPOKEN = frozenset(
    (
        *("role", "type", "status", "phase", "detail", "id", "name", "namespace", "format"),
        *("url", "image_url", "file_url", "input_audio", "audio", "file_data"),
        *("encrypted_content", "signature", "server_label", "mime_type", "cache_control"),
    )
)
"""Keys below which nothing is words, with all that end in ``_id``."""
JSON_FORMATS = ("json_object", "json_schema")


@dataclass(frozen=True, slots=True)
class Shown:
    """What would leave, for somebody to look at. ``messages``: of any of the APIs, as chat."""

    body: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    found: Mapping[str, int]

    @property
    def said(self) -> tuple[dict[str, str], ...]:
        """The messages with their words alone."""
        return tuple(
            {"role": str(m.get("role", "")), "content": text_of(m.get("content"))}
            for m in self.messages
        )


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request that may leave, and the way back."""

    text: str = field(repr=False)
    """The body, redacted; what is ours is still in it."""
    found: Mapping[str, int]
    """Distinct values that were replaced, by type."""
    originals: Mapping[str, str] = field(repr=False)
    """Placeholder to original, in the order in which they were made. Never to be sent."""
    streamed: bool
    json_answer: bool
    """The answer's text is to be JSON."""
    _members: tuple[Member, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_members", tuple(members(self.text)))

    @classmethod
    def of(cls, raw: bytes, redactor: Redactor | None = None) -> Outgoing:
        """The request in ``raw``, a JSON object in UTF-8. Without ``redactor``: as it stands.

        Raises UsageError where it is none. Redacting takes milliseconds for each thousand
        characters that were not seen before: not for an event loop.
        """
        try:
            text = raw.decode("utf-8")
            found = {m.key: text[m.value : m.end] for m in members(text)}
        except ValueError as error:
            raise UsageError(f"The request is not a JSON object in UTF-8: {error}.") from error
        originals: Mapping[str, str] = {}
        if redactor is not None:
            text, originals = _redacted(text, redactor)
        return cls(
            text=text,
            found=MappingProxyType(Counter(p[1:].rpartition("_")[0] for p in originals)),
            originals=MappingProxyType(dict(originals)),
            streamed=found.get("stream") == "true",
            json_answer=_wants_json(found),
        )

    def body(self, model: str) -> bytes:
        """What leaves for ``model``: the text as the client wrote it where nothing is replaced."""
        edits = without(self._members, OURS)
        named = [m for m in self._members if m.key == "model"]
        edits += [Edit(m.value, m.end, spelled(model)) for m in named]
        text = spliced(self.text, edits)
        if not named:  # the client left the choice to us; the server needs a name
            start = text.index("{") + 1
            comma = ", " if members(text) else ""
            text = f'{text[:start]}"model": {spelled(model)}{comma}{text[start:]}'
        return text.encode("utf-8")

    def shown(self, model: str) -> Shown:
        """What leaves for ``model``, read."""
        body = json.loads(self.body(model))
        return Shown(body, tuple(_as_chat(body)), self.found)


def _wants_json(found: Mapping[str, str]) -> bool:
    wanted = read(found.get("response_format", "null"))
    text = read(found.get("text", "null"))  # /v1/responses keeps it there
    if isinstance(text, dict):
        wanted = text.get("format")
    return isinstance(wanted, dict) and wanted.get("type") in JSON_FORMATS


def _as_chat(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if isinstance(body.get("instructions"), str):
        yield {"role": "system", "content": body["instructions"]}
    said = body.get("messages", body.get("input"))
    for one in said if isinstance(said, list) else [said]:
        if isinstance(one, str):
            yield {"role": "user", "content": one}
        elif isinstance(one, dict):
            yield one


def _is_said(path: Path) -> bool:
    """Whether the string at ``path`` of a request is words that somebody put there."""
    top, *below = path
    if top in WHOLE:
        return True
    if top in SPOKEN:
        return not any(key in UNSPOKEN or str(key).endswith("_id") for key in below)
    return top in SHAPES and any(key in SAID_IN_SHAPES for key in below)


@dataclass(frozen=True, slots=True)
class _Said:
    """A string of the request. ``inner``: the strings in it, where it is JSON itself."""

    place: Place
    inner: tuple[Place, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """What to look through. Of JSON: each string, so that it stays JSON, and the whole, since
        a key may be what tells that a value is a secret."""
        return (*(p.value for p in self.inner), self.place.value)

    def edit(self, texts: Sequence[str]) -> Edit | None:
        """``texts`` in the place of ``self.texts``; None where they are the same."""
        if not self.inner:
            new = texts[-1]
        else:
            pairs = zip(self.inner, texts[:-1], strict=True)
            edits = [Edit(p.start, p.end, spelled(new)) for p, new in pairs if new != p.value]
            new = spliced(self.place.value, edits)
        if new == self.place.value:
            return None
        return Edit(self.place.start, self.place.end, spelled(new))


def _redacted(text: str, redactor: Redactor) -> tuple[str, dict[str, str]]:
    """The request with placeholders, and what they stand for."""
    said = [_said(place) for place in strings(text) if _is_said(place.path)]
    messages: list[Message] = [{"content": one} for s in said for one in s.texts]
    redacted = redactor.redact(messages)
    if not redacted.originals:
        return text, {}
    after = iter([m["content"] for m in redacted.messages])
    edits = [one.edit([next(after) for _ in one.texts]) for one in said]
    new = spliced(text, [e for e in edits if e is not None])
    # A placeholder that only the whole of some JSON had is in no text that leaves; one that is
    # may stand for a text with an earlier one in it.
    used: dict[str, str] = {}
    rest = new
    for placeholder, original in reversed(list(redacted.originals.items())):
        if placeholder in rest:
            used[placeholder] = original
            rest += original
    return new, dict(reversed(used.items()))


def _said(place: Place) -> _Said:
    if place.path[-1] != "arguments":
        return _Said(place)
    try:
        value = read(place.value)
    except ValueError:
        return _Said(place)  # broken JSON is text
    return _Said(place, tuple(strings(place.value)) if isinstance(value, dict | list) else ())
