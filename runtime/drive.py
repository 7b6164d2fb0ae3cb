"""Drive an agent: commit each event before the loop goes on, whatever happens.

Whoever runs a task (command line, daemon) does it through here, so that the record is whole
after an error, a cancel, or a crash, and a task is never run by two processes at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from models.errors import AidecampError, UsageError
from runtime.core import Event, Outcome, Result, Task
from runtime.ledger import Ledger, open_actions, result_of


class Runner(Protocol):
    """What is driven: ``runtime.agent.Agent``, or a fake."""

    def run(self, task: Task, history: Sequence[Event] = ()) -> AsyncIterator[Event]: ...


async def drive(
    runner: Runner,
    task: Task,
    ledger: Ledger,
    on_event: Callable[[Event], None] = lambda event: None,
    *,
    resume: bool = False,
) -> Result:
    """Run ``task`` to its end and return how it ended.

    ``on_event`` sees each event after it is committed. With ``resume``, an earlier run of the
    same task goes on where it was cut off; no action is repeated.

    Raises what the agent raises, once the record says ``failed``; asyncio.CancelledError once
    it says ``cancelled``; UsageError where the task runs in another process.
    """
    with _claim(_claims(ledger), task.id):
        history = list(ledger.events(task.id)) if resume else []
        if done := result_of(history):
            return done
        seen = list(history)

        def commit(event: Event) -> None:
            event = ledger.append(event)
            seen.append(event)
            on_event(event)

        try:
            async for event in runner.run(task, history):
                commit(event)
        except asyncio.CancelledError:
            for action in open_actions(seen):
                error = "cancelled while it ran: what it had done by then was not undone"
                outcome = Outcome(action.id, task.id, action.step_id, "interrupted", error=error)
                commit(Event(task.id, time.time(), outcome))
            if seen:
                commit(_result(Result(task.id, "cancelled", None, "cancelled by the user")))
            raise
        except Exception as error:
            reason = error.message if isinstance(error, AidecampError) else f"a bug: {error!r}"
            if seen:
                with contextlib.suppress(AidecampError):
                    commit(_result(Result(task.id, "failed", None, reason)))
            raise
        result = result_of(seen)
        if result is None:
            raise UsageError(f"Task {task.id} ended without a result.")
        return result


def cut_off(ledger: Ledger) -> list[Task]:
    """Tasks without a result that no process runs now: a crash cut them off. Oldest first."""
    found = []
    for task in ledger.unfinished():
        with contextlib.suppress(UsageError), _claim(_claims(ledger), task.id):
            found.append(task)
    return found


@contextlib.contextmanager
def left_alone(ledger: Ledger, task_id: str) -> Iterator[bool]:
    """Whether no process runs the task. Where it is so, none can begin to inside the block."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_claim(_claims(ledger), task_id))
        except UsageError:
            free = False
        else:
            free = True
        yield free


def _claims(ledger: Ledger) -> Path:
    return ledger.path.parent / "running"


def _result(result: Result) -> Event:
    return Event(result.task_id, time.time(), result)


@contextlib.contextmanager
def _claim(folder: Path, task_id: str) -> Iterator[None]:
    """Hold the task's lock file; the operating system lets go of it when the process dies."""
    import filelock

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = filelock.FileLock(folder / f"{task_id}.lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise UsageError(f"Task {task_id} is running in another process.") from error
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()
