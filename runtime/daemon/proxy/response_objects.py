"""The objects of OpenAI's responses API: a response, the items of its output, its usage."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.daemon.proxy.answers import Json
from runtime.daemon.proxy.response_requests import ResponsesRequest

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reasons of a chat that leave a response incomplete, and their names there."""


class Names:
    """Ids of a response and of its items, all made from the completion's."""

    def __init__(self, completion_id: str) -> None:
        self._stem = completion_id.removeprefix("chatcmpl-")
        self.response = f"resp_{self._stem}"

    def message(self, index: int) -> str:
        return f"msg_{self._stem}_{index}"

    def call(self, index: int) -> str:
        return f"fc_{self._stem}_{index}"


def skeleton(id: str, created: int, model: str, request: ResponsesRequest) -> Json:
    """A response that has begun: what was asked, and no output."""
    asked = request.asked
    text = asked.get("text") or {}
    return {
        "id": id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": request.max_tokens,
        "max_tool_calls": None,
        "model": model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls,
        "previous_response_id": None,
        "prompt_cache_key": asked.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": asked.get("safety_identifier"),
        "service_tier": "default",
        "store": False,
        "temperature": request.temperature,
        "text": {"format": text.get("format") or {"type": "text"}},
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": [_tool(one) for one in asked.get("tools") or ()],
        "top_logprobs": request.top_logprobs,
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": asked.get("user"),
        "metadata": dict(request.metadata),
    }


def _tool(tool: Mapping[str, Any]) -> Json:
    """A function tool with every field told, also those that the client left out."""
    return {"description": None, "parameters": None, "strict": None} | dict(tool)


def ended(finish: str | None, output: list[Json], usage: Mapping[str, Any] | None) -> Json:
    """How a response ended."""
    if finish in INCOMPLETE:
        return {
            "status": "incomplete",
            "incomplete_details": {"reason": INCOMPLETE[finish]},
            "output": output,
            "usage": _usage(usage),
        }
    return {
        "status": "completed",
        "completed_at": int(time.time()),
        "output": output,
        "usage": _usage(usage),
    }


def _usage(usage: Mapping[str, Any] | None) -> Json | None:
    if usage is None:
        return None
    read = usage.get("prompt_tokens_details") or {}
    written = usage.get("completion_tokens_details") or {}
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": read.get("cached_tokens") or 0,
            "cache_write_tokens": read.get("cache_write_tokens") or 0,
        },
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": written.get("reasoning_tokens") or 0},
        "total_tokens": usage["total_tokens"],
    }


def output_message(id: str, status: str, content: list[Json]) -> Json:
    return {
        "id": id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def text_part(text: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def function_call(id: str, call_id: str, name: str, status: str) -> Json:
    return {
        "id": id,
        "type": "function_call",
        "status": status,
        "arguments": "",
        "call_id": call_id,
        "name": name,
    }
