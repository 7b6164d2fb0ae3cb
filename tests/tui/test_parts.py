"""The parts that need no screen: filter, figures, columns, imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from runtime.core import Task
from runtime.daemon.client import Row
from tests.runtime.daemon.scripted import decision, step
from tui import figures, look
from tui.filter import Filter
from tui.widgets.columns import columns

ROOT = Path(__file__).parents[2]


def row(ms: float = 250.0, outcome: str = "done", **changes: object) -> Row:
    one = decision(step(Task(id="task_1", text="x"), text="Count the Apples"), **changes)
    return Row(1, 0.0, one, outcome=outcome, ms=ms)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", True),
        ("kind:shell", True),
        ("kind:gui", False),
        ("-kind:gui", True),
        ("apples", True),
        ("-apples", False),
        ("count pears", False),
        ("CHOSEN:LOCAL common", True),
        ("outcome:done", True),
        ("outcome:failed", False),
        (">200ms", True),
        (">0.3s", False),
        ("<300", True),
        ("rule:threshold", True),
        ("https://x", False),
    ],
)
def test_a_filter_keeps_what_matches_every_part(text: str, kept: bool) -> None:
    assert Filter.parse(text).matches(row()) is kept


def test_an_unknown_field_is_named_and_does_not_hide_everything() -> None:
    filter_ = Filter.parse("colour:red apples")
    assert "colour" in filter_.problem and "kind" in filter_.problem
    assert filter_.matches(row())


@pytest.mark.parametrize("width", [4, 9, 40])
@pytest.mark.parametrize("text", ["", "short", "漢字かな" * 5, "a" * 100, "🙂" * 30, "\x1b[1m\x00"])
def test_a_fitted_text_fills_its_cells_exactly(text: str, width: int) -> None:
    assert cell_len(figures.fit(text, width)) == width
    assert cell_len(figures.fit(text, width, right=True)) == width


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 240])
def test_the_columns_of_every_width_fit_it(width: int) -> None:
    shown = columns(width)
    assert 2 + sum(c.width + 1 for c in shown) <= width
    for column in shown:
        cell = column.cell(row(), column.width, frozenset())
        assert sum(cell_len(text) for text, _ in cell) == column.width, column.title
    assert {"kind", "step", "served by", "p(local)"} & {c.title for c in shown}


@pytest.mark.parametrize(
    ("value", "threshold", "line"),
    [
        (0.0, 0.5, "────┃───"),
        (0.5, 0.5, "━━━━┃───"),
        (1.0, 0.5, "━━━━┃━━━"),
        (0.4, 1.01, "━━━────┃"),
        (1.0, None, "━━━━━━━━"),
    ],
)
def test_the_bar_shows_the_value_and_the_limit(
    value: float, threshold: float | None, line: str
) -> None:
    assert "".join(text for text, _ in look.bar(value, threshold, 8)) == line


def test_numbers_read_well() -> None:
    assert figures.duration(6.5) == "6.5 ms"
    assert figures.duration(302.4) == "302 ms"
    assert figures.duration(1834) == "1.8 s"
    assert figures.duration(200_000) == "3 m 20 s"
    assert figures.count(12_400) == "12.4k"
    assert figures.dollars(0.0041) == "$0.0041"
    assert figures.size(4100) == "4.1 kB"
    assert figures.percent(1043 / 1044) == "99.9%"
    assert figures.percent(1.0) == "100%"


def test_the_tui_loads_nothing_of_the_runtime_but_client_and_records() -> None:
    code = (
        "import sys, tui.app, tui.cli;"
        "print([m for m in sys.modules if m.startswith(('runtime.', 'models.', 'quantize'))"
        " or m in ('fastapi', 'uvicorn', 'llama_cpp', 'onnxruntime', 'torch', 'pyautogui')])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    loaded = {m for m in eval(out) if m.startswith(("runtime", "models"))}
    assert loaded == set(eval(out)), out
    assert {m for m in loaded if not m.startswith("runtime.daemon")} <= {
        "runtime.core",
        "runtime.plain",
        "models.counters",
        "models.digest",
        "models.errors",
        "models.residency",
    }
    assert not loaded & {"runtime.daemon.server", "runtime.daemon.app", "runtime.daemon.runner"}
