"""A tool's result as data for the record: text in full up to a bound, anything else in a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp_types import CallToolResult

MAX_CHARS = 50_000


def text_of(content: Sequence[Any]) -> str:
    """The text parts, a line for each other part; what is beyond the bound is counted."""
    return bounded("\n".join(_line(part) for part in content))


def data_of(result: CallToolResult) -> Any:
    """The structured content where there is some that fits the bound; None otherwise."""
    if result.structured_content is None:
        return None
    try:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return result.structured_content if len(text) <= MAX_CHARS else None


def bounded(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    return f"{text[:MAX_CHARS]}\n[{len(text) - MAX_CHARS:,} more characters were left out]"


def said_wrong(result: CallToolResult) -> str:
    """What a result that is an error says, in short."""
    text = " ".join(text_of(result.content).split())
    return text[:500] or "The tool reports an error, and does not say which."


def _line(part: Any) -> str:
    match part.type:
        case "text":
            return str(part.text)
        case "image" | "audio":
            return f"[{part.type} {part.mime_type}, {len(part.data) * 3 // 4:,} bytes]"
        case "resource_link":
            return f"[link {part.uri}]"
        case "resource":
            resource = part.resource
            if (text := getattr(resource, "text", None)) is not None:
                return str(text)
            size = len(getattr(resource, "blob", "")) * 3 // 4
            return f"[file {resource.uri}, {size:,} bytes]"
    return f"[{part.type}]"
