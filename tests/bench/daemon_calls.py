"""Calls that carry a nonce of their own, and what became of each: what the load of the daemon's
benchmarks is made of.

A call's nonce is in its prompt and, where the answer has a form, the only value that the form
allows in one place: so an answer that belongs to another call shows.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from tests.bench.daemon_home import LOCAL
from tests.bench.engine_run import is_valid

MAX_TOKENS = 64
WORDS_TOKENS = 24
NONCE = re.compile(r"q\d{9}")
SIZES = ("small", "medium", "large")

Form = Literal["json", "tool", "words"]
End = Literal["answered", "wrong", "refused", "busy", "lost", "cancelled"]
"""``busy``: 429. ``refused``: another error, told in OpenAI's shape. ``lost``: neither an answer
nor a refusal."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One call."""

    nonce: str
    form: Form
    body: Mapping[str, Any]

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))


@dataclass(slots=True)
class Told:
    """What became of a call. ``ms``: wall time; ``why``: in words, where it is no answer."""

    end: End
    ms: float = 0.0
    why: str = ""
    decision_id: str = ""
    retry_after_s: float = 0.0


@dataclass(slots=True)
class _Answer:
    """An answer as its parts came."""

    text: str = ""
    arguments: str = ""
    finish: str = ""
    error: str = ""
    done: bool = False
    names: list[str] = field(default_factory=list)


class Nonces:
    """Nonces that were not given out before."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)
        self.given: set[str] = set()

    def new(self) -> str:
        while (nonce := f"q{self._source.randrange(10**9):09d}") in self.given:
            pass
        self.given.add(nonce)
        return nonce


def order_schema(nonce: str) -> dict[str, Any]:
    """An order with this number and no other."""
    return {
        "type": "object",
        "properties": {"order": {"const": nonce}, "size": {"enum": list(SIZES)}},
        "required": ["order", "size"],
        "additionalProperties": False,
    }


def json_ask(nonce: str, *, stream: bool = False, model: str = LOCAL) -> Ask:
    schema = order_schema(nonce)
    form = {"type": "json_schema", "json_schema": {"name": "o", "strict": True, "schema": schema}}
    said = [
        {"role": "system", "content": "You take orders. Answer with the order as JSON."},
        {"role": "user", "content": f"Order {nonce}: a {SIZES[int(nonce[-1]) % 3]} cup of tea."},
    ]
    return Ask(
        nonce,
        "json",
        {
            "model": model,
            "messages": said,
            "response_format": form,
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
            "stream": stream,
        },
    )


def tool_ask(nonce: str, *, stream: bool = False) -> Ask:
    parameters = {
        "type": "object",
        "properties": {
            "order": {"type": "string", "enum": [nonce], "description": "number of the order"},
            "size": {"type": "string", "enum": list(SIZES), "description": "size of the cup"},
        },
        "required": ["order", "size"],
        "additionalProperties": False,
    }
    function = {
        "name": "send_order",
        "description": "Sends an order of tea to the kitchen.",
        "parameters": parameters,
    }
    words = f"Send the order {nonce} to the kitchen: a {SIZES[int(nonce[-1]) % 3]} cup of tea."
    return Ask(
        nonce,
        "tool",
        {
            "model": LOCAL,
            "messages": [{"role": "user", "content": words}],
            "tools": [{"type": "function", "function": function}],
            "tool_choice": "required",
            "stream": stream,
        },
    )


def words_ask(nonce: str) -> Ask:
    said = [{"role": "user", "content": f"Order {nonce} is late. Write a kind line about it."}]
    return Ask(
        nonce,
        "words",
        {"model": LOCAL, "messages": said, "max_tokens": WORDS_TOKENS, "stream": True},
    )


async def put(http: httpx.AsyncClient, url: str, ask: Ask, given: set[str]) -> Told:
    """Send a call, and judge what comes back. ``given``: every nonce that was given out."""
    begun = time.perf_counter()
    decision, got = "", _Answer()
    try:
        async with http.stream("POST", f"{url}/chat/completions", json=ask.body) as answer:
            decision = answer.headers.get("x-aidecamp-decision", "")
            if answer.status_code != 200:
                await answer.aread()
                told = _refusal(answer)
            elif ask.stream:
                await _collect(answer.aiter_lines(), got)
                told = judged(ask, got, given)
            else:
                await answer.aread()
                _read(answer.json()["choices"][0], "message", got)
                told = judged(ask, got, given)
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
        told = Told("lost", why=f"{type(error).__name__}: {error}")
    told.ms = (time.perf_counter() - begun) * 1000
    told.decision_id = decision
    return told


def _refusal(answer: httpx.Response) -> Told:
    try:
        message = str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return Told("lost", why=f"{answer.status_code} {answer.text[:200]!r}")
    why = f"{answer.status_code} {message}"
    if answer.status_code != 429:
        return Told("refused", why=why)
    wait = answer.headers.get("retry-after", "")
    if not wait.isdigit():
        return Told("lost", why=f"429 whose Retry-After is {wait!r}")
    return Told("busy", why=why, retry_after_s=float(wait))


async def _collect(lines: AsyncIterator[str], got: _Answer) -> None:
    async for line in lines:
        if not line.startswith("data: "):
            continue
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            got.done = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            got.error = str(chunk["error"])
        for choice in chunk.get("choices", ()):
            _read(choice, "delta", got)


def _read(choice: Mapping[str, Any], key: str, got: _Answer) -> None:
    said = choice[key]
    got.done = got.done or key == "message"
    got.text += said.get("content") or ""
    for call in said.get("tool_calls") or ():
        got.arguments += call["function"].get("arguments") or ""
        got.names += [name] if (name := call["function"].get("name")) else []
    got.finish = choice.get("finish_reason") or got.finish


def judged(ask: Ask, got: _Answer, given: set[str]) -> Told:
    """Whether an answer is whole and is this call's own."""
    if got.error:
        return Told("refused", why=got.error)
    if not got.done or not got.finish:
        return Told("lost", why="the answer broke off")
    written = got.arguments if ask.form == "tool" else got.text
    if foreign := (set(NONCE.findall(written)) & given) - {ask.nonce}:
        return Told("wrong", why=f"it has another call's nonce {foreign}, not {ask.nonce}")
    if ask.form == "words":
        return Told("answered") if written else Told("wrong", why="no word")
    finish = "stop" if got.finish == "tool_calls" and got.names == ["send_order"] else got.finish
    if ask.form == "tool" and got.finish != "tool_calls":
        return Told("wrong", why=f"no tool was called: {got.text!r}")
    if not is_valid(order_schema(ask.nonce), written, finish):
        return Told("wrong", why=f"{got.names} {written!r} ({got.finish}) is not of its schema")
    return Told("answered")
