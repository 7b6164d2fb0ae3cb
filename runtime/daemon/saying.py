"""How the daemon's commands answer: text, or one JSON object."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def say(as_json: bool, text: str, **body: Any) -> None:
    sys.stdout.write((json.dumps(body) if as_json else text) + "\n")
