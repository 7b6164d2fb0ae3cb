"""Whom the daemon lets in: the host name it is called by, the web page that calls, the token.

Every request is checked, whatever its path, before anything of its body is read. ``needs`` and
``require`` then ask whether the caller's token may do the thing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from fastapi import Security, params
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import AidecampError, StorageFailed
from runtime.config import DaemonConfig
from runtime.daemon.answers import answer
from runtime.daemon.errors import Foreign, ScopeMissing, TokenRefused, TooManyRefused
from runtime.daemon.tokens import Caller, TokenStore
from runtime.daemon.tokens import Scope as Scope_

log = logging.getLogger(__name__)

ALWAYS = frozenset({"localhost", "127.0.0.1", "[::1]", "aidecamp"})
"""Names of this machine, and the one that clients of the Unix socket use."""
ANY_ADDRESS = frozenset({"0.0.0.0", "[::]", ""})  # noqa: S104 - refused as a name, never bound
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
EXPOSED = "x-aidecamp-route, x-aidecamp-decision, retry-after"
PREFLIGHT_S = 600
"""How long a browser may remember a preflight's answer."""
WRONG_PER_WINDOW = 100
"""Wrong tokens from one address, before it is told to wait."""
WINDOW_S = 60.0
MAX_PEERS = 1024

NO_TOKEN = TokenRefused(
    "This needs a token of the daemon, and none that it knows came with the request.",
    hint="Send it as `Authorization: Bearer TOKEN`; `aidecamp daemon token` shows and makes them.",
)


class Needs(SecurityBase):
    """A dependency: the caller's token must have ``scope``. The OpenAPI schema tells it too."""

    def __init__(self, scope: Scope_) -> None:
        self.scope = scope
        self.scheme_name = "token"
        self.model = HTTPBearer(description="A token of the daemon; its scope goes with each path.")

    async def __call__(self, request: HTTPConnection) -> Caller:
        return require(caller(request), self.scope)


def needs(scope: Scope_) -> params.Security:
    """For ``dependencies=[…]`` of a route: 403 to a token without ``scope``."""
    dependency: params.Security = Security(Needs(scope), scopes=[scope])
    return dependency


def require(caller: Caller, scope: Scope_) -> Caller:
    """Raises ScopeMissing where the caller's token may not do what needs ``scope``."""
    if not caller.may(scope):
        raise ScopeMissing(
            f"The token {caller.name!r} has the scope {caller.scope!r}; this needs {scope!r}.",
            hint=f"`aidecamp daemon token add NAME --scope {scope}` makes one that may.",
        )
    return caller


def caller(request: HTTPConnection) -> Caller:
    """Who sent the request. Raises TokenRefused where no Guard let it in."""
    found = request.scope.get("state", {}).get("caller")
    if not isinstance(found, Caller):
        raise TokenRefused(NO_TOKEN.message, hint=NO_TOKEN.hint)
    return found


class Guard:
    """ASGI middleware: 403 to foreign hosts and web pages, 401 to unknown tokens.

    ``settings`` is asked at every request, so that a changed configuration holds at once.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: TokenStore,
        settings: Callable[[], DaemonConfig],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._settings = settings
        self._wrong = Wrong(now)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # The daemon speaks no WebSocket.
            await send({"type": "websocket.close", "code": 1008})
            return
        settings = self._settings()
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        try:
            _check_host(headers, settings)
            origin = _origin(headers, settings.cors_origins)
        except Foreign as error:
            await answer(error)(scope, receive, send)
            return
        if origin is not None:
            send = _allowing(origin, send)
            if scope["method"] == "OPTIONS" and _all(headers, b"access-control-request-method"):
                await _preflight(headers)(scope, receive, send)
                return
        try:
            found = self._known(headers, scope.get("client"))
        except AidecampError as error:
            await answer(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = found
        await self._app(scope, receive, send)

    def _known(self, headers: Iterable[tuple[bytes, bytes]], client: object) -> Caller:
        given = _all(headers, b"authorization")
        scheme, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        presented = token.strip() if scheme.lower() == b"bearer" else b""
        try:
            # Also where no token came, so that both take the same time.
            found = self._tokens.check(presented)
        except StorageFailed as error:
            log.error("no request can be let in: %s %s", error.message, error.hint)
            raise StorageFailed(
                "The daemon cannot read its tokens, so it lets nobody in.",
                hint="`aidecamp daemon logs` says why.",
            ) from error
        if found is not None:
            return found
        peer = str(client[0]) if isinstance(client, (tuple, list)) and client else "unix"
        if presented and (wait_s := self._wrong.another(peer)):
            # The right token is let in before this is asked: nobody can lock its holder out.
            raise TooManyRefused(
                "Too many wrong tokens came from this address.",
                hint=NO_TOKEN.hint,
                retry_after_s=wait_s,
            )
        raise TokenRefused(NO_TOKEN.message, hint=NO_TOKEN.hint)


class Wrong:
    """Counts wrong tokens by address, in fixed windows. At most MAX_PEERS are remembered."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._peers: dict[str, _Window] = {}

    def another(self, peer: str) -> float | None:
        """Seconds until the address may go on; None while it has not had too many."""
        now = self._now()
        window = self._peers.get(peer)
        if window is None or now >= window.end:
            self._peers.pop(peer, None)
            while len(self._peers) >= MAX_PEERS:
                self._peers.pop(next(iter(self._peers)))
            window = self._peers[peer] = _Window(now + WINDOW_S)
        window.count += 1
        if window.count == WRONG_PER_WINDOW + 1:
            log.warning("more than %d wrong tokens from %s", WRONG_PER_WINDOW, peer)
        return window.end - now if window.count > WRONG_PER_WINDOW else None

    def __len__(self) -> int:
        return len(self._peers)


