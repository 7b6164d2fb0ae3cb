"""The Router's benchmarks: ``python -m tests.bench.router --suite NAME [--data FILE]``.

Each suite is a file of its own, ``router_NAME.py``, whose docstring says what is measured and how.
``own``: the shipped head on the test part of the shipped examples. ``--data`` replaces the rows
that are scored with another file of the same format, where a suite reads one. Progress goes to
stderr; the last line on stdout is one JSON object. Shares are fractions, CPT is in percent.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

FILES = ("trust", "clinc", "routellm")
"""Suites that score the rows of a file, and so take ``--data``."""
OTHERS = ("overhead", "share", "faults", "privacy", "cascade")


def own() -> dict[str, float]:
    """The shipped head on the test part of the shipped examples."""
    from models.pool import Pool
    from runtime.router import HEAD
    from runtime.router_data import load
    from runtime.router_head import Head
    from runtime.router_train import Part, evaluate

    pool = Pool()
    try:
        encoder = pool.encoder()
        head = Head.load(HEAD, encoder=encoder.model)
        return evaluate(head, Part.of(encoder, load("test")))
    finally:
        pool.close()


def present(suite: str) -> bool:
    return importlib.util.find_spec(f"tests.bench.router_{suite}") is not None


def measure(suite: str, data: Path | None) -> dict[str, Any]:
    """The figures of one suite. Exits where it takes no file but one was given."""
    if data is not None and suite not in FILES:
        sys.exit(f"the suite {suite} reads no data file: leave --data out")
    if data is not None and not data.is_file():
        sys.exit(f"there is no file at {data}")
    if suite == "own":
        return own()
    module = importlib.import_module(f"tests.bench.router_{suite}")
    figures: dict[str, Any] = module.measure(data) if suite in FILES else module.measure()
    return figures


def main() -> None:
    suites = [name for name in (*FILES, *OTHERS) if present(name)]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suite", choices=("own", *suites), required=True)
    parser.add_argument("--data", type=Path, help="rows to score instead of the default ones")
    options = parser.parse_args()
    print(json.dumps(measure(options.suite, options.data), ensure_ascii=False))


if __name__ == "__main__":
    main()
