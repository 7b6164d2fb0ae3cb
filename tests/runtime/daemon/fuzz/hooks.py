"""Hooks of schemathesis: ids that exist, an event stream that ends, and no model from elsewhere."""

from __future__ import annotations

import os
from typing import Any
from zlib import crc32

import schemathesis
from schemathesis.core import NOT_SET

KNOWN = {
    "task_id": os.environ.get("FUZZ_TASKS", "").split(),
    "decision_id": os.environ.get("FUZZ_DECISIONS", "").split(),
}
YES = ("true", "1", "1.0", "yes", "on", "t", "y", "none", "null")
"""What would make the event stream wait for more, for ever."""


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any]) -> dict[str, Any]:
    """Every other id is one that is on record; which one depends on what was made up."""
    for name, known in KNOWN.items():
        if known and isinstance(made_up := (path_parameters or {}).get(name), str):
            digest = crc32(made_up.encode("utf-8", "replace"))
            if digest % 2:
                path_parameters[name] = known[digest % len(known)]
    return path_parameters


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    method, path = case.method.upper(), case.operation.path
    if method in ("GET", "HEAD") and case.operation.method.upper() != method:
        case.body = NOT_SET  # A GET with a body is refused before anyone looks for its route.
    follow = str((case.query or {}).get("follow", True)).lower()
    if (method, path) == ("GET", "/v1/events") and follow in YES:
        case.query = {**(case.query or {}), "follow": "false"}
