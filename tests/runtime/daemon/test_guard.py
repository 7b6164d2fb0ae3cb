"""Whom the daemon lets in: every route, every method, before anything else is looked at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from runtime.config import DaemonConfig
from runtime.daemon.app import create_app
from runtime.daemon.desk import Desk
from runtime.daemon.errors import ScopeMissing, TokenRefused
from runtime.daemon.guard import (
    MAX_PEERS,
    WINDOW_S,
    WRONG_PER_WINDOW,
    Guard,
    Needs,
    Wrong,
    caller,
    needs,
    require,
)
from runtime.daemon.tokens import SCOPES, Caller, Scope, TokenStore
from runtime.ledger import Ledger
from tests.runtime.daemon.scripted import ScriptedAgent, plain
from tests.runtime.daemon.wire import Answer, ask, line, request, serving

PAGE = "https://app.example"
ANY_SCOPE = {"/openapi.json"}
"""Routes that every token may read."""


@dataclass
class Behind:
    """A guarded app of a few routes, and what came through to it."""

    port: int
    tokens: TokenStore
    settings: DaemonConfig
    came: list[str]

    async def ask(
        self,
        method: str = "GET",
        path: str = "/who",
        token: str | None = None,
        **headers: str | None,
    ) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        token = self.tokens.own() if token is None else token
        return await ask(self.port, request(method, path, named, token=token), method)


@asynccontextmanager
async def guarded(folder: Path) -> AsyncIterator[Behind]:
    app = FastAPI()
    behind = Behind(0, TokenStore(folder), DaemonConfig(), [])

    @app.get("/who", dependencies=[needs("infer")])
    async def who(request: Request) -> dict[str, str]:
        behind.came.append(request.url.path)
        return {"name": caller(request).name}

    app.add_middleware(Guard, tokens=behind.tokens, settings=lambda: behind.settings)
    async with serving(app) as port:
        behind.port = port
        yield behind


@pytest.fixture
async def behind(tmp_path: Path) -> AsyncIterator[Behind]:
    async with guarded(tmp_path) as one:
        yield one


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:24332", "LocalHost:1", "127.0.0.1", "127.0.0.1:24332"),
        *("[::1]", "[::1]:24332", "aidecamp", "box.example:443", "[fe80::1]:5", "10.0.0.5"),
    ],
)
async def test_names_of_this_machine_and_listed_ones_are_let_in(behind: Behind, host: str) -> None:
    behind.settings = DaemonConfig(
        host="10.0.0.5", allowed_hosts=["Box.example", "fe80::1"], cors_origins=[PAGE]
    )
    answer = await behind.ask(Host=host)
    assert (answer.status, answer.body) == (200, b'{"name":"own"}')


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "evil.example:24332", "127.0.0.1.evil.example"),
        *("localhost:80:80", "localhost:", "localhost:x", "[::1", "[::1]x", "[::1]:x", "::1", ""),
        *("0.0.0.0", "0.0.0.0:24332", "[::]", "user@localhost", "localhost/", "10.0.0.5"),
        *("localhost, evil.example", "localhost evil.example", "xn--localhost", "localhost."),
    ],
)
async def test_any_other_host_is_refused(behind: Behind, host: str) -> None:
    behind.settings = DaemonConfig(host="0.0.0.0", allowed_hosts=["::"])
    answer = await behind.ask(Host=host)
    assert (answer.status, answer.error()["type"]) == (403, "permission_error")
    assert behind.came == []


async def test_no_host_and_two_hosts_are_refused(behind: Behind) -> None:
    own = f"Authorization: Bearer {behind.tokens.own()}"
    old = await ask(behind.port, f"GET /who HTTP/1.0\r\n{own}\r\n\r\n".encode())
    assert (old.status, old.error()["code"]) == (403, "Foreign")
    for hosts in ("", "Host: localhost\r\nHost: localhost\r\n"):
        answer = await ask(behind.port, f"GET /who HTTP/1.1\r\n{hosts}{own}\r\n\r\n".encode())
        assert answer.status == 400 and answer.error()
    assert behind.came == []


async def test_a_page_that_is_not_listed_is_refused_and_told_nothing(behind: Behind) -> None:
    behind.settings = DaemonConfig(cors_origins=[PAGE, "null"])
    for origin in (
        *("https://evil.example", "null", "http://app.example", f"{PAGE}.evil.example", ""),
        *(f"{PAGE}:8443", "file://", f"{PAGE}/", f"{PAGE}, https://evil.example", PAGE.upper()),
    ):
        for method in ("GET", "POST", "OPTIONS"):
            answer = await behind.ask(method, Origin=origin, Access_Control_Request_Method="GET")
            assert (answer.status, answer.error()["code"]) == (403, "Foreign"), origin
            assert not [name for name in answer.headers if name.startswith("access-control")]
    assert behind.came == []


async def test_no_page_at_all_may_call_unless_one_is_listed(behind: Behind) -> None:
    for origin in (PAGE, f"http://localhost:{behind.port}", f"http://127.0.0.1:{behind.port}"):
        assert (await behind.ask(Origin=origin)).status == 403


async def test_a_browser_that_leaves_origin_out_is_known_by_sec_fetch_site(behind: Behind) -> None:
    for site in ("cross-site", "same-site", "Cross-Site", "odd"):
        assert (await behind.ask(Sec_Fetch_Site=site)).status == 403
    assert (await behind.ask(Sec_Fetch_Site="none")).status == 200
    behind.settings = DaemonConfig(cors_origins=[PAGE])
    assert (await behind.ask(Sec_Fetch_Site="cross-site")).status == 403
    assert (await behind.ask(Sec_Fetch_Site="cross-site", Origin=PAGE)).status == 200


async def test_a_listed_page_is_answered_with_cors_headers_also_when_it_errs(
    behind: Behind,
) -> None:
    behind.settings = DaemonConfig(cors_origins=[PAGE])
    for token, path, status in (
        (None, "/who", 200),
        ("", "/who", 401),
        (None, "/none", 404),
    ):
        answer = await behind.ask(path=path, token=token, Origin=PAGE)
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "x-aidecamp-route" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_preflight_of_a_listed_page_needs_no_token_and_reaches_no_route(
    behind: Behind,
) -> None:
    behind.settings = DaemonConfig(cors_origins=[PAGE])
    answer = await behind.ask(
        "OPTIONS",
        token="",
        Origin=PAGE,
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="authorization,content-type,x-stainless-os",
    )
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert (await behind.ask("OPTIONS", token="", Origin=PAGE)).status == 401
    assert behind.came == []


@pytest.mark.parametrize(
    "authorization",
    [
        *(None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic {own}", "{own}", "Bearer {own}x"),
        *("Bearer {own} {own}", "Token {own}", "Bearer\t{own}", "Bearer {own},"),
    ],
)
async def test_a_missing_and_a_wrong_token_are_refused_alike(
    behind: Behind, authorization: str | None
) -> None:
    own = behind.tokens.own()
    given = authorization.format(own=own) if authorization is not None else None
    answer = await behind.ask(token="", Authorization=given)
    missing = await behind.ask(token="")
    assert (answer.status, answer.body) == (401, missing.body)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert {**answer.headers, "date": ""} == {**missing.headers, "date": ""}
    assert answer.error()["type"] == "authentication_error"
    assert own not in answer.body.decode()
    assert behind.came == []


async def test_two_authorizations_are_refused_even_where_one_is_right(behind: Behind) -> None:
    own = behind.tokens.own()
    lines = f"Authorization: Bearer {own}\r\nAuthorization: Bearer {own}\r\n"
    data = f"GET /who HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode()
    assert (await ask(behind.port, data)).status == 401


async def test_the_word_bearer_is_read_in_any_case(behind: Behind) -> None:
    own = behind.tokens.own()
    for scheme in ("bearer", "BEARER"):
        assert (await behind.ask(token="", Authorization=f"{scheme} {own}")).status == 200


async def test_unknown_paths_tell_strangers_nothing(behind: Behind) -> None:
    for path in ("/none", "/docs", "/metrics", "/mcp", "//who", "/who/../who", "*"):
        for method in ("GET", "PUT", "OPTIONS", "BREW"):
            assert (await behind.ask(method, path, token="")).status == 401
            assert (await behind.ask(method, path, Host="evil.example")).status == 403


async def test_many_wrong_tokens_are_slowed_down_and_the_right_one_is_still_let_in(
    behind: Behind, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        answers = [await behind.ask(token=f"wrong{n}") for n in range(WRONG_PER_WINDOW + 3)]
    assert [one.status for one in answers] == [401] * WRONG_PER_WINDOW + [429] * 3
    assert 1 <= int(answers[-1].headers["retry-after"]) <= WINDOW_S
    assert answers[-1].error()["type"] == "rate_limit_error"
    assert (await behind.ask()).status == 200
    assert (await behind.ask(token="")).status == 401
    assert len([one for one in caplog.messages if "wrong tokens" in one]) == 1


def test_wrong_tokens_are_forgotten_after_their_window_and_peers_are_bounded() -> None:
    now = 0.0
    wrong = Wrong(lambda: now)
    waits = [wrong.another("10.0.0.1") for _ in range(WRONG_PER_WINDOW + 1)]
    assert waits == [None] * WRONG_PER_WINDOW + [WINDOW_S]
    assert wrong.another("10.0.0.2") is None
    now = WINDOW_S
    assert wrong.another("10.0.0.1") is None
    for number in range(MAX_PEERS * 2):
        wrong.another(f"peer {number}")
    assert len(wrong) == MAX_PEERS


async def test_tokens_that_cannot_be_read_let_nobody_in(
    behind: Behind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = behind.tokens.own()
    (tmp_path / "tokens.json").chmod(0o644)
    answer = await behind.ask(token=own)
    assert (answer.status, answer.error()["code"]) == (507, "StorageFailed")
    assert str(tmp_path) not in answer.body.decode()
    assert "chmod 600" in caplog.text
    assert behind.came == []


async def test_a_changed_configuration_holds_from_the_next_request(behind: Behind) -> None:
    async with line(behind.port) as one:
        for allowed, status in (([], 403), (["box.example"], 200), ([], 403)):
            behind.settings = DaemonConfig(allowed_hosts=allowed)
            await one.send(
                request(path="/who", headers={"Host": "box.example"}, token=behind.tokens.own())
            )
            answer = await one.answer()
            assert answer is not None and answer.status == status


async def test_a_stream_passes_piece_by_piece(tmp_path: Path) -> None:
    app, tokens, gate = FastAPI(), TokenStore(tmp_path), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first\n"
        await gate.wait()
        yield b"second\n"

    @app.get("/stream", dependencies=[needs("infer")])
    async def stream() -> StreamingResponse:
        return StreamingResponse(pieces())

    settings = DaemonConfig(cors_origins=[PAGE])
    app.add_middleware(Guard, tokens=tokens, settings=lambda: settings)
    async with serving(app) as port, line(port) as one:
        await one.send(request(path="/stream", headers={"Origin": PAGE}, token=tokens.own()))
        assert b"200 OK" in await one.reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(20):
            await one.reader.readuntil(b"first\n")
            gate.set()
            await one.reader.readuntil(b"second\n")


async def test_a_websocket_is_closed(tmp_path: Path) -> None:
    sent: list[str] = []

    async def app(*_: object) -> None:
        raise AssertionError("it came through")

    async def send(message: object) -> None:
        sent.append(message["type"])  # type: ignore[index]

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    guard = Guard(app, TokenStore(tmp_path), DaemonConfig)
    await guard({"type": "websocket", "headers": [], "path": "/"}, receive, send)
    assert sent == ["websocket.close"]


@pytest.mark.parametrize("has", SCOPES)
@pytest.mark.parametrize("wants", SCOPES)
def test_require_names_the_scope_that_is_missing(has: Scope, wants: Scope) -> None:
    who = Caller("editor", has)
    if SCOPES.index(has) >= SCOPES.index(wants):
        assert require(who, wants) is who
        return
    with pytest.raises(ScopeMissing, match=f"'editor' has the scope '{has}'.*'{wants}'"):
        require(who, wants)


def test_without_a_guard_nobody_is_known() -> None:
    with pytest.raises(TokenRefused):
        caller(Request({"type": "http", "headers": []}))


# The daemon's own routes, each with every method.


@pytest.fixture
def daemon_app(tmp_path: Path) -> Iterator[FastAPI]:
    ledger = Ledger(tmp_path / "ledger.db")
    desk = Desk(ledger, lambda approver: ScriptedAgent(plain, approver), tmp_path)  # type: ignore[arg-type]
    yield create_app(desk, TokenStore(tmp_path))
    ledger.close()


def routes(app: FastAPI) -> list[RouteContext]:
    return list(iter_route_contexts(app.routes))


def scope_of(route: RouteContext) -> Scope | None:
    """The scope that the route declares; None where it declares none."""
    found = [
        one.dependency.scope
        for one in getattr(route.original_route, "dependencies", ())
        if isinstance(one.dependency, Needs)
    ]
    return max(found, key=SCOPES.index) if found else None


async def test_every_route_declares_a_scope_and_the_schema_tells_it(daemon_app: FastAPI) -> None:
    schema = daemon_app.openapi()
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    seen = set()
    for route in routes(daemon_app):
        if not isinstance(route.original_route, (Route, APIRoute)) or route.path in ANY_SCOPE:
            continue
        scope = scope_of(route)
        assert scope is not None, f"{route.path} declares no scope"
        seen.add(scope)
        if getattr(route.original_route, "include_in_schema", False):
            for method in route.methods or ():
                told = schema["paths"][route.path_format][method.lower()]["security"]
                assert told == [{"token": [scope]}], route.path
    assert seen == set(SCOPES)


async def test_every_route_and_method_refuses_foreign_hosts_strangers_and_missing_scopes(
    daemon_app: FastAPI, tmp_path: Path
) -> None:
    tokens = TokenStore(tmp_path)
    weaker = {scope: tokens.add(f"t-{scope}", scope) for scope in SCOPES}
    own = tokens.own()
    checked = 0
    async with serving(daemon_app) as port, line(port) as one:

        async def status(method: str, path: str, token: str, host: str = "localhost") -> int:
            await one.send(request(method, path, {"Host": host}, token=token))
            answer = await one.answer(method)
            assert answer is not None, (method, path)
            if method != "HEAD":
                answer.error()
            return answer.status

        methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
        for route in routes(daemon_app):
            path = (route.path_format or "/").replace("{", "").replace("}", "")
            for method in methods:
                assert await status(method, path, own, "evil.example") == 403, (method, path)
                assert await status(method, path, "") == 401, (method, path)
                assert await status(method, path, "") == 401, (method, path)
                checked += 1
            scope = scope_of(route)
            for method in route.methods or ():
                assert await status(method, path, own[:-1]) == 401, (method, path)
                below = SCOPES[: SCOPES.index(scope)] if scope else ()
                for weak in below:
                    assert await status(method, path, weaker[weak]) == 403, (method, path, weak)
    assert checked >= 8 * 10
