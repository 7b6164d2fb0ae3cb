"""The figure: written as PNG and SVG, with the measured shares and the estimates in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import StorageFailed, UsageError
from runtime.plots import draw
from runtime.report import Figure
from runtime.savings import Savings, savings
from tests.runtime.ledger_events import Story, three_areas


def made(story: Story) -> Savings:
    return savings(
        story.events,
        model="gpt-5.4",
        price=(2.5, 15.0),
        price_source="list price",
        watts=Figure(10.0, "assumed", "a test"),
    )


def test_png_has_its_size_and_is_not_blank(tmp_path: Path) -> None:
    from PIL import Image

    draw(made(three_areas()), tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as image:
        assert image.size == (1650, 1110)
        colours = image.convert("RGB").getcolors(1 << 20)
    assert colours is not None
    assert {(255, 255, 255), (27, 127, 92), (142, 79, 168)} <= {c for _, c in colours}


def test_svg_holds_the_numbers_as_text(tmp_path: Path) -> None:
    draw(made(three_areas()), tmp_path / "s.svg")
    text = (tmp_path / "s.svg").read_text()
    for part in (
        "73% of 11 model calls",
        "GUI agent",
        "estimate (arXiv 2506.02153, a digest of it)",
        "measured",
        "70%",
    ):
        assert part in text


def test_the_same_savings_give_the_same_svg(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw(made(three_areas()), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_an_area_without_a_task_is_shown_as_such(tmp_path: Path) -> None:
    draw(made(Story().task("t").step("t", "shell")), tmp_path / "s.svg")
    text = (tmp_path / "s.svg").read_text()
    assert text.count("no task yet") == 4
    assert "$" in text


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        draw(made(three_areas()), tmp_path / "s.jpeg")


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="cannot be written"):
        draw(made(three_areas()), tmp_path / "no" / "s.png")
