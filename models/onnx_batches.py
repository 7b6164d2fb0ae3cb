"""Rows of several callers in shared batches: what waits while a run is on joins the next one.

Leader and followers, no thread of its own: the first caller runs batches until its own rows are
done, then hands over to one that waits. Covers the sharing, not what a run is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from models.errors import ModelCorrupt, ToolFailed
from models.onnx_tokens import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Run = Callable[[Sequence[Row]], NDArray[np.float32]]

BATCH_TOKENS = 512
"""Padded tokens in one run: larger batches were slower on a CPU."""
PADDING_TOKENS = 16
"""Padding in one batch at most: with more, two runs are cheaper (a run costs 3.3 ms and each of its
tokens 0.2; MiniLM, 2 threads)."""


class _Call:
    """The rows of one caller: those to be taken, shortest first, and what came of the others."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        self.waiting = deque(order)
        self.results: list[NDArray[np.float32] | None] = [None] * len(rows)
        self.open = len(rows)
        self.error: BaseException | None = None

    @property
    def finished(self) -> bool:
        return self.error is not None or not self.open


class Batcher:
    """Runs rows for callers in several threads, merged where that costs little padding.

    ``run`` takes rows and gives an array with one line for each; it is called by one thread at a
    time. ``merge=False`` runs every row alone. ``name``: of the model, for errors.
    """

    def __init__(self, run: Run, *, name: str, merge: bool = True) -> None:
        self._run = run
        self._name = name
        self._merge = merge
        self._turn = threading.Condition()
        self._calls: deque[_Call] = deque()
        self._running = False
        self._closed = False

    def submit(self, rows: Sequence[Row]) -> list[NDArray[np.float32]]:
        """One result for each row, in their order; blocks until they are there.

        Raises what ``run`` raised for these rows, and ToolFailed where the model was closed.
        """
        call = _Call(rows)
        with self._turn:
            self._refuse_if_closed()
            self._calls.append(call)
            try:
                while not call.finished:
                    if self._running:
                        self._turn.wait()
                    else:
                        self._lead()
            finally:
                # Also where the caller was interrupted: nobody waits for its rows any more.
                if call in self._calls:
                    self._calls.remove(call)
                self._turn.notify_all()
        if call.error is not None:
            raise call.error
        return [result for result in call.results if result is not None]

    def close(self) -> None:
        """Fail what waits, and return when the run that is on has ended. Safe to call twice."""
        with self._turn:
            self._closed = True
            for call in self._calls:
                call.error = self._closed_error()
            self._calls.clear()
            self._turn.notify_all()
            self._turn.wait_for(lambda: not self._running)

    @property
    def waiting(self) -> int:
        """Callers whose rows are not all done."""
        with self._turn:
            return sum(not call.finished for call in self._calls)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> ToolFailed:
        return ToolFailed(f"the model {self._name} was closed")

    def _lead(self) -> None:
        """Take one batch and run it. The lock is held on entry and on return, not in the run."""
        batch = take(self._calls, merge=self._merge)
        self._running = True
        try:
            self._turn.release()
            try:
                outcome = self._outcomes(batch)
            finally:
                self._turn.acquire()
        except BaseException:
            # This thread was interrupted: the others' rows go back to the front of their queues.
            for call, index in reversed(batch):
                call.waiting.appendleft(index)
            raise
        finally:
            self._running = False
            self._turn.notify_all()
        for (call, index), result in zip(batch, outcome, strict=True):
            if isinstance(result, Exception):
                call.error = call.error or result
            else:
                call.results[index] = result
            call.open -= 1
            if call.finished and call in self._calls:
                self._calls.remove(call)
        # Behind those that came during the run: nobody waits for more batches than there are
        # callers before it.
        if (served := batch[0][0]) in self._calls:
            self._calls.remove(served)
            self._calls.append(served)

    def _outcomes(
        self, batch: Sequence[tuple[_Call, int]]
    ) -> Sequence[NDArray[np.float32] | Exception]:
        """A result or an error for each row. A batch that fails is run again, caller by caller."""
        try:
            results = list(self._run([call.rows[index] for call, index in batch]))
            if len(results) != len(batch):
                raise ModelCorrupt(
                    f"the model {self._name} gives {len(results)} results for {len(batch)} rows"
                )
            return results
        except Exception as error:
            callers = {id(call): call for call, _ in batch}
            if len(callers) == 1:
                return [error] * len(batch)
        outcome: dict[tuple[int, int], NDArray[np.float32] | Exception] = {}
        for key in callers:
            own = [(call, index) for call, index in batch if id(call) == key]
            for (_, index), result in zip(own, self._outcomes(own), strict=True):
                outcome[key, index] = result
        return [outcome[id(call), index] for call, index in batch]


def take(calls: deque[_Call], *, merge: bool = True) -> list[tuple[_Call, int]]:
    """The next batch, taken out of the calls' waiting rows.

    The caller at the front gives the first row. Then the callers give a row each in turn, as long
    as the batch has room and is hardly padded.
    """
    first = calls[0]
    batch = [(first, first.waiting.popleft())]
    width = tokens = len(first.rows[batch[0][1]])
    giving = [first, *(call for call in calls if call is not first)] if merge else []
    while giving:
        still = []
        for call in giving:
            if not call.waiting:
                continue
            length = len(call.rows[call.waiting[0]])
            wider = max(width, length)
            size = wider * (len(batch) + 1)
            if size <= BATCH_TOKENS and size - tokens - length <= PADDING_TOKENS:
                batch.append((call, call.waiting.popleft()))
                width, tokens = wider, tokens + length
                still.append(call)
        giving = still
    return batch
