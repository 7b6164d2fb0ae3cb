"""Certified thresholds on disk: one JSON file, keyed by step kind, model digest and alpha.

The digest is that of the model file whose answers were scored: a threshold moves when the same
model is quantized otherwise, so one never stands in for another. Certifying itself is ``risk``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import StorageFailed
from runtime.risk import DELTA, Certified, certify

FORMAT = 1
Key = tuple[str, str, float]
"""Step kind, model digest, alpha."""
Row = tuple[str, str, float, bool]
"""Step kind, model digest, score, and whether the local answer was right."""


@dataclass(frozen=True, slots=True)
class RiskStore:
    """What was certified, by (kind, model digest, alpha). ``put`` gives a new store."""

    entries: Mapping[Key, Certified] = dataclasses.field(default_factory=dict)

    def put(self, kind: str, model: str, certified: Certified) -> RiskStore:
        return RiskStore({**self.entries, (kind, model, certified.alpha): certified})

    def get(self, kind: str, model: str, alpha: float) -> Certified | None:
        """What was certified for exactly this, also where the rows could not certify it."""
        return self.entries.get((kind, model, alpha))

    def thresholds(self, model: str, alpha: float) -> dict[str, float]:
        """The threshold of each kind whose answers by ``model`` hold ``alpha``.

        One that was certified for a smaller alpha holds this one too; the least threshold of
        those is taken. Kinds without any are left out: nothing is known to hold for them.
        """
        found: dict[str, float] = {}
        for (kind, digest, held), entry in self.entries.items():
            if digest == model and held <= alpha and entry.threshold is not None:
                found[kind] = min(entry.threshold, found.get(kind, entry.threshold))
        return found

    @staticmethod
    def calibrated(rows: Iterable[Row], alphas: Sequence[float], delta: float = DELTA) -> RiskStore:
        """What ``rows`` certify, each kind and model digest on its own, for each of ``alphas``.

        Each certificate is wrong with a probability of at most ``delta``; all of them together
        with one of at most the sum. Raises UsageError as :func:`runtime.risk.certify`.
        """
        import numpy as np

        parts: dict[tuple[str, str], tuple[list[float], list[bool]]] = {}
        for kind, model, score, right in rows:
            scores, outcomes = parts.setdefault((kind, model), ([], []))
            scores.append(score)
            outcomes.append(right)
        store = RiskStore()
        for (kind, model), (scores, outcomes) in parts.items():
            for alpha in alphas:
                found = certify(np.array(scores, np.float64), np.array(outcomes), alpha, delta)
                store = store.put(kind, model, found)
        return store

    def save(self, path: Path) -> None:
        """Write to ``path``, whole or not at all. Raises StorageFailed."""
        rows = [
            {"kind": kind, "model": model, **dataclasses.asdict(entry)}
            for (kind, model, _), entry in sorted(self.entries.items())
        ]
        temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(
                json.dumps({"format": FORMAT, "certified": rows}, indent=1) + "\n", "utf-8"
            )
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StorageFailed(
                f"The certified thresholds cannot be written to {path}: {error.strerror}. "
                "Those that were there are kept.",
                hint="Free some space, or allow writing there.",
            ) from error

    @staticmethod
    def load(path: Path) -> RiskStore:
        """What is in ``path``; empty where there is no such file. Raises StorageFailed."""
        try:
            content: Any = json.loads(path.read_text("utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}")
            entries: dict[Key, Certified] = {}
            for row in content["certified"]:
                kind, model = str(row.pop("kind")), str(row.pop("model"))
                entry = Certified(**row)
                entries[kind, model, entry.alpha] = entry
        except FileNotFoundError:
            return RiskStore()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageFailed(
                f"The certified thresholds in {path} cannot be read ({error}); the file was kept.",
                hint="Move it away and calibrate again.",
            ) from error
        return RiskStore(entries)
