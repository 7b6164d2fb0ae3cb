"""The MCP server on one desk: lists its tools to whoever may call them, and calls them.

A client acts with the scope of its token and no more: it is shown the tools that this scope may
call, and only one with ``admin`` may approve, for its user, what its own call is about to do.
Everyone else's actions wait for whoever watches the daemon (the TUI, the API), until a deadline.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from models.errors import AidecampError, Denied, UsageError
from runtime.config import DaemonConfig
from runtime.core import Privacy, Surface, Task
from runtime.daemon.bodies import TaskBody
from runtime.daemon.desk import Desk
from runtime.daemon.errors import Conflict, NotFound
from runtime.daemon.finding import find
from runtime.daemon.guard import caller as caller_of
from runtime.daemon.guard import require
from runtime.daemon.mcp import asks, elicit, replies
from runtime.daemon.mcp.offered import INSTRUCTIONS, Offered, table
from runtime.daemon.mcp.refusal import refused
from runtime.daemon.mcp.work import Work, Wrap, as_agent
from runtime.daemon.routes.route import foreseen
from runtime.daemon.tokens import SCOPES, Caller, Scope
from runtime.named import Formatting, Named

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel.server import Server

    Context = ServerRequestContext[Any, Request]
    Answer = types.CallToolResult | types.InputRequiredResult

SCOPE_HEADER = "x-aidecamp-scope"
"""A client's own wish to act with less than its token may."""
LOOSER: tuple[Privacy, ...] = ("local", "ask", "auto")
MAX_NAME_CHARS = 64
CLIENT_META, SESSION_META = "aidecamp/client", "aidecamp/session"
"""In a call's ``_meta``: for whom ``aidecamp mcp`` passes it on."""


