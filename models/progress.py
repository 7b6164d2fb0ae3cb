"""A pull's progress on stderr: a bar in a terminal, one line for each phase elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from models.pulling import Phase, Progress, Report

_SAYS: dict[Phase, str] = {
    "wait": "waiting for another pull",
    "download": "downloading",
    "check": "checking size and SHA-256",
    "repack": "repacking for this machine",
    "done": "ready",
}


@contextlib.contextmanager
def shown() -> Iterator[Report]:
    """A ``Report`` that shows what it is told, until the block ends."""
    if sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        yield _Lines()


class _Lines:
    """For logs: what is happening, once, and the time that it took."""

    def __init__(self) -> None:
        self._last: tuple[str, str, Phase] | None = None
        self._start = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        key = (progress.entry, progress.role, progress.phase)
        if key == self._last:
            return
        if self._last is None or self._last[:2] != key[:2]:
            self._start = time.monotonic()
        self._last = key
        took = f" after {time.monotonic() - self._start:.1f} s" if progress.phase == "done" else ""
        of = f" {progress.total / 1e6:,.1f} MB" if progress.total else ""
        print(
            f"{progress.entry} {progress.role}: {_SAYS[progress.phase]}{of}{took}",
            file=sys.stderr,
            flush=True,
        )


@contextlib.contextmanager
def _bars() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as bars:
        tasks: dict[tuple[str, str], TaskID] = {}

        def report(progress: Progress) -> None:
            key = (progress.entry, progress.role)
            if key not in tasks:
                tasks[key] = bars.add_task("")
            bars.update(
                tasks[key],
                description=f"{progress.entry} {progress.role}: {_SAYS[progress.phase]}",
                total=progress.total,
                completed=progress.done,
            )
            if progress.phase == "done":
                bars.stop_task(tasks[key])

        yield report
