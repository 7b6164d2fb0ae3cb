"""A command's work done by the daemon that runs: the same display, questions, JSON and exit codes.

None is the answer where no daemon runs that may be used (``runtime.daemon.nearby``): then the
command does its work in its own process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from models.errors import AidecampError
from runtime.core import Decision, Event, Result, Task
from runtime.daemon import nearby

if TYPE_CHECKING:
    from runtime.agent import Approver
    from runtime.config import Config
    from runtime.daemon.client import Client, Link, Waiting, Waits

CANCEL_S = 10.0
"""How long a stop waits until the record says that the task was cancelled."""


async def task_by_daemon(
    task: Task,
    config: Config,
    *,
    approver: Approver | None,
    on_event: Callable[[Event], None],
    on_start: Callable[[str], None],
    tell: Callable[[str], None],
) -> dict[str, Any] | None:
    """Run ``task`` there to its end; its summary (``runtime.report``), or None.

    ``approver`` None: nobody can be asked. ``on_start`` gets the id that the daemon gave it,
    ``tell`` why a daemon that runs is not used. A cancel cancels the task there, and waits until
    that is recorded. Raises what the daemon says, DaemonMissing where it goes away meanwhile.
    """
    from runtime.daemon.errors import DaemonMissing, revive
    from runtime.report import summary

    async with nearby.reached(config) as (client, why):
        if client is None:
            _unused(why, tell)
            return None
        starting = asyncio.create_task(_start(client, task, attended=approver is not None))
        try:
            task_id = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # It may have begun there already: nobody would know of it.
            with contextlib.suppress(AidecampError):
                on_start(task_id := await starting)
                await _cancel(client, task_id, [], on_event)
            raise
        on_start(task_id)
        events: list[Event] = []
        async with contextlib.aclosing(client.follow(0, task_id)) as signals:
            try:
                await _follow(client, task_id, signals, events, approver, on_event)
            except asyncio.CancelledError:
                await _cancel(client, task_id, events, on_event)
                raise
        body = summary(events)
        if body["status"] == "failed":
            with contextlib.suppress(DaemonMissing):  # What is on record is told in any case.
                if (error := (await client.task(task_id))["error"]) is not None:
                    raise revive({"error": error})
        return body


async def _start(client: Client, task: Task, *, attended: bool) -> str:
    return await client.start_task(
        task.text,
        surface=task.surface,
        privacy=task.privacy,
        folder=task.folder,
        now=task.now,
        tools=list(task.tools),
        schema=task.schema,
        template=task.template,
        dry_run=task.dry_run,
        yes=task.yes,
        budget_usd=task.budget_usd,
        attended=attended,
    )


async def decision_by_daemon(
    task: Task, config: Config, tell: Callable[[str], None]
) -> Decision | None:
    """The Decision alone, with the models that are loaded there; or None."""
    async with nearby.reached(config) as (client, why):
        if client is None:
            _unused(why, tell)
            return None
        return await client.route(task.text, surface=task.surface, privacy=task.privacy)


def drifted(config: Config) -> dict[str, str]:
    """Kinds that want calibrating again, as the record and the default models' files tell."""
    from models.digest import file_digest
    from models.pool import ENCODER, GENERATOR
    from models.store import Store
    from runtime.ledger import Ledger
    from runtime.recall import recalibrate
    from runtime.team import calibration_path, ledger_path
    from runtime.trust import Trust, digests_of

    def files() -> str:
        store = Store()
        return digests_of(*(file_digest(store.file(one)) for one in (ENCODER, GENERATOR)))

    with contextlib.closing(Ledger(ledger_path())) as ledger:
        told = ledger.told()
    calibration = Trust.load(calibration_path()).calibration
    return recalibrate(told, config.make_policy().risk_alpha, calibration, files)


def _unused(why: str, tell: Callable[[str], None]) -> None:
    if why:
        tell(f"A daemon runs and is not used: {why}.")


async def _follow(
    client: Client,
    task_id: str,
    signals: AsyncIterator[Event | Waits | Link],
    events: list[Event],
    approver: Approver | None,
    on_event: Callable[[Event], None],
) -> None:
    """Show what happens and put what waits to the user, until the task has ended."""
    from runtime.daemon.client import Link, Waits
    from runtime.daemon.errors import DaemonMissing

    asking: dict[str, asyncio.Task[None]] = {}
    try:
        async for signal in signals:
            if isinstance(signal, Event):
                events.append(signal)
                on_event(signal)
                if isinstance(signal.record, Result):
                    return
            elif isinstance(signal, Waits) and approver is not None:
                for one in signal.waiting:
                    if one.task_id == task_id and one.id not in asking:
                        asking[one.id] = asyncio.create_task(_ask(client, one, approver))
            elif isinstance(signal, Link) and not signal.up:
                raise DaemonMissing(
                    "The daemon went away while the task ran; what it recorded is kept.",
                    hint=f"Go on with it: aidecamp run --resume {task_id}.",
                )
    finally:
        for question in asking.values():
            question.cancel()
        for answered in await asyncio.gather(*asking.values(), return_exceptions=True):
            if isinstance(answered, Exception):
                raise answered


async def _ask(client: Client, waiting: Waiting, approver: Approver) -> None:
    from runtime.daemon.errors import Conflict

    if waiting.action is not None:
        allowed = await approver.action(waiting.action, waiting.reason)
    else:
        allowed = await approver.send(waiting.send or {})
    # It may have been answered elsewhere meanwhile, or the task may have ended.
    with contextlib.suppress(Conflict):
        await (client.approve if allowed else client.deny)(waiting.task_id, waiting.id)


async def _cancel(
    client: Client,
    task_id: str,
    events: list[Event],
    on_event: Callable[[Event], None],
) -> None:
    from runtime.daemon.errors import Conflict

    with contextlib.suppress(Conflict, TimeoutError):
        async with asyncio.timeout(CANCEL_S):
            await client.cancel(task_id)
            # Its signals were cut off with the task that read them.
            after = events[-1].id if events else 0
            async with contextlib.aclosing(client.events(after, task_id)) as rest:
                async for event in rest:
                    on_event(event)
                    if isinstance(event.record, Result):
                        return
