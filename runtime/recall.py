"""What the record teaches calibration: answers that are known to be right or wrong, as rows; and
whether the answers that were given as sure still hold their promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.calibration import Calibration, Row
from runtime.core import Event, Task
from runtime.outcomes import known
from runtime.risk_drift import Drift, watch_each
from runtime.trust import signals_of


def record_rows(events: Sequence[Event]) -> list[tuple[str, Row]]:
    """Local answers on record that are known to be right or wrong, by the id of their decision."""
    tasks = {e.record.id: e.record for e in events if isinstance(e.record, Task)}
    rows = []
    for one in known(events):
        decision = one.decision
        model, task = decision.given.get("models", ""), tasks.get(decision.task_id)
        if one.local and model and task is not None and "pick" in decision.signals:
            row = Row(one.kind, model, signals_of(task, decision), one.right)
            rows.append((decision.id, row))
    return rows


def drifts(
    events: Sequence[Event], alpha: float, calibration: Calibration
) -> dict[tuple[str, str], Drift]:
    """By kind and model files: whether answers given as sure go wrong more often than promised.

    Of those that a person judged since their kind was last calibrated: failed actions are told
    by themselves and successes are not, so they would prove nothing of a share.
    """
    if alpha <= 0:
        return {}
    kept = []
    for one in known(events):
        decision, models = one.decision, str(one.decision.given.get("models", ""))
        entry = calibration.get(one.kind, models)
        since = entry.at if entry is not None else 0.0
        promised = decision.keeps and decision.given.get("certified") and decision.threshold <= 1.0
        if one.local and one.said and promised and one.at > since:
            kept.append((one.kind, models, not one.right))
    return watch_each(kept, alpha)


def recalibrate(
    events: Sequence[Event], alpha: float, calibration: Calibration, files: Callable[[], str]
) -> dict[str, str]:
    """Kinds that want calibrating again, and why it is thought so. ``files``: the digests of the
    model files in use (``runtime.trust.digests``), asked only where it matters."""
    drifted = {
        (kind, of): watch.reason
        for (kind, of), watch in drifts(events, alpha, calibration).items()
        if watch.recalibrate
    }
    in_use = files() if drifted else ""
    return {kind: reason for (kind, of), reason in drifted.items() if of == in_use}
