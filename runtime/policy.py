"""Every threshold, budget and limit, in one frozen dataclass.

Read once, passed to whoever decides. Rules, risk control and budgets over time come with
``policy.toml``; until then these are the defaults, and ``config.toml``'s ``[policy]`` table
may override each by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.errors import UsageError


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be decided without a person. Units are in the names."""

    route_threshold: Mapping[str, float] = field(
        default_factory=lambda: {
            "gui": 0.5,
            "shell": 0.5,
            "tool": 0.5,
            "parse": 0.5,
            "format": 0.5,
            "repair": 0.5,
            "dialogue": 0.5,
            "refine": 0.0,
            "plan": 1.01,
        }
    )
    """Least P(local succeeds) at which a step of each kind stays local; ``plan`` never does."""
    accept_threshold: Mapping[str, float] = field(
        default_factory=lambda: {
            "gui": 0.35,
            "shell": 0.35,
            "tool": 0.35,
            "parse": 0.35,
            "format": 0.5,
        }
    )
    """Least confidence of a local answer at which it is given as sure. Confidences are products
    of a pick's and its slots' probabilities and come out low: on the development tasks, answers
    from 0.35 to 0.5 were right."""
    max_task_chars: int = 20_000
    """A longer task is refused, with both numbers."""
    max_steps: int = 24
    command_timeout_s: float = 60.0
    command_memory_mb: int = 2048
    general_timeout_s: float = 60.0
    general_max_tokens: int = 2048

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> Policy:
        """The defaults with ``table``'s values on top. Raises UsageError on an unknown name."""
        fields = {f.name: f for f in dataclasses.fields(Policy)}
        base = Policy()
        changes: dict[str, Any] = {}
        for name, value in table.items():
            if name not in fields:
                raise UsageError(
                    f"config.toml: [policy] has no setting {name!r}.",
                    hint=f"It has: {', '.join(sorted(fields))}.",
                )
            current = getattr(base, name)
            if isinstance(current, Mapping):
                if not isinstance(value, Mapping):
                    raise UsageError(f"config.toml: [policy] {name} must be a table.")
                changes[name] = {**current, **{k: float(v) for k, v in value.items()}}
            elif isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UsageError(f"config.toml: [policy] {name} must be a number.")
            else:
                changes[name] = type(current)(value)
        return dataclasses.replace(base, **changes)
