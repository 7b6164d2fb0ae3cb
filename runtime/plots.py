"""The savings as one figure, PNG or SVG: shares by area and kind, cost, latency.

matplotlib is imported here alone, when a figure is drawn, with its Agg and SVG back ends: no
display is needed and none is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import StorageFailed, UsageError
from runtime.savings import Compared, Savings, ShareRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("png", "svg")
HERE, GENERAL, PAPER_GREY, INK = "#1b7f5c", "#8e4fa8", "#b9bec5", "#20252b"
DPI = 150
SIZE_INCHES = (11.0, 7.4)


def check_path(path: Path) -> str:
    """The format that ``path``'s ending asks for. Raises UsageError on any other."""
    ending = path.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        raise UsageError(
            f"--plot {path}: a figure ends in .png or .svg.", hint="Such as: --plot savings.png"
        )
    return ending


def draw(savings: Savings, path: Path) -> None:
    """Write the figure of ``savings`` to ``path``. Raises UsageError, StorageFailed."""
    ending = check_path(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "aidecamp",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.edgecolor": PAPER_GREY,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=SIZE_INCHES, facecolor="white", layout="constrained")
        grid = figure.add_gridspec(2, 2, height_ratios=(1.15, 1.0))
        _areas(figure.add_subplot(grid[0, 0]), savings.areas)
        _kinds(figure.add_subplot(grid[0, 1]), savings.kinds)
        _cost(figure.add_subplot(grid[1, 0]), savings.cost, savings.model)
        _latency(figure.add_subplot(grid[1, 1]), savings.kinds)
        figure.suptitle(
            f"Served on this machine: {savings.totals.local_share or 0:.0%} of "
            f"{savings.totals.calls:,} model calls",
            x=0.01,
            ha="left",
            fontsize=14,
            fontweight="bold",
        )
        try:
            figure.savefig(path, format=ending, dpi=DPI, metadata=_metadata(ending))
        except OSError as error:
            raise StorageFailed(
                f"The figure cannot be written to {path}: {error.strerror or error}.",
                hint="Name a file in a folder that exists and that you may write to.",
            ) from error


def _metadata(ending: str) -> dict[str, Any]:
    return {"Date": None} if ending == "svg" else {}


def _bare(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _areas(axes: Axes, rows: Sequence[ShareRow]) -> None:
    """Measured calls and steps beside the paper's estimate."""
    height = 0.26
    for place, row in enumerate(rows):
        bars = (
            (row.share, HERE, "calls, measured"),
            (row.step_share, "#7cc4aa", "steps, measured"),
            (row.estimate, PAPER_GREY, "estimate (arXiv 2506.02153, a digest of it)"),
        )
        for offset, (value, colour, label) in enumerate(bars):
            y = place + (offset - 1) * height
            axes.barh(y, value or 0, height * 0.92, color=colour, label=None if place else label)
            text = "no task yet" if value is None else f"{value:.0%}"
            axes.text((value or 0) + 0.01, y, text, va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [_two_lines(row.title) for row in rows])
    axes.invert_yaxis()
    _percent(axes)
    axes.set_title("Local share by area")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.4, -0.09), ncols=3, frameon=False, fontsize=8.5
    )
    _bare(axes)


def _two_lines(title: str) -> str:
    return title.replace(" (", "\n(")


def _kinds(axes: Axes, rows: Sequence[ShareRow]) -> None:
    for place, row in enumerate(rows):
        share = row.share or 0.0
        axes.barh(place, share, 0.6, color=HERE)
        axes.barh(place, 1 - share, 0.6, left=share, color=GENERAL)
        axes.text(1.02, place, f"{share:.0%} of {row.calls:,}", va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    _percent(axes)
    axes.set_title("Model calls by kind, measured")
    for colour, label in ((HERE, "this machine"), (GENERAL, "the General")):
        axes.bar(0, 0, color=colour, label=label)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.4, -0.09), ncols=2, frameon=False, fontsize=8.5
    )
    _bare(axes)


def _percent(axes: Axes) -> None:
    axes.set_xlim(0, 1.18)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])


def _cost(axes: Axes, cost: Compared, model: str) -> None:
    rows = (
        ("as it was", cost.actual, HERE),
        (f"all of it by\n{model}", cost.all_general, GENERAL),
    )
    top = max((f.value or 0.0 for _, f, _ in rows), default=0.0) or 1.0
    for place, (_, figure, colour) in enumerate(rows):
        axes.barh(place, figure.value or 0.0, 0.55, color=colour)
        text = f"not known: {figure.source}" if figure.value is None else f"${figure.value:,.4f}"
        shown = text if figure.value is None else f"{text} ({figure.how})"
        axes.text((figure.value or 0.0) + top * 0.015, place, shown, va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, top * 1.5)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("US dollars, by list price")
    axes.set_title("Cost")
    _bare(axes)


def _latency(axes: Axes, rows: Sequence[ShareRow]) -> None:
    timed = [r for r in rows if r.local_p50_ms is not None or r.general_p50_ms is not None]
    for place, row in enumerate(timed):
        pairs = ((-0.2, row.local_p50_ms, HERE), (0.2, row.general_p50_ms, GENERAL))
        alone = None in (row.local_p50_ms, row.general_p50_ms)
        for side, ms, colour in pairs:
            if ms is not None:
                offset = 0.0 if alone else side
                axes.barh(place + offset, ms, 0.36, color=colour)
                axes.text(ms, place + offset, f"  {ms:,.0f} ms", va="center", fontsize=9)
    axes.set_yticks(range(len(timed)), [row.name for row in timed])
    axes.invert_yaxis()
    axes.margins(x=0.22)
    axes.set_xlim(left=0)
    axes.set_xlabel("milliseconds of model time in a step, median")
    axes.set_title("Latency by kind, measured")
    _bare(axes)
