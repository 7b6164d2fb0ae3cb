"""The General's own bytes, handed on to the client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import Response, StreamingResponse

from models.errors import AidecampError
from runtime.core import to_json
from runtime.daemon.errors import body_of
from runtime.daemon.proxy.answers import sse
from runtime.daemon.proxy.asking import headers_of
from runtime.daemon.proxy.exchange import Exchange
from runtime.daemon.proxy.parts import Head, Raw
from runtime.daemon.proxy.requests import ChatRequest

EVENTS = "text/event-stream"


async def passed_on(exchange: Exchange, head: Head, request: ChatRequest) -> Response:
    """The bytes as they come. A body that is whole gets the Decision added, where asked for."""
    headers = headers_of(head)
    if EVENTS in head.content_type:
        return StreamingResponse(_events(exchange), head.status, headers, head.content_type)
    body = b"".join([data async for data in _raw(exchange)])
    if request.explain and head.status < 400:
        body = json.dumps({**json.loads(body), **explained(head, request)}).encode()
    return Response(body, head.status, headers, head.content_type)


def explained(head: Head, request: ChatRequest) -> dict[str, Any]:
    """The Decision, for the body of an answer whose request asks for it."""
    if not request.explain:
        return {}
    return {"aidecamp": {"decision": to_json(head.decision), "unsure": head.unsure}}


async def _events(exchange: Exchange) -> AsyncIterator[bytes]:
    """The stream. Where it breaks off, its last event says so in OpenAI's shape."""
    try:
        async for data in _raw(exchange):
            yield data
    except AidecampError as error:
        yield sse(body_of(error))


async def _raw(exchange: Exchange) -> AsyncIterator[bytes]:
    async for part in exchange.parts():
        if isinstance(part, Raw):
            yield part.data
