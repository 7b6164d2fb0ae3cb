"""The scheduler on a toy model, where every answer can be compared to the last bit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.adapters import Adapter
from models.base import Choice, Generation
from models.choosing import Options
from models.counters import Counters
from models.decoding import Answer, Decoding
from models.drafts import Drafter
from models.engine import ADAPTER_TURNS, PREFILL_TOKENS, Engine, Job
from models.errors import (
    AidecampError,
    ContextOverflow,
    DeadlineMissed,
    Overloaded,
    SchemaRefused,
    ToolFailed,
)
from models.feed import Progress
from models.grammar import Constraint
from models.llama_context import LlamaContext
from models.prefix_cache import Entry
from models.sampling import log_softmax
from tests.models.toy import ALPHABET, END, ToyConstraint, ToyContext, toy_logits

HEAD = "Fill in the city and the day. "


class Bench:
    """An engine on the toy, with its thread."""

    def __init__(self, *, parallel: int = 8, queue_cap: int = 64, cells: int = 600) -> None:
        self.context = ToyContext(cells)
        self.engine = Engine(
            cast(LlamaContext, self.context),
            name="toy",
            limit=cells,
            parallel=parallel,
            queue_cap=queue_cap,
            cache_bytes=10_000,
        )
        self.thread = threading.Thread(target=self.engine.serve, daemon=True)
        self.thread.start()

    def job(
        self,
        text: str,
        *,
        options: Sequence[str] | None = None,
        decoding: Decoding | None = None,
        max_tokens: int = 24,
        adapter: str | None = None,
        deadline: float | None = None,
        stop: Sequence[str] = (),
        **more: Any,
    ) -> Job[Generation]:
        prompt = tokens(text)
        how = decoding or Decoding()
        drafter = Drafter(text, self.context, {}) if how.draft_tokens else None

        def start(entry: Entry, progress: Progress) -> Any:
            constraint = cast(Constraint, ToyConstraint(options)) if options else None
            return Answer(
                self.context,
                "toy",
                entry.adapter,
                prompt,
                entry.cells,
                entry.length,
                max_tokens,
                stop,
                constraint,
                drafter,
                how,
                progress,
                **more,
            ).decode()

        lora = Adapter(Path(adapter), adapter, 1, 1.0, adapter, 0) if adapter else None
        return Job(prompt, max_tokens + how.draft_tokens, start, lora, deadline)

    def choice(self, text: str, options: Sequence[str]) -> Job[Choice]:
        prompt = tokens(text)
        whole = [[*tokens(option), END] for option in options]

        def start(entry: Entry, progress: Progress) -> Any:
            return Options(
                "toy",
                entry.adapter,
                prompt,
                entry.cells,
                entry.length,
                whole,
                options,
                1.0,
                progress,
                self.engine.cache.acquire,
                self.engine.cache.release,
                self.context.fork,
            ).decode()

        return Job(prompt, 64, start)

    def run(self, *jobs: Job[Any]) -> list[Any]:
        for job in jobs:
            self.engine.submit(job)
        return [job.future.result(30) for job in jobs]

    def close(self) -> None:
        self.engine.close()
        self.thread.join(30)

    @property
    def idle_sequences(self) -> int:
        """Sequences that neither are free nor belong to a kept prompt."""
        cache = self.engine.cache
        kept = sum(entry.sequence is not None for entry in cache.entries)
        return 128 - len(cache.free) - kept


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()
    assert bench.idle_sequences == 0
    assert not any(entry.active for entry in bench.engine.cache.entries)


def tokens(text: str) -> list[int]:
    return [ALPHABET.index(char) for char in text]


def by_hand(text: str, count: int, adapter: str = "") -> str:
    """Greedy decoding of the toy, one token at a time."""
    held = tokens(text)
    out = ""
    for _ in range(count):
        best = int(toy_logits(held, adapter).argmax())
        if best == END:
            break
        held.append(best)
        out += ALPHABET[best]
    return out


words = st.text(st.sampled_from("abcdeAB .,10"), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(st.lists(words, min_size=1, max_size=6), st.integers(0, 20), st.integers(1, 30))
def test_together_cached_and_drafted_equals_alone_token_by_token(
    texts: list[str], draft_tokens: int, max_tokens: int
) -> None:
    bench = Bench(parallel=4)
    try:
        how = Decoding(True, draft_tokens)
        prompts = [HEAD + text for text in texts]
        expected = [by_hand(prompt, max_tokens) for prompt in prompts]
        for _ in range(2):
            answers = bench.run(
                *(bench.job(p, decoding=how, max_tokens=max_tokens) for p in prompts)
            )
            assert [answer.text for answer in answers] == expected
        for answer in answers:
            assert "".join(token.text for token in answer.tokens) == answer.text
        assert bench.idle_sequences == 0
    finally:
        bench.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(words, min_size=1, max_size=5, unique=True),
    words,
    st.sampled_from([Decoding(False, 0), Decoding(True, 0), Decoding(True, 12)]),
)
def test_drafts_and_forced_tokens_never_change_a_constrained_answer(
    options: list[str], request: str, how: Decoding
) -> None:
    bench = Bench()
    try:
        text = f"{HEAD}{request} {options[0]}"
        plain, other = bench.run(
            bench.job(text, options=options, decoding=Decoding(False, 0), max_tokens=50),
            bench.job(text, options=options, decoding=how, max_tokens=50),
        )
        assert plain.text in options
        assert other.text == plain.text
        assert [t.id for t in other.tokens] == [t.id for t in plain.tokens]
        free = [t for t in other.tokens if not t.forced]
        assert free == [t for t in plain.tokens if not t.forced]
    finally:
        bench.close()


def test_copied_text_takes_fewer_batches(bench: Bench) -> None:
    text = "the quick brown fox jumps over a lazy dog; the"
    plain, drafted = bench.run(
        bench.job(text, decoding=Decoding(True, 0)), bench.job(text, decoding=Decoding(True, 12))
    )
    assert drafted.text == plain.text
    assert drafted.usage.tokens_drafted > 8
    assert drafted.usage.model_calls < plain.usage.model_calls / 2


@settings(max_examples=30, deadline=None)
@given(st.lists(words, min_size=1, max_size=40), words)
def test_options_are_scored_as_each_would_be_alone(options: list[str], request: str) -> None:
    bench = Bench(cells=20_000)  # The toy counts shared tokens for each of their sequences.
    try:
        text = HEAD + request
        (choice,) = bench.run(bench.choice(text, options))
        for option, score in zip(options, choice.scores, strict=True):
            held, total = tokens(text), 0.0
            for token in [*tokens(option), END]:
                total += float(log_softmax(toy_logits(held))[token])
                held.append(token)
            assert score == pytest.approx(total / (len(option) + 1), abs=1e-4)
        assert sum(choice.probabilities) == pytest.approx(1)
    finally:
        bench.close()


def test_a_choice_takes_one_batch_behind_its_prompt(bench: Bench) -> None:
    bench.run(bench.job(HEAD))
    before = len(bench.context.batches)
    bench.run(bench.choice(HEAD + "now", ["open", "close", "read", "remove"]))
    assert len(bench.context.batches) == before + 1


def test_a_long_prompt_does_not_hold_up_a_call_that_writes(bench: Bench) -> None:
    gate = bench.context.gate = threading.Event()
    writing = bench.job("x" * 20, max_tokens=30, decoding=Decoding(True, 0))
    prompt = "".join(ALPHABET[1 + n % 90] for n in range(400))
    long = bench.job(prompt, max_tokens=1, decoding=Decoding(True, 0))
    bench.engine.submit(writing)
    bench.engine.submit(long)
    gate.set()
    assert writing.future.result(30).text == by_hand("x" * 20, 30)
    long.future.result(30)
    assert max(bench.context.batches) <= PREFILL_TOKENS + 48


def test_a_shared_head_is_decoded_once_by_callers_that_come_together(bench: Bench) -> None:
    head = "".join(ALPHABET[1 + n % 90] for n in range(100))
    gate = bench.context.gate = threading.Event()
    jobs = [bench.job(f"{head}{n}", max_tokens=1, decoding=Decoding(True, 0)) for n in range(4)]
    for job in jobs:
        bench.engine.submit(job)
    gate.set()
    cached = [job.future.result(30).usage.tokens_cached for job in jobs]
    assert cached == [0, 100, 100, 100]


def test_calls_with_adapters_share_no_prefix_and_take_turns(bench: Bench) -> None:
    jobs = [
        bench.job(HEAD, adapter=adapter, max_tokens=3 * ADAPTER_TURNS, decoding=Decoding(True, 0))
        for adapter in (None, "a", "b", "a")
    ]
    answers = bench.run(*jobs)
    expected = [by_hand(HEAD, 3 * ADAPTER_TURNS, a) for a in ("", "a", "b", "a")]
    assert [answer.text for answer in answers] == expected
    assert len(set(expected)) == 3
    assert [answer.adapter for answer in answers] == [None, "a", "b", "a"]
    again = bench.run(bench.job(HEAD, adapter="b", max_tokens=1))[0]
    assert again.usage.tokens_cached == len(HEAD) - 1


def test_a_full_queue_refuses_and_goes_on() -> None:
    bench = Bench(parallel=1, queue_cap=2)
    gate = bench.context.gate = threading.Event()
    first = bench.job(HEAD)
    bench.engine.submit(first)
    while not bench.engine.cache.entries:
        time.sleep(0.001)
    waiting = [bench.job(f"{HEAD}{n}") for n in range(2)]
    for job in waiting:
        bench.engine.submit(job)
    with pytest.raises(Overloaded, match="2 calls wait"):
        bench.engine.submit(bench.job("one too many"))
    gate.set()
    assert all(job.future.result(30).text for job in [first, *waiting])
    assert bench.engine.busy == 0
    bench.close()


def test_a_missed_deadline_frees_the_slot_and_says_where(bench: Bench) -> None:
    late = bench.job(HEAD, deadline=time.monotonic() - 1)
    bench.engine.submit(late)
    with pytest.raises(DeadlineMissed, match="in the queue"):
        late.future.result(30)
    gate = bench.context.gate = threading.Event()
    slow = bench.job(HEAD, deadline=time.monotonic() + 0.05)
    bench.engine.submit(slow)
    while time.monotonic() < slow.deadline:  # type: ignore[operator]
        time.sleep(0.005)
    gate.set()
    with pytest.raises(DeadlineMissed, match="running"):
        slow.future.result(30)
    assert bench.run(bench.job(HEAD))[0].text == by_hand(HEAD, 24)


def test_a_dropped_call_ends_at_the_next_token(bench: Bench) -> None:
    gate = bench.context.gate = threading.Event()
    job = bench.job(HEAD, max_tokens=400, decoding=Decoding(True, 0))
    bench.engine.submit(job)
    while not bench.engine.cache.entries:
        time.sleep(0.001)
    job.dropped.set()
    gate.set()
    with pytest.raises(ToolFailed, match="dropped"):
        job.future.result(30)
    assert len(bench.context.batches) <= 2


def test_a_failed_batch_fails_its_calls_and_no_other(bench: Bench) -> None:
    bench.context.fails_next = True
    job = bench.job(HEAD)
    bench.engine.submit(job)
    with pytest.raises(ToolFailed, match="told to fail"):
        job.future.result(30)
    assert bench.run(bench.job(HEAD))[0].text == by_hand(HEAD, 24)


def test_a_grammar_that_fails_fails_its_own_call_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = bench.job(HEAD, options=["abc", "abd"])
    sound = bench.job(HEAD + "x")

    def refuse(_: object) -> None:
        raise SchemaRefused("too complex")

    monkeypatch.setattr(ToyConstraint, "allowed", refuse)
    bench.engine.submit(broken)
    bench.engine.submit(sound)
    with pytest.raises(SchemaRefused, match="too complex"):
        broken.future.result(30)
    assert sound.future.result(30).text == by_hand(HEAD + "x", 24)


def test_calls_wait_for_room_in_the_kv_cache_in_their_order() -> None:
    bench = Bench(cells=120)
    jobs = [bench.job(f"{n}" * 30, max_tokens=40, decoding=Decoding(True, 0)) for n in range(5)]
    answers = bench.run(*jobs)
    assert [a.text for a in answers] == [by_hand(f"{n}" * 30, 40) for n in range(5)]
    with pytest.raises(ContextOverflow, match=r"120 tokens.*120"):
        bench.engine.submit(bench.job("x" * 120))
    bench.close()


def test_running_and_waiting_calls_are_told_apart_and_both_go_to_zero() -> None:
    bench = Bench(parallel=2)
    gate = bench.context.gate = threading.Event()
    jobs = [bench.job(f"{HEAD}{n}") for n in range(5)]
    bench.engine.submit(jobs[0])
    while not bench.engine.running:
        time.sleep(0.001)
    # Its first batch waits for the gate, so no other call is let in.
    for job in jobs[1:]:
        bench.engine.submit(job)
    assert (bench.engine.running, bench.engine.waiting, bench.engine.busy) == (1, 4, 5)
    counted = bench.engine.counters
    assert (counted.running, counted.waiting, counted.calls) == (1, 4, 0)
    gate.set()
    for job in jobs:
        job.future.result(30)
    assert (bench.engine.running, bench.engine.waiting, bench.engine.busy) == (0, 0, 0)
    bench.close()


def test_counters_are_the_sum_of_what_each_call_says_it_used(bench: Bench) -> None:
    assert bench.engine.counters == Counters()
    jobs = [bench.job(f"{HEAD}{n % 2}") for n in range(6)]
    jobs.append(bench.job(HEAD, options=["the only answer"]))
    used = [answer.usage for answer in bench.run(*jobs)]
    counted = bench.engine.counters
    assert counted == Counters(
        calls=len(jobs),
        tokens_in=sum(u.tokens_in for u in used),
        tokens_cached=sum(u.tokens_cached for u in used),
        tokens_out=sum(u.tokens_out for u in used),
        batches=len(bench.context.batches),
    )
    assert counted.tokens_cached > 0
    bench.run(bench.choice(HEAD, ["a", "b"]))
    assert bench.engine.counters.tokens_out == counted.tokens_out
    assert bench.engine.counters.calls == counted.calls + 1


def test_a_call_that_begins_and_has_no_answer_counts_as_failed(bench: Bench) -> None:
    never = bench.job(HEAD, deadline=time.monotonic() - 1)
    gate = bench.context.gate = threading.Event()
    dropped = bench.job(HEAD, max_tokens=400, decoding=Decoding(True, 0))
    for job in (never, dropped):
        bench.engine.submit(job)
    while not bench.engine.running:
        time.sleep(0.001)
    dropped.dropped.set()
    gate.set()
    for job in (never, dropped):
        with pytest.raises(AidecampError):
            job.future.result(30)
    counted = bench.engine.counters
    assert (counted.calls, counted.failed) == (1, 1), "the one that was late never began"
    assert counted.tokens_out == 1
    assert (counted.running, counted.waiting) == (0, 0)


def test_a_call_that_cannot_begin_fails_alone_and_leaves_nothing(bench: Bench) -> None:
    broken = bench.job(HEAD)

    def refuse(entry: Entry, progress: Progress) -> Any:
        raise SchemaRefused("no such thing")

    broken.start = refuse
    bench.engine.submit(broken)
    with pytest.raises(SchemaRefused, match="no such thing"):
        broken.future.result(30)
    assert bench.run(bench.job(HEAD))[0].text == by_hand(HEAD, 24)
    assert bench.engine.counters.failed == 1


def test_closing_fails_what_runs_and_what_waits() -> None:
    bench = Bench(parallel=1)
    gate = bench.context.gate = threading.Event()
    jobs = [bench.job(HEAD, max_tokens=200) for _ in range(3)]
    for job in jobs:
        bench.engine.submit(job)
    bench.engine.close()
    gate.set()
    bench.thread.join(30)
    for job in jobs:
        with pytest.raises(ToolFailed, match="closed"):
            job.future.result(30)
    with pytest.raises(AidecampError, match="closed"):
        bench.engine.submit(bench.job(HEAD))
