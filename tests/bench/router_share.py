"""The local share, measured on three workloads: ``python -m tests.bench.router_share``.

180 tasks in the likeness of the paper's case studies (``share_tasks`` says how they were
mixed), run through ``runtime.session`` with the default local models and thresholds, and with a
scripted General on loopback that gives each task's reference answer. A person approves the
sensitive actions that a task asks for, and no others. ``gui``, ``shell`` and
``parse``: model calls that sent no byte / all model calls, beside the paper's *estimates* of 70,
50 and 40 %. One step here takes several small local calls and one remote call, so ``by_step``
says the same of steps: those that no General was asked about / all steps but the refining ones.
``success``: tasks whose check of the real effect passed. ``risk``: wrong among the tasks kept
local throughout and given as sure, where at most ``alpha`` (5 %) of the answers may be: a kind that
the shipped calibration cannot certify for that keeps none as sure, and asks the General. Energy
is what the whole run took, with how it was measured. Progress goes to stderr; the last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from models.errors import AidecampError
from runtime.agent import Approver
from runtime.config import data_dir
from runtime.core import Action, Task, new_id
from runtime.energy import Meter
from runtime.report import summary
from runtime.savings import PAPER
from runtime.session import Session, open_session
from tests.bench.share_gui import GUI
from tests.bench.share_parse import PARSE
from tests.bench.share_shell import SHELL
from tests.bench.share_tasks import NOW, Act, ShareTask
from tests.fakes import FakeGeneral

CHARACTERS_PER_TOKEN = 4
ALPHA = 0.05


class ScriptedGeneral(FakeGeneral):
    """An OpenAI-compatible server on loopback that answers as the task in hand says.

    Where recipes are on offer it makes the call that the step is about, in the order of the
    task's acts, or says that none fits; elsewhere it answers in words. Tokens are counted at
    four characters each.
    """

    def __init__(self) -> None:
        self.task: ShareTask | None = None
        self.folder = ""
        self._used: set[int] = set()
        super().__init__([lambda asked: asked.answer(self.completion(json.loads(asked.body)))])

    def serve(self, task: ShareTask, folder: str) -> None:
        """From now on, questions are about this task."""
        self.task, self.folder, self._used = task, folder, set()

    def completion(self, asked: Mapping[str, Any]) -> str:
        """The answer to one request, as the API's JSON."""
        messages = asked["messages"]
        text = self._answer(messages[0]["content"], messages[-1]["content"])
        tokens_in = sum(len(m["content"]) for m in messages) // CHARACTERS_PER_TOKEN
        tokens_out = max(1, len(text) // CHARACTERS_PER_TOKEN)
        message = {"role": "assistant", "content": text}
        return json.dumps(
            {
                "id": "scripted",
                "object": "chat.completion",
                "created": 0,
                "model": asked["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {
                    "prompt_tokens": tokens_in,
                    "completion_tokens": tokens_out,
                    "total_tokens": tokens_in + tokens_out,
                },
            }
        )

    def _answer(self, system: str, user: str) -> str:
        if self.task is None:
            return "nothing was asked"
        offered = _offered(system)
        if offered is None:
            return self.task.words or "I cannot do that in words."
        act = self._act(user.rpartition("Step: ")[2].casefold())
        if act is None or act.recipe not in offered:
            return json.dumps({"recipe": None, "answer": self.task.words}, ensure_ascii=False)
        arguments = {
            k: v.replace("{folder}", self.folder) if isinstance(v, str) else v
            for k, v in act.arguments.items()
        }
        return json.dumps({"recipe": act.recipe, "arguments": arguments}, ensure_ascii=False)

    def _act(self, step: str) -> Act | None:
        acts = self.task.acts if self.task else ()
        fitting = [i for i, act in enumerate(acts) if act.about.casefold() in step]
        if not fitting:
            return None
        number = next((i for i in fitting if i not in self._used), fitting[-1])
        self._used.add(number)
        return acts[number]


def _offered(system: str) -> set[str] | None:
    """Ids of the recipes on offer; None where words are asked for."""
    start = system.find("[{")
    if start < 0:
        return None
    recipes = json.JSONDecoder().raw_decode(system[start:])[0]
    return {recipe["recipe"] for recipe in recipes}


class Person:
    """Who asked for the task: approves an action that the task asks for, and no other."""

    def __init__(self) -> None:
        self.task: ShareTask | None = None

    async def action(self, action: Action, reason: str) -> bool:
        return self.task is not None and action.recipe in {a.recipe for a in self.task.acts}

    async def send(self, preview: Mapping[str, Any]) -> bool:
        return True


@contextlib.contextmanager
def plain_home(alpha: float) -> Iterator[Path]:
    """A data folder of its own with the user's models in it, this ``risk_alpha``, and the defaults
    for all else: no other General, no calibration of the user's."""
    models = data_dir() / "models"
    with tempfile.TemporaryDirectory(prefix="aidecamp-home-") as name:
        home = Path(name)
        (home / "models").symlink_to(models)
        (home / "policy.toml").write_text(f"risk_alpha = {alpha}\n", "utf-8")
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AIDECAMP_")}
        with mock.patch.dict(os.environ, {**kept, "AIDECAMP_HOME": name}, clear=True):
            yield home


def run_task(
    session: Session, general: ScriptedGeneral, item: ShareTask, folder: Path
) -> dict[str, Any]:
    """One task's row: what was served where, whether it is right, and how it ended."""
    folder.mkdir()
    item.prepare(folder)
    general.serve(item, str(folder))
    task = Task(
        new_id("task"),
        item.text.replace("{folder}", str(folder)),
        folder=str(folder),
        now=NOW.isoformat(),
        template=item.template,
        yes=True,
        privacy="auto",
    )
    try:
        body: Mapping[str, Any] = asyncio.run(session.run(task))
        passed = bool(item.check(body, folder))
    except AidecampError as error:
        steps = recorded_steps(session, task.id)
        body = {"status": "failed", "reason": error.message, "steps": steps}
        passed = False
    return {
        "id": item.id,
        "workload": item.workload,
        "level": item.level,
        "passed": passed,
        "status": body["status"],
        "reason": body["reason"],
        "answer": body.get("answer"),
        **_served(body["steps"]),
    }


@contextlib.contextmanager
def work_folders() -> Iterator[Path]:
    """Where each task gets an empty folder of always the same name: its path is in the request,
    and a name drawn anew each time would route some of them otherwise each time. None is used
    twice or removed before the end, since the editor watches the files that it has open."""
    base = Path(tempfile.gettempdir()) / "aidecamp-share"
    try:
        base.mkdir(mode=0o700)
    except FileExistsError:
        sys.exit(f"{base} is in the way: remove it, unless this benchmark runs already.")
    try:
        yield base
    finally:
        shutil.rmtree(base)


def recorded_steps(session: Session, task_id: str) -> list[dict[str, Any]]:
    """The steps of a task that ended in an error, from the record."""
    return list(summary(list(session.ledger.events(task_id)))["steps"])


def _served(steps: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    calls = [call for step in steps for call in step["calls"] if call["role"] != "verifier"]
    work = [step for step in steps if step["kind"] != "refine"]
    return {
        "calls": len(calls),
        "local_calls": sum(_local(call) for call in calls),
        "steps": len(work),
        "local_steps": sum(all(_local(call) for call in step["calls"]) for step in work),
    }


def _local(call: Mapping[str, Any]) -> bool:
    return bool(call["bytes_sent"] == 0 and call["role"] != "general")


def shares(rows: Sequence[Mapping[str, Any]], what: str) -> float | None:
    """Local of all ``calls`` or ``steps``."""
    total = sum(row[what] for row in rows)
    return round(sum(row[f"local_{what}"] for row in rows) / total, 4) if total else None


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The line's figures from the rows of all workloads."""
    by = {w: [r for r in rows if r["workload"] == w] for w in ("gui", "shell", "parse")}
    return {
        **{workload: shares(part, "calls") for workload, part in by.items()},
        "paper_estimate": {area.workload: area.estimate for area in PAPER},
        "by_step": {workload: shares(part, "steps") for workload, part in by.items()},
        "success": _success(rows),
        "success_by_workload": {workload: _success(part) for workload, part in by.items()},
        "success_by_level": {
            level: _success([r for r in rows if r["level"] == level])
            for level in ("routine", "several", "hard")
        },
        **risk(rows),
        "tasks": len(rows),
    }


def _success(rows: Sequence[Mapping[str, Any]]) -> float | None:
    return round(sum(row["passed"] for row in rows) / len(rows), 4) if rows else None


def risk(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Wrong among tasks that were kept local throughout and given as sure."""
    kept = [r for r in rows if r["status"] == "done" and r["calls"] == r["local_calls"]]
    wrong = sum(not row["passed"] for row in kept)
    return {
        "risk": round(wrong / len(kept), 4) if kept else None,
        "kept_sure": len(kept),
        "wrong_sure": wrong,
    }


def measure(match: str = "", *, explain: bool = False, alpha: float = ALPHA) -> dict[str, Any]:
    """Run the workloads; ``match``: only tasks whose id holds it."""
    tasks = [(n, t) for n, t in enumerate((*PARSE, *SHELL, *GUI), 1) if match in t.id]
    rows: list[dict[str, Any]] = []
    person = Person()
    started, meter = time.perf_counter(), Meter.start()
    with (
        ScriptedGeneral() as general,
        plain_home(alpha),
        work_folders() as base,
        open_session(
            privacy="auto",
            general=general.base_url,
            approver=Approver(person.action, person.send),
        ) as session,
    ):
        for number, item in tasks:
            person.task = item
            row = run_task(session, general, item, base / f"t{number:03}")
            rows.append(row)
            verdict = "right" if row["passed"] else "WRONG"
            note(
                f"{len(rows)}/{len(tasks)}  {item.id:<17} {row['status']:<9} {verdict}  "
                f"{row['local_calls']}/{row['calls']} calls here"
            )
            if explain and not row["passed"]:
                note(f"    {item.text}\n    {str(row['answer'])[:300]}\n    {row['reason'][:300]}")
    return {
        **figures(rows),
        "alpha": alpha,
        "energy": meter.stop().to_json(),
        "seconds": round(time.perf_counter() - started, 1),
    }


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--match", default="", help="part of the tasks' ids")
    parser.add_argument("--explain", action="store_true", help="say why each went wrong")
    parser.add_argument("--alpha", type=float, default=ALPHA, help="the policy's risk_alpha")
    options = parser.parse_args()
    print(json.dumps(measure(options.match, explain=options.explain, alpha=options.alpha)))


if __name__ == "__main__":
    main()
