"""One answer on a toy model: what is told while it grows, what is drawn, what else might have been.

Its logits do not depend on the batch, so drawn answers can be compared to the last bit too.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Generation, Token
from models.decoding import Decoding
from models.errors import ToolFailed
from models.loops import LoopBreaker
from models.sampling import Sampler, Sampling, log_softmax
from models.streaming import TextStream
from tests.models.test_engine import HEAD, Bench, by_hand, tokens, words
from tests.models.toy import ALPHABET, END, toy_logits

PLAIN = Decoding(False, 0)
FAST = Decoding(True, 12)
REPEATING = "the quick brown fox jumps over a lazy dog; the"


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()
    assert bench.idle_sequences == 0
    assert bench.engine.running == 0


class Told:
    """What ``on_tokens`` was given, call by call."""

    def __init__(self) -> None:
        self.calls: list[Sequence[Token]] = []
        self.threads: set[str] = set()
        self.begun = threading.Event()

    def __call__(self, news: Sequence[Token]) -> None:
        self.calls.append(news)
        self.threads.add(threading.current_thread().name)
        self.begun.set()

    @property
    def tokens(self) -> tuple[Token, ...]:
        return tuple(token for call in self.calls for token in call)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(words, min_size=1, max_size=4, unique=True),
    st.booleans(),
    st.sampled_from([PLAIN, Decoding(True, 0), FAST]),
    st.integers(1, 30),
)
def test_each_token_is_told_once_and_in_order(
    options: list[str], constrained: bool, how: Decoding, max_tokens: int
) -> None:
    bench = Bench()
    try:
        told = [Told() for _ in range(3)]
        answers = bench.run(
            *(
                bench.job(
                    f"{HEAD}{options[0]}{n}",
                    options=options if constrained else None,
                    decoding=how,
                    max_tokens=max_tokens,
                    on_tokens=each,
                )
                for n, each in enumerate(told)
            )
        )
        for answer, each in zip(answers, told, strict=True):
            assert each.tokens == answer.tokens
            assert all(each.calls), "nobody is told of nothing"
            assert each.threads <= {bench.thread.name}
    finally:
        bench.close()


def test_tokens_are_told_before_the_model_goes_on(bench: Bench) -> None:
    seen: list[int] = []
    answer = bench.run(
        bench.job(
            HEAD,
            decoding=PLAIN,
            max_tokens=5,
            on_tokens=lambda news: seen.extend(len(bench.context.batches) for _ in news),
        )
    )[0]
    assert len(answer.tokens) == 5
    assert seen == [1, 2, 3, 4, 5]


def test_forced_tokens_are_told_before_any_batch(bench: Bench) -> None:
    told = Told()
    bench.context.gate = threading.Event()
    job = bench.job(HEAD, options=["forced: a", "forced: b"], on_tokens=told)
    bench.engine.submit(job)
    assert told.begun.wait(30)
    assert "".join(token.text for token in told.tokens) == "forced: "
    assert not bench.context.batches
    bench.context.gate.set()
    assert job.future.result(30).text in ("forced: a", "forced: b")


def test_a_stop_text_is_never_shown(bench: Bench) -> None:
    whole = by_hand(REPEATING, 40)
    stop = whole[20:23]
    told = Told()
    answer = bench.run(bench.job(REPEATING, max_tokens=40, on_tokens=told, stop=[stop]))[0]
    stream = TextStream([stop])
    shown = [stream.feed(token.piece) for token in told.tokens] + [stream.finish()]
    assert "".join(shown) == answer.text == whole[: whole.index(stop)]
    assert stream.stopped


@pytest.mark.parametrize(
    ("error", "met"),
    [
        (ValueError("the reader is gone"), ValueError),
        (StopIteration(), RuntimeError),
        (asyncio.CancelledError(), ToolFailed),
        (SystemExit(3), ToolFailed),
    ],
)
@pytest.mark.parametrize("options", [None, ["forced: a", "forced: b"]])
def test_a_reader_that_raises_fails_its_own_call_alone(
    error: BaseException, met: type[Exception], options: list[str] | None, bench: Bench
) -> None:
    def raises(_: Sequence[Token]) -> None:
        raise error

    told = Told()
    broken = bench.job(HEAD, options=options, on_tokens=raises)
    sound = bench.job(HEAD + "x", on_tokens=told)
    for job in (broken, sound):
        bench.engine.submit(job)
    with pytest.raises(met):
        broken.future.result(30)
    assert sound.future.result(30).text == by_hand(HEAD + "x", 24)
    assert told.tokens == sound.future.result().tokens
    assert bench.engine.counters.failed == 1


def drawn(bench: Bench, text: str, sampling: Sampling, **options: Any) -> Generation:
    job = bench.job(text, sampler=Sampler(sampling), **options)
    answer: Generation = bench.run(job)[0]
    return answer


def drawn_by_hand(text: str, sampling: Sampling, count: int) -> str:
    sampler, held, out = Sampler(sampling), tokens(text), ""
    for _ in range(count):
        token = sampler.pick(toy_logits(held), None).token
        if token == END:
            break
        sampler.wrote(token)
        held.append(token)
        out += ALPHABET[token]
    return out


samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    top_p=st.sampled_from([0.2, 0.9, 1.0]),
    seed=st.integers(),
    presence_penalty=st.sampled_from([0.0, 1.5, -1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.7, 2.0]),
)


@settings(max_examples=40, deadline=None)
@given(samplings, words, st.integers(0, 15))
def test_a_seed_gives_the_same_answer_drafted_cached_and_in_company(
    sampling: Sampling, text: str, draft_tokens: int
) -> None:
    bench = Bench()
    try:
        how = Decoding(True, draft_tokens)
        prompt = f"{text}, {REPEATING}"
        expected = drawn_by_hand(prompt, sampling, 24)
        jobs = [bench.job(prompt, decoding=how, sampler=Sampler(sampling)) for _ in range(2)]
        jobs.append(bench.job(HEAD + text))
        first, second, greedy = bench.run(*jobs)
        assert first.text == second.text == expected
        assert greedy.text == by_hand(HEAD + text, 24)
        assert drawn(bench, prompt, sampling, decoding=how).text == expected
    finally:
        bench.close()


@settings(max_examples=40, deadline=None)
@given(samplings, st.lists(words, min_size=1, max_size=5, unique=True))
def test_a_drawn_answer_meets_its_grammar_however_it_is_decoded(
    sampling: Sampling, options: list[str]
) -> None:
    bench = Bench()
    try:
        text = f"{HEAD}{options[0]}"
        plain, fast = (
            drawn(bench, text, sampling, options=options, decoding=how, max_tokens=50)
            for how in (PLAIN, FAST)
        )
        assert plain.text in options
        assert fast.text == plain.text
    finally:
        bench.close()


def test_a_draft_counts_only_where_it_was_drawn(bench: Bench) -> None:
    cold = drawn(bench, REPEATING, Sampling(temperature=0.05, seed=1), decoding=FAST)
    assert cold.usage.tokens_drafted > 8
    hot = Sampling(temperature=2, seed=1)
    answer = drawn(bench, REPEATING, hot, decoding=FAST, max_tokens=40)
    assert answer.text == drawn_by_hand(REPEATING, hot, 40)
    assert answer.usage.tokens_drafted < len(answer.tokens) / 2


def test_every_option_of_a_grammar_is_drawn_by_some_seed(bench: Bench) -> None:
    options = ["north", "south", "east", "west"]
    seen = {
        drawn(bench, HEAD, Sampling(temperature=2, seed=seed), options=options).text
        for seed in range(40)
    }
    assert seen == set(options)


def test_a_drawn_loop_is_broken_out_of(bench: Bench) -> None:
    """The toy repeats itself: what closes the string is taken although it is not drawn."""
    span = "search+" * 3
    options = [f'["{span * 3}"]', *(f'["{span * n}"]' for n in (1, 2))]
    sampling = Sampling(temperature=0.01, seed=4)
    breaker = LoopBreaker("", bench.context.piece)
    looping = drawn(bench, f"{HEAD}{options[0]}", sampling, options=options, max_tokens=90)
    broken = drawn(
        bench, f"{HEAD}{options[0]}", sampling, options=options, max_tokens=90, breaker=breaker
    )
    assert looping.text == options[0]
    assert broken.text == f'["{span}"]'
    assert broken.margin == 0


def test_the_penalties_count_what_was_forced(bench: Bench) -> None:
    """Both options begin with the same letter; only the penalty keeps it from coming again."""
    liked = Sampling(presence_penalty=-2, frequency_penalty=-2)
    shy = Sampling(presence_penalty=2, frequency_penalty=2)
    options = ["aaaaaa", "aaaaab"]
    assert drawn(bench, HEAD, liked, options=options, decoding=FAST).text == "aaaaaa"
    assert drawn(bench, HEAD, shy, options=options, decoding=FAST).text == "aaaaab"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 20), st.sampled_from([PLAIN, FAST]), st.sampled_from([0.0, 1.0]))
def test_alternatives_are_the_models_likeliest_at_each_place(
    count: int, how: Decoding, temperature: float
) -> None:
    bench = Bench()
    try:
        sampler = Sampler(Sampling(temperature=temperature, seed=5)) if temperature else None
        job = bench.job(REPEATING, decoding=how, top_logprobs=count, sampler=sampler)
        answer: Generation = bench.run(job)[0]
        held = tokens(REPEATING)
        for token in answer.tokens:
            odds = log_softmax(toy_logits(held))
            best = sorted(range(len(odds)), key=lambda i: -odds[i])[:count]
            assert [other.id for other in token.top] == best
            assert [other.logprob for other in token.top] == pytest.approx(
                [float(odds[i]) for i in best], abs=1e-4
            )
            assert [other.piece for other in token.top] == [bench.context.piece(i) for i in best]
            assert token.logprob == pytest.approx(float(odds[token.id]), abs=1e-4)
            held.append(token.id)
    finally:
        bench.close()


def test_alternatives_are_among_what_the_grammar_allows_and_forced_tokens_have_none(
    bench: Bench,
) -> None:
    options = ["go north", "go east", "go south"]
    for how in (PLAIN, FAST):
        job = bench.job(HEAD, options=options, decoding=how, top_logprobs=20)
        answer: Generation = bench.run(job)[0]
        for token in answer.tokens:
            if token.forced:
                assert (token.logprob, token.top) == (0.0, ())
        (free,) = [token for token in answer.tokens if not token.forced]
        assert sorted(other.piece for other in free.top) == [b"e", b"n", b"s"]
        assert sum(math.exp(other.logprob) for other in free.top) == pytest.approx(1, abs=1e-5)
        assert free.top[0].id == free.id


def test_a_token_has_its_bytes(bench: Bench) -> None:
    answer: Generation = bench.run(bench.job(REPEATING))[0]
    assert b"".join(token.piece for token in answer.tokens).decode() == answer.text
    assert Token(1, "é".encode()[:1], 0.0, 1.0, forced=False).text == "\ufffd"
