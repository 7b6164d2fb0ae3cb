"""Short structured calls of many clients at once: the daemon beside the servers of llama.cpp.

The same model file, two threads each, the same 64 clients over kept connections: JSON by a schema
in which the call's own nonce is a constant, greedy. The servers run side by side and take turns,
in blocks; whoever does not have its turn is stopped by a signal. Only valid answers count.
``throughput_ratio``: valid answers a second here by those of the better peer.
``p95_ratio``: the better peer's 95th percentile of the time to an answer by ours.

The peers get what is best for them: llama.cpp's server (through xllamacpp) batches 8 calls, keeps
prompts in its cache and has a thread for each connection; it competes twice, with threads that
wait actively and with threads that sleep, each with or without flash attention, whichever is
faster in a first try. ``llama_cpp.server`` keeps the prompt of the call before, computes the
logits that it needs alone, and is tried with and without its own cache. They get fewer calls of
each client in a block, which spares them the longest waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from models.pool import GENERATOR
from models.store import Store
from tests.bench import peers
from tests.bench.daemon_calls import Ask, Nonces, Told, json_ask, put
from tests.bench.daemon_home import LOCAL, home
from tests.bench.daemon_latency import quantile
from tests.bench.engine_run import note

CLIENTS = 64
ROUNDS = 3
EACH, EACH_NATIVE, EACH_PYTHON = 4, 2, 1
"""Calls of each client in a block: here, and at the peers."""
THREADS = 2
PARALLEL = 8
SLOT_TOKENS = 512
MAX_TOKENS = 96
WARM = 8
TIMEOUT_S = 300.0
START_S = 120.0
PEER = Path(__file__).with_name("daemon_peer.py")


@dataclass(slots=True)
class Server:
    """One that answers. ``schema_in``: how it wants a schema told."""

    name: str
    url: str
    pid: int
    each: int = EACH
    headers: Mapping[str, str] = field(default_factory=dict)
    schema_in: str = "json_schema"
    latencies_ms: list[float] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    why: str = ""
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        return len(self.latencies_ms) / self.seconds if self.seconds else 0.0

    @property
    def p95_ms(self) -> float:
        return quantile(self.latencies_ms, 0.95) if self.latencies_ms else float("inf")

    def shown(self) -> dict[str, Any]:
        p50 = quantile(self.latencies_ms, 0.5) if self.latencies_ms else None
        return {
            "answers_per_s": round(self.per_s, 2),
            "p50_ms": p50 and round(p50),
            "p95_ms": round(self.p95_ms) if self.latencies_ms else None,
            "valid": len(self.latencies_ms),
            "ends": dict(self.ends),
            "why": self.why,
        }

    def turn(self, on: bool) -> None:
        os.kill(self.pid, signal.SIGCONT if on else signal.SIGSTOP)

    def ask(self, nonce: str) -> Ask:
        made = json_ask(nonce, model=LOCAL)
        body = {**made.body, "max_tokens": MAX_TOKENS}
        if self.schema_in == "json_object":
            schema = made.body["response_format"]["json_schema"]["schema"]
            body["response_format"] = {"type": "json_object", "schema": schema}
        return Ask(nonce, "json", body)


def measure(rounds: int = ROUNDS, *, quick: bool = False) -> dict[str, Any]:
    """Nothing but nulls where the peers are not installed."""
    if not peers.installed():
        note("  the peers are not installed: python -m tests.bench.peers")
        return {"throughput_ratio": None, "p95_ratio": None}
    model = Store().file(GENERATOR, "model")
    nonces = Nonces(31)
    tries: dict[str, float] = {}
    chosen = [_best(some[:1] if quick else some, model, nonces, tries) for some in CONTENDERS]
    with contextlib.ExitStack() as open_:
        daemon = open_.enter_context(home())
        ours = Server("aidecamp", daemon.url, daemon.pid, headers=daemon.headers)
        servers = [ours, *(open_.enter_context(make(model)) for make in chosen)]
        for server in servers:
            open_.callback(server.turn, on=True)
            asyncio.run(_warm(server, nonces))
            server.turn(on=False)
        for number in range(rounds):
            for server in servers[number % 4 :] + servers[: number % 4]:
                server.turn(on=True)
                asyncio.run(_block(server, nonces))
                server.turn(on=False)
                note(f"  {server.name}: {server.per_s:.1f} answers/s, p95 {server.p95_ms:.0f} ms")
    theirs = servers[1:]
    return {
        "throughput_ratio": round(ours.per_s / max(server.per_s for server in theirs), 3),
        "p95_ratio": round(min(server.p95_ms for server in theirs) / ours.p95_ms, 3),
        "peers": {
            **{server.name: server.shown() for server in servers},
            "clients": CLIENTS,
            "rounds": rounds,
            "tries_answers_per_s": tries,
        },
    }


async def _warm(server: Server, nonces: Nonces) -> None:
    async with httpx.AsyncClient(
        headers=dict(server.headers), timeout=TIMEOUT_S, trust_env=False
    ) as http:
        for _ in range(WARM):
            told = await put(http, server.url, server.ask(nonces.new()), nonces.given)
            if told.end != "answered":
                raise RuntimeError(f"{server.name}: {told.end}: {told.why}")


async def _block(server: Server, nonces: Nonces, each: int | None = None) -> None:
    """Every client's calls, one after another; all clients at once."""

    async def client() -> list[Told]:
        async with httpx.AsyncClient(
            headers=dict(server.headers), timeout=TIMEOUT_S, trust_env=False, verify=False
        ) as http:
            return [
                await put(http, server.url, server.ask(nonces.new()), nonces.given)
                for _ in range(each or server.each)
            ]

    begun = time.perf_counter()
    rows = await asyncio.gather(*(client() for _ in range(CLIENTS)))
    server.seconds += time.perf_counter() - begun
    for told in (told for row in rows for told in row):
        server.ends[told.end] += 1
        if told.end == "answered":
            server.latencies_ms.append(told.ms)
        else:
            server.why = told.why


