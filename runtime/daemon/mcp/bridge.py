"""``aidecamp mcp``: MCP over standard input and output, passed on to the daemon's ``/mcp``.

The tools are the daemon's: every call is recorded there, gated there and seen in its TUI. This
process speaks with the user's own token, since only the user can start it, and asks the daemon to
let it do no more than its scope says: ``act``, unless the user's MCP client is set up to start it
with another. A daemon is started where none runs, and again where it went away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import httpx2

from models.errors import AidecampError
from runtime.core import new_id
from runtime.daemon.client import Client as Daemon
from runtime.daemon.mcp import elicit
from runtime.daemon.mcp.offered import INSTRUCTIONS
from runtime.daemon.mcp.refusal import refused
from runtime.daemon.mcp.service import CLIENT_META, SCOPE_HEADER, SESSION_META, client_name
from runtime.daemon.tokens import Scope, TokenStore, configured

if TYPE_CHECKING:
    import mcp_types as types
    from mcp import Client
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel.server import Server

TIMEOUT_S = 30.0
SILENCE_S = 60.0
"""The daemon says something every 15 s while a call runs."""


class OwnToken(httpx2.Auth):
    """Sends the user's own token, as it is kept at that moment."""

    def __init__(self, tokens: TokenStore | None = None) -> None:
        self._tokens = tokens

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        self._tokens = self._tokens or configured()
        request.headers["Authorization"] = f"Bearer {self._tokens.own()}"
        yield request


async def serve(scope: Scope, tokens: TokenStore | None = None) -> None:
    """Until standard input ends. Raises DaemonMissing where no daemon can be started."""
    from mcp.server.stdio import stdio_server

    async with Daemon(tokens=tokens) as daemon:
        await daemon.ensure_running()
        async with connected(daemon, scope, tokens) as client:
            server = bridge(client, daemon)
            async with stdio_server() as (reading, writing):
                await server.run(reading, writing, server.create_initialization_options())


@asynccontextmanager
async def connected(
    daemon: Daemon, scope: Scope, tokens: TokenStore | None = None
) -> AsyncIterator[Client]:
    """An MCP client of the daemon's own server, over the Unix socket."""
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp_types import ElicitResult, Implementation

    async def unused(context: Any, params: Any) -> ElicitResult:
        """It only says that questions can be asked: they are passed on, not answered here."""
        return ElicitResult(action="cancel")

    async with (
        httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(daemon.socket_path)),
            auth=OwnToken(tokens),
            headers={SCOPE_HEADER: scope},
            timeout=httpx2.Timeout(TIMEOUT_S, read=SILENCE_S),
            trust_env=False,
        ) as http,
        Client(
            streamable_http_client("http://aidecamp/mcp", http_client=http),
            client_info=Implementation(name="aidecamp", version=version("aidecamp")),
            elicitation_callback=unused,
            cache=None,
        ) as client,
    ):
        yield client


def bridge(client: Client, daemon: Daemon) -> Server[Any]:
    """A server that answers with what ``client`` is answered."""
    from mcp.server.lowlevel.server import Server

    session = new_id("mcp")

    async def list_tools(ctx: ServerRequestContext[Any, Any], params: Any) -> Any:
        await daemon.ensure_running()
        return await client.list_tools()

    async def call_tool(
        ctx: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        async def told(progress: float, total: float | None, message: str | None) -> None:
            await ctx.session.report_progress(progress, total, message)

        meta: Any = {CLIENT_META: client_name(ctx), SESSION_META: session}

        async def once(state: str | None, said: Any) -> Any:
            return await client.session.call_tool(
                params.name,
                params.arguments,
                progress_callback=told,
                meta=meta,
                input_responses=said,
                request_state=state,
                allow_input_required=True,
            )

        try:
            await daemon.ensure_running()
            result = await once(params.request_state, params.input_responses)
            return await elicit.driven(ctx, result, once)
        except AidecampError as error:
            return refused(error)

    return Server(
        "aidecamp",
        version=version("aidecamp"),
        title="Aidecamp",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def main(scope: Scope) -> None:
    asyncio.run(serve(scope))
