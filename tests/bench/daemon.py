"""The daemon, measured.

    python -m tests.bench.daemon [--soak] [--seconds N] [--quick] [--peers]

Every part runs by default, the soak for 60 s; progress goes to stderr, and the last line on stdout
is one JSON object. ``--soak`` makes the soak 10 minutes, ``--peers`` installs the peers first
where they are missing (without them the two ratios are null), ``--only`` runs some of the parts.
``lost`` and ``duplicated`` are of the soak and of the kills together. What each figure means is
told in the part that measures it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

from tests.bench import (
    daemon_forward,
    daemon_home,
    daemon_kill,
    daemon_latency,
    daemon_ledger,
    daemon_peers,
    daemon_soak,
    peers,
)
from tests.bench.engine_run import note

KEYS = (
    *("added_p50_ms", "added_p95_ms", "forward_p50_ms", "start_ms"),
    *("throughput_ratio", "p95_ratio", "lost", "duplicated", "leaked_slots"),
    *("events_per_s", "query_ms"),
)
"""What a reader looks for first; null where its part was not run."""
SOAK_S = 600.0
QUICK_SOAK_S = 20.0
PARTS = ("start", "latency", "forward", "ledger", "kill", "soak", "peers")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.daemon", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--soak", action="store_true", help="a soak of 10 minutes")
    parser.add_argument("--seconds", type=float, help="how long the soak takes")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--peers", action="store_true", help="install missing peers first")
    parser.add_argument("--only", help=f"some of the parts: {','.join(PARTS)}")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)} (there are {', '.join(PARTS)})")
    if options.peers:
        peers.install()
    seconds = options.seconds or (SOAK_S if options.soak else None)
    print(json.dumps(measure(names, seconds=seconds, quick=options.quick)))


def measure(names: list[str], *, seconds: float | None, quick: bool) -> dict[str, Any]:
    soak_s = seconds or (QUICK_SOAK_S if quick else daemon_soak.SECONDS)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "start": lambda: daemon_home.measure(5 if quick else 15),
        "latency": lambda: daemon_latency.measure(100 if quick else daemon_latency.PAIRS),
        "forward": lambda: daemon_forward.measure(100 if quick else daemon_forward.PAIRS),
        "ledger": daemon_ledger.measure,
        "kill": lambda: daemon_kill.measure(10 if quick else daemon_kill.KILLS),
        "soak": lambda: daemon_soak.measure(soak_s),
        "peers": lambda: daemon_peers.measure(1 if quick else daemon_peers.ROUNDS, quick=quick),
    }
    begun = time.perf_counter()
    found: dict[str, Any] = {"quick": quick, "load_before": _load()}
    for name in names:
        note(f"{name} ({time.perf_counter() - begun:.0f} s)")
        found |= parts[name]()
    for key in ("lost", "duplicated"):
        both = [found[name] for name in (key, f"kill_{key}") if name in found]
        found[key] = sum(both) if both else None
    found |= {"load_after": _load(), "seconds": round(time.perf_counter() - begun, 1)}
    return {**{key: found.get(key) for key in KEYS}, **found}


def _load() -> float:
    """Processes that wanted a core over the last minute: above the cores, times are inflated."""
    return round(os.getloadavg()[0], 2)


if __name__ == "__main__":
    main()
