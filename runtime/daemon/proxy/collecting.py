"""What the ledger needs of an answer that passes by: its text, tool calls, tokens and end.

Reads chat completions and responses, whole or as events, and the counts of embeddings. Nothing
that cannot be read is an error here: it is the client's to judge.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.completions import DataLines, count_in, string_in, well_formed
from runtime.daemon.proxy.parts import ToolCall

MOST_READ_BYTES = 4 * 1024 * 1024
"""A longer body in one piece is a list of embeddings, and only its end is read: to read all of it
would hold up everybody else on the event loop."""
_TAIL_BYTES = 4096

_REASONS = {"max_output_tokens": "length"}
"""What chat completions call the reasons that responses give."""


@dataclass(frozen=True, slots=True)
class Collected:
    """An answer, as far as it came."""

    text: str = ""
    """Of the first choice."""
    more: tuple[str, ...] = ()
    """The text of the other choices."""
    refusal: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str = ""
    """``stop``, ``length``, ``tool_calls``, ``content_filter``, ``error``, or another word of the
    server's; empty where it gave none, such as where the answer broke off."""
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0


class Collector:
    """Takes the bytes of one answer as they pass."""

    def __init__(self, content_type: str) -> None:
        self._lines = None if "json" in content_type else DataLines()
        self._body = bytearray()
        self._length = 0
        self._answer = _Answer()

    def feed(self, data: bytes) -> None:
        if self._lines is not None:
            for line in self._lines.feed(data):
                self._answer.take(_read(line))
            return
        self._length += len(data)
        self._body += data
        if self._length > MOST_READ_BYTES:
            del self._body[:-_TAIL_BYTES]

    def end(self) -> Collected:
        """The answer so far."""
        if self._lines is not None:
            for line in self._lines.feed(b"\n"):
                self._answer.take(_read(line))
        elif self._length > MOST_READ_BYTES:
            self._answer.take(_tail(bytes(self._body)))
        else:
            self._answer.take(_read(bytes(self._body)))
        return self._answer.collected()


def _read(data: bytes) -> Mapping[str, Any]:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _tail(data: bytes) -> Mapping[str, Any]:
    """Of the end of a body, the counts."""
    text = data.decode("utf-8", "replace")
    try:
        start = text.index("{", text.rindex('"usage"'))
        usage, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return {}
    return {"usage": usage}


class _Call:
    """One tool call as it grows."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def made(self) -> ToolCall:
        return ToolCall(self.id, self.name, well_formed("".join(self.arguments)))


class _Answer:
    """One answer as it grows."""

    def __init__(self) -> None:
        self._texts: defaultdict[int, list[str]] = defaultdict(list)
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._calls: defaultdict[Any, _Call] = defaultdict(_Call)
        self._finish = ""
        self._model = ""
        self._usage: Mapping[str, Any] = {}

    def collected(self) -> Collected:
        texts = {index: well_formed("".join(parts)) for index, parts in self._texts.items()}
        first = min(texts, default=0)
        usage = self._usage
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
        return Collected(
            text=texts.get(first, ""),
            more=tuple(texts[index] for index in sorted(texts) if index != first),
            refusal=well_formed("".join(self._refusal)),
            reasoning=well_formed("".join(self._reasoning)),
            calls=tuple(call.made() for call in self._calls.values()),
            finish=self._finish,
            model=well_formed(self._model),
            tokens_in=count_in(usage, "prompt_tokens") or count_in(usage, "input_tokens"),
            tokens_out=count_in(usage, "completion_tokens") or count_in(usage, "output_tokens"),
            tokens_cached=count_in(details, "cached_tokens"),
        )

    def take(self, record: Mapping[str, Any]) -> None:
        """A whole answer, or an event of one."""
        kind = string_in(record, "type")
        if kind.startswith("response."):
            self._event(kind, record)
        elif record.get("object") == "response":
            self._response(record)
        else:
            self._chunk(record)
        if record.get("error") or kind == "error":
            self._finish = self._finish or "error"

    def _counts(self, record: Mapping[str, Any]) -> None:
        self._model = string_in(record, "model") or self._model
        if isinstance(usage := record.get("usage"), dict):
            self._usage = usage

    # ---- chat completions

    def _chunk(self, record: Mapping[str, Any]) -> None:
        self._counts(record)
        for choice in _objects(record.get("choices")):
            index = count_in(choice, "index")
            said = choice.get("delta", choice.get("message"))
            if isinstance(said, dict):
                self._said(index, said)
            if index == 0:
                self._finish = string_in(choice, "finish_reason") or self._finish

    def _said(self, index: int, said: Mapping[str, Any]) -> None:
        if text := string_in(said, "content"):
            self._texts[index].append(text)
        if index:
            return
        self._refusal.append(string_in(said, "refusal"))
        self._reasoning.append(string_in(said, "reasoning_content") or string_in(said, "reasoning"))
        for place, item in enumerate(_objects(said.get("tool_calls"))):
            which = item.get("index")
            self._grow(self._calls[which if isinstance(which, int) else place], item)
        if isinstance(old := said.get("function_call"), dict):
            self._grow(self._calls[0], {"function": old})

    @staticmethod
    def _grow(call: _Call, item: Mapping[str, Any]) -> None:
        call.id = call.id or string_in(item, "id")
        called = item.get("function") or item.get("custom")
        if isinstance(called, dict):
            call.name = call.name or string_in(called, "name")
            call.arguments.append(string_in(called, "arguments") or string_in(called, "input"))

    # ---- responses

    def _event(self, kind: str, record: Mapping[str, Any]) -> None:
        delta = string_in(record, "delta")
        if kind == "response.output_text.delta":
            self._texts[0].append(delta)
        elif kind == "response.refusal.delta":
            self._refusal.append(delta)
        elif kind in ("response.reasoning_text.delta", "response.reasoning_summary_text.delta"):
            self._reasoning.append(delta)
        elif kind == "response.output_item.done":
            self._items([record.get("item")], calls_only=True)
        elif isinstance(response := record.get("response"), dict):
            self._counts(response)
            if kind in ("response.completed", "response.incomplete", "response.failed"):
                self._response(response)

    def _response(self, record: Mapping[str, Any]) -> None:
        """A whole one, which replaces what its events said."""
        self._counts(record)
        if output := list(_objects(record.get("output"))):
            for kept in (self._texts, self._refusal, self._reasoning, self._calls):
                kept.clear()
            self._items(output)
        status = string_in(record, "status")
        details = record.get("incomplete_details")
        if status == "incomplete" and isinstance(details, dict):
            reason = string_in(details, "reason")
            self._finish = _REASONS.get(reason, reason)
        elif status == "completed":
            self._finish = "tool_calls" if self._calls else "stop"
        elif status == "failed":
            self._finish = "error"

    def _items(self, items: Any, *, calls_only: bool = False) -> None:
        for item in _objects(items):
            kind = string_in(item, "type")
            if kind in ("function_call", "custom_tool_call"):
                call = self._calls[string_in(item, "call_id") or len(self._calls)]
                call.id = string_in(item, "call_id")
                call.name = string_in(item, "name")
                call.arguments = [string_in(item, "arguments") or string_in(item, "input")]
            elif calls_only:
                continue
            elif kind == "message":
                for part in _objects(item.get("content")):
                    self._texts[0].append(string_in(part, "text"))
                    self._refusal.append(string_in(part, "refusal"))
            elif kind == "reasoning":
                for name in ("summary", "content"):
                    for part in _objects(item.get(name)):
                        self._reasoning.append(string_in(part, "text"))


def _objects(items: Any) -> Iterator[Mapping[str, Any]]:
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            yield item
