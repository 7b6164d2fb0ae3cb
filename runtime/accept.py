"""Whether a task can be accepted at all: checked before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from models.errors import UsageError
from models.schemas import check as check_schema
from runtime.core import Task
from runtime.policy import Policy


def check_task(task: Task, policy: Policy) -> None:
    """Raises UsageError or SchemaRefused where a task cannot be accepted at all."""
    if not task.text.strip():
        raise UsageError("The task is empty.", hint='Say what to do: aidecamp run "…".')
    if len(task.text) > policy.max_task_chars:
        raise UsageError(
            f"The task has {len(task.text):,} characters; at most {policy.max_task_chars:,} are"
            " accepted. Nothing was cut and nothing was run.",
            hint="Put long material into a file and name the file in the task.",
        )
    if task.schema is not None:
        check_schema(task.schema)
    for tool in task.tools:
        function = tool.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise UsageError(
                f"A tool on offer has no function with a name: {str(tool)[:80]}",
                hint='Each is {"type": "function", "function": {"name": …, "parameters": …}}.',
            )
        check_schema(function.get("parameters", {}))
    if task.folder and not Path(task.folder).is_dir():
        raise UsageError(f"The work folder {task.folder} does not exist.")
