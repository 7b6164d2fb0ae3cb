"""What every pane shares: the daemon's client, what is known, and the state of the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from runtime.daemon.client import Client
from tui.board import Board

Command = Callable[[Awaitable[object], str], object]
"""Asks something of the daemon in the background; ``{}`` in the words stands for its answer.
An error is told as a notification."""


class Session:
    """One user at one daemon. ``folder``: work folder of the tasks that are started here."""

    def __init__(self, client: Client, folder: Path, command: Command) -> None:
        self.client = client
        self.folder = folder
        self.command = command
        self.board = Board()
        self.loaded = False
        """The record was read once."""
        self.lost = ""
        """Why no daemon answers; empty while one does."""
