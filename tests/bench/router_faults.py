"""A General that fails in every way: does each task end in time, and rightly?

    python -m tests.bench.router --suite faults        python -m tests.bench.router_faults

Each fault is a real HTTP server on loopback, asked by a team of its own with the local models
and the default policy, but for ``general_timeout_s`` and with no promise (``risk_alpha``), which
would have some of the first four ask a General, too. Under each, the same tasks run with privacy
``auto``: four that need no General, whose effect is looked at and which must not make a
connection; two plans, that only the General can answer; and two calls that local models are not
sure of, one of them a write. With a right General, all are done. Without one, plans are declined,
the call comes back as unsure, and the unsure write is not done. ``late`` counts tasks that took
longer than ``general_timeout_s`` for the step that asks the General and ``LOCAL_S`` for the rest;
``wrong`` those that ended otherwise than they should, whatever the reason.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.errors import AidecampError
from runtime.core import Task, new_id
from runtime.session import Session, open_session
from tests.fakes import Asked, FakeGeneral, completion
from tests.fault_server import (
    Huge,
    Reply,
    busy,
    cut,
    drip,
    garbage,
    hang,
    hang_up,
    refused_url,
    status,
)

GENERAL_TIMEOUT_S = 4.0
LOCAL_S = 8.0
NOW = "2026-11-22T15:00:00"
WORDS = "One day for the walls, one for the river, one for the hills."

Need = Literal["none", "words", "call", "write"]
Summary = Mapping[str, Any]
Check = Callable[[Summary, Path], bool]


@dataclass(frozen=True, slots=True)
class Job:
    """A task, what it needs of the General, and how to see that it was done."""

    text: str
    need: Need
    done: Check
    answer: str = WORDS
    """What a right General answers."""


def _call(recipe: str, **arguments: Any) -> str:
    return json.dumps({"recipe": recipe, "arguments": arguments})


JOBS = (
    Job(
        "List the files in {folder}",
        "none",
        lambda s, f: [row["name"] for row in s["answer"]] == ["notes.txt"],
    ),
    Job(
        "Plan a three-day trip to Rome for two people",
        "words",
        lambda s, f: s["answer"] == WORDS,
    ),
    Job(
        "Set a timer for 10 minutes",
        "none",
        lambda s, f: s["answer"] == {"name": "set_timer", "arguments": {"minutes": 10}},
    ),
    Job(
        "Book a flight to Oslo for tomorrow",
        "call",
        lambda s, f: s["answer"]["arguments"]["title"] == "Flight to Oslo, to be booked",
        _call("create_event", title="Flight to Oslo, to be booked", start="2026-11-23T09:00:00"),
    ),
    Job(
        "Create a folder named drafts in {folder}",
        "none",
        lambda s, f: (f / "drafts").is_dir(),
    ),
    Job(
        "Translate {folder}/notes.txt into French",
        "write",
        lambda s, f: (f / "notes.txt").read_text("utf-8") == "douze octets",
        _call("replace_text", file="notes.txt", old="twelve bytes", new="douze octets"),
    ),
    Job(
        "Work out a strategy for moving our team to a new code review process",
        "words",
        lambda s, f: s["answer"] == WORDS,
    ),
    Job(
        "How big is {folder}/notes.txt?",
        "none",
        lambda s, f: "12" in json.dumps(s["answer"]),
    ),
)
WITHOUT_GENERAL = {"words": "declined", "call": "unsure", "write": "denied"}


class Right:
    """A General that is right, after it did what is in ``before``, each once; ``call``: what it
    answers where a call is asked for, instead of the right one."""

    def __init__(self, *before: Reply, call: str | None = None) -> None:
        self._before = list(before)
        self._call = call

    def __call__(self, handler: Asked) -> None:
        if self._before:
            self._before.pop(0)(handler)
            return
        asked = json.loads(handler.body)["messages"][-1]["content"]
        job = next(j for j in JOBS if j.text.partition("{")[0] in asked)
        answer = job.answer if self._call is None or job.need == "words" else self._call
        status(200, body=completion(answer))(handler)


@dataclass(frozen=True, slots=True)
class Fault:
    """How a General behaves. ``replies`` None: nothing listens. ``spare``: another General that
    is right stands behind it. ``words``, ``call``: whether it does for these all the same."""

    name: str
    replies: Sequence[Any] | None
    spare: bool = False
    words: bool = False
    call: bool = False

    def serves(self, need: Need) -> bool:
        return self.spare or (self.words if need == "words" else self.call)


def faults() -> tuple[Fault, ...]:
    nested = '{"choices": ' + "[" * 100_000
    other = json.dumps({"choices": [{"message": {"content": {"text": WORDS}}}]})
    no_choices = json.dumps({"object": "list", "data": []})
    return (
        Fault("none", [Right()], words=True, call=True),
        Fault("refuses", None),
        Fault("hangs", [hang]),
        Fault("drips", [drip]),
        Fault("hangs up", [hang_up]),
        Fault("drops in the middle", [cut(WORDS)]),
        Fault("429, wait 10 minutes", [busy("600")]),
        Fault("429, no word of when", [status(429)]),
        Fault("500", [status(500, body="it broke")]),
        Fault("503 with a huge body", [Huge(503)]),
        Fault("401", [status(401)]),
        Fault("redirect", [status(307, {"Location": "http://192.0.2.1/v1/chat/completions"})]),
        Fault("garbage", [garbage]),
        Fault("a web page", [(200, "<html>Please log in</html>")]),
        Fault("huge", [Huge()]),
        Fault("nested", [(200, nested)]),
        Fault("wrong schema", [(200, other)]),
        Fault("no choices", [(200, no_choices)]),
        Fault("empty answer", ["  "]),
        Fault("words for a call", [Right(call=WORDS)], words=True),
        Fault("a call that is not on offer", [Right(call=_call("rm -rf", path="/"))], words=True),
        Fault("a call without its slots", [Right(call='{"recipe": "replace_text"}')], words=True),
        Fault("once 429, wait 1 s", [Right(busy("1"))], words=True, call=True),
        Fault("once 500 and 503", [Right(status(500), status(503))], words=True, call=True),
        Fault("refuses, with a spare", None, spare=True),
        Fault("hangs, with a spare", [hang], spare=True),
        Fault("garbage, with a spare", [garbage], spare=True),
    )


@contextmanager
def environment(url: str, spare: str | None) -> Iterator[None]:
    """The settings of this benchmark, as a user would set them."""
    values = {
        "AIDECAMP_GENERAL__BASE_URL": url,
        "AIDECAMP_GENERAL__API_KEY": "none",
        "AIDECAMP_POLICY": json.dumps({"general_timeout_s": GENERAL_TIMEOUT_S, "risk_alpha": 0.0}),
        "AIDECAMP_GENERALS": json.dumps(
            [{"name": "spare", "base_url": spare, "model": "spare", "api_key": "none"}]
            if spare
            else []
        ),
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def run(session: Session, job: Job, seconds: float) -> tuple[Summary, bool]:
    """The task's summary and whether what it should do was done."""
    with tempfile.TemporaryDirectory(prefix="aidecamp-faults-") as name:
        folder = Path(name)
        (folder / "notes.txt").write_text("twelve bytes", "utf-8")
        task = Task(
            new_id("task"),
            job.text.replace("{folder}", name),
            folder=name,
            now=NOW,
            privacy="auto",
            yes=True,
        )

        async def bounded() -> Summary:
            return await asyncio.wait_for(session.run(task), seconds)

        try:
            body = asyncio.run(bounded())
        except (AidecampError, TimeoutError) as error:
            body = {"status": type(error).__name__, "answer": None, "reason": str(error)}
        try:
            done = job.done(body, folder)
        except (KeyError, TypeError, OSError):  # the answer has another form, or there is none
            done = False
        return body, done


