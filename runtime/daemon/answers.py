"""An error as the daemon answers it: its status, its JSON body, and the headers that go with it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from starlette.responses import JSONResponse

from models.errors import AidecampError
from runtime.daemon.errors import body_of


def answer(
    error: AidecampError,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """``error`` in OpenAI's shape. ``status`` and ``headers`` where the class's own do not fit."""
    status = status or error.http_status
    own: dict[str, str] = {}
    if status == 401:
        own["WWW-Authenticate"] = 'Bearer realm="aidecamp"'
    wait_s = getattr(error, "retry_after_s", None)
    if wait_s is not None:
        own["Retry-After"] = str(max(1, math.ceil(wait_s)))
    return JSONResponse(
        body_of(error, getattr(error, "param", None)), status, headers={**own, **(headers or {})}
    )
