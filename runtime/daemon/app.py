"""The daemon's API: every route, and one shape for every error.

An error is JSON as OpenAI's API writes it (``errors.body_of``), with the HTTP status of its class.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from models.errors import AidecampError, UsageError
from runtime.config import DaemonConfig
from runtime.daemon import mcp_server, measure
from runtime.daemon.answers import answer
from runtime.daemon.desk import Desk
from runtime.daemon.errors import NotFound, Unreadable, fault
from runtime.daemon.guard import Guard
from runtime.daemon.limits import Limits
from runtime.daemon.routes import (
    chat,
    decisions,
    events,
    health,
    metrics,
    models,
    policy,
    route,
    savings,
    tasks,
)
from runtime.daemon.tokens import TokenStore

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def create_app(
    desk: Desk,
    tokens: TokenStore | None = None,
    settings: Callable[[], DaemonConfig] | None = None,
) -> FastAPI:
    """The daemon's API on ``desk``, for the holders of ``tokens`` (by default those beside the
    ledger). ``settings`` is asked at every request."""
    app = FastAPI(
        title="Aidecamp",
        summary="Tasks, decisions and why.",
        redirect_slashes=False,
        docs_url=None,  # These two pages load their scripts from elsewhere.
        redoc_url=None,
    )
    tokens = tokens or TokenStore(desk.ledger.path.parent)
    usual = DaemonConfig()
    settings = settings or (lambda: usual)
    # The one added last is the first to see a request.
    app.add_middleware(Limits, settings=settings)
    app.add_middleware(Guard, tokens=tokens, settings=settings)
    measure.install(app)
    _errors(app)
    for part in (chat, tasks, decisions, events, savings, policy, models, route, health, metrics):
        app.include_router(part.routes(desk))
    app.include_router(mcp_server.routes(desk))
    return app


def _allowed(request: Request) -> list[str]:
    """The methods that the path knows. Of several routes on one path, each tells its own alone."""
    return [
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def _errors(app: FastAPI) -> None:
    @app.exception_handler(AidecampError)
    async def ours(_: Request, error: AidecampError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def unreadable(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        if first["type"] == "json_invalid":
            return answer(
                UsageError("The body is not valid JSON.", hint=str(first["ctx"]["error"]))
            )
        says = f"{where}: {first['msg']}." if where else f"The body: {first['msg']}."
        return answer(Unreadable(says, hint="GET /openapi.json describes every field."))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return answer(NotFound(f"There is no {request.url.path}.", hint="See /openapi.json."))
        refused = UsageError(f"{request.url.path}: {error.detail}.")
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_allowed(request))
        return answer(refused, error.status_code, headers)

    @app.exception_handler(Exception)
    async def faulty(_: Request, error: Exception) -> JSONResponse:
        return answer(fault(error))
