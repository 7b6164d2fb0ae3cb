"""kill -9 at random moments of a real run, then resume: is anything lost or done twice?

    python -m tests.bench.kill [--kills 50] [--seed 7]

The run is ``aidecamp run`` in a process of its own, on a task of several writes each of which
leaves one line in a file, so that a repeated action shows as a repeated line. Moments are drawn
between the run's first event and its end. ``lost`` counts events that were in the record before
the kill and are not after it, effects with no recorded action, and records that do not read
back; ``repeated`` counts lines that stand in the file more than once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from runtime.core import Action, Event, Outcome, Result
from runtime.ledger import Ledger, records
from runtime.team import ledger_path

WORDS = ("alder", "birch", "cedar")
TIMEOUT_S = 120


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def command(folder: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "runtime.cli", "run", "--json", "--yes", "--privacy", "local"),
        *("--folder", str(folder), *more),
    ]


def task_text(folder: Path) -> str:
    return ", then ".join(f'append the line "{word}" to {folder}/trees.txt' for word in WORDS)


def environment(home: Path) -> dict[str, str]:
    """A ledger of its own, and the models that this machine already has."""
    return {**os.environ, "AIDECAMP_HOME": str(home)}


def events_of(home: Path) -> list[Event]:
    file = home / "ledger.db"
    if not file.exists():
        return []
    ledger = Ledger(file)
    try:
        ledger.check()
        return list(ledger.events())
    finally:
        ledger.close()


def first_event_at(home: Path, process: subprocess.Popen[bytes]) -> float:
    """Wait until the run has committed its first event; returns when that was."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if (home / "ledger.db").exists() and events_of(home):
            return time.monotonic()
        time.sleep(0.002)
    raise RuntimeError("the run never began")


def new_home(name: str) -> tuple[Path, Path]:
    """A data folder that shares this user's models, and a work folder."""
    home, folder = Path(name) / "home", Path(name) / "work"
    home.mkdir()
    folder.mkdir()
    (home / "models").symlink_to(ledger_path().parent / "models")
    return home, folder


def clean_run() -> float:
    """Seconds from the first event to the end of a run that nobody kills."""
    with tempfile.TemporaryDirectory() as name:
        home, folder = new_home(name)
        process = subprocess.Popen(
            command(folder, task_text(folder)), env=environment(home), stdout=subprocess.DEVNULL
        )
        began = first_event_at(home, process)
        process.wait(TIMEOUT_S)
        seconds = time.monotonic() - began
        lines = (folder / "trees.txt").read_text().split()
        if lines != list(WORDS):
            raise RuntimeError(f"without a kill the file holds {lines}")
        return seconds


def one_kill(delay_s: float) -> tuple[int, int, str]:
    """(lost, repeated, how the resumed task ended)."""
    with tempfile.TemporaryDirectory() as name:
        home, folder = new_home(name)
        process = subprocess.Popen(
            command(folder, task_text(folder)),
            env=environment(home),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        first_event_at(home, process)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = events_of(home)
        subprocess.run(
            command(folder, "--resume", before[0].task_id),
            env=environment(home),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
        after = events_of(home)
        file = folder / "trees.txt"
        lines = Counter(file.read_text().split() if file.exists() else [])
        # Every line in the file was announced by an action, and what had an outcome is there.
        announced = " ".join(a.preview for a in records(after, Action))
        done = {o.action_id for o in records(after, Outcome) if o.status == "done"}
        finished = [a for a in records(after, Action) if a.id in done]
        lost = sum(event not in after for event in before)
        lost += sum(word not in announced for word in lines)
        lost += max(0, len(finished) - sum(lines.values()))
        results = records(after, Result)
        ended = results[-1].status if results else "no result"
        lost += not results
        return lost, sum(count - 1 for count in lines.values()), ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    seconds = clean_run()
    note(f"a run takes {seconds:.2f} s from its first event")
    moments = random.Random(options.seed)
    lost = repeated = 0
    ends: Counter[str] = Counter()
    for number in range(options.kills):
        delay = moments.uniform(0, seconds)
        gone, twice, ended = one_kill(delay)
        lost, repeated = lost + gone, repeated + twice
        ends[ended] += 1
        note(f"{number + 1}/{options.kills} at {delay:.3f} s: resumed to {ended}, lost {gone}")
    result = {"kills": options.kills, "lost": lost, "repeated": repeated, "ended": dict(ends)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
