"""Asking the user of the client that called a tool, where the client offers that (elicitation).

In protocol 2026-07-28 a question is a result that asks for input, and the client calls again with
the answer; before it, a request from server to client. The tools know the first form alone, and
``driven`` translates for the older sessions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from runtime.daemon.mcp.work import Question

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.server.context import ServerRequestContext

SCHEMA = {
    "type": "object",
    "properties": {"allow": {"type": "boolean", "title": "Allow it", "default": False}},
    "required": ["allow"],
}


def offered(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client can show its user a form, and the answer can come back."""
    capabilities = ctx.session.client_capabilities
    asks = capabilities.elicitation if capabilities is not None else None
    if asks is None or (asks.form is None and asks.url is not None):
        return False
    return _modern(ctx) or ctx.session.can_send_request


def required(state: str, question: Question) -> types.InputRequiredResult:
    """The result that asks. ``state`` comes back with the answer."""
    from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

    form = ElicitRequestFormParams(message=question.says, requested_schema=SCHEMA)
    asked: dict[str, Any] = {question.id: ElicitRequest(params=form)}
    return InputRequiredResult(input_requests=asked, request_state=state)


def verdict(said: Mapping[str, Any] | None, question_id: str) -> bool | None:
    """What the user said to the question; None: nothing (the form was closed)."""
    answer = (said or {}).get(question_id)
    action = getattr(answer, "action", "cancel")
    if action == "accept":
        return (getattr(answer, "content", None) or {}).get("allow") is True
    return False if action == "decline" else None


async def driven(
    ctx: ServerRequestContext[Any, Any],
    result: types.CallToolResult | types.InputRequiredResult,
    again: Callable[[str | None, Any], Awaitable[Any]],
) -> types.CallToolResult | types.InputRequiredResult:
    """``result`` as the client's protocol has it: its user is asked here where the client cannot
    be told to ask by itself, and nothing is answered for a client that cannot ask at all."""
    from mcp.shared.exceptions import MCPError
    from mcp_types import ElicitRequestFormParams, ElicitResult, InputRequiredResult

    while isinstance(result, InputRequiredResult) and not (_modern(ctx) and offered(ctx)):
        said: dict[str, Any] = {}
        for id_, request in (result.input_requests or {}).items():
            form = request.params
            if not isinstance(form, ElicitRequestFormParams) or not offered(ctx):
                continue
            try:
                said[id_] = await ctx.session.elicit_form(
                    form.message, form.requested_schema, ctx.request_id
                )
            except MCPError:
                said[id_] = ElicitResult(action="cancel")
        result = await again(result.request_state, said)
    return result


def _modern(ctx: ServerRequestContext[Any, Any]) -> bool:
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS

    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
