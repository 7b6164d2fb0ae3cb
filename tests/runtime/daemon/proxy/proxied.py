"""A daemon with the real models, on a loopback port, as a program that uses it sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from models.pool import Pool
from models.store import Store
from runtime.config import load_config
from runtime.core import Call, Decision, Event, Privacy, Result, Task
from runtime.daemon.agents import Agents
from runtime.daemon.listen import Listening
from runtime.daemon.server import serve
from runtime.daemon.tokens import TokenStore
from runtime.ledger import Ledger, records
from tests.fakes import FakeGeneral

TIMER = {
    "type": "function",
    "function": {
        "name": "set_timer",
        "description": "Starts a timer.",
        "parameters": {
            "type": "object",
            "properties": {"minutes": {"type": "integer", "description": "minutes"}},
            "required": ["minutes"],
        },
    },
}
"""A tool that the default models call right."""


@dataclass
class Proxied:
    """``http``: a client with the user's own token; ``url``: its base URL, ``/v1`` included."""

    http: httpx.AsyncClient
    url: str
    token: str
    ledger: Ledger
    agents: Agents
    home: Path

    async def chat(self, *said: str, **body: Any) -> httpx.Response:
        """One chat completion; ``said`` are the user's messages."""
        messages = [{"role": "user", "content": text} for text in said]
        return await self.post("/chat/completions", {"messages": messages, **body})

    async def post(self, path: str, body: Mapping[str, Any], **headers: str) -> httpx.Response:
        return await self.http.post(self.url + path, json=body, headers=headers)

    async def streamed(self, *said: str, **body: Any) -> list[dict[str, Any]]:
        """The chunks of a streamed chat completion; the stream must have ended well."""
        answer = await self.chat(*said, stream=True, **body)
        assert answer.status_code == 200, answer.text
        lines = [line for line in answer.text.splitlines() if line]
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]

    async def health(self, until: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """What the daemon says of itself, once ``until`` holds."""
        async with asyncio.timeout(20):
            while True:
                said: dict[str, Any] = (await self.http.get(f"{self.url}/health")).json()
                if until(said):
                    return said
                await asyncio.sleep(0.01)

    def events(self, answer: httpx.Response) -> list[Event]:
        """What is on record of the call that ``answer`` answers."""
        made = self.ledger.record(answer.headers["x-aidecamp-decision"])
        assert made is not None
        return list(self.ledger.events(made.task_id))

    def task(self, answer: httpx.Response) -> Task:
        return records(self.events(answer), Task)[0]

    def decisions(self, answer: httpx.Response) -> list[Decision]:
        return records(self.events(answer), Decision)

    def calls(self, answer: httpx.Response) -> list[Call]:
        return records(self.events(answer), Call)

    def results(self) -> list[Result]:
        """Of all calls, in order."""
        return records(list(self.ledger.events()), Result)

    async def ended(self, count: int) -> list[Result]:
        """The results, once there are ``count``: the record of a call may end after its answer."""
        async with asyncio.timeout(20):
            while True:
                if len(found := self.results()) >= count:
                    return found
                await asyncio.sleep(0.01)


class Start(Protocol):
    """Starts a daemon with the test's own folder and the loaded models.

    ``general``: the General, or its base URL, with the ``privacy`` that its calls have; None: no
    General, and the privacy that nobody set.
    """

    def __call__(
        self,
        general: FakeGeneral | str | None = None,
        privacy: Privacy = "auto",
        *,
        config: str = "",
        policy: str = "",
    ) -> AbstractAsyncContextManager[Proxied]: ...


@asynccontextmanager
async def proxied(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    pool: Pool | None = None,
    *,
    general: str = "",
    config: str = "",
    policy: str = "",
) -> AsyncIterator[Proxied]:
    """A daemon whose data lie in ``home``. ``general``: the General's base URL; ``config`` and
    ``policy``: more lines of the two files."""
    models = Store().root
    monkeypatch.setenv("AIDECAMP_HOME", str(home))
    (home / "models").symlink_to(models)
    monkeypatch.setenv("AIDECAMP_DAEMON__PORT", "0")
    seat = f'[general]\nbase_url = "{general}"\nmodel = "fake-general"\napi_key = "k"\n'
    (home / "config.toml").write_text(f"{config}\n{seat if general else ''}")
    (home / "policy.toml").write_text(policy)
    loaded = load_config()
    ledger = Ledger(home / "ledger.db")
    agents = Agents(loaded, ledger, pool)
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(
        serve(
            home / "run" / "daemon.sock",
            ledger,
            agents,
            folder=home,
            privacy=loaded.privacy,
            agents=agents,
            config=loaded,
            ready=ready.set_result,
            until=stop,
        )
    )
    waits: list[asyncio.Future[Any]] = [serving, ready]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    url = f"{ready.result().address}/v1"
    token = TokenStore(home).own()
    try:
        async with httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        ) as http:
            yield Proxied(http, url, token, ledger, agents, home)
    finally:
        stop.set()
        await serving
        await asyncio.to_thread(agents.close)
        ledger.close()
