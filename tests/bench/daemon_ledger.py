"""The record under load: durable events a second, and milliseconds of a query at a million rows.

    python -m tests.bench.daemon_ledger [--rows 1000000] [--folder FOLDER]

Events are those of a task as the loop records it (task, step, two decisions with their signals,
two calls with their messages, action, gate, outcome, result), ids and words differing.
``events_per_s``: 64 threads and then 64 asyncio tasks each commit what a step brings (decision,
call) and wait for it; the slower of the two counts. ``query_ms``: the last 100 decisions of a
kind, median of 50.
The file is a real one on this machine's disk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from runtime.budgets import LedgerSpending
from runtime.core import (
    KINDS,
    Action,
    Call,
    Candidate,
    Decision,
    Event,
    Gate,
    Kind,
    Outcome,
    Record,
    Result,
    Step,
    Task,
)
from runtime.ledger import Ledger

ROWS = 1_000_000
CLIENTS = 64
SECONDS = 10.0
QUERIES = 50
BATCH = 2_000
START = 1_700_000_000.0
PROGRAMS = ("cli", "openai-python", "langchain", "smolagents")
SIGNALS = ("margin", "nearest", "entropy", "words", "in_kind", "pick", "confidence", "leftover")
WORDS = (
    *("count", "the", "files", "in", "this", "folder", "then", "write", "their", "names"),
    *("into", "a", "list", "by", "size", "and", "date"),
)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def decision(task: Task, step: Step, n: int, chosen: str, **more: Any) -> Decision:
    draw = random.Random(n)
    return Decision(
        id=f"dec_{n:011x}{draw.getrandbits(32):08x}",
        task_id=task.id,
        step_id=step.id,
        kind=step.kind,
        text=step.text,
        chosen=chosen,
        candidates=(
            Candidate("local:tool_user", "sha256:" + "ab" * 32, draw.random(), 250.0, 0.0),
            Candidate("general", "gpt-5.4", None, 2000.0, 0.004),
        ),
        probability=draw.random(),
        threshold=0.62,
        rule=f"threshold:{step.kind}",
        reason="0.83, at or above 0.62: clear, and much like requests that went well",
        route_ms=6.5,
        signals={name: draw.random() for name in SIGNALS},
        effects={name: draw.random() - 0.5 for name in SIGNALS},
        given={
            "privacy": "ask",
            "kinds": [step.kind],
            "score_rule": f"threshold:{step.kind}",
            "score_reason": "0.83, at or above 0.62",
            "worst": {"usd": 0.0072, "tokens": 1450, "seconds": 60.0},
        },
        **more,
    )


def call(task: Task, step: Step, made: Decision, role: str) -> Call:
    away = role == "general"
    return Call(
        id=made.id.replace("dec_", "call_"),
        task_id=task.id,
        step_id=step.id,
        decision_id=made.id,
        kind=step.kind,
        role=role,
        model="gpt-5.4" if away else "sha256:" + "ab" * 32,
        messages=(
            {"role": "system", "content": "Fill the slots of the tool from the request. " * 8},
            {"role": "user", "content": step.text},
        ),
        parameters={"max_tokens": 128, "temperature": 0},
        answer=json.dumps({"folder": "/home/user/work", "pattern": "*.py"}),
        confidence=0.88,
        tokens_in=160,
        tokens_out=22,
        prefill_ms=61.0,
        decode_ms=180.0,
        cost_usd=0.0042 if away else 0.0,
        bytes_sent=980 if away else 0,
    )


def task_events(number: int) -> Iterator[Event]:
    """One task of ten events. Every eleventh goes to the General, every fiftieth fails."""
    draw = random.Random(number)
    kind: Kind = KINDS[number % len(KINDS)]
    text = " ".join(draw.choices(WORDS, k=12))
    task = Task(
        f"task_{number:011x}{draw.getrandbits(32):08x}",
        text,
        client=PROGRAMS[number % len(PROGRAMS)],
        session=f"ses_{number // 20:08x}",
    )
    step = Step(task.id.replace("task_", "step_"), task.id, 0, kind, text)
    worker = "general" if number % 11 == 0 else "local:tool_user"
    first = decision(task, step, 2 * number, worker)
    second = decision(task, step, 2 * number + 1, worker, previous=first.id)
    role = "general" if worker == "general" else "tool_user"
    deed = Action(
        task.id.replace("task_", "act_"), task.id, step.id, "shell", "count", {}, "ls | wc", "read"
    )
    status = "failed" if number % 50 == 0 else "done"
    records: tuple[Record, ...] = (
        task,
        step,
        first,
        call(task, step, first, role),
        second,
        call(task, step, second, "verifier" if role != "general" else role),
        deed,
        Gate(deed.id, task.id, "allow", "rule", "reading is allowed"),
        Outcome(deed.id, task.id, step.id, status, "4", data=4, ms=3.0),  # type: ignore[arg-type]
        Result(task.id, status, 4),  # type: ignore[arg-type]
    )
    for offset, record in enumerate(records):
        yield Event(task.id, START + number + offset / 10, record)


def pairs(worker: int) -> Iterator[list[Event]]:
    """What a step brings, again and again."""
    number = 10_000_000 * (worker + 1)
    while True:
        events = list(task_events(number))
        yield [events[2], events[3]]
        yield [events[4], events[5]]
        number += 1


def by_threads(ledger: Ledger, seconds: float) -> float:
    """Events a second, each of 64 threads appending one event at a time."""
    counts = [0] * CLIENTS
    ready = [[event for _ in range(300) for event in next(stream)] for stream in _streams()]
    until = time.perf_counter() + seconds

    def write(worker: int) -> None:
        own = ready[worker]
        while time.perf_counter() < until:
            ledger.append(own[counts[worker] % len(own)])
            counts[worker] += 1

    threads = [threading.Thread(target=write, args=(n,)) for n in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def by_tasks(ledger: Ledger, seconds: float) -> float:
    """Events a second, each of 64 asyncio tasks appending a decision and its call together."""
    ready = [[next(stream) for _ in range(300)] for stream in _streams()]
    done = [0] * CLIENTS

    async def write(worker: int, until: float) -> None:
        own = ready[worker]
        while time.perf_counter() < until:
            await ledger.appended(own[done[worker] % len(own)])
            done[worker] += 1

    async def everybody() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(write(n, began + seconds) for n in range(CLIENTS)))
        return 2 * sum(done) / (time.perf_counter() - began)

    return asyncio.run(everybody())


def _streams() -> list[Iterator[list[Event]]]:
    return [pairs(worker) for worker in range(CLIENTS)]


def fill(ledger: Ledger, rows: int) -> None:
    """Whole tasks until there are ``rows`` events."""
    number, began = ledger.last_id() // 10, time.perf_counter()
    while (have := ledger.last_id()) < rows:
        batch = [e for n in range(number, number + BATCH // 10) for e in task_events(n)]
        ledger.append_all(batch)
        number += BATCH // 10
        if number % 10_000 == 0:
            say(f"  {have + len(batch):,} events, {time.perf_counter() - began:.0f} s")


def median_ms(ask: Callable[[], object], times: int = QUERIES) -> float:
    took = []
    for _ in range(times):
        start = time.perf_counter()
        ask()
        took.append((time.perf_counter() - start) * 1000.0)
    return statistics.median(took)


def queries(ledger: Ledger) -> dict[str, float]:
    """Milliseconds of each question, by its name."""
    from runtime.daemon.finding import find

    last = ledger.last_id()
    middle = ledger.decisions(before=last // 2, limit=1)[0]
    assert isinstance(middle.record, Decision)
    one, task_id = middle.record.id, middle.task_id
    spending = LedgerSpending(ledger.path)
    now = START + last / 10
    questions: dict[str, Callable[[], object]] = {
        "by kind": lambda: ledger.decisions(kind="shell"),
        "by chosen": lambda: ledger.decisions(chosen="general"),
        "by kind and chosen": lambda: ledger.decisions(kind="shell", chosen="general"),
        "by task": lambda: ledger.decisions(task_id=task_id),
        "by client": lambda: ledger.decisions(client="langchain"),
        "by client and kind": lambda: ledger.decisions(client="langchain", kind="gui"),
        "by session": lambda: ledger.decisions(session="ses_00000010"),
        "by kind, from the middle": lambda: ledger.decisions(kind="shell", before=last // 2),
        "by ending (failed)": lambda: ledger.decisions(ending="failed"),
        "by ending (none such)": lambda: ledger.decisions(ending="cancelled"),
        "one by id": lambda: ledger.record(one),
        "events of its task": lambda: list(ledger.events(task_id)),
        "tasks": ledger.tasks,
        "unfinished": ledger.unfinished,
        "last id": ledger.last_id,
        "rows by kind": lambda: find(ledger, kind="shell"),
        "spent": lambda: spending.spent(now),
    }
    found = {name: median_ms(ask) for name, ask in questions.items()}
    found["told"] = median_ms(ledger.told, times=3)
    return found


def measure(
    rows: int = ROWS, seconds: float = SECONDS, folder: Path | None = None
) -> dict[str, Any]:
    """``events_per_s`` and ``query_ms``, and what they are made of."""
    with tempfile.TemporaryDirectory() as name:
        where = folder or Path(name)
        rates = {}
        for way, work in (("threads", by_threads), ("tasks", by_tasks)):
            ledger = Ledger(Path(name) / f"{way}.db")
            rates[way] = work(ledger, seconds)
            say(f"{CLIENTS} {way}: {rates[way]:,.0f} durable events/s")
            ledger.close()
        ledger = Ledger(where / "million.db")
        began, had = time.perf_counter(), ledger.last_id()
        fill(ledger, rows)
        if rows > had:
            filled = (rows - had) / (time.perf_counter() - began)
            say(f"filled at {filled:,.0f} events/s, {ledger.path.stat().st_size / 1e6:,.0f} MB")
        found = queries(ledger)
        ledger.close()
        for question, ms in found.items():
            say(f"  {ms:8.2f} ms  {question}")
    return {
        "events_per_s": round(min(rates.values())),
        "query_ms": round(found["by kind"], 2),
        "rows": rows,
        "events_per_s_by": {way: round(rate) for way, rate in rates.items()},
        "query_ms_by": {question: round(ms, 2) for question, ms in found.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--folder", type=Path, help="Keep the large ledger here, and use it again.")
    args = parser.parse_args()
    print(json.dumps(measure(args.rows, args.seconds, args.folder)))


if __name__ == "__main__":
    main()
