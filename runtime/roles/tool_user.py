"""The Tool User: one step becomes one filled recipe.

The encoder ranks the recipes; the first few are filled from the words alone, and how well each
explains the request joins its rank; the best one is then filled with the SLM where words leave
a choice. A verifier that asks no model looks at the result. Every model call is recorded.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.base import Encoder, Generation, Generator, Usage
from models.errors import SchemaRefused, UsageError
from models.schemas import violations
from runtime.calibration import family
from runtime.core import Call, Decision, Step, Task, new_id
from runtime.reach import Reach
from runtime.roles.filling import Filled, fill, first_guess
from runtime.roles.functions import from_functions, schema_of
from runtime.roles.picking import Picker, picking_key
from runtime.tools.recipe import Picked, Proposal, Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ToolUser", "from_functions"]

PICKERS = 64
"""Sets of recipes whose embeddings are kept: clients bring their own."""
CONSIDERED = 5
"""Recipes that are tried on the words before one is chosen."""
PROBLEM_COST = 2.5
LEFTOVER_COST = 0.7
"""Nats that a recipe loses for each slot it cannot fill, and each word it cannot explain."""
EXPLAINED = 0.45
"""Weight, beside the encoder's log share, of how well the words fit a recipe's slots."""
NOT_THERE, ALREADY_THERE = 2.0, 2.0
"""Nats that a recipe loses for a file that it works on and that does not exist, and for a file
that it would make and that does."""
FIT_GAIN = 0.35
UNKNOWN_VERB = 1.0
"""The same score's weight in the log odds that any recipe fits, and what those lose where the
request's verb stands in none of the recipe's examples."""
IN_SCOPE = 1.0
"""Added to those log odds where the Router's own check of scope came before the pick."""
NO_FIT = 0.2
"""Below this probability no offered recipe fits: a problem, so the step is escalated."""
CLOSE_SECOND = 0.8
"""Share of the best recipe's probability at which the second makes the pick a toss-up."""


