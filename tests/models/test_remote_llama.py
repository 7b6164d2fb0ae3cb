"""A General that is a real server: llama-cpp-python's own, with the local model.

It draws its answers at random, so their form is looked at, not what they say.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import GeneralFailed
from models.remote import Permit, RemoteGenerator
from models.retry import Patience
from tests.fault_server import refused_url

AUTO = Permit("auto", "policy")
QUESTION = ({"role": "user", "content": "What is the capital of France?"},)
START_S = 90.0
PATIENCE_S = 150.0  # a busy machine is no failure


@pytest.fixture(scope="module")
def url(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's URL, once it answers. Its context is short, so that every answer is."""
    base_url = refused_url()
    port = base_url.rsplit(":", 1)[1].partition("/")[0]
    log = tmp_path_factory.mktemp("llama") / "server.log"
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(gguf), "--host"]
    command += ["127.0.0.1", "--port", port, "--n_ctx", "256", "--n_threads", "1"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={k: v for k, v in os.environ.items() if not k.startswith("AIDECAMP")},
        )
        try:
            _wait_until_it_answers(base_url, server, log)
            yield base_url
        finally:
            server.terminate()
            server.wait(30)


def _wait_until_it_answers(base_url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if server.poll() is not None:
            pytest.fail(f"llama_cpp.server ended: {log.read_text('utf-8')[-2000:]}")
        try:
            with urllib.request.urlopen(f"{base_url}/models", timeout=5):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    pytest.fail(f"llama_cpp.server did not start: {log.read_text('utf-8')[-2000:]}")


async def test_it_answers_with_its_own_count_of_tokens(url: str) -> None:
    reply = await RemoteGenerator(base_url=url, model="local", timeout_s=PATIENCE_S).complete(
        QUESTION, AUTO
    )
    assert reply.text.strip()
    assert reply.tokens_in > 0
    assert reply.tokens_out > 0
    assert reply.finish in ("stop", "length")


async def test_it_streams(url: str) -> None:
    seen: list[str] = []
    remote = RemoteGenerator(base_url=url, model="local", timeout_s=PATIENCE_S)
    reply = await remote.complete(QUESTION, AUTO, on_text=seen.append)
    assert len(seen) > 1
    assert seen[-1] == reply.text
    assert all(reply.text.startswith(text) for text in seen)
    assert reply.finish in ("stop", "length")


async def test_json_that_was_asked_for_is_json(url: str) -> None:
    remote = RemoteGenerator(base_url=url, model="local", timeout_s=PATIENCE_S)
    asked = ({"role": "user", "content": 'Answer {"city": "Paris"} and nothing else.'},)
    try:
        reply = await remote.complete(asked, AUTO, schema={"type": "object"})
    except GeneralFailed as failure:
        # A model this small may write objects that never end.
        assert "asked for JSON" in failure.message
    else:
        assert reply.text.lstrip().startswith("{")


async def test_a_request_that_is_too_long_for_it_is_refused_with_its_own_words(url: str) -> None:
    remote = RemoteGenerator(base_url=url, model="local", timeout_s=PATIENCE_S)
    with pytest.raises(GeneralFailed, match=r"answered 400.*256 tokens"):
        await remote.complete(({"role": "user", "content": "one two three " * 200},), AUTO)
    assert remote.breaker.state == "closed"


async def test_it_is_left_in_the_middle_of_an_answer_at_the_deadline(url: str) -> None:
    seen: list[str] = []
    remote = RemoteGenerator(base_url=url, model="local", timeout_s=PATIENCE_S)
    story = ({"role": "user", "content": "Tell me a long story about a lighthouse."},)

    class Enough(Exception):
        """The test has what it wants."""

    def stop(text: str) -> None:
        seen.append(text)
        raise Enough

    with pytest.raises(Enough):
        await remote.complete(story, AUTO, on_text=stop)
    assert len(seen) == 1
    # It serves the next caller, so it noticed that the last one had gone.
    assert (await remote.complete(QUESTION, AUTO)).text
    with pytest.raises(GeneralFailed, match="did not answer"):
        await RemoteGenerator(
            base_url=url, model="local", patience=Patience(timeout_s=0.02)
        ).complete(story, AUTO)
