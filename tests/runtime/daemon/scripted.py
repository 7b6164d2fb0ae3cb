"""An agent that follows a script, and a daemon on a real socket that drives it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from models.pool import Pool
from runtime.agent import Approver
from runtime.config import Config, load_config
from runtime.core import (
    Action,
    Call,
    Candidate,
    Decision,
    Event,
    Gate,
    Outcome,
    Record,
    Result,
    Step,
    Task,
)
from runtime.daemon.agents import Agents
from runtime.daemon.client import Client
from runtime.daemon.server import serve
from runtime.daemon.tokens import TokenStore
from runtime.ledger import Ledger

Script = Callable[[Task, Approver], AsyncIterator[Record]]


async def _nobody(*_: object) -> bool:
    return False


NOBODY = Approver(_nobody, _nobody)
"""Says no."""


@dataclass
class ScriptedAgent:
    """Yields what its script yields, as events."""

    script: Script
    approver: Approver

    async def run(self, task: Task, history: Sequence[Event] = ()) -> AsyncIterator[Event]:
        async for record in self.script(task, self.approver):
            yield Event(task.id, time.time(), record)


def step(task: Task, index: int = 1, kind: str = "shell", text: str = "count files") -> Step:
    return Step(f"step_{task.id}_{index}", task.id, index, kind, text)  # type: ignore[arg-type]


def decision(step: Step, **changes: object) -> Decision:
    values: dict[str, object] = {
        "id": f"dec_{step.id}",
        "task_id": step.task_id,
        "step_id": step.id,
        "kind": step.kind,
        "text": step.text,
        "chosen": "local:tool_user",
        "candidates": (
            Candidate("local:tool_user", "smollm2", 0.91, 250.0, 0.0),
            Candidate("general", "gpt-5.4", 0.99, 2000.0, 0.004),
        ),
        "probability": 0.91,
        "threshold": 0.5,
        "rule": f"threshold:{step.kind}",
        "reason": "clear and common",
        "route_ms": 6.5,
        **changes,
    }
    return Decision(**values)  # type: ignore[arg-type]


def call(decision: Decision, **changes: object) -> Call:
    values: dict[str, object] = {
        "id": f"call_{decision.id}",
        "task_id": decision.task_id,
        "step_id": decision.step_id,
        "decision_id": decision.id,
        "kind": decision.kind,
        "role": "tool_user",
        "model": "sha256:0123",
        "messages": ({"role": "user", "content": decision.text},),
        "parameters": {},
        "answer": '{"folder":"/tmp"}',
        "confidence": 0.88,
        "tokens_in": 60,
        "tokens_out": 12,
        "tokens_cached": 40,
        "prefill_ms": 61.0,
        "decode_ms": 180.0,
        **changes,
    }
    return Call(**values)  # type: ignore[arg-type]


def action(step: Step, risk: str = "write") -> Action:
    return Action(
        f"act_{step.id}",
        step.task_id,
        step.id,
        "shell",
        "make_folder",
        {"path": "x"},
        "mkdir x",
        risk,  # type: ignore[arg-type]
        "bubblewrap, no network",
    )


async def plain(task: Task, approver: Approver) -> AsyncIterator[Record]:
    """One shell step, served locally, done."""
    yield task
    one = step(task, text=task.text)
    yield one
    chosen = decision(one)
    yield chosen
    yield call(chosen)
    deed = action(one, "read")
    yield deed
    yield Gate(deed.id, task.id, "allow", "rule", "reading is allowed")
    yield Outcome(deed.id, task.id, one.id, "done", "4", data=4, ms=3.0)
    yield Result(task.id, "done", 4)


async def asking(task: Task, approver: Approver) -> AsyncIterator[Record]:
    """One shell step that writes: it waits at the gate."""
    yield task
    one = step(task, text=task.text)
    yield one
    yield decision(one)
    deed = action(one)
    yield deed
    allowed = await approver.action(deed, "it writes")
    verdict = "allow" if allowed else "deny"
    yield Gate(deed.id, task.id, verdict, "user", "it writes")  # type: ignore[arg-type]
    status = "done" if allowed else "denied"
    yield Outcome(deed.id, task.id, one.id, status)  # type: ignore[arg-type]
    yield Result(task.id, status, None)  # type: ignore[arg-type]


async def endless(task: Task, approver: Approver) -> AsyncIterator[Record]:
    """Begins a step and never ends it."""
    yield task
    one = step(task, text=task.text)
    yield one
    yield decision(one)
    await asyncio.Event().wait()


@dataclass
class Daemon:
    """A daemon that serves in this event loop, and a client of it."""

    path: Path
    ledger: Ledger
    client: Client
    folder: Path
    scripts: list[Script] = field(default_factory=list)
    """What the next tasks do, in order; the last one repeats."""
    agents: Agents | None = None

    def make_agent(self, approver: Approver | None) -> ScriptedAgent:
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        return ScriptedAgent(script, approver or NOBODY)


@asynccontextmanager
async def daemon(
    folder: Path, *scripts: Script, pool: Pool | None = None, config: Config | None = None
) -> AsyncIterator[Daemon]:
    """``pool``: its models, where it is to have them and a team; its tasks are scripted all the
    same. ``config``: it listens on TCP, too, as that says."""
    ledger = Ledger(folder / "ledger.db")
    agents = Agents(config or load_config(), ledger, pool) if pool is not None else None
    path = folder / "run" / "daemon.sock"
    async with Client(path, tokens=TokenStore(folder)) as client:
        one = Daemon(path, ledger, client, folder, list(scripts or (plain,)), agents)
        stop = asyncio.Event()
        serving = asyncio.create_task(
            serve(
                path,
                ledger,
                one.make_agent,
                folder=folder,
                agents=agents,
                config=config,
                until=stop,
            )
        )
        try:
            await answering(client, serving)
            yield one
        finally:
            stop.set()
            await serving
            if agents is not None:
                await asyncio.to_thread(agents.close)
            ledger.close()


async def answering(client: Client, serving: asyncio.Task[None]) -> None:
    """Until the daemon answers."""
    from runtime.daemon.errors import DaemonMissing

    while True:
        try:
            await client.health()
        except DaemonMissing:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.01)
        else:
            return


async def ended(client: Client, task_id: str, limit_s: float = 20.0) -> str:
    """The status that the task ended with."""
    async with asyncio.timeout(limit_s):
        while True:
            body = await client.task(task_id)
            if body["result"] is not None:
                return str(body["status"])
            await asyncio.sleep(0.01)


async def waiting(client: Client, task_id: str, limit_s: float = 20.0) -> str:
    """The id of what the task waits for, once it does."""
    async with asyncio.timeout(limit_s):
        while True:
            body = await client.task(task_id)
            if body["waiting"]:
                return str(body["waiting"][0]["id"])
            await asyncio.sleep(0.01)
