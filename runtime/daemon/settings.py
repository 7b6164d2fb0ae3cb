"""The settings and the policy that are in force in the daemon.

They are the agents', who may have taken over a changed file; a daemon whose tasks are scripted has
none, and goes by the user's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.config import Config
    from runtime.daemon.desk import Desk
    from runtime.policy import Policy


def config_of(desk: Desk) -> Config:
    """Raises UsageError where ``config.toml`` cannot be read."""
    from runtime.config import load_config

    return desk.agents.config if desk.agents is not None else load_config()


def policy_of(desk: Desk) -> Policy:
    """Raises UsageError where ``policy.toml`` cannot be read."""
    return desk.agents.policy if desk.agents is not None else config_of(desk).make_policy()
