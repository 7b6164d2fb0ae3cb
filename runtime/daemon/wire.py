"""The wire to one daemon: HTTP over its Unix socket, with the user's own token.

JSON in, JSON out; an error that the daemon answers is raised as its own class again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from pathlib import Path
from typing import Any

import httpx

from models.errors import AidecampError
from runtime.daemon.errors import DaemonMissing, revive
from runtime.daemon.tokens import TokenStore, configured

START_IT = "Start it: aidecamp daemon start."
TIMEOUT_S = 30.0
SILENCE_S = 25.0
"""A stream that says nothing this long (it beats every 10 s) is dead."""


class OwnToken(httpx.Auth):
    """Sends the user's own token, as it is kept at that moment. Raises StorageFailed where it
    cannot be read."""

    def __init__(self, tokens: TokenStore | None = None) -> None:
        self._tokens = tokens

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self._tokens = self._tokens or configured()
        request.headers["Authorization"] = f"Bearer {self._tokens.own()}"
        yield request


class Wire:
    """Every error is an AidecampError; DaemonMissing where no daemon answers."""

    def __init__(self, socket_path: Path, tokens: TokenStore | None = None) -> None:
        self.socket_path = socket_path
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket_path)),
            base_url="http://aidecamp",
            auth=OwnToken(tokens),
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def sse(
        self, method: str, path: str, **rest: Any
    ) -> AsyncGenerator[tuple[str, str], None]:
        """Server-sent events as (event, data), after one ("", "") when the stream is open."""
        timeout = httpx.Timeout(TIMEOUT_S, read=SILENCE_S)
        try:
            async with self._http.stream(method, path, timeout=timeout, **rest) as response:
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    raise _error(response)
                yield "", ""
                kind, data = "", ""
                async for line in response.aiter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        kind = value
                    elif field == "data":
                        data = value
                    elif line == "" and data:
                        yield kind, data
                        kind, data = "", ""
        except httpx.TransportError as error:
            raise self._missing(error) from error

    async def get(self, path: str, **parameters: Any) -> Mapping[str, Any]:
        given = {k: v for k, v in parameters.items() if v is not None}
        return await self.request("GET", path, params=given)

    async def post(self, path: str, body: Mapping[str, Any] | None) -> Mapping[str, Any]:
        return await self.request("POST", path, json=body)

    async def request(self, method: str, path: str, **rest: Any) -> Mapping[str, Any]:
        body: Mapping[str, Any] = (await self.send(method, path, **rest)).json()
        return body

    async def send(self, method: str, path: str, **rest: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **rest)
        except httpx.TransportError as error:
            raise self._missing(error) from error
        if response.is_error:
            raise _error(response)
        return response

    def _missing(self, error: httpx.TransportError) -> DaemonMissing:
        return DaemonMissing(
            f"No daemon answers on {self.socket_path} ({type(error).__name__}).",
            hint=START_IT,
        )


def _error(response: httpx.Response) -> AidecampError:
    """The error that the daemon raised, as its own class again."""
    try:
        return revive(response.json())
    except (ValueError, KeyError, TypeError):
        return AidecampError(f"The daemon answered {response.status_code}, and no JSON error.")
