"""A request with secrets through a real connection: none arrives, and the client sees them all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.remote import Permit, RemoteGenerator
from runtime.daemon.proxy.collecting import Collected, Collector
from runtime.daemon.proxy.outgoing import Outgoing
from runtime.daemon.proxy.restoring import restoring
from runtime.redact import Redactor
from tests.fakes import Asked, FakeGeneral, completion
from tests.fault_server import stream

MAIL, PASSWORD = "ann@example.com", "tr0ub4dor&3xyz"
SAID = f"Log in as {MAIL}, password: {PASSWORD}"


def echo(handler: Asked) -> None:
    """Says what it was told, a character at a time where a stream is wanted."""
    asked = json.loads(handler.body)
    said = asked["messages"][-1]["content"]
    if asked.get("stream"):
        stream(*said)(handler)
    else:
        handler.answer(completion(said))


async def call(server: FakeGeneral, body: dict[str, Any]) -> tuple[bytes, Collected]:
    outgoing = Outgoing.of(json.dumps(body).encode(), Redactor())
    general = RemoteGenerator(base_url=server.base_url, model="big")
    answer = await general.forward(
        "/chat/completions",
        outgoing.body(general.model),
        Permit("auto", "policy"),
        streamed=outgoing.streamed,
    )
    restore = restoring(outgoing, answer.content_type)
    collector, got = Collector(answer.content_type), b""
    async for chunk in answer.chunks:
        got += restore.feed(chunk)
    got += restore.end()
    await general.close()
    collector.feed(got)
    return got, collector.end()


@pytest.mark.parametrize("streamed", [True, False])
async def test_no_secret_arrives_and_the_answer_has_them_all(streamed: bool) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": SAID}], "stream": streamed}
    with FakeGeneral([echo]) as server:
        got, collected = await call(server, body)
    (sent,) = server.received
    assert MAIL.encode() not in sent
    assert PASSWORD.encode() not in sent
    assert json.loads(sent)["messages"][0]["content"] == (
        "Log in as <EMAIL_1>, password: <SECRET_1>"
    )
    assert collected.text == SAID
    assert (collected.finish, collected.model) == ("stop", "fake-general")
    assert collected.tokens_in == 50
    assert b"EMAIL" not in got


async def test_a_request_without_secrets_goes_and_comes_back_byte_for_byte() -> None:
    body = {"model": "big", "messages": [{"role": "user", "content": "hello"}], "seed": 1.50}
    with FakeGeneral([echo]) as server:
        got, _ = await call(server, body)
    assert server.received == [json.dumps(body).encode()]
    assert got == completion("hello").encode()
