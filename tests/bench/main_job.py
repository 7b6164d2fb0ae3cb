"""The main job, measured: the four demo tasks ten times each, and forty unseen tasks.

    python -m tests.bench.main_job [--rounds 10] [--only demo|unseen|privacy|dev] [--match gui-]

``success`` and ``unseen_success`` are shares of tasks whose check of the real effect passed;
``wrong_sure`` is the share of unseen tasks that ended ``done`` although their check failed.
``bytes_sent`` is measured at the socket: the four demo tasks run with ``--privacy local`` and a
General configured on loopback, in a network namespace of their own, and what all processes in
it sent over any interface is counted there by the kernel. ``--only dev`` runs the development
tasks (``dev.py``) and shows why each went wrong; its figures are never a result.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import AidecampError
from runtime.core import Task, new_id
from runtime.demo import DEMOS
from runtime.session import Session, open_session
from tests.bench.dev import DEV, DevTask
from tests.bench.unseen import NOW, UNSEEN
from tests.fakes import FakeGeneral


class PeakMemory:
    """Samples the resident memory of this process and its children together, in MB."""

    def __init__(self) -> None:
        self.mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        import psutil

        me = psutil.Process()
        while not self._stop.wait(0.2):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            self.mb = max(self.mb, total / 1e6)

    def stop(self) -> float:
        self._stop.set()
        self._thread.join()
        return self.mb


def run_one(session: Session, task: Task) -> Mapping[str, Any]:
    """One task's summary; a machine error counts as a failed run."""
    try:
        return asyncio.run(session.run(task))
    except AidecampError as error:
        return {
            "status": "failed",
            "reason": error.message,
            "answer": None,
            "steps": [],
            "bytes_sent": 0,
        }


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_demos(session: Session, rounds: int) -> tuple[list[bool], list[Mapping[str, Any]]]:
    passed, bodies = [], []
    for number in range(rounds):
        for demo in DEMOS:
            with tempfile.TemporaryDirectory(prefix="aidecamp-bench-") as name:
                folder = Path(name)
                body = run_one(session, replace(demo.task(folder), privacy=session.config.privacy))
                wrong = demo.check(body, folder)
            passed.append(not wrong)
            bodies.append(body)
            note(f"demo {number + 1}/{rounds}  {demo.title[:24]:<24}  {wrong or 'ok'}")
    return passed, bodies


def run_item(session: Session, item: Any) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """One task of a set: its row and its summary."""
    with tempfile.TemporaryDirectory(prefix="aidecamp-bench-") as name:
        folder = Path(name)
        item.setup(folder)
        task = Task(
            new_id("task"),
            item.text.replace("{folder}", name),
            folder=name,
            now=NOW.isoformat(),
            yes=True,
            privacy=session.config.privacy,
        )
        body = run_one(session, task)
        passed = bool(item.check(body, folder))
    return {"id": item.id, "kind": item.kind, "passed": passed, "status": body["status"]}, body


def run_unseen(session: Session) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]]]:
    rows, bodies = [], []
    for item in UNSEEN:
        row, body = run_item(session, item)
        rows.append(row)
        bodies.append(body)
        # Only ids and statuses: nobody tunes to what these tasks say.
        note(f"unseen {len(rows)}/{len(UNSEEN)}  {item.id:<12} {row['status']:<10} {row['passed']}")
    return rows, bodies


def run_dev(session: Session, match: str) -> list[dict[str, Any]]:
    rows = []
    for item in DEV:
        if match not in item.id:
            continue
        row, body = run_item(session, item)
        rows.append(row)
        note(f"{item.id:<22} {row['status']:<10} {row['passed']}")
        if not row["passed"] or row["status"] != "done":
            explain(item, body)
    return rows


def explain(item: DevTask, body: Mapping[str, Any]) -> None:
    """What became of a development task, step by step, on stderr."""
    note(f"    {item.text}\n    reason: {body['reason']}\n    answer: {str(body['answer'])[:300]}")
    for step in body["steps"]:
        if step["kind"] == "refine":
            continue
        note(f"    [{step['kind']}] {step['text']}")
        for decision in step["decisions"]:
            note(f"        {decision['chosen']} by {decision['rule']}: {decision['reason'][:200]}")
        for call in step["calls"]:
            note(f"        {call['role']}: {call['answer'][:200]} ({call['confidence']:.2f})")
        if step["action"]:
            action, outcome = step["action"], step["outcome"] or {}
            note(f"        {action['risk']} {action['recipe']} {action['arguments']}")
            note(f"        {outcome.get('status')}: {outcome.get('error')}")


