"""What was calibrated: the score of each step kind and set of model files, and its thresholds.

One JSON file, keyed by step kind and the digests of the files that answer: a threshold moves when
the same model is quantized otherwise, so one never stands in for another. Score and thresholds
stand together, since a threshold means nothing on another score. Fitting the score is ``cascade``,
certifying is ``risk``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import StorageFailed, UsageError
from runtime.cascade import Cascade, Signals, fit_cascade
from runtime.core import Step, Task
from runtime.risk import DELTA, Certified, certify

FORMAT = 2
ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""What is certified; an alpha between two of them is held by the smaller one."""
Key = tuple[str, str]
"""Step kind, and the digests of the model files."""


def family(task: Task, step: Step) -> str:
    """What a step is calibrated as: its kind, or ``tool`` where the task brings its own functions,
    since those are other tools with every task."""
    return family_of(step.kind, own_tools=bool(task.tools))


def family_of(kind: str, *, own_tools: bool) -> str:
    """The same, from a step's kind and whether its task brings functions."""
    if kind in ("parse", "tool"):
        return "tool" if own_tools else "parse"
    return kind


@dataclass(frozen=True, slots=True)
class Row:
    """One local answer that is known to be right or wrong."""

    kind: str
    model: str
    signals: Signals
    right: bool


@dataclass(frozen=True, slots=True)
class Calibrated:
    """One kind's score with one set of model files, and what its thresholds hold."""

    cascade: Cascade
    certified: Mapping[float, Certified]
    """By alpha."""
    rows: int
    """That certified it."""
    right: int
    source: str
    """Where the rows are from, and when they were measured."""
    at: float = 0.0
    """When, in Unix seconds."""

    def holds(self, alpha: float) -> Certified | None:
        """The certificate that ``alpha`` is kept by: of those up to it that hold, the one with the
        least threshold (``keeping.acceptance``); else the largest tested, which says what the rows
        lack. None where none was tested."""
        tested = [a for a in sorted(self.certified) if a <= alpha + 1e-9]
        holding = [self.certified[a] for a in tested if self.certified[a].threshold is not None]
        if holding:
            return min(holding, key=lambda c: c.threshold or 0.0)
        return self.certified[tested[-1]] if tested else None

    @property
    def thresholds(self) -> dict[str, float | None]:
        """By alpha, written out; None where the rows cannot certify it."""
        return {f"{a:g}": c.threshold for a, c in sorted(self.certified.items())}


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything that was calibrated. ``put`` gives a new one."""

    entries: Mapping[Key, Calibrated] = dataclasses.field(default_factory=dict)

    def get(self, kind: str, model: str) -> Calibrated | None:
        return self.entries.get((kind, model))

    def put(self, kind: str, calibrated: Calibrated) -> Calibration:
        return Calibration({**self.entries, (kind, calibrated.cascade.model): calibrated})

    def over(self, other: Calibration) -> Calibration:
        """``other`` with these entries on top."""
        return Calibration({**other.entries, **self.entries})

    def save(self, path: Path) -> None:
        """Write to ``path``, whole or not at all. Raises StorageFailed."""
        body = {
            "format": FORMAT,
            "calibrated": [
                {
                    "kind": kind,
                    "cascade": entry.cascade.as_dict(),
                    "certified": [dataclasses.asdict(c) for c in entry.certified.values()],
                    "rows": entry.rows,
                    "right": entry.right,
                    "source": entry.source,
                    "at": entry.at,
                }
                for (kind, _), entry in sorted(self.entries.items())
            ],
        }
        temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(body, indent=1) + "\n", "utf-8")
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StorageFailed(
                f"The calibration cannot be written to {path}: {error.strerror}. "
                "What was there is kept.",
                hint="Free some space, or allow writing there.",
            ) from error

    @staticmethod
    def load(path: Path) -> Calibration:
        """What is in ``path``, but for scores on other signals than this release reads; empty
        where there is no such file. Raises StorageFailed."""
        try:
            content: Any = json.loads(path.read_text("utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}")
            entries: dict[Key, Calibrated] = {}
            for row in content["calibrated"]:
                certified = [Certified(**c) for c in row["certified"]]
                try:
                    cascade = Cascade.from_dict(row["cascade"])
                except UsageError:  # fitted on an earlier release's signals: not calibrated
                    continue
                entry = Calibrated(
                    cascade=cascade,
                    certified={c.alpha: c for c in certified},
                    rows=int(row["rows"]),
                    right=int(row["right"]),
                    source=str(row["source"]),
                    at=float(row.get("at", 0.0)),
                )
                entries[str(row["kind"]), entry.cascade.model] = entry
        except FileNotFoundError:
            return Calibration()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(path, str(error)) from error
        return Calibration(entries)


def fitted(rows: Iterable[Row]) -> tuple[dict[Key, Cascade], dict[Key, str]]:
    """The score of each kind and set of model files, and why some have none."""
    found, refused = dict[Key, Cascade](), dict[Key, str]()
    for key, own in _by_key(rows).items():
        signals, right = [r.signals for r in own], [r.right for r in own]
        try:
            found[key] = fit_cascade(signals, right, model=key[1])
        except UsageError as error:
            refused[key] = f"{error.message}; {error.hint}"
    return found, refused


def certified(
    scores: Mapping[Key, Cascade],
    rows: Iterable[Row],
    *,
    source: str,
    alphas: Sequence[float] = ALPHAS,
    delta: float = DELTA,
) -> Calibration:
    """Each score with the thresholds that ``rows`` certify for it.

    None of the rows may have been fitted on, nor a paraphrase of one. An answer in which the
    verifier found a problem is never kept, so it scores 0. Each certificate is wrong with a
    probability of at most ``delta``; all of them together with one of at most the sum.
    """
    import numpy as np

    found, own = Calibration(), _by_key(rows)
    for (kind, model), cascade in scores.items():
        part = own.get((kind, model), [])
        values = kept_scores(cascade, [r.signals for r in part])
        right = np.array([r.right for r in part], dtype=bool)
        held = {a: certify(values, right, a, delta) for a in alphas}
        entry = Calibrated(cascade, held, len(part), int(right.sum()), source, time.time())
        found = found.put(kind, entry)
    return found


def _by_key(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    parts: dict[Key, list[Row]] = {}
    for row in rows:
        parts.setdefault((row.kind, row.model), []).append(row)
    return parts


def kept_scores(cascade: Cascade, rows: Sequence[Signals]) -> Any:
    """Scores, 0 where the verifier found a problem. Shape ``[len(rows)]``."""
    import numpy as np

    passed = np.array([not row.problems for row in rows])
    return np.where(passed, cascade.probability(rows), 0.0)


def _unreadable(path: Path, why: str) -> StorageFailed:
    return StorageFailed(
        f"The calibration in {path} cannot be read ({why}); the file was kept.",
        hint="Move it away and calibrate again: aidecamp calibrate run.",
    )
