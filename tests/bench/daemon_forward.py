"""What the daemon adds to a General's first token: the same streamed call directly and through it.

The General is a server in a process of its own on loopback, whose first token comes at once. Each
pair is a text that was never sent before, because what redaction found in a text is kept: an
agent's instructions, a conversation, and now and then an address that is redacted.
``forward_p50_ms`` is the median of the paired differences of the time to the first content.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx

from tests.bench.daemon_home import home
from tests.bench.daemon_latency import TIMEOUT_S, quantile
from tests.bench.engine_run import note, words

PAIRS = 300
WARM = 10
MODEL = "fake-general"
WORDS = 80
"""Of a user's message."""
PIECES = ("Fine", ", I", " will", " see", " to it", ".")
TOKEN_S = 0.01
"""Between two tokens, after the first."""
PATIENCE_S = 5.0


# ---- the General


async def _serve() -> None:
    server = await asyncio.start_server(_connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # It ends with the process that started it, whatever is on its way.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


async def _connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            _, _, rest = head.partition("content-length:")
            asked = json.loads(await reader.readexactly(int(rest.split("\r\n")[0])))
            if not asked.get("stream"):
                writer.write(_whole())
            else:
                first, *more = _streamed()
                writer.write(first)
                for part in more:
                    await asyncio.sleep(TOKEN_S)
                    writer.write(part)
            await writer.drain()
    writer.close()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    made = {"id": "fake", "object": "chat.completion.chunk", "created": 0, "model": MODEL}
    return _chunk(b"data: " + json.dumps({**made, "choices": choices, **more}).encode() + b"\n\n")


USAGE = {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70}


def _streamed() -> Iterator[bytes]:
    """What is written at once, then what comes token by token."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    deltas = [{"content": piece} for piece in PIECES]
    begins = _event([{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}])
    first, *more = (_event([{"index": 0, "delta": d, "finish_reason": None}]) for d in deltas)
    yield head + begins + first
    yield from more
    ends = _event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    yield ends + _event([], usage=USAGE) + _chunk(b"data: [DONE]\n\n") + _chunk(b"")


def _whole() -> bytes:
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "".join(PIECES)},
    }
    body = {
        "id": "fake",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [choice],
        "usage": USAGE,
    }
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return f"{head}\r\n".encode() + data


@contextlib.contextmanager
def general() -> Iterator[str]:
    """A General in a process of its own; its base URL."""
    command = [sys.executable, "-m", "tests.bench.daemon_forward"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.stdin.close()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def config_for(url: str) -> str:
    """A daemon's ``config.toml`` that forwards to the General at ``url`` unasked."""
    seat = f'[general]\nbase_url = "{url}"\nmodel = "{MODEL}"\napi_key = "k"\n'
    return f'privacy = "auto"\n{seat}'


# ---- the measurement


def measure(pairs: int = PAIRS) -> dict[str, Any]:
    with general() as url, home(config_for(url)) as daemon:
        return asyncio.run(_measure(url, daemon.url, daemon.token, pairs))


async def _measure(direct: str, proxied: str, token: str, pairs: int) -> dict[str, Any]:
    added: list[float] = []
    direct_ms: list[float] = []
    source = random.Random(13)
    async with (
        httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as plain,
        httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S, trust_env=False
        ) as ours,
    ):
        for number in range(-WARM, pairs):
            messages = _conversation(source)
            there = (plain, direct, MODEL)
            here = (ours, proxied, f"general/{MODEL}")
            if number % 2:
                first = await _first_content_ms(*there, messages)
                second = await _first_content_ms(*here, messages)
            else:
                second = await _first_content_ms(*here, messages)
                first = await _first_content_ms(*there, messages)
            if number >= 0:
                added.append(second - first)
                direct_ms.append(first)
            if added and number % 100 == 99:
                note(f"  {number + 1} pairs: {statistics.median(added):.1f} ms added")
    return {
        "forward_p50_ms": round(statistics.median(added), 2),
        "forward": {
            "pairs": pairs,
            "added_p95_ms": round(quantile(added, 0.95), 2),
            "direct_p50_ms": round(statistics.median(direct_ms), 2),
        },
    }


def _conversation(source: random.Random) -> list[dict[str, str]]:
    """Instructions, a turn that was answered, and a request; one in four names an address."""

    def said(count: int) -> str:
        return words(count, source.randrange(2**31))

    more = f" Write to {said(1)}{source.randrange(10**6)}@example.com." * (source.random() < 0.25)
    return [
        {"role": "system", "content": said(WORDS)},
        {"role": "user", "content": said(WORDS // 4)},
        {"role": "assistant", "content": said(WORDS // 4)},
        {"role": "user", "content": f"{said(WORDS)}, {source.randrange(10**7)}.{more}"},
    ]


async def _first_content_ms(
    http: httpx.AsyncClient, url: str, model: str, messages: list[dict[str, str]]
) -> float:
    """To the first piece of content; the rest is read, and has to be whole."""
    body = {"model": model, "messages": messages, "stream": True}
    text, took, done = "", 0.0, False
    begun = time.perf_counter()
    async with http.stream("POST", f"{url}/chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            data = line.removeprefix("data: ")
            if not data:
                continue
            if data == "[DONE]":
                done = True
                continue
            for choice in json.loads(data)["choices"]:
                piece = choice["delta"].get("content") or ""
                if piece and not text:
                    took = (time.perf_counter() - begun) * 1000
                text += piece
    if not done or text != "".join(PIECES):
        raise RuntimeError(f"{url} answered {answer.status_code} {text!r}")
    return took


if __name__ == "__main__":
    asyncio.run(_serve())
