"""The Router's examples: written sources in, three splits of labelled rows out.

``models/specialists/router/sources/`` holds one text file per kind, in groups headed ``## name``.
A line is an example as it stands, or a template: ``[[slot]]`` is filled from ``slots.toml``,
``[[a|b]]`` by one of its options. A group is the unit of splitting, so that paraphrases and
fillings of one idea never stand on both sides. ``python -m runtime.router_data`` writes
``data/{train,calibration,test}.jsonl``, rows ``{text, kind, template, source}``.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import models
from models.base import Encoder
from models.errors import StorageFailed
from runtime.router_features import features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = Path(models.__file__).parent / "specialists" / "router"
SPLITS = ("train", "calibration", "test")
SHARES = {"train": 0.7, "calibration": 0.15, "test": 0.15}
OUT_OF_SCOPE = "oos"
FILLINGS = 5
"""Rows made of each template."""
NEAR = 0.9
"""Cosine at or above which two rows of different splits are near neighbours."""
SEED = "aidecamp-router-1"

_SLOT = re.compile(r"\[\[([^\[\]]+)\]\]")


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled example. ``kind`` is a step kind or ``oos``."""

    text: str
    kind: str
    template: str
    """The group that it belongs to, ``kind/name``: never on two sides of a split."""
    source: str
    """``written`` by hand as it stands, or ``filled`` from a template."""


def written_rows(folder: Path = FOLDER / "sources") -> list[Row]:
    """Every row of the sources, templates filled, in a fixed order without duplicates."""
    slots: dict[str, list[str]] = tomllib.loads((folder / "slots.toml").read_text("utf-8"))
    rows: dict[str, Row] = {}
    for path in sorted(folder.glob("*.txt")):
        group = ""
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("## "):
                group = f"{path.stem}/{line[3:].strip()}"
            elif line.strip() and not line.startswith("# "):
                for text, source in _fillings(line.strip(), slots):
                    rows.setdefault(text.casefold(), Row(text, path.stem, group, source))
    return list(rows.values())


def _fillings(line: str, slots: dict[str, list[str]]) -> list[tuple[str, str]]:
    if not _SLOT.search(line):
        return [(line, "written")]
    # Seeded by the template itself, so that editing one line changes no other row.
    rng = random.Random(SEED + line)  # noqa: S311 - examples, not secrets
    decks: dict[str, list[str]] = {}

    def draw(match: re.Match[str]) -> str:
        name = match[1]
        if not decks.get(name):
            options = name.split("|") if "|" in name else slots[name]
            decks[name] = rng.sample(options, len(options))
        return decks[name].pop()

    return list({_SLOT.sub(draw, line): "filled" for _ in range(FILLINGS)}.items())


def split(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Whole groups to splits, each kind by :data:`SHARES`, in an order that only a hash decides."""
    out: dict[str, list[Row]] = {name: [] for name in SPLITS}
    for kind in sorted({r.kind for r in rows}):
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if row.kind == kind:
                groups.setdefault(row.template, []).append(row)
        total = sum(len(g) for g in groups.values())
        filled = dict.fromkeys(SPLITS, 0)
        for name in sorted(groups, key=lambda g: hashlib.sha256((SEED + g).encode()).digest()):
            # The split that is furthest below its share of this kind takes the group.
            target = max(SPLITS, key=lambda s: SHARES[s] - filled[s] / total)
            out[target] += groups[name]
            filled[target] += len(groups[name])
    return out


def drop_near(
    kept: NDArray[np.float32], rows: Sequence[Row], vectors: NDArray[np.float32]
) -> tuple[list[Row], NDArray[np.float32]]:
    """``rows`` and ``vectors`` without those within :data:`NEAR` of any vector in ``kept``."""
    far = (vectors @ kept.T).max(axis=1) < NEAR
    return [row for row, keep in zip(rows, far, strict=True) if keep], vectors[far]


def build(encoder: Encoder, folder: Path = FOLDER) -> dict[str, list[Row]]:
    """The three splits, near neighbours across them dropped from the later one, and written."""
    import numpy as np

    def embed(rows: Sequence[Row]) -> NDArray[np.float32]:
        return features(encoder, [r.text for r in rows])[:, : encoder.dimension]

    parts = split(written_rows(folder / "sources"))
    kept = embed(parts["train"])
    for name in SPLITS[1:]:
        parts[name], vectors = drop_near(kept, parts[name], embed(parts[name]))
        kept = np.concatenate([kept, vectors])
    (folder / "data").mkdir(exist_ok=True)
    for name, rows in parts.items():
        text = "".join(json.dumps(asdict(r), ensure_ascii=False) + "\n" for r in rows)
        (folder / "data" / f"{name}.jsonl").write_text(text, "utf-8")
    return parts


def load(name: str, folder: Path = FOLDER) -> list[Row]:
    """The rows of one split as shipped. Raises StorageFailed where the file is missing."""
    path = folder / "data" / f"{name}.jsonl"
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise StorageFailed(
            f"The Router's examples are not at {path}: {error.strerror}.",
            hint="Write them again with: python -m runtime.router_data",
        ) from error
    return [Row(**json.loads(line)) for line in lines]


def main() -> None:
    """Write the splits again from the sources, and say how many rows of each kind they hold."""
    from models.pool import Pool

    pool = Pool()
    try:
        parts = build(pool.encoder())
    finally:
        pool.close()
    for name, rows in parts.items():
        counts = dict(sorted(Counter(r.kind for r in rows).items()))
        print(f"{name:12} {len(rows):5} {counts}", file=sys.stderr)


if __name__ == "__main__":
    main()
