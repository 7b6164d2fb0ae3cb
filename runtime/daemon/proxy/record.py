"""The record of one proxied call: committed before what it announces, without words where the
client wants none kept."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence

from runtime.core import Call, Decision, Event, Outcome, Record, Result, Step, Task
from runtime.daemon.desk import Desk
from runtime.progress import Progress


class Recorder:
    """Notes what happens to one task: numbers alone, where its client opted out of words."""

    def __init__(self, desk: Desk, task: Task) -> None:
        self._desk = desk
        self._task = task
        self._words = task.client not in desk.staff.config.record.opt_out
        self.progress = Progress()
        self.opened = False
        """The task itself is on record."""
        self._begun: asyncio.Task[None] | None = None
        self._held: list[tuple[str, Record]] = []

    def hold(self, *records: Record) -> None:
        """Taken down with what is noted next: local calls, which changed nothing in the world."""
        for record in records:
            self.progress.note(record)
        self._held += [(self._task.id, record) for record in records]

    def begin(self, *records: Record) -> None:
        """Begin to take down; :meth:`settled` is when it is durable."""
        self._look(records)
        entries = [(self._task.id, record) for record in records]
        self._begun = asyncio.create_task(self._append(entries))

    async def settled(self) -> None:
        """What was begun is durable. Raises StorageFailed where it could not be written."""
        if self._begun is not None:
            await asyncio.shield(self._begun)
            self._begun = None

    async def note(self, *records: Record) -> None:
        """Durable, in this order and together, when this returns."""
        self._look(records)
        await self.settled()
        held, self._held = self._held, []
        await self._append([*held, *((self._task.id, record) for record in records)])

    def _look(self, records: Sequence[Record]) -> None:
        for record in records:
            self.progress.note(record)
            self.opened = self.opened or isinstance(record, Task)

    async def note_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """What the client's tools returned, for calls of earlier answers."""
        await self._append([(outcome.task_id, outcome) for outcome in outcomes])

    async def _append(self, records: Sequence[tuple[str, Record]]) -> None:
        now = time.time()
        kept = [(of, r if self._words else without_words(r)) for of, r in records]
        await self._desk.ledger.appended([Event(of, now, record) for of, record in kept])
        self._desk.follower.tick()


def without_words(record: Record) -> Record:
    """The record with its numbers, its names of models, kinds and rules, and nothing that was
    said."""
    match record:
        case Task():
            return dataclasses.replace(record, text="", tools=(), schema=None, template=None)
        case Step():
            return dataclasses.replace(record, text="")
        case Decision():
            # A reason may quote what was said: what the verifier missed, a keyword of a rule.
            given = {**record.given, "score_reason": ""} if record.given else {}
            return dataclasses.replace(
                record, text="", reason="", flip="", given=given, would_send=None
            )
        case Call():
            return dataclasses.replace(record, messages=(), parameters={}, answer="", sent="")
        case Outcome():
            return dataclasses.replace(record, output="", data=None, error="")
        case Result():
            return dataclasses.replace(record, answer=None, reason="")
        case _:
            return record
