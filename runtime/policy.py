"""Every threshold, budget, rule and limit, in one frozen dataclass.

Read once, passed to whoever decides. The defaults stand here; ``config.toml``'s ``[policy]``
table may override the numbers, and ``policy.toml`` beside it those, and holds rules and budgets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from models.errors import UsageError
from runtime.budgets import Budget
from runtime.rules import Rule

GeneralFailedPolicy = Literal["local", "ask"]
DEFAULT = "default"
RISK_ALPHA = 0.1
EVEN = 0.5
"""More likely right than wrong."""
NEVER = 1.01
"""A threshold that no probability reaches."""


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
            "plan": NEVER,
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
    """Least confidence of a local answer at which it is given as sure, where nothing is promised
    and no calibration says how often such answers are right; set in a file, it stands before
    ``risk_alpha``. Confidences are products of a pick's and its slots' probabilities and come out
    low."""
    risk_alpha: float = 0.0
    """At most this share of the answers that are kept local and given as sure may be wrong. The
    score that an answer must reach is what the calibration certifies for it; what is not
    calibrated is not given as sure. 0: no promise, and an answer is sure where it is more likely
    right than wrong. Users get ``RISK_ALPHA`` unless they say otherwise."""
    least_benefit: float = 0.0
    """A doubtful step goes to the General where P(General right) - P(local right) is at least
    this; below it, the local answer stands, marked unsure."""
    hysteresis_margin: float = 0.05
    """A step whose probability is this close to its threshold stays with whoever served the
    task's step before it. 0: none."""
    general_failed: GeneralFailedPolicy = "local"
    """A General that fails: the best local answer, marked unsure, or a person is asked first."""
    max_task_chars: int = 20_000
    """A longer task is refused, with both numbers."""
    max_steps: int = 24
    command_timeout_s: float = 60.0
    command_memory_mb: int = 2048
    general_timeout_s: float = 60.0
    general_max_tokens: int = 2048
    rules: tuple[Rule, ...] = ()
    """In the order of the file."""
    budgets: tuple[Budget, ...] = ()
    """At most one for each scope."""
    origin: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where a value that is no default comes from: ``policy.toml, line 3``, by dotted name."""

    def accepts(self, kind: str) -> float:
        """Least confidence at which a local answer of this kind is given as sure, where nothing is
        calibrated."""
        return self.accept_threshold.get(kind, EVEN)

    def fixes_acceptance(self, kind: str) -> bool:
        """The user set this kind's accept threshold, so that no alpha decides it."""
        return f"accept_threshold.{kind}" in self.origin


SHARES = ("risk_alpha", "least_benefit", "hysteresis_margin")
SETTINGS = tuple(
    f.name for f in dataclasses.fields(Policy) if f.name not in ("rules", "budgets", "origin")
)
"""What ``config.toml``'s ``[policy]`` may set, too."""


def with_settings(base: Policy, table: Mapping[str, Any], *, where: str) -> Policy:
    """``base`` with ``table``'s values on top. ``where`` names the source in errors.

    Raises UsageError on an unknown name or a value of another type.
    """
    changes: dict[str, Any] = {}
    origin = dict(base.origin)
    for name, value in table.items():
        if name not in SETTINGS:
            raise UsageError(
                f"{where} has no setting {name!r}.", hint=f"It has: {', '.join(sorted(SETTINGS))}."
            )
        changes[name] = _checked(base, name, value, where)
        source = where.partition(":")[0]
        for inner in value if isinstance(value, Mapping) else ():
            origin[f"{name}.{inner}"] = source
        if not isinstance(value, Mapping):
            origin[name] = source
    return dataclasses.replace(base, **changes, origin=origin)


def _checked(base: Policy, name: str, value: Any, where: str) -> Any:
    current = getattr(base, name)
    if isinstance(current, Mapping):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} {name} must be a table.")
        for kind, number in value.items():
            if kind not in (*current, *Policy().route_threshold):
                known = ", ".join(current)
                raise UsageError(f"{where} {name} has no kind {kind!r}.", hint=f"Kinds: {known}.")
            if not _is_number(number) or not 0.0 <= number <= 1.01:
                raise UsageError(f"{where} {name}.{kind} must be a number from 0 to 1.01.")
        return {**current, **{k: float(v) for k, v in value.items()}}
    if isinstance(current, str):
        allowed = get_args(GeneralFailedPolicy)
        if value not in allowed:
            raise UsageError(f"{where} {name} must be one of {', '.join(allowed)}.")
        return value
    if not _is_number(value) or value < 0:
        raise UsageError(f"{where} {name} must be a number, and not negative.")
    if name in SHARES and value >= 1:
        raise UsageError(
            f"{where} {name} is a share below 1, not {value:g}.", hint="5 % is written 0.05."
        )
    return type(current)(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
