"""What the record teaches calibration: answers that are known to be right or wrong, as rows; and
whether the answers that were given as sure still hold their promise."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.calibration import Row
from runtime.core import Event, Task
from runtime.decisions import is_unsure
from runtime.outcomes import History, Told, known
from runtime.risk_drift import Drift, watch_each
from runtime.trust import recalled


def record_rows(events: Sequence[Event]) -> list[tuple[str, Row]]:
    """Local answers on record that are known to be right or wrong, by the id of their decision."""
    tasks = {e.record.id: e.record for e in events if isinstance(e.record, Task)}
    rows = []
    here: dict[str, Told] = {}
    for one in known(events):
        decision = one.decision
        model, task = decision.given.get("models", ""), tasks.get(decision.task_id)
        if one.local and model and task is not None and "pick" in decision.signals:
            signals = recalled(task, one.kind, decision, History(here))
            rows.append((decision.id, Row(one.kind, model, signals, one.right)))
            here = {**here, one.kind: here.get(one.kind, Told()).plus(one.right)}
    return rows


def drifts(events: Sequence[Event], alpha: float) -> dict[tuple[str, str], Drift]:
    """By kind and model files: whether answers given as sure go wrong more often than promised."""
    if alpha <= 0:
        return {}
    kept = (
        (one.kind, str(one.decision.given.get("models", "")), not one.right)
        for one in known(events)
        if one.local and one.decision.rule.startswith("accept:") and not is_unsure(one.decision)
    )
    return watch_each(kept, alpha)