class ToolUser:
    """Picks and fills recipes. ``cache``: a folder that keeps their embeddings, or None."""

    def __init__(
        self,
        generator: Generator,
        encoder: Encoder,
        *,
        cache: Path | None = None,
        reach: Reach | None = None,
    ) -> None:
        """``reach``: what says whether any tool here does what is asked; None: nothing does."""
        self.generator = generator
        self.reach = reach or Reach()
        self.encoder = encoder
        self.cache = cache
        self._pickers: OrderedDict[tuple[object, ...], Picker] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def models(self) -> tuple[str, str]:
        """Digests of the files that answer: encoder and SLM (empty before it was first loaded)."""
        return self.encoder.model, self.generator.model

    async def propose(
        self, task: Task, step: Step, decision: Decision, recipes: Sequence[Recipe]
    ) -> tuple[Proposal, list[Call]]:
        """The best recipe for ``step``, filled and verified, and the model calls that made it.

        Raises UsageError where there are no recipes to choose from.
        """
        if not recipes:
            raise UsageError(
                f"no tool can serve a step of kind {step.kind!r}: {step.text[:80]!r}",
                hint="Offer function tools, or word it as something to do on this machine.",
            )
        now = datetime.fromisoformat(task.now) if task.now else datetime.now()
        folder = Path(task.folder) if task.folder else Path.cwd()
        begun = time.perf_counter()
        picked, embedding = await asyncio.to_thread(self._pick, step.text, recipes)
        ranked = [
            (p, first_guess(step.text, p.recipe, now=now, folder=folder))
            for p in picked[:CONSIDERED]
        ]
        odds = [disk_odds(p.recipe, f.arguments, folder) for p, f in ranked]
        best, probability, second = choose(ranked, picked, odds)
        calls = [self._pick_call(task, step, decision, best, probability, picked, _since(begun))]
        doubts = []
        if probability < NO_FIT:
            doubts.append("No offered tool fits this request.")
        elif second and second[1] > CLOSE_SECOND * probability:
            doubts.append(f"It could as well be {second[0].id}.")
        filled = await fill(
            self.generator, step.text, best, now=now, folder=folder, second_opinion=not doubts
        )
        if filled.messages and filled.usage is not None:
            calls.append(self._fill_call(step, decision, filled))
        if filled.second is not None:
            calls.append(_second_call(step, decision, filled, filled.second))
        problems = [*filled.problems, *_schema_problems(best, filled), *doubts]
        confidence = min(1.0, probability * filled.confidence)
        signals = {
            "pick": probability,
            "second": second[1] if second else 0.0,
            "confidence": filled.confidence,
            "leftover": float(len(filled.leftover)),
            "score": filled.score,
            "gap": filled.gap,
            "verb_known": float(filled.verb_known),
            "likeness": next((p.score for p in picked if p.recipe is best), 0.0),
        }
        signals |= filled.shape
        reach = self.reach.of(family(task, step), embedding)
        if reach is not None:
            signals["reach"] = reach
        if filled.margin is not None:
            signals["least_margin"] = filled.margin
        if filled.agreement is not None:
            signals["agreement"] = filled.agreement
        return Proposal(best, filled.arguments, confidence, tuple(problems), signals), calls

    def _pick(
        self, text: str, recipes: Sequence[Recipe]
    ) -> tuple[list[Picked], NDArray[np.float32]]:
        """The best of ``recipes``, and the embedding that they were compared with."""
        picker = self._picker(recipes)
        embedding = picker.embedding(text)
        # A picker may be of recipes that read alike and are not these: other values are allowed.
        own = {id(known): given for known, given in zip(picker.recipes, recipes, strict=True)}
        picked = picker.pick(text, row=embedding)
        return [replace(p, recipe=own[id(p.recipe)]) for p in picked], embedding

    def _picker(self, recipes: Sequence[Recipe]) -> Picker:
        """The picker for recipes that read like these; the latest ``PICKERS`` are kept."""
        key = picking_key(recipes)
        with self._lock:
            picker = self._pickers.get(key)
            if picker is not None:
                self._pickers.move_to_end(key)
                return picker
        picker = Picker(self.encoder, recipes, self.cache)
        with self._lock:
            self._pickers[key] = picker
            while len(self._pickers) > PICKERS:
                self._pickers.popitem(last=False)
        return picker

    def _pick_call(
        self,
        task: Task,
        step: Step,
        decision: Decision,
        best: Recipe,
        probability: float,
        picked: Sequence[Picked],
        ms: float,
    ) -> Call:
        return Call(
            id=new_id("call"),
            task_id=task.id,
            step_id=step.id,
            decision_id=decision.id,
            kind=step.kind,
            role="tool_user",
            model=self.encoder.model,
            messages=({"role": "user", "content": step.text},),
            parameters={"pick": {p.recipe.id: round(p.probability, 4) for p in picked}},
            answer=best.id,
            confidence=probability,
            tokens_in=self.generator.count_tokens(step.text),
            tokens_out=0,
            prefill_ms=ms,
        )

    def _fill_call(self, step: Step, decision: Decision, filled: Filled) -> Call:
        usage = filled.usage
        if usage is None:
            raise ValueError("no model was asked")
        choice = filled.choice
        parameters: dict[str, object] = {}
        if choice is not None:
            parameters["options"] = list(choice.options)
            parameters["probabilities"] = [round(p, 4) for p in choice.probabilities]
        if filled.generation is not None:
            answer, model = filled.generation.text, filled.generation.model
        elif choice is not None:
            answer, model = choice.option, choice.model
        else:
            raise ValueError("no model was asked")
        call = _slm_call(step, decision, filled, usage)
        confidence = filled.confidence
        return replace(
            call, model=model, parameters=parameters, answer=answer, confidence=confidence
        )


def _second_call(step: Step, decision: Decision, filled: Filled, second: Generation) -> Call:
    """The SLM's own opinion of the free texts, beside the answer."""
    call = _slm_call(step, decision, filled, second.usage)
    return replace(
        call,
        role="verifier",
        model=second.model,
        parameters={"agreement": filled.agreement},
        answer=second.text,
        confidence=second.confidence,
    )


