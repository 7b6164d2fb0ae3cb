"""Numbers and texts as a person reads them in a cell. Every text is made harmless first."""

from __future__ import annotations

import math
import time

from rich.cells import cell_len, set_cell_size

from runtime.plain import plain

MAX_CELL_CHARS = 400
"""No terminal line shows more, so no more of a long text is looked at for a table's cell."""


def fit(text: str, width: int, *, right: bool = False) -> str:
    """``text`` in exactly ``width`` cells; an ellipsis says that it was longer."""
    line = plain(text[:MAX_CELL_CHARS])
    if cell_len(line) > width:
        return set_cell_size(line, max(width - 1, 0)) + "…" * (width > 0)
    if right:
        return " " * (width - cell_len(line)) + line
    return set_cell_size(line, width)


def clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def duration(ms: float) -> str:
    """``6 ms``, ``1.2 s``, ``3 m 20 s``."""
    if ms < 10 and ms != round(ms):
        return f"{ms:.1f} ms"
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    return f"{ms // 60_000:.0f} m {ms % 60_000 / 1000:.0f} s"


def count(number: int) -> str:
    """``987``, ``12.4k``, ``3.1M``."""
    if number < 10_000:
        return f"{number:,}"
    if number < 1_000_000:
        return f"{number / 1000:.1f}k"
    return f"{number / 1e6:.1f}M"


def dollars(usd: float) -> str:
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"


def size(number: int) -> str:
    """Bytes: ``912 B``, ``4.1 kB``."""
    return f"{number} B" if number < 1000 else f"{number / 1000:.1f} kB"


def percent(share: float) -> str:
    """Rounded down: 100 % is said of all, and of nothing less."""
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f}%" if share < 1 else "100%"


def probability(value: float) -> str:
    return f"{value:.2f}"
