"""Streamed and drawn answers of the real default model, and what it counts."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from models.base import Generation, Message, Token
from models.counters import Counters
from models.decoding import Decoding
from models.errors import UsageError
from models.llama import LlamaGenerator
from models.pool import Pool
from models.sampling import Sampling
from models.store import Store
from models.streaming import TextStream

CALL = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "hot": {"type": "boolean"}},
    "required": ["city", "hot"],
    "additionalProperties": False,
}


def ask(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def generator(gguf: Path) -> Iterator[LlamaGenerator]:
    generator = LlamaGenerator(gguf, n_ctx=1024)
    yield generator
    generator.close()


class Reader:
    """Takes tokens as a server does, and shows their text."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self.tokens: list[Token] = []
        self.shown: list[str] = []
        self.begun = threading.Event()
        self._stream = TextStream(stop)

    def __call__(self, news: Sequence[Token]) -> None:
        self.tokens += news
        self.shown += [self._stream.feed(token.piece) for token in news]
        self.begun.set()

    @property
    def text(self) -> str:
        return "".join([*self.shown, self._stream.finish()])


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Tell me about rain.", {}),
        (
            "Repeat after me: 🙂 naïve café — 東京 ✓",
            {"sampling": Sampling(temperature=0.4, seed=5)},
        ),
        ("Is it hot in Rome? As JSON.", {"schema": CALL}),
        ("Is it hot in Rome?", {"schema": CALL, "sampling": Sampling(temperature=1, seed=2)}),
        ("Some emoji", {"regex": "[🙂🚀🎉é東]{6}", "sampling": Sampling(temperature=2, seed=1)}),
        ("cut", {"regex": "🙂{20}", "max_tokens": 6}),
    ],
)
async def test_what_is_streamed_is_the_answer(
    text: str, options: dict[str, Any], generator: LlamaGenerator
) -> None:
    reader = Reader()
    answer = await generator.generate(ask(text), on_tokens=reader, **{"max_tokens": 40, **options})
    assert tuple(reader.tokens) == answer.tokens
    assert reader.text == answer.text
    assert b"".join(token.piece for token in answer.tokens).decode("utf-8", "replace") == (
        answer.text
    )


async def test_a_character_over_several_tokens_is_never_shown_in_halves(
    generator: LlamaGenerator,
) -> None:
    reader = Reader()
    answer = await generator.generate(ask("emoji"), regex="🚀🙂🎉", on_tokens=reader)
    assert any(token.text.endswith("\ufffd") for token in answer.tokens)
    assert "".join(reader.shown) == answer.text == "🚀🙂🎉"


async def test_a_streamed_answer_never_shows_its_stop_text(generator: LlamaGenerator) -> None:
    messages = ask("Count from one to nine.")
    whole = (await generator.generate(messages, max_tokens=24)).text
    for stop in (whole[6:9], whole[3:14], whole[10]):
        reader = Reader([stop])
        answer = await generator.generate(messages, max_tokens=24, stop=[stop], on_tokens=reader)
        assert reader.text == answer.text == whole[: whole.index(stop)]


async def test_a_reader_that_raises_fails_its_own_call_alone(generator: LlamaGenerator) -> None:
    def gone(_: Sequence[Token]) -> None:
        raise ConnectionResetError("the reader is gone")

    results = await asyncio.gather(
        generator.generate(ask("one"), max_tokens=8, on_tokens=gone),
        generator.generate(ask("two"), grammar='start: "fine"'),
        return_exceptions=True,
    )
    assert isinstance(results[0], ConnectionResetError)
    assert isinstance(results[1], Generation)
    assert results[1].text == "fine"


