"""What leaves the machine under each privacy mode: ``python -m tests.bench.router_privacy``.

500 tasks with planted secrets and personal data (``tests.bench.privacy_data``) go through
``Session.run``: the loop, the Router, the General with its HTTP client, and the ledger as a user
has them. Refining and proposing are scripted, so that each task is sure to want the General, by
one of three ways: a plan, an unsure proposal, or the output of a failed action. The first
``--whole`` tasks that are plans then run once more with nothing scripted, models included
(``dry_run``: nothing is done to this machine).

``local``: a child process in a network namespace of its own runs them all with a General
configured at a loopback address there. ``connections`` counts what the kernel saw of that
namespace until the child had ended: TCP connections opened, UDP datagrams sent, and packets for
which there was no route (which is what a name look-up or a library's telemetry ends as). Then,
as a control, one task under ``auto`` and one connection to a foreign address must both be seen,
or the run is an error. ``auto``: a loopback server keeps what it receives. ``leaked``
counts planted values of listed formats in it, ``leaked_unlisted`` is the share of the values
whose format the redactor was not written for. ``restored``: share of the plans' answers (the
server says back what it was told) in which all originals are back.

Not covered: Unix sockets; what a tool's own process sends (its sandbox has no network).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from models.errors import AidecampError
from runtime.agent import Agent
from runtime.core import Action, Call, Decision, Kind, Outcome, Privacy, Step, Task, new_id
from runtime.session import Session, open_session
from runtime.tools.recipe import Proposal, Recipe
from tests.bench.privacy_data import Plant, PrivateTask, private_tasks
from tests.fakes import FakeGeneral, FakeTool, FakeToolUser, completion, recipe

TASKS = 500
WHOLE = 24
FOREIGN = ("192.0.2.1", 443)
"""An address of the block that is kept for documentation (RFC 5737): nobody's."""


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class OneStep:
    """Refines every task to one step of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    async def refine(self, task: Task) -> tuple[list[Step], list[Call]]:
        return [Step(new_id("step"), task.id, 0, self.kind, task.text)], []


class Proposer:
    """Proposes the first recipe, with the confidences that it was given, in turn."""

    models = FakeToolUser.models

    def __init__(self, *confidences: float) -> None:
        self.confidences = list(confidences)

    async def propose(
        self, task: Task, step: Step, decision: Decision, recipes: Sequence[Recipe]
    ) -> tuple[Proposal, list[Call]]:
        first = recipes[0] if recipes else recipe("nothing")
        return Proposal(first, {"name": "it"}, self.confidences.pop(0), ()), []


class FailingTool(FakeTool):
    """Fails with the output that it was given."""

    def __init__(self, output: str) -> None:
        super().__init__(recipes=(recipe(risk="read"), recipe("other")))
        self.output = output

    def run(self, task: Task, action: Action) -> Outcome:
        return Outcome(action.id, task.id, action.step_id, "failed", error=self.output)


class Echo(FakeGeneral):
    """Says back what it was told; where it is asked for a tool call, that none fits."""

    def __init__(self) -> None:
        super().__init__([self.echo])

    def echo(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(self.received[-1])
        text = '{"recipe": null}'
        if "response_format" not in body:
            text = body["messages"][-1]["content"]
        data = completion(text).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


def scripted(session: Session, item: PrivateTask) -> Session:
    """The session with a team that is sure to want the General for ``item``."""
    kind: Kind = "plan" if item.way == "plan" else "shell"
    team = replace(session.team, refiner=OneStep(kind))
    if item.way == "escalate":
        team = replace(team, tool_user=Proposer(0.0))
    elif item.way == "repair":
        tools = {**team.tools, "shell": FailingTool(item.output)}
        team = replace(team, tool_user=Proposer(1.0, 0.0), tools=tools)
    # No promise: the scripted answers are those of no calibrated file.
    policy, made = replace(session.policy, risk_alpha=0.0), session.agent
    agent = Agent(team, policy, made.approver, made.deciding.spending)
    return replace(session, team=team, policy=policy, agent=agent)


@contextmanager
def opened(privacy: Privacy, base_url: str) -> Iterator[Session]:
    with (
        tempfile.TemporaryDirectory(prefix="aidecamp-bench-") as name,
        open_session(
            privacy=privacy, general=base_url, ledger_file=Path(name) / "ledger.db"
        ) as session,
    ):
        yield session


def run_one(session: Session, text: str, *, dry_run: bool) -> tuple[Any, bool]:
    """Its answer, and whether the loop wanted the General for it."""
    wanted = False

    def look(event: Any) -> None:
        nonlocal wanted
        record = event.record
        if isinstance(record, Decision) and record.would_send is not None:
            wanted = True

    with tempfile.TemporaryDirectory(prefix="aidecamp-bench-") as folder:
        task = Task(
            new_id("task"),
            text,
            privacy=session.config.privacy,
            folder=folder,
            dry_run=dry_run,
            yes=True,
        )
        with suppress(AidecampError):  # an answer that is no tool call: it was asked all the same
            return asyncio.run(session.run(task, look))["answer"], wanted
    return None, wanted


@dataclass
class Tally:
    """What was found in the payloads."""

    tasks: int = 0
    asked: int = 0
    """Tasks for which something was sent."""
    delivered: int = 0
    """Of these, whose text or output was in what was sent: where the plants could leak."""
    payloads: int = 0
    plans: int = 0
    restored: int = 0
    planted: Counter[str] = field(default_factory=Counter)
    leaked: Counter[str] = field(default_factory=Counter)
    unlisted: Counter[str] = field(default_factory=Counter)
    leaked_unlisted: Counter[str] = field(default_factory=Counter)

    def add(self, item: PrivateTask, payloads: Sequence[bytes], answer: Any) -> None:
        self.tasks += 1
        if not payloads:
            return
        self.asked += 1
        self.payloads += len(payloads)
        sent = "\n".join(text for body in payloads for text in strings(json.loads(body)))
        self.delivered += item.marker in sent
        for plants, all_, leaked in (
            (item.listed, self.planted, self.leaked),
            (item.unlisted, self.unlisted, self.leaked_unlisted),
        ):
            for plant in plants:
                all_[plant.format] += 1
                leaked[plant.format] += found(plant, sent)
        if item.way == "plan":
            self.plans += 1
            everything = (*item.listed, *item.unlisted)
            self.restored += all(p.value in str(answer) for p in everything)


def strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def found(plant: Plant, sent: str) -> bool:
    """The value is there as it was written, or without its spaces."""
    return plant.value in sent or (
        " " in plant.value and plant.value.replace(" ", "") in sent.replace(" ", "")
    )


def auto(items: Sequence[PrivateTask]) -> Tally:
    """All tasks with scripted refining: what the server received."""
    tally = Tally()
    with Echo() as server, opened("auto", server.base_url) as session:
        for item in items:
            before = len(server.received)
            answer, _ = run_one(scripted(session, item), item.text, dry_run=False)
            tally.add(item, server.received[before:], answer)
            if tally.tasks % 100 == 0:
                note(f"auto: {tally.tasks} tasks, {sum(tally.leaked.values())} listed leaked")
    return tally


def whole(items: Sequence[PrivateTask]) -> Tally:
    """The tasks with nothing scripted."""
    tally = Tally()
    with Echo() as server, opened("auto", server.base_url) as session:
        for item in items:
            before = len(server.received)
            answer, _ = run_one(session, item.text, dry_run=True)
            tally.add(item, server.received[before:], answer)
            note(f"whole: {tally.tasks} tasks, {tally.asked} asked the General")
    return tally


def kernel_count() -> int:
    """Attempts to reach anybody that the kernel counted in this network namespace: TCP
    connections opened, UDP datagrams, and packets without a route, IPv4 and IPv6."""
    count = 0
    lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        row = dict(zip(names, values, strict=True))
        for protocol, field_ in (
            ("Tcp:", "ActiveOpens"),
            ("Udp:", "OutDatagrams"),
            ("Ip:", "OutNoRoutes"),
        ):
            count += int(row[field_]) if names[0] == protocol else 0
    six = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return count + int(six["Udp6OutDatagrams"]) + int(six["Ip6OutNoRoutes"])


def run_in_child(privacy: Privacy, server: FakeGeneral, count: int, whole_count: int) -> int:
    """How many tasks wanted the General, once a process that ran them has come to its end: what
    a library sends at exit counts too."""
    command = [
        *(sys.executable, "-m", "tests.bench.router_privacy", "--run", privacy),
        *("--general", server.base_url, "--tasks", str(count), "--whole", str(whole_count)),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=as_a_user())
    return int(done.stdout.splitlines()[-1])


def as_a_user() -> dict[str, str]:
    """The environment without what keeps libraries quiet on a build machine alone."""
    quiet = {"CI", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_OFFLINE"}
    return {name: value for name, value in os.environ.items() if name not in quiet}


def run_tasks(privacy: Privacy, base_url: str, count: int, whole_count: int) -> int:
    """In the child: the tasks, scripted and whole; how many scripted ones wanted the General."""
    items = private_tasks(count)
    wanted = 0
    with opened(privacy, base_url) as session:
        for item in items:
            wanted += run_one(scripted(session, item), item.text, dry_run=False)[1]
        for item in plans(items)[:whole_count]:
            run_one(session, item.text, dry_run=True)
    return wanted


def probe() -> dict[str, int]:
    """In the namespace: nothing but what the control does may be seen before the control."""
    options = arguments()
    with Echo() as server:
        before = kernel_count()
        wanted = run_in_child("local", server, options.tasks, options.whole)
        connections = kernel_count() - before
        note(f"local: {options.tasks} tasks, {wanted} wanted the General, {connections} attempts")
        if server.received:
            raise SystemExit("privacy 'local', and the server received a request")
        before = kernel_count()
        run_in_child("auto", server, 1, 0)
        asked = kernel_count() - before
        if asked < 1 or not server.received:
            raise SystemExit("the control under 'auto' was not seen by the kernel's counters")
    before = kernel_count()
    with socket.socket() as foreign, suppress(OSError):
        foreign.settimeout(1)
        foreign.connect(FOREIGN)
    abroad = kernel_count() - before
    if abroad < 1:
        raise SystemExit("a connection to a foreign address was not seen by the counters")
    return {"connections": connections, "wanted": wanted, "control": asked + abroad}


def local(count: int, whole_count: int) -> dict[str, int]:
    command = [
        *("bwrap", "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent"),
        *(sys.executable, "-m", "tests.bench.router_privacy", "--probe"),
        *("--tasks", str(count), "--whole", str(whole_count)),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return result


def plans(items: Sequence[PrivateTask]) -> list[PrivateTask]:
    return [item for item in items if item.way == "plan"]


def measure(count: int = TASKS, whole_count: int = WHOLE) -> dict[str, Any]:
    items = private_tasks(count)
    probed = local(count, whole_count)
    tally = auto(items)
    end_to_end = whole(plans(items)[:whole_count])
    if tally.delivered != count or probed["wanted"] != count:
        raise SystemExit(f"not every task wanted the General: {tally.delivered}, {probed}")
    unlisted = sum(tally.unlisted.values())
    leaked_unlisted = sum(tally.leaked_unlisted.values())
    return {
        "tasks": tally.tasks,
        "connections": probed["connections"],
        "wanted_under_local": probed["wanted"],
        "control_connections": probed["control"],
        "delivered_under_auto": tally.delivered,
        "payloads": tally.payloads,
        "planted": sum(tally.planted.values()),
        "leaked": sum((tally.leaked + end_to_end.leaked).values()),
        "leaked_formats": dict(tally.leaked + end_to_end.leaked),
        "leaked_unlisted": round(leaked_unlisted / unlisted, 4) if unlisted else None,
        "unlisted_formats": {
            name: round(tally.leaked_unlisted[name] / n, 2) for name, n in tally.unlisted.items()
        },
        "restored": round(tally.restored / tally.plans, 4) if tally.plans else None,
        "whole_tasks": end_to_end.tasks,
        "whole_asked": end_to_end.asked,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--whole", type=int, default=WHOLE)
    parser.add_argument("--probe", action="store_true", help="the child in the namespace")
    parser.add_argument("--run", choices=("local", "auto"), help="its child, which runs the tasks")
    parser.add_argument("--general", help="with --run: the General's base URL")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.run:
        print(run_tasks(options.run, options.general, options.tasks, options.whole))
    elif options.probe:
        print(json.dumps(probe()))
    else:
        print(json.dumps(measure(options.tasks, options.whole), ensure_ascii=False))


if __name__ == "__main__":
    main()
