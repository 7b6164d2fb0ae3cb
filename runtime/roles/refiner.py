"""The Refiner: a task in words becomes concrete steps, each with its kind.

Clauses are parted by rule (``segments``), and the Router's encoder says what kind each is; where
a weakly parted clause makes no sense to it alone, it stays with the one before. Hard planning is
never taken apart here: a plan is the General's. "It" and "its" become what they stand for, where
that is a file or folder named before. Orders that are stages of one change of one file in an
editor become one step (``stages``); others that go on in the same window say so.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from models.base import Encoder, Generator
from runtime.core import Call, Kind, Step, Surface, Task, new_id
from runtime.roles.grounding import Span, outermost, spans
from runtime.roles.segments import Clause, clauses, refers, resolved, without_follow_up
from runtime.roles.stages import joined, names_editor, stage

ALONE = 0.8
"""Below this certainty of being out of scope, a weakly parted clause stays with the one before."""
STICKS = 0.15
"""Probability of ``gui`` at which a clause after a GUI step is one too: a window is open."""


CLEAR = 0.7
"""Probability of ``gui`` from which a step needs no word about where it happens."""
NEVER_ASKED: frozenset[Kind] = frozenset(("repair", "refine"))
"""What steps become when something fails or is vague; no tool serves them as such."""
WINDOW = "in the editor"


class Classifier(Protocol):
    def classify(self, text: str, surface: Surface = "auto") -> tuple[Kind, float, bool]: ...

    def kinds(self, text: str) -> dict[Kind, float]: ...


class Refiner:
    """Splits tasks into steps. ``router`` says what kind a text is, with its probability."""

    def __init__(self, generator: Generator, encoder: Encoder, router: Classifier) -> None:
        self.generator = generator
        self.encoder = encoder
        self.router = router

    async def refine(self, task: Task) -> tuple[list[Step], list[Call]]:
        """The steps of ``task``, and the encoder calls that decided their kinds."""
        return await asyncio.to_thread(self._refine, task)

    def _refine(self, task: Task) -> tuple[list[Step], list[Call]]:
        calls: list[Call] = []
        whole = self._kind(task, task.text, calls)
        if whole[0] == "plan" and not whole[2]:
            return [_step(task, 0, "plan", task.text.strip())], calls
        found = spans(task.text, now=_now(task), folder=_folder(task))

        def spans_of(text: str) -> tuple[Span, ...]:
            return spans(text, now=_now(task), folder=_folder(task))

        pieces = joined(task.text, clauses(task.text, found), spans_of)
        if len(pieces) < 2:
            return [
                _step(task, 0, self._settled(task, task.text, whole[0]), _plain(task, pieces))
            ], calls
        steps: list[Step] = []
        thing = ""
        for clause in pieces:
            text = clause.text
            own = spans_of(text)
            if thing and steps[-1].kind == "shell" and refers(text, own):
                text = resolved(text, thing)
            judged, probability, _ = self._kind(task, text, calls)
            kind = self._in_context(task, text, judged, steps)
            if kind == "gui" and steps and steps[-1].kind == "gui":
                text = self._placed(text)
            if steps and clause.strength == "weak" and kind == "plan" and probability < ALONE:
                steps[-1] = replace(steps[-1], text=f"{steps[-1].text} and {text}")
                continue
            named = outermost([s for s in own if s.type == "path"])
            thing = named[-1].value if named else thing
            steps.append(_step(task, len(steps), kind, text))
        return steps, calls

    def _kind(self, task: Task, text: str, calls: list[Call]) -> tuple[Kind, float, bool]:
        begun = time.perf_counter()
        kind, probability, outside = self.router.classify(text, task.surface)
        if kind in NEVER_ASKED:
            chances = self.router.kinds(text)
            kind = max((k for k in chances if k not in NEVER_ASKED), key=lambda k: chances[k])
        ms = (time.perf_counter() - begun) * 1000
        calls.append(
            Call(
                id=new_id("call"),
                task_id=task.id,
                step_id="",
                decision_id="",
                kind="refine",
                role="refiner",
                model=self.encoder.model,
                messages=({"role": "user", "content": text},),
                parameters={"out_of_scope": outside},
                answer=kind,
                confidence=probability,
                tokens_in=self.generator.count_tokens(text),
                tokens_out=0,
                prefill_ms=ms,
            )
        )
        return kind, probability, outside

    def _settled(self, task: Task, text: str, kind: Kind) -> Kind:
        """With function tools on offer, what is neither plan nor format is a call of one; what
        the Router does not know may still be: the Tool User knows these very tools."""
        if not task.tools or kind == "format":
            return kind
        chances = self.router.kinds(text)
        return "plan" if max(chances, key=lambda k: chances[k]) == "plan" else "parse"

    def _in_context(self, task: Task, text: str, kind: Kind, steps: list[Step]) -> Kind:
        if task.tools:
            return self._settled(task, text, kind)
        after_gui = bool(steps) and steps[-1].kind == "gui" and task.surface != "shell"
        if after_gui and kind != "gui":
            goes_on = stage(text) in ("edit", "save")
            if goes_on or self.router.kinds(text).get("gui", 0) >= STICKS:
                return "gui"
        return kind

    def _placed(self, text: str) -> str:
        """``text`` with the window that it is about, where nothing in it says so."""
        if names_editor(text) or self.router.kinds(text).get("gui", 0) >= CLEAR:
            return text
        return f"{WINDOW}, {text}"


def _plain(task: Task, pieces: list[Clause]) -> str:
    """The text of a task that is one step."""
    text = pieces[0].text if pieces and pieces[0].rewritten else task.text
    return without_follow_up(text)


def _step(task: Task, index: int, kind: Kind, text: str) -> Step:
    return Step(new_id("step"), task.id, index, kind, text)


def _now(task: Task) -> datetime:
    return datetime.fromisoformat(task.now) if task.now else datetime.now()


def _folder(task: Task) -> Path:
    return Path(task.folder) if task.folder else Path.cwd()
