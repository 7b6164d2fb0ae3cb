"""The daemon's log file: its end, and what comes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

POLL_S = 0.2


def tail(path: Path, lines: int) -> list[str]:
    """The last ``lines`` of the file; empty where there is none yet."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, lines)]
    except FileNotFoundError:
        return []


def follow(path: Path, lines: int) -> Iterator[str]:
    """The last ``lines``, then each line as it is written, for ever; over the file's renaming when
    it has become too large, too."""
    file: TextIO | None = None
    begun = False
    part = ""
    while True:
        if file is None:
            try:
                file = path.open(encoding="utf-8", errors="replace")
            except FileNotFoundError:
                begun = True  # Everything in it will be new.
                time.sleep(POLL_S)
                continue
            if not begun:
                last = deque(file, lines)
                begun = True
                part = last.pop() if last and not last[-1].endswith("\n") else ""
                yield from (line.rstrip("\n") for line in last)
        if line := file.readline():
            part += line
            if part.endswith("\n"):
                yield part.rstrip("\n")
                part = ""
        elif _replaced(path, file):
            file.close()
            file, part = None, ""
        else:
            time.sleep(POLL_S)


def _replaced(path: Path, file: TextIO) -> bool:
    """Whether the file that is open is no longer the one at ``path``."""
    import os

    try:
        now = path.stat()
    except FileNotFoundError:
        return True
    before = os.fstat(file.fileno())
    return (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino)