def problem(fault: Fault, job: Job, body: Summary, done: bool, asked: int) -> str:
    """What is wrong with how a task ended; empty where nothing is."""
    if job.need == "none":
        if asked:
            return f"the General was asked {asked} times for what needs none"
        right = "done"
    else:
        right = "done" if fault.serves(job.need) else WITHOUT_GENERAL[job.need]
    if body["status"] != right:
        return f"{body['status']} and not {right}: {body['reason']}"
    if done != (right == "done"):
        return f"{right}, but its effect is {'there' if done else 'not there'}"
    return ""


def measure_fault(fault: Fault) -> tuple[int, int, int]:
    """How many tasks ran under one fault, how many of them ended wrongly, and how many late."""
    tasks = wrong = late = 0
    with ExitStack() as stack:
        servers = [FakeGeneral(fault.replies)] if fault.replies is not None else []
        url = servers[0].base_url if servers else refused_url()
        spare = FakeGeneral([Right()]) if fault.spare else None
        servers += [spare] if spare else []
        for server in servers:
            stack.enter_context(server)
        stack.enter_context(environment(url, spare.base_url if spare else None))
        ledger = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "ledger.db"
        session = stack.enter_context(open_session(privacy="auto", ledger_file=ledger))
        for job in JOBS:
            deadline = LOCAL_S + (GENERAL_TIMEOUT_S if job.need != "none" else 0.0)
            before = sum(len(s.received) for s in servers)
            start = time.perf_counter()
            body, done = run(session, job, 5 * deadline)
            seconds = time.perf_counter() - start
            asked = sum(len(s.received) for s in servers) - before
            found = problem(fault, job, body, done, asked)
            tasks += 1
            wrong += bool(found)
            late += seconds > deadline
            note = found or ("late" if seconds > deadline else "ok")
            say(f"{fault.name:<28} {job.text[:36]:<36} {seconds:5.1f} s  {note}")
    return tasks, wrong, late


def measure() -> dict[str, int]:
    """``tasks``, and how many of them ended ``wrong`` or ``late``."""
    # The first session pays for imports and for prompts that are decoded once.
    measure_fault(faults()[0])
    counts = [measure_fault(fault) for fault in faults()]
    tasks, wrong, late = (sum(column) for column in zip(*counts, strict=True))
    return {"tasks": tasks, "wrong": wrong, "late": late}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
