"""The Router: who serves a step, with what probability, and why.

``(task, step, policy) -> Decision``: pure but for the encoder and the clock. It reads the step's
text, at most the encoder's 128 tokens. The probability is that of the step's kind being right
and in scope; what a worker makes of the step is judged after it, by the verifier. Budgets,
prices and privacy are the agent's business.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from models.base import Encoder
from runtime.core import GENERAL, Candidate, Decision, Kind, Step, Surface, Task, new_id
from runtime.effects import Effects, log_odds
from runtime.policy import NEVER, Policy
from runtime.router_features import features
from runtime.router_head import Head, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEAD = Path(__file__).parents[1] / "models" / "specialists" / "router" / "head.npz"
LOCAL_WORKER: Mapping[Kind, str] = {
    "plan": "local:tool_user",
    "refine": "local:refiner",
    "gui": "local:tool_user",
    "shell": "local:tool_user",
    "tool": "local:tool_user",
    "parse": "local:tool_user",
    "format": "local:formatter",
    "repair": "local:tool_user",
    "dialogue": "local:formatter",
}
"""Who on this machine would serve a step of each kind."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the head says of one text. ``kinds`` sum to ``in_scope``: the rest is out of scope."""

    kinds: Mapping[Kind, float]
    in_scope: float
    nearest: float
    """Cosine to the nearest training text."""
    oos: bool
    """P(in scope) is below the head's threshold."""
    best: Kind
    runner_up: Kind

    @property
    def margin(self) -> float:
        return self.kinds[self.best] - self.kinds[self.runner_up]


