"""A client with no daemon behind it: answers from records, follows a queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.errors import AidecampError
from runtime.core import Event, Record, Result, Task
from runtime.daemon.client import Client, Link, Page, Row, Rows, Story, Totals, Waits
from runtime.daemon.errors import NotFound
from runtime.daemon.story import tell
from tests.runtime.daemon.scripted import call, decision, step


class FakeClient(Client):
    """Holds events in memory. ``put`` commits one; what is asked of it is noted in ``asked``."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        super().__init__(Path("/nonexistent/daemon.sock"))
        self.committed = list(events)
        self.signals: asyncio.Queue[Event | Waits | Link] = asyncio.Queue()
        self.asked: list[tuple[str, ...]] = []
        self.down: AidecampError | None = None

    def put(self, record: Record) -> Event:
        event = Event(
            record.id if isinstance(record, Task) else getattr(record, "task_id", ""),
            time.time(),
            record,
            len(self.committed) + 1,
        )
        self.committed.append(event)
        self.signals.put_nowait(event)
        return event

    async def ensure_running(self) -> None:
        if self.down is not None:
            raise self.down

    async def decisions(self, **_: Any) -> Page:
        rows = Rows()
        for event in self.committed:
            rows.add(event)
        found: tuple[Row, ...] = tuple(reversed(rows.by_id.values()))
        return Page(found, len(self.committed))

    async def decision(self, decision_id: str) -> Story:
        story = tell(decision_id, self.committed)
        if story is None:
            raise NotFound("none")
        return story

    async def savings(self) -> Totals:
        totals = Totals()
        for event in self.committed:
            totals = totals.add(event)
        return totals

    async def follow(
        self, after: int | None = None, task_id: str | None = None
    ) -> AsyncGenerator[Event | Waits | Link, None]:
        yield Link(True)
        while True:
            yield await self.signals.get()

    async def start_task(self, text: str, **fields: Any) -> str:
        self.asked.append(("start", text, fields["surface"], fields["privacy"]))
        return "task_new"

    async def approve(self, task_id: str, waiting_id: str) -> None:
        self.asked.append(("approve", task_id, waiting_id))

    async def deny(self, task_id: str, waiting_id: str) -> None:
        self.asked.append(("deny", task_id, waiting_id))

    async def cancel_all(self) -> int:
        self.asked.append(("stop",))
        return 2

    async def health(self) -> Mapping[str, Any]:
        return {"running": []}


def fill(client: FakeClient, count: int, **changes: object) -> list[str]:
    """``count`` tasks of one served decision each; the ids of the decisions."""
    ids = []
    for number in range(count):
        task = Task(id=f"task_{len(client.committed)}", text=f"job {number}")
        client.put(task)
        one = step(task, text=f"step {number}")
        client.put(one)
        chosen = decision(one, **changes)
        client.put(chosen)
        client.put(call(chosen))
        client.put(Result(task.id, "done", number))
        ids.append(chosen.id)
    return ids
