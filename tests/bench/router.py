"""How well the Router routes: ``python -m tests.bench.router --suite own|clinc|overhead``.

own: the shipped head on the test part of the shipped examples. clinc: CLINC150 (CC-BY-3.0,
github.com/clinc/oos-eval), the head fitted by the Router's own code on ``train`` and
``oos_train``, threshold included, and scored on ``val`` and ``oos_val``. overhead: milliseconds
of ``Router.route``, one step at a time, encoder included. Progress goes to stderr; the last line
on stdout is one JSON object; shares are fractions.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.base import Encoder
from models.pool import Pool
from runtime.core import Step, Task, new_id
from runtime.policy import Policy
from runtime.router import HEAD, Router
from runtime.router_data import load
from runtime.router_head import Head
from runtime.router_train import Part, evaluate, fit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DATA = Path(__file__).parents[3] / "shared" / "data"
CLINC = "clinc150/train_val.json.gz"
WARM_UP = 20
ROUNDS = 2


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def own(encoder: Encoder) -> dict[str, float]:
    head = Head.load(HEAD, encoder=encoder.model)
    return evaluate(head, Part.of(encoder, load("test")))


def clinc(encoder: Encoder, data: Path) -> dict[str, float]:
    """Fitted on the training parts alone; the threshold comes from their cross-validation."""
    import numpy as np

    path = data / CLINC
    if not path.is_file():
        sys.exit(
            f"CLINC150 is not at {path}. It is published at https://github.com/clinc/oos-eval "
            "(data_full.json); give the folder that holds it with --data."
        )
    with gzip.open(path, "rt", encoding="utf-8") as file:
        parts: dict[str, list[tuple[str, str]]] = json.load(file)

    def vectors(name: str) -> NDArray[np.float32]:
        say(f"embedding {name}: {len(parts[name])} rows")
        # One at a time, as the Router meets them (runtime.router_features says why).
        return np.concatenate([encoder.embed([text]) for text, _ in parts[name]])

    start = time.perf_counter()
    train, outside = vectors("train"), vectors("oos_train")
    say(f"embedded in {time.perf_counter() - start:.0f} s; fitting")
    start = time.perf_counter()
    head = fit(train, [label for _, label in parts["train"]], outside, encoder=encoder.model)
    fit_s = time.perf_counter() - start
    say(f"fitted in {fit_s:.0f} s")
    held = vectors("val")
    labels = [label for _, label in parts["val"]]
    out = vectors("oos_val")
    scores = evaluate(head, Part(held, labels, labels, out, ["oos"] * len(out)))
    return {**scores, "threshold": head.threshold, "fit_s": round(fit_s, 1)}


def overhead(router: Router) -> dict[str, float]:
    import numpy as np

    policy = Policy()
    rows = load("test")
    times: list[float] = []
    for number, row in enumerate([*rows[:WARM_UP], *(rows * ROUNDS)]):
        task = Task(new_id("task"), row.text)
        kind, _, _ = router.classify(row.text)
        step = Step(new_id("step"), task.id, 1, kind, row.text)
        start = time.perf_counter()
        router.route(task, step, policy, general=None)
        if number >= WARM_UP:
            times.append((time.perf_counter() - start) * 1000.0)
    p50, p95 = np.percentile(times, (50, 95))
    return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2), "routes": len(times)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--suite", choices=("own", "clinc", "overhead"), required=True)
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds clinc150/")
    arguments = parser.parse_args()
    pool = Pool()
    try:
        encoder = pool.encoder()
        line: dict[str, Any] = {"suite": arguments.suite}
        if arguments.suite == "own":
            line |= own(encoder)
        elif arguments.suite == "clinc":
            line |= clinc(encoder, arguments.data)
        else:
            line |= overhead(Router(encoder))
    finally:
        pool.close()
    print(json.dumps(line))


if __name__ == "__main__":
    main()
