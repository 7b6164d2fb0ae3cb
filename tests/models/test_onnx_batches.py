"""Sharing batches between callers, with runs that the test holds and releases."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import ModelCorrupt, ToolFailed
from models.onnx_batches import BATCH_TOKENS, PADDING_TOKENS, Batcher, _Call, take
from models.onnx_tokens import Row

PATIENCE_S = 30
POISON, INTERRUPT = 666, 667


def row(*ids: int) -> Row:
    return Row(ids, (0,) * len(ids), cut=False)


class Runs:
    """A run that keeps what it was given, and waits for ``go`` where it is held."""

    def __init__(self) -> None:
        self.batches: list[list[Row]] = []
        self.started = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def __call__(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        self.batches.append(list(rows))
        self.started.release()
        assert self.go.wait(PATIENCE_S)
        if any(POISON in r.ids for r in rows):
            raise ModelCorrupt("poison")
        if any(INTERRUPT in r.ids for r in rows):
            raise KeyboardInterrupt
        return np.array([[sum(r.ids)] for r in rows], np.float32)


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def until(condition: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(PATIENCE_S * 1000):
        if condition():
            return
        tick.wait(0.001)
    raise AssertionError("the condition never came")


def hold(
    batcher: Batcher, runs: Runs, threads: ThreadPoolExecutor, *calls: list[Row]
) -> list[Future[list[NDArray[np.float32]]]]:
    """The first call in its run, held there, with the others waiting behind it, in their order."""
    runs.go.clear()
    futures = []
    for number, call in enumerate(calls, 1):
        futures.append(threads.submit(batcher.submit, call))
        until(lambda number=number: batcher.waiting == number)  # type: ignore[misc]
        if number == 1:
            assert runs.started.acquire(timeout=PATIENCE_S)
    return futures


def test_calls_that_wait_share_the_next_batch(runs: Runs, threads: ThreadPoolExecutor) -> None:
    batcher = Batcher(runs, name="m")
    futures = hold(batcher, runs, threads, [row(1)], [row(2)], [row(3), row(4)], [row(5)])
    runs.go.set()
    assert [[int(r[0]) for r in f.result(PATIENCE_S)] for f in futures] == [[1], [2], [3, 4], [5]]
    assert [len(batch) for batch in runs.batches] == [1, 4]
    assert batcher.waiting == 0


def test_rows_that_depend_on_each_other_run_alone(runs: Runs, threads: ThreadPoolExecutor) -> None:
    batcher = Batcher(runs, name="m", merge=False)
    futures = hold(batcher, runs, threads, [row(1)], [row(2), row(3)], [row(4)])
    runs.go.set()
    assert [[int(r[0]) for r in f.result(PATIENCE_S)] for f in futures] == [[1], [2, 3], [4]]
    assert [[r.ids[0] for r in batch] for batch in runs.batches] == [[1], [2], [4], [3]]


def test_results_come_in_the_callers_order_whatever_their_lengths(runs: Runs) -> None:
    rows = [row(*range(1, n + 1)) for n in (30, 2, 100, 2, 1, 60)]
    results = Batcher(runs, name="m").submit(rows)
    assert [int(r[0]) for r in results] == [sum(r.ids) for r in rows]


def test_no_rows_need_no_run(runs: Runs) -> None:
    assert Batcher(runs, name="m").submit([]) == []
    assert runs.batches == []


def test_one_callers_error_does_not_fail_the_others(
    runs: Runs, threads: ThreadPoolExecutor
) -> None:
    batcher = Batcher(runs, name="m")
    futures = hold(batcher, runs, threads, [row(1)], [row(2)], [row(POISON), row(3)], [row(4)])
    runs.go.set()
    assert [int(futures[n].result(PATIENCE_S)[0][0]) for n in (0, 1, 3)] == [1, 2, 4]
    with pytest.raises(ModelCorrupt, match="poison"):
        futures[2].result(PATIENCE_S)
    assert batcher.waiting == 0
    assert int(batcher.submit([row(9)])[0][0]) == 9


def test_an_interrupted_leader_leaves_the_others_rows_to_the_others(
    runs: Runs, threads: ThreadPoolExecutor
) -> None:
    batcher = Batcher(runs, name="m")
    first, broken, other = hold(batcher, runs, threads, [row(1)], [row(INTERRUPT)], [row(2)])
    runs.go.set()
    assert int(first.result(PATIENCE_S)[0][0]) == 1
    # Whoever leads the shared batch is interrupted; nothing is lost, and nobody hangs.
    outcomes = [broken.exception(PATIENCE_S), other.exception(PATIENCE_S)]
    assert any(isinstance(outcome, KeyboardInterrupt) for outcome in outcomes)
    assert batcher.waiting == 0
    assert int(batcher.submit([row(9)])[0][0]) == 9


def test_a_caller_with_many_rows_keeps_nobody_waiting(
    runs: Runs, threads: ThreadPoolExecutor
) -> None:
    batcher = Batcher(runs, name="m")
    many = [row(*[1] * 128) for _ in range(40)]
    futures = hold(batcher, runs, threads, many, [row(7)], [row(*[1] * 128, 1)])
    runs.go.set()
    for future in futures:
        future.result(PATIENCE_S)
    assert runs.batches[1] == [row(7)]
    assert any(len(r) == 129 for r in runs.batches[2])
    assert len(runs.batches) > 10


def test_closing_fails_what_waits_and_lets_the_run_end(
    runs: Runs, threads: ThreadPoolExecutor
) -> None:
    batcher = Batcher(runs, name="m")
    futures = hold(batcher, runs, threads, [row(1)], [row(2)], [row(3)])
    closing = threads.submit(batcher.close)
    for future in futures[1:]:
        with pytest.raises(ToolFailed, match="the model m was closed"):
            future.result(PATIENCE_S)
    assert not closing.done()
    runs.go.set()
    closing.result(PATIENCE_S)
    assert len(runs.batches) == 1
    with pytest.raises(ToolFailed, match="the model m was closed"):
        batcher.submit([row(4)])


def test_a_run_that_loses_rows_is_an_error_and_nobody_hangs() -> None:
    batcher = Batcher(lambda rows: np.zeros((1, 1), np.float32), name="m")
    with pytest.raises(ModelCorrupt, match="gives 1 results for 2 rows"):
        batcher.submit([row(1), row(2)])


def test_batches_take_every_row_once_and_stay_small() -> None:
    chance = random.Random(5)
    for _ in range(200):
        calls = deque(
            _Call([row(*[1] * chance.randint(1, 300)) for _ in range(chance.randint(1, 30))])
            for _ in range(chance.randint(1, 5))
        )
        everything = {(id(c), i) for c in calls for i in range(len(c.rows))}
        taken: list[tuple[int, int]] = []
        while any(call.waiting for call in calls):
            front = calls[0]
            batch = take(calls)
            assert batch[0][0] is front
            sizes = [len(call.rows[index]) for call, index in batch]
            padded = max(sizes) * len(sizes)
            assert padded <= BATCH_TOKENS
            assert padded - sum(sizes) <= PADDING_TOKENS
            taken += [(id(call), index) for call, index in batch]
            calls = deque(call for call in [*list(calls)[1:], front] if call.waiting)
        assert len(taken) == len(everything)
        assert set(taken) == everything