# ---- the peers


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to run a peer; called, it runs."""

    name: str
    native: bool
    flash: bool = True
    passive: bool = True
    cache: bool = False

    @contextlib.contextmanager
    def __call__(self, model: Path) -> Iterator[Server]:
        environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
        if self.passive:
            environment["OMP_WAIT_POLICY"] = "passive"
        port = _free_port()
        process = subprocess.Popen(
            self._command(model, port),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if self.native else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            if self.native:
                assert process.stdout is not None
                url = f"{process.stdout.readline().strip()}/v1"
                yield Server(self.name, url, process.pid, EACH_NATIVE)
            else:
                url = f"http://127.0.0.1:{port}/v1"
                _until_it_answers(f"{url}/models", process)
                yield Server(self.name, url, process.pid, EACH_PYTHON, schema_in="json_object")
        finally:
            process.kill()
            process.wait()

    def _command(self, model: Path, port: int) -> list[str]:
        if self.native:
            python = str(peers.FOLDER / "bin" / "python")
            numbers = map(str, (THREADS, PARALLEL, SLOT_TOKENS, CLIENTS + 8))
            return [python, str(PEER), str(model), *numbers, "flash" if self.flash else "no-flash"]
        return [
            *(sys.executable, "-m", "llama_cpp.server", "--model", str(model)),
            *("--host", "127.0.0.1", "--port", str(port), "--verbose", "false"),
            *("--n_threads", str(THREADS), "--n_threads_batch", str(THREADS)),
            *("--n_ctx", str(4 * SLOT_TOKENS), "--logits_all", "false"),
            *("--flash_attn", str(self.flash).lower(), "--cache", str(self.cache).lower()),
        ]


CONTENDERS = (
    (
        Peer("llama.cpp server, passive", native=True),
        Peer("llama.cpp server, flash off, passive", native=True, flash=False),
    ),
    (
        Peer("llama.cpp server", native=True, passive=False),
        Peer("llama.cpp server, flash off", native=True, flash=False, passive=False),
    ),
    (
        Peer("llama_cpp.server, passive", native=False, flash=False),
        Peer("llama_cpp.server, passive, cache", native=False, flash=False, cache=True),
    ),
)


def _best(some: tuple[Peer, ...], model: Path, nonces: Nonces, tries: dict[str, float]) -> Peer:
    """The one with the highest throughput in one short block, which goes into ``tries``."""
    if len(some) == 1:
        return some[0]
    for peer in some:
        with peer(model) as server:
            asyncio.run(_warm(server, nonces))
            asyncio.run(_block(server, nonces, 1))
            tries[peer.name] = round(server.per_s, 2)
            note(f"  tried {peer.name}: {server.per_s:.2f} answers/s")
    return max(some, key=lambda peer: tries[peer.name])


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _until_it_answers(url: str, process: subprocess.Popen[str]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with opener.open(url, timeout=5) as answer:
                json.load(answer)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer (exit code {process.poll()})")