def _slm_call(step: Step, decision: Decision, filled: Filled, usage: Usage) -> Call:
    """What any call of the SLM for a step has on record."""
    return Call(
        id=new_id("call"),
        task_id=step.task_id,
        step_id=step.id,
        decision_id=decision.id,
        kind=step.kind,
        role="tool_user",
        model="",
        messages=filled.messages,
        parameters={},
        answer="",
        confidence=None,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        tokens_cached=usage.tokens_cached,
        queue_ms=usage.queue_ms,
        prefill_ms=usage.prefill_ms,
        decode_ms=usage.decode_ms,
        mask_ms=usage.mask_ms,
    )


def disk_odds(recipe: Recipe, arguments: Mapping[str, Any], folder: Path) -> float:
    """What the files that exist say for or against a recipe, in nats."""
    odds = 0.0
    for slot in recipe.slots:
        value = arguments.get(slot.name)
        if slot.type not in ("path", "new_path") or not isinstance(value, str):
            continue
        if value == slot.default or set(value) & set("*?["):
            continue
        try:
            path = folder / Path(value).expanduser()
            there, is_file = path.exists(), path.is_file()
        except (OSError, ValueError, RuntimeError):
            continue
        if slot.type == "path" and not there:
            odds -= NOT_THERE
        elif slot.type == "new_path" and is_file:
            odds -= ALREADY_THERE
    return odds


def choose(
    ranked: Sequence[tuple[Picked, Filled]],
    picked: Sequence[Picked],
    odds_of: Sequence[float] = (),
) -> tuple[Recipe, float, tuple[Recipe, float] | None]:
    """The recipe whose rank and explanation of the words are best together, its probability,
    and the runner-up with its own. ``odds_of``: what else speaks for each, in nats."""
    gains = [
        EXPLAINED * f.score
        - PROBLEM_COST * len(f.problems)
        - LEFTOVER_COST * len(_unexplained(f))
        + extra
        for (_, f), extra in zip(ranked, odds_of or [0.0] * len(ranked), strict=True)
    ]
    mass = sum(p.probability for p in picked)
    weights = [p.probability * math.exp(g) for (p, _), g in zip(ranked, gains, strict=True)]
    rest = sum(p.probability for p in picked[len(ranked) :]) * math.exp(min(gains))
    whole = sum(weights) + rest or 1e-12
    order = sorted(range(len(ranked)), key=lambda i: -weights[i])
    first, filled = order[0], ranked[order[0]][1]
    odds = _logit(mass) + gains[first] + (FIT_GAIN - EXPLAINED) * filled.score
    odds += IN_SCOPE if ranked[first][0].recipe.kind in ("gui", "shell") else 0.0
    odds -= 0.0 if filled.verb_known else UNKNOWN_VERB
    likely = 1 / (1 + math.exp(-odds))
    shares = [w / whole * likely for w in weights]
    second = (ranked[order[1]][0].recipe, shares[order[1]]) if len(order) > 1 else None
    return ranked[first][0].recipe, shares[first], second


def _unexplained(filled: Filled) -> list[object]:
    return [s for s in filled.leftover if s.type not in ("name", "integer", "number")]


def _logit(probability: float) -> float:
    p = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


def _schema_problems(recipe: Recipe, filled: Filled) -> list[str]:
    """What a function's own schema has against the arguments."""
    if recipe.kind not in ("parse", "tool") or not any(s.schema is not None for s in recipe.slots):
        return []
    try:
        errors = sorted(violations(schema_of(recipe), dict(filled.arguments)), key=str)
    except SchemaRefused as error:
        return [f"The tool's schema is not valid: {error.message[:120]}"]
    missing = [e for e in errors if e.validator == "required"]
    named = [e for e in errors if e not in missing]
    return [f"{'.'.join(map(str, e.path)) or recipe.id}: {e.message[:160]}" for e in named]


def _since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000
