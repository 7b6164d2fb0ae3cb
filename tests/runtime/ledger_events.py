"""A small ledger of known numbers: steps served here, escalated, failed and declined."""

from __future__ import annotations

from runtime.core import (
    Call,
    Decision,
    Event,
    Kind,
    Outcome,
    Record,
    Step,
    Surface,
    Task,
)


class Story:
    """Events in order, one step at a time."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._steps = 0

    def _add(self, task_id: str, record: Record) -> None:
        at = 1_000_000.0 + len(self.events)
        self.events.append(Event(task_id, at, record, len(self.events) + 1))

    def task(self, task_id: str, surface: Surface = "auto") -> Story:
        self._add(task_id, Task(task_id, "do it", surface=surface))
        return self

    def step(
        self,
        task_id: str,
        kind: Kind,
        *,
        probability: float = 0.9,
        rule: str = "",
        local: int = 1,
        general: int = 0,
        tokens: tuple[int, int] = (100, 10),
        general_tokens: tuple[int, int] = (2000, 50),
        ms: float = 200.0,
        general_ms: float = 1000.0,
        model: str = "gpt-5.4",
        outcome: str = "done",
    ) -> Story:
        """One step: ``local`` calls here, then ``general`` calls away, then an outcome."""
        self._steps += 1
        id_ = f"step_{self._steps}"
        self._add(task_id, Step(id_, task_id, 1, kind, "words"))
        first = "local:tool_user" if local or not general else "general"
        rule = rule or f"threshold:{kind}"
        self._decide(task_id, id_, kind, first, probability, rule)
        for _ in range(local):
            self._call(task_id, id_, kind, tokens, prefill_ms=ms / max(local, 1))
        if local and general:
            self._decide(task_id, id_, kind, "general", 0.1, f"accept:{kind}")
        for _ in range(general):
            self._call(
                task_id,
                id_,
                kind,
                general_tokens,
                role="general",
                model=model,
                decode_ms=general_ms,
                cost_usd=0.01,
                bytes_sent=500,
            )
        if outcome:
            self._add(task_id, Outcome(f"act_{id_}", task_id, id_, outcome))  # type: ignore[arg-type]
        return self

    def _decide(
        self, task_id: str, step_id: str, kind: Kind, chosen: str, probability: float, rule: str
    ) -> None:
        self._add(
            task_id,
            Decision(
                id=f"dec_{len(self.events)}",
                task_id=task_id,
                step_id=step_id,
                kind=kind,
                text="words",
                chosen=chosen,
                candidates=(),
                probability=probability,
                threshold=0.5,
                rule=rule,
                reason="as told",
                route_ms=1.0,
                would_send={"messages": []} if rule == "no-general" else None,
            ),
        )

    def _call(
        self,
        task_id: str,
        step_id: str,
        kind: Kind,
        tokens: tuple[int, int],
        *,
        role: str = "tool_user",
        model: str = "sha256:local",
        prefill_ms: float = 0.0,
        decode_ms: float = 0.0,
        cost_usd: float = 0.0,
        bytes_sent: int = 0,
    ) -> None:
        self._add(
            task_id,
            Call(
                id=f"call_{len(self.events)}",
                task_id=task_id,
                step_id=step_id,
                decision_id="",
                kind=kind,
                role=role,
                model=model,
                messages=(),
                parameters={},
                answer="a call",
                confidence=None,
                tokens_in=tokens[0],
                tokens_out=tokens[1],
                prefill_ms=prefill_ms,
                decode_ms=decode_ms,
                cost_usd=cost_usd,
                bytes_sent=bytes_sent,
            ),
        )


def three_areas() -> Story:
    """Nine steps in four tasks, 11 calls, 8 of them local."""
    story = Story()
    story.task("gui").step("gui", "refine", rule="role:refiner", outcome="")
    story.step("gui", "gui", probability=0.95, local=2, ms=400.0)
    story.step("gui", "gui", probability=0.55, local=1, general=1)
    story.task("shell").step("shell", "shell", probability=0.8)
    story.step("shell", "shell", probability=0.3, local=0, general=1)
    story.task("parse").step("parse", "parse", probability=0.9)
    story.step("parse", "tool", probability=0.6, outcome="failed")
    story.step("parse", "format", probability=0.7)
    story.task("plan").step("plan", "plan", probability=0.2, rule="kind:plan", local=0, general=1)
    return story
