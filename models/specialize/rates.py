"""A rate that was counted, with how sure one can be of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Z = 1.96
"""Standard deviations to either side: 95 % confidence."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``hits`` of ``n``. ``low`` and ``high``: Wilson's 95 % interval (Wilson 1927), which holds
    up where ``n`` is small and where the rate is near 0 or 1. With ``n`` 0 nothing is known."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        return self.hits / self.n if self.n else None

    @property
    def low(self) -> float:
        return max(0.0, self._middle - self._half) if self.n else 0.0

    @property
    def high(self) -> float:
        return min(1.0, self._middle + self._half) if self.n else 1.0

    @property
    def _middle(self) -> float:
        return (self.hits + Z * Z / 2) / (self.n + Z * Z)

    @property
    def _half(self) -> float:
        spread = self.hits * (self.n - self.hits) / self.n + Z * Z / 4
        return Z * math.sqrt(spread) / (self.n + Z * Z)

    def __str__(self) -> str:
        """``83 % (74 to 90)``."""
        if self.value is None:
            return "not known"
        return f"{self.value * 100:.0f} % ({self.low * 100:.0f} to {self.high * 100:.0f})"

    def to_json(self) -> dict[str, Any]:
        return {
            "hits": self.hits,
            "n": self.n,
            "rate": self.value,
            "low": round(self.low, 4),
            "high": round(self.high, 4),
        }
