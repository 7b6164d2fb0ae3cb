"""An error as a tool's result: the client's model can read it, and do something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.errors import AidecampError

if TYPE_CHECKING:
    from mcp_types import CallToolResult


def refused(error: AidecampError) -> CallToolResult:
    from mcp_types import CallToolResult, TextContent

    words = f"{error.name}: {error.message} {error.hint}".strip()
    return CallToolResult(
        content=[TextContent(type="text", text=words)],
        structured_content={"error": error.as_dict()},
        is_error=True,
    )
