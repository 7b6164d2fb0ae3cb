"""``/v1/embeddings``: served by the encoder here, or forwarded where a General is named.

``auto`` is always the encoder: vectors of two models cannot be compared, so a client must not get
them by turns.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from fastapi.responses import JSONResponse, Response
from starlette.requests import Request

from models.pool import ENCODER
from models.pooled import PooledEncoder
from runtime.core import Call, Result, Step, new_id
from runtime.daemon.desk import Desk
from runtime.daemon.errors import BadRequest
from runtime.daemon.proxy.asking import asked_of, headers_of, targets
from runtime.daemon.proxy.case import Asked
from runtime.daemon.proxy.embeddings import EmbeddingsRequest, answer, read_embeddings
from runtime.daemon.proxy.exchange import Exchange, while_there
from runtime.daemon.proxy.parts import Head
from runtime.daemon.proxy.passing import passed_on
from runtime.daemon.proxy.record import Recorder
from runtime.daemon.proxy.requests import ChatRequest
from runtime.daemon.proxy.serving import Serving
from runtime.daemon.proxy.targets import AUTO, Target
from runtime.daemon.proxy.unserved import refused
from runtime.decisions import role_decision


async def embedded(desk: Desk, http: Request, token: str) -> Response:
    """The vectors of the request's texts."""
    request = read_embeddings(await http.body())
    target = targets(desk).find(request.model, "encoder")
    said = ChatRequest(
        model=request.model,
        messages=tuple({"role": "user", "content": text} for text in request.inputs),
        body=request.body,
        raw=request.raw,
    )
    asked = asked_of(desk, http, token, said, target, "/embeddings")
    asked = replace(asked, kind="embed")
    if target.side == "general":
        exchange = Exchange()
        exchange.start(Serving(desk, asked).run, name=f"embeddings for {asked.client}")
        async with while_there(http, exchange):
            head = await exchange.head()
            return await passed_on(exchange, head, said)
    return await _here(desk, asked, request, target)


async def _here(
    desk: Desk, asked: Asked, request: EmbeddingsRequest, target: Target
) -> JSONResponse:
    encoder = await asyncio.to_thread(desk.staff.pool().encoder)
    name = f"local/{target.name or ENCODER}"
    if beyond := request.unserved(encoder.dimension):
        raise refused(beyond, name)
    async with desk.slots.taken(asked.client, desk.staff.config.daemon.deadline_s):
        await asyncio.to_thread(_all_read_whole, encoder, request)
        begun = time.perf_counter()
        vectors = await asyncio.to_thread(encoder.embed, request.inputs)
        ms = (time.perf_counter() - begun) * 1000
        tokens = await asyncio.to_thread(_count, encoder, request)
    task = asked.task(request.inputs[0])
    step = Step(new_id("step"), task.id, 1, "embed", request.inputs[0])
    why = "embeddings are always the same encoder's" if target.side == AUTO else "asked for by name"
    decision = role_decision(task, step, "encoder", why)
    call = Call(
        id=new_id("call"),
        task_id=task.id,
        step_id=step.id,
        decision_id=decision.id,
        kind="embed",
        role="encoder",
        model=encoder.model,
        messages=asked.request.messages,
        parameters={"texts": len(request.inputs)},
        answer="",
        confidence=None,
        tokens_in=tokens,
        tokens_out=0,
        prefill_ms=ms,
    )
    await Recorder(desk, task).note(task, step, decision, call, Result(task.id, "done", None))
    body = answer(vectors, name, tokens, request.encoding_format)
    return JSONResponse(body, headers=headers_of(Head(decision, name)))


def _all_read_whole(encoder: PooledEncoder, request: EmbeddingsRequest) -> None:
    """Raises BadRequest where a text is longer than the encoder reads: nothing is cut silently."""
    for index, text in enumerate(request.inputs):
        if encoder.was_cut(text):
            raise BadRequest(
                f"input[{index}] has more tokens than the local encoder reads (128).",
                hint='Split it, or ask for a "general/..." model.',
                param=f"input[{index}]",
            )


def _count(encoder: PooledEncoder, request: EmbeddingsRequest) -> int:
    with encoder.loaded() as loaded:
        return loaded.count_tokens(request.inputs)
