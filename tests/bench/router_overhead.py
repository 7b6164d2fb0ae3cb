"""Milliseconds of a decision, the ledger write included, beside LiteLLM's rule-based router.

    python -m tests.bench.router --suite overhead
    python -m tests.bench.router_overhead --install      LiteLLM, once, in .venv-litellm

Each of the shipped test texts is routed alone, one after the other, by ``Router.route``, and its
Decision is committed to a SQLite ledger before the next. LiteLLM's complexity router scores the
same texts in an environment of its own, since it pins other versions than this project.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from models.pool import Pool
from runtime.core import Event, Step, Task, new_id
from runtime.ledger import Ledger
from runtime.policy import Policy
from runtime.router import Router
from runtime.router_data import load

if TYPE_CHECKING:
    from collections.abc import Sequence

WARM_UP = 20
ROUNDS = 2
LITELLM = "litellm==1.106.2"
PEER_FOLDER = Path(__file__).parents[2] / ".venv-litellm"
PEER = """
import json, sys, time
from litellm import Router
from litellm.router_strategy.complexity_router.complexity_router import ComplexityRouter
texts = json.load(sys.stdin)
names = {"SIMPLE": "a", "MEDIUM": "b", "COMPLEX": "c", "REASONING": "d"}
router = ComplexityRouter(
    model_name="peer",
    litellm_router_instance=Router(model_list=[]),
    complexity_router_config={"tiers": names},
)
times = []
for text in texts:
    start = time.perf_counter()
    tier, _, _ = router.classify(text)
    router.get_model_for_tier(tier)
    times.append((time.perf_counter() - start) * 1000.0)
print(json.dumps(times))
"""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def ours(texts: Sequence[str], folder: Path) -> list[float]:
    """Milliseconds of each decision."""
    pool, policy, times = Pool(), Policy(), []
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        router = Router(pool.encoder())
        for number, text in enumerate([*texts[:WARM_UP], *(list(texts) * ROUNDS)]):
            task = Task(new_id("task"), text)
            kind, _, _ = router.classify(text)
            step = Step(new_id("step"), task.id, 1, kind, text)
            start = time.perf_counter()
            decision = router.route(task, step, policy, general=None)
            ledger.append(Event(task.id, time.time(), decision))
            if number >= WARM_UP:
                times.append((time.perf_counter() - start) * 1000.0)
    finally:
        ledger.close()
        pool.close()
    return times


def litellm(texts: Sequence[str]) -> list[float] | None:
    """Milliseconds of each of LiteLLM's classifications, None where it is not installed."""
    python = PEER_FOLDER / "bin" / "python"
    if not python.is_file():
        say("LiteLLM is not installed here: python -m tests.bench.router_overhead --install")
        return None
    done = subprocess.run(
        [str(python), "-c", PEER],
        input=json.dumps([*texts[:WARM_UP], *texts]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        say(f"LiteLLM: {done.stderr.strip().splitlines()[-1:]}")
        return None
    times: list[float] = json.loads(done.stdout.strip().splitlines()[-1])[WARM_UP:]
    return times


def measure() -> dict[str, float | None]:
    import numpy as np

    texts = [row.text for row in load("test")]
    with tempfile.TemporaryDirectory() as folder:
        times = ours(texts, Path(folder))
    say(f"{len(times)} decisions")
    peer = litellm(texts)
    p50, p95 = np.percentile(times, (50, 95))
    return {
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "litellm_p50_ms": None if peer is None else round(float(np.median(peer)), 3),
    }


def install() -> None:
    subprocess.run([sys.executable, "-m", "venv", str(PEER_FOLDER)], check=True)
    # Only a benchmark's: git is not to see it.
    (PEER_FOLDER / ".gitignore").write_text("*\n", "utf-8")
    subprocess.run([str(PEER_FOLDER / "bin" / "pip"), "install", "-q", LITELLM], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--install", action="store_true", help="install LiteLLM, and stop")
    if parser.parse_args().install:
        install()
    else:
        print(json.dumps(measure()))


if __name__ == "__main__":
    main()
