"""The connection to the General: what it counts as sent, and what it makes of nonsense."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from models.errors import Denied, GeneralFailed
from models.remote import Permit, RemoteGenerator, Reply
from tests.fakes import FakeGeneral

QUESTION = ({"role": "user", "content": "plan it"},)
AUTO = Permit("auto", "policy")


async def at_once(seconds: float) -> None:
    """Waits for nothing."""


async def ask(url: str, permit: Permit = AUTO, **settings: Any) -> Reply:
    remote = RemoteGenerator(base_url=url, model="m", timeout_s=5.0, sleep=at_once, **settings)
    return await remote.complete(QUESTION, permit)


async def test_the_bytes_of_the_body_are_counted() -> None:
    with FakeGeneral(["a plan"]) as server:
        reply = await ask(server.base_url)
    assert (reply.text, reply.bytes_sent) == ("a plan", len(server.received[0]))


async def test_a_retry_is_counted_again() -> None:
    with FakeGeneral([(500, "broken"), "a plan"]) as server:
        reply = await ask(server.base_url)
    assert len(server.received) == 2
    assert reply.bytes_sent == sum(map(len, server.received))


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://127.0.0.1:1/v1"])
async def test_a_server_that_was_never_reached_was_sent_nothing(url: str) -> None:
    with pytest.raises(GeneralFailed) as caught:
        await ask(url)
    assert caught.value.bytes_sent == 0


async def test_what_left_before_the_server_went_away_is_counted() -> None:
    """It takes the request and is gone, so it may have been served: it is not sent again."""
    server = socket.create_server(("127.0.0.1", 0))
    taken = bytearray()

    def take_one() -> None:
        connection, _ = server.accept()
        server.close()
        while b"plan it" not in taken:
            taken.extend(connection.recv(65536))
        connection.close()

    thread = threading.Thread(target=take_one)
    port = server.getsockname()[1]
    thread.start()
    with pytest.raises(GeneralFailed, match="hung up before it answered") as caught:
        await ask(f"http://127.0.0.1:{port}/v1")
    thread.join()
    assert caught.value.bytes_sent == len(taken.partition(b"\r\n\r\n")[2])


async def test_privacy_local_opens_no_connection() -> None:
    with FakeGeneral(["never"]) as server, pytest.raises(Denied):
        await ask(server.base_url, Permit("local", "user"))
    assert server.received == []


NONSENSE: tuple[Any, ...] = (
    {},
    [1, 2],
    "a text",
    {"choices": []},
    {"choices": "abc"},
    {"choices": [None]},
    {"choices": [{"message": None}]},
    {"choices": [{"message": {"content": 5}}]},
    {"choices": [{"message": {"content": "  "}}]},
)


@pytest.mark.parametrize("body", NONSENSE, ids=json.dumps)
async def test_an_answer_that_is_no_completion_is_an_error_of_the_general(body: Any) -> None:
    with FakeGeneral([(200, json.dumps(body))]) as server, pytest.raises(GeneralFailed) as caught:
        await ask(server.base_url)
    assert caught.value.bytes_sent == len(server.received[0])


async def test_counts_that_are_no_numbers_are_not_believed() -> None:
    body = {
        "model": 7,
        "usage": {"prompt_tokens": "many", "completion_tokens": -3},
        "choices": [{"message": {"content": "a plan"}}],
    }
    with FakeGeneral([(200, json.dumps(body))]) as server:
        reply = await ask(server.base_url)
    assert (reply.text, reply.model, reply.tokens_in, reply.tokens_out) == ("a plan", "m", 0, 0)
