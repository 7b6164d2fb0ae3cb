"""Something that waits for a person: an action at the gate, or words about to leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.core import Action, from_json, to_json


@dataclass(frozen=True, slots=True)
class Waiting:
    """One question. ``action`` or ``send`` is there, never both."""

    id: str
    task_id: str
    task: str
    """The task in the user's words."""
    reason: str
    action: Action | None = None
    """What would be done."""
    send: Mapping[str, Any] | None = None
    """Exactly what would be sent to the General, with its estimated tokens and price."""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "task_id": self.task_id,
            "task": self.task,
            "reason": self.reason,
            "action": to_json(self.action) if self.action else None,
            "send": dict(self.send) if self.send is not None else None,
        }

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Waiting:
        action = body["action"] and from_json("action", body["action"])
        if action is not None and not isinstance(action, Action):
            raise TypeError("not an action")
        return Waiting(
            body["id"], body["task_id"], body["task"], body["reason"], action, body["send"]
        )
