"""What every route declares of itself: its scope, and the errors that it may answer with.

Nothing here acts: ``guard.needs`` checks the scope, ``app`` writes the errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema

from runtime.daemon.guard import needs
from runtime.daemon.tokens import Scope

Absent = SkipJsonSchema[None]
"""A query parameter that may be left out: unlike a field of a body, it cannot be null."""


class ErrorDetail(BaseModel):
    """What went wrong, as OpenAI's API writes it, and what to do next."""

    message: str
    type: str
    param: str | None
    code: str
    """The error's class."""
    says: str
    hint: str
    exit_code: int


class ErrorBody(BaseModel):
    error: ErrorDetail


ALWAYS: dict[int, str] = {
    400: "The request cannot be read.",
    401: "No token, or a wrong one.",
    403: "A foreign Host or Origin, or a token without the scope.",
    405: "The path is known, and this method is not.",
    408: "The request did not come whole in time.",
    413: "The body is larger than the daemon reads.",
    415: "A body in a form that the daemon does not read.",
    422: "A field is not what it must be, or what was named is not usable.",
    429: "Too much waits already; Retry-After says when to come again.",
    431: "The request line and headers are larger than the daemon reads.",
    500: "A fault in Aidecamp itself.",
    503: "Something that is needed does not answer.",
    507: "The data folder cannot be read or written.",
}
SOMETIMES: dict[int, str] = {
    404: "There is no such thing.",
    409: "Not now: it is over, in use, or something that it needs is missing.",
    502: "The General, or a source of models, failed.",
    504: "It took longer than its caller waits.",
}


def declared(scope: Scope, *statuses: int) -> dict[str, Any]:
    """Keywords of a route: it needs ``scope``, and may answer with ``statuses`` besides those
    that every route has."""
    says = {**ALWAYS, **{status: SOMETIMES[status] for status in statuses}}
    return {
        "dependencies": [needs(scope)],
        "responses": {
            status: {"model": ErrorBody, "description": says[status]} for status in sorted(says)
        },
        "openapi_extra": {"x-scope": scope},
    }


def streamed(
    scope: Scope, *statuses: int, description: str, events: Sequence[str]
) -> dict[str, Any]:
    """As :func:`declared`, for a route that answers with server-sent events of the kinds
    ``events``; the schema is of one of them."""
    keywords = declared(scope, *statuses)
    one = {
        "type": "object",
        "properties": {
            "event": {"type": "string", "enum": list(events)},
            "id": {"type": "string", "pattern": "^[0-9]+$"},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
        "required": ["event", "data"],
    }
    content = {"text/event-stream": {"schema": one}}
    keywords["responses"][200] = {"description": description, "content": content}
    return keywords