async def test_a_cancelled_stream_frees_its_slot(generator: LlamaGenerator) -> None:
    reader = Reader()
    before = generator.counters
    call = asyncio.create_task(
        generator.generate(
            ask("a story"), grammar="start: /[a-z ]{900}/", max_tokens=900, on_tokens=reader
        )
    )
    assert await asyncio.to_thread(reader.begun.wait, 30)
    assert (generator.running, generator.waiting) == (1, 0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await generator.generate(ask("next"), grammar='start: "next"')
    counted = generator.counters
    assert (counted.running, counted.waiting) == (0, 0)
    assert (counted.calls, counted.failed) == (before.calls + 2, before.failed + 1)
    assert len(reader.tokens) < 900


SEEDED = Sampling(temperature=0.9, top_p=0.95, seed=11)


@pytest.mark.parametrize("how", [Decoding(True, 0), Decoding(True, 15)])
async def test_the_same_seed_writes_the_same_answer(
    how: Decoding, generator: LlamaGenerator
) -> None:
    """Alone and with its prompt cached, so the batches are the same ones."""
    messages = ask("Name an animal, and say why you like it.")
    options: dict[str, Any] = {"max_tokens": 24, "decoding": how}
    await generator.generate(messages, **options)
    first = await generator.generate(messages, sampling=SEEDED, **options)
    again = await generator.generate(messages, sampling=SEEDED, **options)
    assert again.text == first.text
    others = [
        (await generator.generate(messages, sampling=Sampling(0.9, 0.95, seed), **options)).text
        for seed in (12, 13, 14)
    ]
    assert len({first.text, *others}) > 2
    assert any(token.margin == 0 and token.logprob < 0 for token in first.tokens)


async def test_a_sampling_that_is_greedy_changes_nothing(generator: LlamaGenerator) -> None:
    messages = ask("What is the capital of France?")
    plain = await generator.generate(messages, max_tokens=12)
    again = await generator.generate(messages, max_tokens=12, sampling=Sampling(seed=3, top_p=0.5))
    assert again.text == plain.text


async def test_drawn_answers_meet_their_schema(generator: LlamaGenerator) -> None:
    answers = await asyncio.gather(
        *(
            generator.generate(
                ask("the weather in some city"),
                schema=CALL,
                sampling=Sampling(temperature=1.2, seed=seed, frequency_penalty=0.5),
            )
            for seed in range(6)
        )
    )
    values = [json.loads(answer.text) for answer in answers]
    assert all(set(value) == {"city", "hot"} for value in values)
    assert len({value["city"] for value in values}) > 2


async def test_a_frequency_penalty_ends_a_repetition(generator: LlamaGenerator) -> None:
    messages = ask("Write the word ha very often: ha ha ha ha ha ha")
    regex = "( ?(ha|ho|hi|he)){24}"
    plain = await generator.generate(messages, regex=regex, max_tokens=60)
    sampling = Sampling(frequency_penalty=2, presence_penalty=1)
    other = await generator.generate(messages, regex=regex, max_tokens=60, sampling=sampling)
    assert len(set(other.text.split())) > len(set(plain.text.split()))


async def test_alternatives_hold_the_token_and_are_sorted(generator: LlamaGenerator) -> None:
    answer = await generator.generate(ask("Is it hot in Rome?"), schema=CALL, top_logprobs=5)
    free = [token for token in answer.tokens if not token.forced]
    assert free
    for token in answer.tokens:
        if token.forced:
            assert (token.logprob, token.top) == (0.0, ())
            continue
        assert 2 <= len(token.top) <= 5
        assert (token.top[0].id, token.top[0].piece) == (token.id, token.piece)
        assert token.top[0].logprob == token.logprob
        logprobs = [other.logprob for other in token.top]
        assert logprobs == sorted(logprobs, reverse=True)
        assert sum(map(math.exp, logprobs)) <= 1 + 1e-4
    plain = await generator.generate(ask("Is it hot in Rome?"), schema=CALL)
    assert not any(token.top for token in plain.tokens)


async def test_a_boolean_has_two_alternatives(generator: LlamaGenerator) -> None:
    answer = await generator.generate(
        ask("Is snow cold?"), grammar='start: "true" | "false"', top_logprobs=20
    )
    first = answer.tokens[0]
    assert {other.piece[:1] for other in first.top} == {b"t", b"f"}
    assert sum(math.exp(other.logprob) for other in first.top) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("count", [-1, 21])
async def test_a_count_of_alternatives_out_of_range_is_refused(
    count: int, generator: LlamaGenerator
) -> None:
    with pytest.raises(UsageError, match="top_logprobs"):
        await generator.generate(ask("x"), top_logprobs=count)


async def test_a_pooled_model_streams_and_counts_as_the_model_does(pool: Pool) -> None:
    pooled = pool.generator("smollm2-135m")
    reader = Reader()
    answer = await pooled.generate(
        ask("Say hello."),
        max_tokens=8,
        on_tokens=reader,
        sampling=Sampling(temperature=0.7, seed=1),
        top_logprobs=2,
    )
    assert reader.text == answer.text
    assert all(len(token.top) == 2 for token in answer.tokens)
    counted = pooled.counters
    assert counted is not None
    assert counted.calls >= 1
    assert counted.tokens_out >= len(answer.tokens)
    assert (counted.running, counted.waiting) == (0, 0)


def test_a_pooled_model_that_is_not_loaded_has_no_counters(store: Store) -> None:
    pool = Pool(store)
    try:
        pooled = pool.generator("smollm2-135m")
        assert pooled.counters == Counters()
        assert pool.unload("smollm2-135m")
        assert pooled.counters is None
        assert pool.status() == [], "to ask for them loads nothing"
    finally:
        pool.close()


async def test_a_model_counts_from_its_loading_on(gguf: Path) -> None:
    generator = LlamaGenerator(gguf, n_ctx=256)
    try:
        assert generator.counters == Counters()
        first = await generator.generate(ask("x"), max_tokens=2)
        second = await generator.generate(ask("x"), max_tokens=2)
        used = [first.usage, second.usage]
        counted = generator.counters
        assert counted.calls == 2
        assert counted.tokens_in == sum(u.tokens_in for u in used)
        assert counted.tokens_cached == second.usage.tokens_cached > 0
        assert counted.tokens_out == sum(u.tokens_out for u in used)
        assert counted.batches == sum(u.model_calls for u in used)
    finally:
        generator.close()
