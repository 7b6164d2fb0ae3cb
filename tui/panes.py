"""The app's main screens: one table, from which tabs, keys, palette and help are made."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.screens.pane import Pane
    from tui.session import Session


@dataclass(frozen=True, slots=True)
class Entry:
    """One pane. Its key is its place in ``PANES``, from 1."""

    id: str
    title: str
    words: str
    """What it shows, in a line."""
    where: str
    """``module:Class``, imported when it is first shown: none of them slows the start."""


PANES = (
    Entry(
        "decisions",
        "Decisions",
        "Every routing decision, live",
        "tui.screens.decisions:DecisionsScreen",
    ),
)


def make(entry: Entry, session: Session) -> Pane:
    """The pane itself."""
    module, _, name = entry.where.partition(":")
    pane: Pane = getattr(import_module(module), name)(session)
    return pane
