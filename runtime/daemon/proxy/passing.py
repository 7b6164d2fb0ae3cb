"""The General's own bytes, handed on to the client."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import Response

from models.errors import AidecampError
from runtime.core import to_json
from runtime.daemon.errors import body_of
from runtime.daemon.proxy.answers import chunk, completion_id, sse
from runtime.daemon.proxy.asking import headers_of
from runtime.daemon.proxy.exchange import Exchange, Streamed
from runtime.daemon.proxy.parts import Head, Raw
from runtime.daemon.proxy.requests import ChatRequest
from runtime.daemon.proxy.response_requests import ResponsesRequest

EVENTS = "text/event-stream"


async def passed_on(exchange: Exchange, head: Head, request: ChatRequest) -> Response:
    """The bytes as they come, with the Decision beside them where it was asked for: a field of a
    body that is whole, the first event of a stream."""
    headers = headers_of(head)
    if EVENTS in head.content_type:
        events = _events(exchange, _first(head, request))
        return Streamed(exchange, events, head.status, headers, head.content_type)
    body = b"".join([data async for data in _raw(exchange)])
    if request.explain and head.status < 400:
        body = _with(explained(head, request), body)
    return Response(body, head.status, headers, head.content_type)


def _with(ours: dict[str, Any], body: bytes) -> bytes:
    """``body`` with fields of ours behind its own; as it came where it is no JSON object."""
    try:
        its_own = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(its_own, dict):
        return body
    return json.dumps({**its_own, **ours}).encode()


def explained(head: Head, request: ChatRequest) -> dict[str, Any]:
    """The Decision, for the body of an answer whose request asks for it."""
    if not request.explain:
        return {}
    return {"aidecamp": {"decision": to_json(head.decision), "unsure": head.unsure}}


def _first(head: Head, request: ChatRequest) -> bytes:
    """The event with the Decision, before the General's own; nothing where it is not wanted."""
    ours = explained(head, request)
    if not ours or head.status >= 400:
        return b""
    if isinstance(request, ResponsesRequest):
        return sse({"type": "aidecamp", **ours}, "aidecamp")
    return sse(chunk(completion_id(), int(time.time()), head.model, [], extra=ours))


async def _events(exchange: Exchange, first: bytes) -> AsyncIterator[bytes]:
    """The stream. Where it breaks off, its last event says so in OpenAI's shape."""
    if first:
        yield first
    try:
        async for data in _raw(exchange):
            yield data
    except AidecampError as error:
        yield sse(body_of(error))


async def _raw(exchange: Exchange) -> AsyncIterator[bytes]:
    async for part in exchange.parts():
        if isinstance(part, Raw):
            yield part.data
