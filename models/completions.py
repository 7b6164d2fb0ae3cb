"""OpenAI's chat completions as they come over the wire, whole or as server-sent events.

Reads bytes that a server may have got wrong in any way: every field may be of any type. What
was asked for, and over which connection, is ``remote``'s.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer. Counts are the server's, 0 where it gave none; ``finish`` is its reason to
    stop, such as ``stop`` or ``length``, empty where it gave none."""

    text: str
    model: str
    finish: str
    tokens_in: int
    tokens_out: int


class NoCompletion(ValueError):
    """What arrived is none; the message completes "The General cannot be used: …"."""


class BrokeOff(NoCompletion):
    """The answer began and did not end."""


def completion(body: bytes) -> Completion:
    """A whole answer. Raises NoCompletion."""
    record = _object(body, "its response")
    choice = _first_choice(record)
    if choice is None:
        if record.get("choices") == []:
            raise NoCompletion("it answered nothing")
        raise NoCompletion("its response is no chat completion")
    message = choice.get("message")
    return _completion(record, _text(message, "content"), string_in(choice, "finish_reason"))


class DataLines:
    """What the ``data`` lines of server-sent events hold (WHATWG HTML, section 9.2), fed as bytes.

    Each line for itself: no API writes one JSON text in several.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """Those that are complete now."""
        if b"\n" not in data:
            self._rest.append(data)
            return []
        *lines, rest = b"".join([*self._rest, data]).split(b"\n")
        self._rest = [rest]
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


class Stream:
    """An answer that comes as server-sent events, fed as bytes."""

    def __init__(self) -> None:
        self.finished = False
        """The server said ``[DONE]``: whatever follows is no part of the answer."""
        self._text = ""
        self._finish = ""
        self._record: dict[str, Any] = {}
        self._lines = DataLines()

    @property
    def text(self) -> str:
        """The answer so far."""
        return well_formed(self._text)

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; True where the text grew. Raises NoCompletion."""
        before = len(self._text)
        for line in self._lines.feed(data):
            if not self.finished:
                self._event(line)
        return len(self._text) > before

    def end(self) -> Completion:
        """The whole answer. Raises BrokeOff where the server never said that it is whole."""
        if not self._finish:
            got = f"after {len(self.text)} characters" if self.text else "before any text"
            raise BrokeOff(f"its answer broke off {got}")
        return _completion(self._record, self.text, self._finish)

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.finished = True
            return
        record = _object(data, "an event of its stream")
        if record.get("error"):
            raise NoCompletion(f"its stream says: {error_text(data)}")
        for name in ("model", "usage"):
            if record.get(name):
                self._record[name] = record[name]
        choice = _first_choice(record)
        if choice is not None:
            self._text += _text(choice.get("delta"), "content")
            self._finish = string_in(choice, "finish_reason") or self._finish


def error_text(body: bytes) -> str:
    """What an error's body says, in at most 200 characters."""
    try:
        error = _object(body, "").get("error")
    except NoCompletion:
        return body.decode("utf-8", "replace").strip()[:200]
    message = error.get("message") if isinstance(error, dict) else error
    return well_formed(str(message))[:200]


def _completion(record: Mapping[str, Any], text: str, finish: str) -> Completion:
    if not text.strip():
        raise NoCompletion("it answered nothing")
    usage = record.get("usage")
    return Completion(
        text=well_formed(text),
        model=well_formed(string_in(record, "model")),
        finish=finish,
        tokens_in=count_in(usage, "prompt_tokens"),
        tokens_out=count_in(usage, "completion_tokens"),
    )


def _object(body: bytes, what: str) -> dict[str, Any]:
    try:
        record = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoCompletion(f"{what} is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise NoCompletion(f"{what} is no chat completion")
    return record


def _first_choice(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choices = record.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _text(message: Any, name: str) -> str:
    return string_in(message, name) if isinstance(message, dict) else ""


def string_in(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""


def well_formed(text: str) -> str:
    """Surrogates joined, and replaced where one is alone: no file or terminal takes half a pair,
    which JSON may spell."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def count_in(usage: Any, name: str) -> int:
    count = usage.get(name) if isinstance(usage, dict) else None
    is_count = isinstance(count, int) and not isinstance(count, bool) and count > 0
    return int(count) if is_count and count is not None else 0


class _Lost(Exception):
    """The connection went away in the middle of a body."""


async def read(
    body: AsyncIterator[bytes],
    *,
    streamed: bool,
    most_bytes: int,
    began: Callable[[], None] = lambda: None,
    on_text: Callable[[str], None] | None = None,
) -> Completion:
    """The answer in a response's body. ``began`` is called at its first bytes; ``on_text`` with
    the text so far each time it grew.

    Raises NoCompletion, also where the body is longer than ``most_bytes``: the rest is not read.
    """
    stream = Stream() if streamed else None
    whole = bytearray()
    total = 0
    try:
        async with contextlib.aclosing(_chunks(body)) as chunks:
            async for chunk in chunks:
                if not total:
                    began()
                total += len(chunk)
                if total > most_bytes:
                    raise NoCompletion(
                        f"its answer is longer than {most_bytes:,} bytes, and was not read further"
                    )
                if stream is None:
                    whole += chunk
                    continue
                if stream.feed(chunk) and on_text is not None:
                    on_text(stream.text)
                if stream.finished:
                    break
    except _Lost as error:
        if stream is None:
            raise BrokeOff(f"its answer broke off after {total:,} bytes ({error})") from error
    if stream is not None:
        return stream.end()
    answer = completion(bytes(whole))
    if on_text is not None:  # the server answers in one piece although it was asked to stream
        on_text(answer.text)
    return answer


async def read_error(body: AsyncIterator[bytes], most_bytes: int) -> str:
    """What an error's body says; its first ``most_bytes`` are read, or what came of them."""
    found = bytearray()
    try:
        async with contextlib.aclosing(_chunks(body)) as chunks:
            async for chunk in chunks:
                found += chunk
                if len(found) >= most_bytes:
                    break
    except _Lost:
        pass  # the status says enough
    return error_text(bytes(found[:most_bytes]))


async def _chunks(body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in body:
            yield chunk
    except Exception as error:
        # Whatever the HTTP library raises here, from a reset to an encoding that it cannot read.
        raise _Lost(str(error) or type(error).__name__) from error