@dataclass(slots=True)
class _Window:
    end: float
    count: int = 0


def _all(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _check_host(headers: Iterable[tuple[bytes, bytes]], settings: DaemonConfig) -> None:
    """A web page whose name was made to point here (DNS rebinding) comes with that name."""
    given = _all(headers, b"host")
    name = _name(given[0].decode("latin-1")) if len(given) == 1 else None
    if name is None or name not in _names(settings.host, tuple(settings.allowed_hosts)):
        raise Foreign(
            "The request is addressed to another host."
            if given
            else "The request names no host that it is addressed to.",
            hint="Use localhost or 127.0.0.1, or list the name in daemon.allowed_hosts.",
        )


@lru_cache(maxsize=8)
def _names(host: str, allowed: tuple[str, ...]) -> frozenset[str]:
    listed = {
        _name(f"[{one}]" if one.count(":") > 1 and one[0] != "[" else one) or ""
        for one in (host, *allowed)
    }
    return ALWAYS | (listed - ANY_ADDRESS)


def _name(host: str) -> str | None:
    """The name in ``name``, ``name:port``, ``[address]`` or ``[address]:port``, in lower case;
    None where it is none of these."""
    host = host.strip().lower()
    if host.startswith("["):
        address, closed, rest = host.partition("]")
        name, port = address + closed, rest.removeprefix(":") if rest else ""
        if not closed or (rest and not rest.startswith(":")):
            return None
    else:
        name, colon, port = host.partition(":")
        if colon and not port:
            return None
    if port and not (port.isascii() and port.isdigit()):
        return None
    return name or None


def _origin(headers: Iterable[tuple[bytes, bytes]], listed: list[str]) -> str | None:
    """The web page that calls, if one does. Raises Foreign where it is not listed."""
    given = [value.decode("latin-1") for value in _all(headers, b"origin")]
    if not given:
        site = [value.strip().lower() for value in _all(headers, b"sec-fetch-site")]
        if any(one not in (b"same-origin", b"none") for one in site):
            # Browsers leave Origin out of some requests, but not this.
            raise Foreign(
                "A web page of another site sent this request.",
                hint="List its origin in daemon.cors_origins, if it may call the daemon.",
            )
        return None
    if len(given) > 1 or given[0] == "null" or given[0] not in listed:
        raise Foreign(
            "The web page that sent this request may not call the daemon.",
            hint="List its origin in daemon.cors_origins, if it may.",
        )
    return given[0]


def _allowing(origin: str, send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = EXPOSED
            headers.add_vary_header("Origin")
        await send(message)

    return with_headers


def _preflight(headers: Iterable[tuple[bytes, bytes]]) -> Response:
    """What a listed page may send. The token is asked for when it does."""
    wanted = b", ".join(_all(headers, b"access-control-request-headers")).decode("latin-1")
    allowed = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Max-Age": str(PREFLIGHT_S),
    }
    if wanted:
        allowed["Access-Control-Allow-Headers"] = wanted
    return Response(status_code=204, headers=allowed)