def step_ms(bodies: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Median and 95th percentile of a step's wall time in ms, by kind."""
    by_kind: defaultdict[str, list[float]] = defaultdict(list)
    for body in bodies:
        for step in body["steps"]:
            by_kind[step["kind"]].append(step["ms"])
    return tuple(  # type: ignore[return-value]
        {kind: round(float(np.percentile(ms, q)), 1) for kind, ms in sorted(by_kind.items())}
        for q in (50, 95)
    )


def local_share(bodies: Sequence[Mapping[str, Any]]) -> float | None:
    calls = [call for body in bodies for step in body["steps"] for call in step["calls"]]
    return sum(c["bytes_sent"] == 0 for c in calls) / len(calls) if calls else None


def interface_bytes() -> int:
    """Bytes that all interfaces of this network namespace have sent."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    return sum(int(line.split(":")[1].split()[8]) for line in lines)


def probe_privacy() -> int:
    """Inside the namespace: bytes sent while the demo tasks run with ``--privacy local``."""
    with FakeGeneral(["should never be asked"] * 50) as server:
        before = interface_bytes()
        with (
            tempfile.TemporaryDirectory() as name,
            open_session(
                privacy="local", general=server.base_url, ledger_file=Path(name) / "ledger.db"
            ) as session,
        ):
            passed, _ = run_demos(session, 1)
        sent = interface_bytes() - before
        note(f"privacy local: {sum(passed)}/{len(passed)} tasks right, {sent} bytes sent")
        assert not server.received
        return sent


def bytes_under_privacy_local() -> int:
    """The probe in a network namespace with loopback only, where every byte is the task's."""
    command = [
        *("bwrap", "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent"),
        *(sys.executable, "-m", "tests.bench.main_job", "--only", "privacy"),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1])["bytes_sent"])


def dev_figures(match: str) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as name,
        open_session(ledger_file=Path(name) / "ledger.db") as session,
    ):
        rows = run_dev(session, match)
    wrong_sure = sum(row["status"] == "done" and not row["passed"] for row in rows)
    return {
        "development_only": True,
        "right": sum(row["passed"] for row in rows),
        "tasks": len(rows),
        "wrong_sure": wrong_sure,
        "by_kind": shares(rows),
    }


def shares(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Right of all, by kind."""
    return {
        kind: f"{sum(r['passed'] for r in rows if r['kind'] == kind)}"
        f"/{sum(r['kind'] == kind for r in rows)}"
        for kind in dict.fromkeys(row["kind"] for row in rows)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", choices=["demo", "unseen", "privacy", "dev"])
    parser.add_argument("--match", default="", help="with --only dev: part of the tasks' ids")
    options = parser.parse_args()
    if options.only == "privacy":
        print(json.dumps({"bytes_sent": probe_privacy()}))
        return
    if options.only == "dev":
        print(json.dumps(dev_figures(options.match)))
        return
    memory = PeakMemory()
    started = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as name,
        open_session(ledger_file=Path(name) / "ledger.db") as session,
    ):
        passed, bodies = run_demos(session, 0 if options.only == "unseen" else options.rounds)
        rows, more = run_unseen(session) if options.only != "demo" else ([], [])
    bodies = [*bodies, *more]
    p50, p95 = step_ms(bodies)
    right = sum(row["passed"] for row in rows)
    wrong_sure = sum(row["status"] == "done" and not row["passed"] for row in rows)
    by_kind = shares(rows)
    share = local_share(bodies)
    result = {
        "episodes": len(passed) + len(rows),
        "success": sum(passed) / len(passed) if passed else None,
        "unseen_success": right / len(rows) if rows else None,
        "wrong_sure": wrong_sure / len(rows) if rows else None,
        "unseen_by_kind": by_kind,
        "local_share": None if share is None else round(share, 4),
        "p50_ms": p50,
        "p95_ms": p95,
        "rss_mb": round(memory.stop()),
        "bytes_sent": bytes_under_privacy_local() if options.only is None else None,
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
