"""A chat completion as the answer of ``/v1/responses``: whole, or as its stream of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from models.errors import AidecampError
from runtime.daemon.errors import body_of
from runtime.daemon.proxy.answers import Json, sse
from runtime.daemon.proxy.response_objects import (
    INCOMPLETE,
    Names,
    ended,
    function_call,
    output_message,
    skeleton,
    text_part,
)
from runtime.daemon.proxy.response_requests import ResponsesRequest, to_chat

__all__ = ["ResponsesRequest", "events_from_chunks", "from_completion", "to_chat"]


def from_completion(completion: Mapping[str, Any], request: ResponsesRequest) -> Json:
    """The response that says what ``completion``, the answer to ``request``, says.

    Fields of ours beside the completion's (``aidecamp``) come along.
    """
    of = Names(completion["id"])
    choice = completion["choices"][0]
    message, finish = choice["message"], choice["finish_reason"]
    calls = message.get("tool_calls") or ()
    status = "incomplete" if finish in INCOMPLETE else "completed"
    output: list[Json] = []
    if message.get("content") or not calls:
        logprobs = (choice.get("logprobs") or {}).get("content")
        part = text_part(message.get("content") or "", logprobs or ())
        output.append(output_message(of.message(0), status, [part]))
    for index, call in enumerate(calls, start=len(output)):
        function = call["function"]
        item = function_call(of.call(index), call["id"], function["name"], status)
        output.append(item | {"arguments": function["arguments"]})
    response = skeleton(of.response, completion["created"], completion["model"], request)
    response |= ended(finish, output, completion.get("usage"))
    if "aidecamp" in completion:
        response["aidecamp"] = completion["aidecamp"]
    return response


async def events_from_chunks(
    chunks: AsyncIterator[Mapping[str, Any]], request: ResponsesRequest
) -> AsyncIterator[bytes]:
    """The events that say what ``chunks``, the streamed answer to ``request``, say.

    Begins with the first chunk. An AidecampError out of ``chunks`` ends the stream: with
    ``response.failed``, or with ``error`` where no response has begun.
    """
    stream: _Stream | None = None
    try:
        async for chunk in chunks:
            if stream is None:
                stream = _Stream(chunk, request)
                for event in stream.begin():
                    yield event
            for event in stream.take(chunk):
                yield event
    except AidecampError as error:
        yield _broken(error) if stream is None else stream.fail(error)
        return
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    if stream is not None:
        for event in stream.end():
            yield event


def _broken(error: AidecampError) -> bytes:
    told = body_of(error)["error"]
    event = {"type": "error", "sequence_number": 0}
    return sse(event | {name: told[name] for name in ("code", "message", "param")}, "error")


class _Stream:
    """The events of one response, in order, each with the next sequence number."""

    def __init__(self, first: Mapping[str, Any], request: ResponsesRequest) -> None:
        self._of = Names(first["id"])
        created, model = first["created"], first["model"]
        self._response = skeleton(self._of.response, created, model, request)
        if "aidecamp" in first:
            self._response["aidecamp"] = first["aidecamp"]
        self._sequence = 0
        self._output: list[Json] = []
        """Items that have begun; what is not closed yet still grows."""
        self._message: int | None = None
        """Index in ``_output`` of the message that is being written."""
        self._calls: dict[int, int] = {}
        """Index in ``_output`` of each tool call, by its index in the chunks."""
        self._finish: str | None = None
        self._usage: Mapping[str, Any] | None = None

    def begin(self) -> list[bytes]:
        return [
            self._event("response.created", response=self._response),
            self._event("response.in_progress", response=self._response),
        ]

    def take(self, chunk: Mapping[str, Any]) -> list[bytes]:
        """The events of one chunk."""
        self._usage = chunk.get("usage") or self._usage
        events: list[bytes] = []
        for choice in chunk["choices"]:
            delta = choice["delta"]
            if delta.get("content"):
                logprobs = (choice.get("logprobs") or {}).get("content") or []
                events += self._write(delta["content"], logprobs)
            for call in delta.get("tool_calls") or ():
                events += self._call(call)
            self._finish = choice.get("finish_reason") or self._finish
        return events

    def end(self) -> list[bytes]:
        """What is open is done, and so is the response."""
        events: list[bytes] = []
        if not self._output:
            events += self._open_message()[1]
        events += self._close_message()
        for index in self._calls.values():
            events += self._close_call(index)
        response = self._response | ended(self._finish, self._output, self._usage)
        return [*events, self._event(f"response.{response['status']}", response=response)]

    def fail(self, error: AidecampError) -> bytes:
        failed = {"code": "server_error", "message": f"{error.message} {error.hint}".strip()}
        response = self._response | {"status": "failed", "error": failed, "output": self._output}
        return self._event("response.failed", response=response)

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return sse(data, kind)

    # ---- text

    def _open_message(self) -> tuple[int, list[bytes]]:
        self._message = index = len(self._output)
        item = output_message(self._of.message(index), "in_progress", [])
        opened = [self._event("response.output_item.added", output_index=index, item=item)]
        item["content"].append(text_part(""))
        self._output.append(item)
        opened.append(self._part("response.content_part.added", index, part=text_part("")))
        return index, opened

    def _part(self, kind: str, index: int, **fields: Any) -> bytes:
        """An event of the one part of the message at ``index``."""
        at = {"item_id": self._output[index]["id"], "output_index": index, "content_index": 0}
        return self._event(kind, **at, **fields)

    def _write(self, text: str, logprobs: list[Json]) -> list[bytes]:
        events: list[bytes] = []
        if (index := self._message) is None:
            index, events = self._open_message()
        part = self._output[index]["content"][0]
        part["text"] += text
        part["logprobs"] += logprobs
        kind = "response.output_text.delta"
        return [*events, self._part(kind, index, delta=text, logprobs=logprobs)]

    def _close_message(self) -> list[bytes]:
        if (index := self._message) is None:
            return []
        self._message = None
        item = self._output[index]
        item["status"] = self._status()
        part = item["content"][0]
        text = {"text": part["text"], "logprobs": part["logprobs"]}
        return [
            self._part("response.output_text.done", index, **text),
            self._part("response.content_part.done", index, part=part),
            self._event("response.output_item.done", output_index=index, item=item),
        ]

    # ---- tool calls

    def _call(self, call: Mapping[str, Any]) -> list[bytes]:
        events: list[bytes] = []
        function = call.get("function") or {}
        if (index := self._calls.get(call["index"])) is None:
            events += self._close_message()
            self._calls[call["index"]] = index = len(self._output)
            item = function_call(self._of.call(index), call["id"], function["name"], "in_progress")
            self._output.append(item)
            events.append(self._event("response.output_item.added", output_index=index, item=item))
        if piece := function.get("arguments"):
            item = self._output[index]
            item["arguments"] += piece
            kind = "response.function_call_arguments.delta"
            at = {"item_id": item["id"], "output_index": index}
            events.append(self._event(kind, **at, delta=piece))
        return events

    def _close_call(self, index: int) -> list[bytes]:
        item = self._output[index]
        item["status"] = self._status()
        at = {"item_id": item["id"], "output_index": index}
        kind = "response.function_call_arguments.done"
        return [
            self._event(kind, **at, arguments=item["arguments"]),
            self._event("response.output_item.done", output_index=index, item=item),
        ]

    def _status(self) -> str:
        return "incomplete" if self._finish in INCOMPLETE else "completed"