@runtime_checkable
class Pictured(Protocol):
    """A tool with a screen that can be shown."""

    def picture(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Asker:
    """Who calls a tool, from which client, and how its user can be asked."""

    caller: Caller
    client: str
    session: str
    asks_client: bool
    told: Callable[[int, str], Awaitable[None]]


class Service:
    """``server`` speaks MCP; ``close`` ends what still runs."""

    def __init__(self, desk: Desk, *, patience_s: float | None = None) -> None:
        from mcp.server.lowlevel.server import Server

        self._desk = desk
        self._patience_s = patience_s
        self._works: dict[str, Work] = {}
        self.server: Server[Any] = Server(
            "aidecamp",
            version=version("aidecamp"),
            title="Aidecamp",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )

    async def close(self) -> None:
        """Cancel every call that runs; returns once the record says so."""
        works = list(self._works.values())
        for work in works:
            work.stop()
        await asyncio.gather(*(work.over() for work in works))

    # The protocol

    async def _list(self, ctx: Context, params: Any) -> types.ListToolsResult:
        from mcp_types import ListToolsResult

        caller = _caller(ctx)
        return ListToolsResult(
            tools=[one.tool() for one in table().values() if caller.may(one.scope)]
        )

    async def _call(self, ctx: Context, params: types.CallToolRequestParams) -> Answer:
        async def once(state: str | None, said: Any) -> Answer:
            return await self._once(ctx, params, state, said)

        result = await once(params.request_state, params.input_responses)
        return await elicit.driven(ctx, result, once)

    async def _once(
        self, ctx: Context, params: types.CallToolRequestParams, state: str | None, said: Any
    ) -> Answer:
        try:
            offered = table().get(params.name)
            if offered is None:
                known = ", ".join(table())
                raise NotFound(f"There is no tool {params.name[:80]!r}.", hint=f"It has: {known}.")
            caller = require(_caller(ctx), offered.scope)
            asker = _Asker(
                caller,
                f"mcp:{client_name(ctx)}".rstrip(":"),
                _session(ctx),
                asks_client=caller.may("admin") and elicit.offered(ctx),
                told=_telling(ctx),
            )
            if state is not None:
                return await self._finish(self._resumed(state, caller, said), offered, asker)
            asked = offered.asks.model_validate(params.arguments or {})
            return await self._asked(asked, offered, asker)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            says = f"{where}: {first['msg']}." if where else f"{first['msg']}."
            return refused(UsageError(says, hint="The tool's input schema tells every field."))
        except AidecampError as error:
            return refused(error)

    # The tools

    async def _asked(self, asked: BaseModel, offered: Offered, asker: _Asker) -> Answer:
        match asked:
            case asks.Look():
                task = self._task("read the screen", asker, surface="gui")
                wrap = _named("gui", "read_screen", {})
                return await self._begin(task, wrap, offered, asker, image=asked.image)
            case asks.ActOnScreen() | asks.RunInSandbox():
                surface: Surface = "gui" if isinstance(asked, asks.ActOnScreen) else "shell"
                words = asked.step or f"{asked.named} {json.dumps(asked.arguments)}"
                task = self._task(words, asker, surface=surface, folder=asked.folder)
                wrap = _named(surface, asked.named, asked.arguments) if asked.named else _whole
                return await self._begin(task, wrap, offered, asker)
            case asks.DoTask():
                task = self._task(
                    asked.task,
                    asker,
                    surface=asked.surface,
                    folder=asked.folder,
                    privacy=self._privacy(asked.privacy, asker.caller),
                    schema=asked.answer_schema,
                    dry_run=asked.dry_run,
                    budget_usd=asked.budget_usd,
                )
                return await self._begin(task, _whole, offered, asker)
            case asks.FormatToSchema():
                data = asked.data
                text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
                task = self._task(text, asker, privacy="local", schema=asked.output_schema)

                def format_it(agent: Any) -> Formatting:
                    return Formatting(as_agent(agent), data)

                return await self._begin(task, format_it, offered, asker)
            case asks.Route():
                task = self._task(asked.text, asker, surface=asked.surface)
                decision = await asyncio.to_thread(foreseen, self._desk, task)
                return _answered(replies.Routed.of(decision))
            case asks.Decisions():
                query = {name: getattr(asked, name) for name in asks.Decisions.model_fields}
                rows = await asyncio.to_thread(lambda: find(self._desk.ledger, **query))
                lines = [replies.Line.of(row) for row in rows]
                return _answered(replies.Lines(decisions=lines))
        raise TypeError(f"nothing is done for {type(asked).__name__}")

    def _patience(self) -> float:
        """Seconds that a person may take to answer, before what waits is denied."""
        if self._patience_s is not None:
            return self._patience_s
        agents = self._desk.agents
        return (agents.config.daemon if agents is not None else DaemonConfig()).deadline_s

    def _privacy(self, wanted: Privacy | None, caller: Caller) -> Privacy:
        """As wanted, where it is not looser than the user's own setting. Raises Denied."""
        own = self._desk.privacy
        if wanted is None or caller.may("admin"):
            return wanted or own
        if LOOSER.index(wanted) > LOOSER.index(own):
            raise Denied(
                f"Privacy {wanted!r} is looser than the user's own setting, {own!r}.",
                hint="Leave it out, or use a token with admin.",
            )
        return wanted

    def _task(self, text: str, asker: _Asker, **changes: Any) -> Task:
        schema = changes.pop("schema", None)
        given = {name: value for name, value in changes.items() if value is not None}
        body = TaskBody(text=text, **given)
        task = body.task(privacy=self._desk.privacy, folder=self._desk.folder)
        return replace(task, schema=schema, client=asker.client, session=asker.session)

    async def _begin(
        self, task: Task, wrap: Wrap, offered: Offered, asker: _Asker, *, image: bool = False
    ) -> Answer:
        if self._desk.follower.stopped:
            raise Conflict("The daemon is stopping, so it takes no new task.")
        work = Work(
            self._desk,
            task,
            wrap,
            owner=asker.caller.name,
            patience_s=self._patience(),
            asks_client=asker.asks_client,
        )
        self._works[work.id] = work
        work.begin()
        return await self._finish(work, offered, asker, image=image)

    async def _finish(
        self, work: Work, offered: Offered, asker: _Asker, *, image: bool = False
    ) -> Answer:
        """Until there is an answer, or a question for the client's user."""
        try:
            question = await work.follow(asker.told)
        except asyncio.CancelledError:
            work.stop()
            raise
        finally:
            if work.ended:
                self._works.pop(work.id, None)
        if question is not None:
            return elicit.required(work.id, question)
        events = work.result()
        report = replies.report(work.task, events)
        if report.status not in ("done", "unsure"):
            return _answered(report, failed=True)
        if offered.replies is replies.Screen:
            picture = await asyncio.to_thread(_picture, work) if image else None
            return _answered(replies.screen(work.task, events), picture)
        if offered.replies is replies.Formatted:
            return _answered(
                replies.Formatted(
                    task_id=report.task_id,
                    status=report.status,
                    value=report.answer,
                    reason=report.reason,
                )
            )
        return _answered(report)

    def _resumed(self, state: str, caller: Caller, said: Any) -> Work:
        """The work that asked, with what the client's user said. Raises NotFound."""
        work = self._works.get(state)
        if work is None or work.owner != caller.name:
            raise NotFound("No call waits for this answer any more.", hint="Call the tool again.")
        # It began with a token of admin; the answer must come with one as well.
        require(caller, "admin")
        if work.question is not None:
            work.answer(elicit.verdict(said, work.question.id))
        return work


def _caller(ctx: Context) -> Caller:
    """Whose token came with the request, with less than it may where the client wishes so."""
    if ctx.request is None:
        raise UsageError("The request came over no transport that has callers.")
    found = caller_of(ctx.request)
    wish = ctx.request.headers.get(SCOPE_HEADER)
    if wish is None:
        return found
    if wish not in SCOPES:
        raise UsageError(f"{SCOPE_HEADER}: {wish[:40]!r} is no scope.")
    lowest: Scope = min(found.scope, wish, key=SCOPES.index)
    return replace(found, scope=lowest)


def client_name(ctx: ServerRequestContext[Any, Any]) -> str:
    """What the client calls itself, for the record. It is its own word."""
    params = ctx.session.client_params
    name = params.client_info.name if params is not None else ""
    return str((ctx.meta or {}).get(CLIENT_META) or name)[:MAX_NAME_CHARS]


def _session(ctx: Context) -> str:
    """Which calls belong together, as far as the client says."""
    named = (ctx.meta or {}).get(SESSION_META)
    if named is None and ctx.request is not None:
        named = ctx.request.headers.get("mcp-session-id")
    return str(named or "")[:MAX_NAME_CHARS]


def _telling(ctx: Context) -> Callable[[int, str], Awaitable[None]]:
    async def told(number: int, words: str) -> None:
        await ctx.session.report_progress(number, message=words)

    return told


def _whole(agent: Any) -> Any:
    return agent


def _named(kind: Any, recipe: str, arguments: dict[str, Any]) -> Wrap:
    return lambda agent: Named(as_agent(agent), kind, recipe, arguments)


def _picture(work: Work) -> bytes | None:
    tool = as_agent(work.agent).team.tools.get("gui") if work.agent is not None else None
    return tool.picture() if isinstance(tool, Pictured) else None


def _answered(
    reply: BaseModel, picture: bytes | None = None, *, failed: bool = False
) -> types.CallToolResult:
    from mcp_types import CallToolResult, ImageContent, TextContent

    body = reply.model_dump(mode="json", by_alias=True)
    content: list[Any] = [TextContent(type="text", text=json.dumps(body, ensure_ascii=False))]
    if picture is not None:
        data = base64.b64encode(picture).decode()
        content.append(ImageContent(type="image", data=data, mime_type="image/png"))
    return CallToolResult(content=content, structured_content=body, is_error=failed)
