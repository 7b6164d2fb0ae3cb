"""A check's answer, and running a program that may be missing or hang."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warn", "fail"]
"""``warn``: something works less well; ``fail``: something a default run needs does not work."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report."""

    name: str
    status: Status
    detail: str
    fix: str = ""
    """What to do about it; empty where there is nothing to do."""
    data: Mapping[str, Any] = field(default_factory=dict)


def run(
    command: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Exit code (negative: a signal; 127: no such program; 124: too slow), stdout, stderr."""
    try:
        done = subprocess.run(
            [*command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            env=None if env is None else dict(env),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        out = error.stdout or b""
        return 124, out.decode(errors="replace"), f"no end after {timeout_s:g} s"
    except OSError as error:
        return 127, "", str(error)
    return (
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )
