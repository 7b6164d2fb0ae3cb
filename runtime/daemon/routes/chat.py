"""The OpenAI-compatible endpoints: chat completions, responses, embeddings, models.

Whatever serves a call, its answer says so: ``x-aidecamp-route``, ``x-aidecamp-decision`` and,
where a local answer is not given as sure, ``x-aidecamp-unsure``.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from runtime.daemon.declared import declared
from runtime.daemon.desk import Desk
from runtime.daemon.errors import ModelUnknown
from runtime.daemon.guard import caller
from runtime.daemon.proxy.answering import chat_answer, responses_answer
from runtime.daemon.proxy.asking import targets
from runtime.daemon.proxy.embedding import embedded


def routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["openai"])

    @router.post(
        "/v1/chat/completions",
        summary="A chat completion, served here or forwarded",
        **declared("infer", 404, 409, 502, 504),
    )
    async def chat_completions(request: Request) -> Response:
        return await chat_answer(desk, request, caller(request).name)

    @router.post(
        "/v1/responses",
        summary="A response, served here or forwarded",
        **declared("infer", 404, 409, 502, 504),
    )
    async def responses(request: Request) -> Response:
        return await responses_answer(desk, request, caller(request).name)

    @router.post(
        "/v1/embeddings",
        summary="Embeddings of texts, made here",
        **declared("infer", 404, 409, 502, 504),
    )
    async def embeddings(request: Request) -> Response:
        return await embedded(desk, request, caller(request).name)

    @router.get("/v1/models", summary="The models that can be asked", **declared("infer"))
    def list_models() -> dict[str, Any]:
        return {"object": "list", "data": targets(desk).all()}

    @router.get("/v1/models/{model:path}", summary="One model", **declared("infer", 404))
    def one_model(model: str) -> JSONResponse:
        listed = targets(desk).all()
        found = next((one for one in listed if one["id"] == model), None)
        if found is None:
            raise ModelUnknown(f"There is no model {model!r} here.", hint="GET /v1/models.")
        return JSONResponse(found)

    return router
