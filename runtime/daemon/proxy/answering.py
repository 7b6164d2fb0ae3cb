"""From an HTTP request to its answer in OpenAI's form, whole or streamed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi.responses import JSONResponse, Response
from starlette.requests import Request

from models.base import Token
from models.errors import AidecampError
from runtime.daemon.desk import Desk
from runtime.daemon.errors import body_of
from runtime.daemon.proxy import answers
from runtime.daemon.proxy.asking import asked_of, headers_of, targets
from runtime.daemon.proxy.exchange import Exchange, Streamed, while_there
from runtime.daemon.proxy.parts import Calls, Finish, Head, Part, Raw, Used, Words
from runtime.daemon.proxy.passing import EVENTS, explained, passed_on
from runtime.daemon.proxy.requests import ChatRequest, read_chat
from runtime.daemon.proxy.response_requests import to_chat
from runtime.daemon.proxy.responses import events_from_chunks, from_completion
from runtime.daemon.proxy.serving import Serving

Json = dict[str, Any]


async def chat_answer(desk: Desk, http: Request, token: str) -> Response:
    """``POST /v1/chat/completions``."""
    request = read_chat(await http.body())
    return await _answer(desk, http, token, request, "/chat/completions", lambda body: body, _lines)


async def responses_answer(desk: Desk, http: Request, token: str) -> Response:
    """``POST /v1/responses``, its stateless part."""
    request = to_chat(await http.body())
    return await _answer(
        desk,
        http,
        token,
        request,
        "/responses",
        lambda body: from_completion(body, request),
        lambda chunks: events_from_chunks(chunks, request),
    )


async def _answer(
    desk: Desk,
    http: Request,
    token: str,
    request: ChatRequest,
    path: str,
    whole: Callable[[Json], Json],
    streamed: Callable[[AsyncIterator[Json]], AsyncIterator[bytes]],
) -> Response:
    """The answer of whoever serves the call. ``whole`` and ``streamed`` turn a chat completion and
    its chunks into the form of the endpoint at ``path``."""
    target = targets(desk).find(request.model)
    asked = asked_of(desk, http, token, request, target, path)
    exchange = Exchange()
    exchange.start(Serving(desk, asked).run, name=f"call of {asked.client}")
    async with while_there(http, exchange):
        head = await exchange.head()
        if head.forwarded:
            return await passed_on(exchange, head, request)
        if not request.stream:
            body = whole(await _completion(exchange, head, request))
            return JSONResponse(body, headers=headers_of(head))
    events = streamed(_chunks(exchange, head, request))
    return Streamed(exchange, events, 200, headers_of(head), EVENTS)


# ---- local answers


async def _completion(exchange: Exchange, head: Head, request: ChatRequest) -> Json:
    """All parts, as one chat completion."""
    texts: dict[int, list[str]] = {}
    tokens: dict[int, list[Token]] = {}
    calls: dict[int, list[Json]] = {}
    ends: dict[int, str] = {}
    usage: Json = answers.usage_of(0, 0)
    async for part in exchange.parts():
        match part:
            case Words(index, text, some):
                texts.setdefault(index, []).append(text)
                tokens.setdefault(index, []).extend(some)
            case Calls(index, some_calls):
                calls[index] = [answers.tool_call(c.id, c.name, c.arguments) for c in some_calls]
            case Finish(index, reason):
                ends[index] = reason
            case Used(prompt, completion, cached):
                usage = answers.usage_of(prompt, completion, cached)
            case Raw():
                raise AssertionError("the General's bytes are passed on, not read")
    choices = [
        answers.choice(
            index,
            None if index in calls else "".join(texts.get(index, [])),
            ends[index],  # type: ignore[arg-type]
            calls.get(index, ()),
            answers.logprobs_of(tokens.get(index, [])) if request.logprobs else None,
        )
        for index in sorted(ends)
    ]
    return answers.completion(
        answers.completion_id(),
        int(time.time()),
        head.model,
        choices,
        usage,
        head.fingerprint or None,
        explained(head, request),
    )


async def _chunks(exchange: Exchange, head: Head, request: ChatRequest) -> AsyncIterator[Json]:
    """The parts as chunks, as they come."""
    writer = answers.ChunkWriter(
        answers.completion_id(),
        int(time.time()),
        head.model,
        head.fingerprint or None,
        request.include_usage,
        explained(head, request),
    )
    async for part in exchange.parts():
        for chunk in _written(writer, part, request):
            yield chunk


def _written(writer: answers.ChunkWriter, part: Part, request: ChatRequest) -> list[Json]:
    match part:
        case Words(index, text, tokens):
            probabilities = answers.logprobs_of(tokens) if request.logprobs else None
            return writer.content(text, probabilities, index)
        case Calls(index, calls):
            made: list[Json] = []
            for number, call in enumerate(calls):
                made += writer.tool_call(number, call.id, call.name, index)
                made += writer.arguments(number, call.arguments, index)
            return made
        case Finish(index, reason):
            return writer.finish(reason, index)  # type: ignore[arg-type]
        case Used(prompt, completion, cached):
            return writer.usage(answers.usage_of(prompt, completion, cached))
        case Raw():
            raise AssertionError("the General's bytes are passed on, not read")


async def _lines(chunks: AsyncIterator[Json]) -> AsyncIterator[bytes]:
    """Chunks as server-sent events. What breaks the answer off is told in OpenAI's shape, and the
    stream then ends without its ``[DONE]``, so that nobody takes it for whole."""
    try:
        async for chunk in chunks:
            yield answers.sse(chunk)
    except AidecampError as error:
        yield answers.sse(body_of(error))
    else:
        yield answers.DONE