class Router:
    """The encoder with the head that was fitted on it.

    ``latency_ms``: what workers were measured to take, by worker name, where that is known.
    Raises ModelMissing or ModelCorrupt where the head is missing or belongs to another encoder.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        head: Path = HEAD,
        latency_ms: Mapping[str, float] | None = None,
    ) -> None:
        self._encoder = encoder
        self._head = Head.load(head, encoder=encoder.model)
        self._effects = Effects(self._head)
        self._latency_ms = dict(latency_ms or {})

    def kinds(self, text: str) -> dict[Kind, float]:
        """P(kind) of each kind; what they lack to 1 is the probability of out of scope."""
        return dict(self.read(text).kinds)

    def classify(self, text: str, surface: Surface = "auto") -> tuple[Kind, float, bool]:
        """The kind of a step in words, its probability, and whether it is out of scope.

        Out of scope makes it a ``plan``: no local worker is for it. A pinned ``surface`` turns
        every other local kind into that one.
        """
        reading = self.read(text)
        if reading.oos:
            return "plan", 1.0 - reading.in_scope, True
        kind = reading.best
        if kind == "plan":
            return kind, reading.kinds[kind], False
        if surface != "auto":
            kind = surface
        return kind, self.probability(reading, kind, surface), False

    def read(self, text: str) -> Reading:
        """One text through encoder and head."""
        return self._reading(self._head.score(features(self._encoder, [text])))

    def _reading(self, scores: Scores, i: int = 0) -> Reading:
        in_scope = float(scores.in_scope[i])
        labels = [cast(Kind, label) for label in self._head.labels]
        kinds = {k: float(p) * in_scope for k, p in zip(labels, scores.classes[i], strict=True)}
        best, runner_up = sorted(kinds, key=lambda k: -kinds[k])[:2]
        return Reading(
            kinds=kinds,
            in_scope=in_scope,
            nearest=float(scores.nearest[i]),
            oos=in_scope < self._head.threshold,
            best=best,
            runner_up=runner_up,
        )

    def probability(self, reading: Reading, kind: Kind, surface: Surface) -> float:
        """P(a local worker succeeds) = P(``kind`` is right and in scope).

        With the surface pinned, the user has said which kind it is: all that can still be wrong
        is that the step is a plan, or nothing that a local tool does. A ``plan`` has the
        probability that it is none after all. ``refine`` is asked of every text: P(in scope).
        ``parse`` and ``tool`` are served by the same functions: either reading will do.
        """
        if kind == "refine":
            return reading.in_scope
        if kind == "plan" or (surface != "auto" and kind == surface):
            return max(0.0, reading.in_scope - reading.kinds["plan"])
        if kind in ("parse", "tool"):
            return reading.kinds["parse"] + reading.kinds["tool"]
        # A user's step is never a repair: that is what follows a failed action.
        asked = reading.in_scope - (reading.kinds["repair"] if kind != "repair" else 0.0)
        return reading.kinds.get(kind, 0.0) * reading.in_scope / max(asked, 1e-9)

    def route(
        self,
        task: Task,
        step: Step,
        policy: Policy,
        *,
        general: str | None,
        previous: Decision | None = None,
    ) -> Decision:
        """Who serves ``step``. ``general``: the remote model's name, None where there is none.

        ``general`` is chosen even where none is configured: whether it may and can be asked,
        and what is done instead, is the agent's to say. ``previous``: the decision whose answer
        was not accepted; a failed step is repaired here once, and then goes to the General.
        """
        start = time.perf_counter()
        row = features(self._encoder, [step.text])
        scores = self._head.score(row)
        reading = self._reading(scores)
        probability = self.probability(reading, step.kind, task.surface)
        threshold = policy.route_threshold.get(step.kind, NEVER)
        local, rule, why = _choose(task, step, reading, probability, threshold, previous)
        worker = LOCAL_WORKER[step.kind]
        candidates = (
            Candidate(worker, self._encoder.name, probability, self._latency_ms.get(worker), 0.0),
            Candidate(GENERAL, general or "", None, self._latency_ms.get(GENERAL), None),
        )
        cut = self._encoder.was_cut(step.text)
        return Decision(
            id=new_id("dec"),
            task_id=task.id,
            step_id=step.id,
            kind=step.kind,
            text=step.text,
            chosen=worker if local else GENERAL,
            candidates=candidates,
            probability=probability,
            threshold=threshold,
            rule=rule,
            reason=why + ("; only the first 128 tokens were read" if cut else ""),
            route_ms=(time.perf_counter() - start) * 1000.0,
            signals={
                "in_kind": probability,
                f"best:{reading.best}": reading.kinds[reading.best],
                f"runner_up:{reading.runner_up}": reading.kinds[reading.runner_up],
                "margin": reading.margin,
                "out_of_scope": 1.0 - reading.in_scope,
                "nearest": reading.nearest,
                "chars": float(len(step.text)),
            },
            effects=self._moved(task, step, row, scores),
            cut=cut,
            previous=previous.id if previous else None,
        )

    def _moved(
        self, task: Task, step: Step, row: NDArray[np.float32], scores: Scores
    ) -> dict[str, float]:
        """What each signal did to the probability, in log odds."""

        def probability(at: Scores, i: int) -> float:
            return self.probability(self._reading(at, i), step.kind, task.surface)

        effects = self._effects.of(step.text, row, scores, probability)
        if task.surface != "auto":
            free = self.probability(self._reading(scores), step.kind, "auto")
            moved = log_odds(probability(scores, 0)) - log_odds(free)
            effects[f"surface:{task.surface}"] = round(moved, 3)
        return effects


def _choose(
    task: Task,
    step: Step,
    reading: Reading,
    probability: float,
    threshold: float,
    previous: Decision | None,
) -> tuple[bool, str, str]:
    """Whether a step stays local, by which rule, and why in plain English."""
    kind, out = step.kind, 1.0 - reading.in_scope
    if previous is not None and (kind != "repair" or previous.kind == "repair"):
        what = "the repair" if kind == "repair" else "the local answer"
        return False, "escalated", f"{what} under decision {previous.id} was not accepted"
    if kind == "repair" and previous is not None:
        return True, "repair:once", f"decision {previous.id} failed: one local repair is tried"
    if reading.oos and kind not in ("refine", "repair"):
        return (
            False,
            "out-of-scope",
            f"P(out of scope) = {out:.2f}: no local tool is for this "
            f"(nearest known request: cosine {reading.nearest:.2f})",
        )
    if kind == "plan":
        return False, "kind:plan", f"planning is the General's: P(plan) = {reading.kinds[kind]:.2f}"
    stays = probability >= threshold
    relation = "at least" if stays else "below"
    numbers = f"{probability:.2f}, {relation} {threshold:.2f}"
    if task.surface == kind:
        return stays, f"surface:{kind}", f"you asked for {kind}; P(local succeeds) = {numbers}"
    if kind == reading.best:
        rival = f"next is {reading.runner_up} with {reading.kinds[reading.runner_up]:.2f}"
    else:
        rival = f"reads more like {reading.best} with {reading.kinds[reading.best]:.2f}"
    return stays, f"threshold:{kind}", f"P({kind} is right and in scope) = {numbers}; {rival}"
