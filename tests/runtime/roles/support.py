"""What the tests of the roles share: the assistant's functions as recipes, and plain records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runtime.core import Decision, Kind, Step, Surface, Task
from runtime.roles.functions import from_functions
from runtime.tools.recipe import Recipe

NOW = datetime(2026, 11, 22, 15, 23)
TOOLS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "runtime" / "tools" / "assistant.json").read_text("utf-8")
)
FUNCTIONS: dict[str, Recipe] = {r.id: r for r in from_functions(TOOLS)}


def a_task(text: str, folder: Path = Path("/tmp"), **fields: Any) -> Task:
    return Task("task_1", text, now=NOW.isoformat(), folder=str(folder), **fields)


def a_step(text: str, kind: Kind = "parse") -> Step:
    return Step("step_1", "task_1", 1, kind, text)


def a_decision(text: str, kind: Kind = "parse") -> Decision:
    return Decision("dec_1", "task_1", "step_1", kind, text, "local:x", (), 0.9, 0.5, "r", "", 0.0)


class KeywordRouter:
    """Kinds by a word that the text has in it: a stand-in for the trained head."""

    def __init__(self, kinds: Mapping[str, Kind], default: Kind = "shell") -> None:
        self.words = kinds
        self.default = default

    def classify(self, text: str, surface: Surface = "auto") -> tuple[Kind, float, bool]:
        return self._kind(text), 0.9, False

    def kinds(self, text: str) -> dict[Kind, float]:
        return {self._kind(text): 0.9}

    def _kind(self, text: str) -> Kind:
        return next((k for w, k in self.words.items() if w in text.lower()), self.default)
