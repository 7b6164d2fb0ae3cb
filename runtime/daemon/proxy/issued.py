"""Which of our answers a tool call came from, so that what the tool returned can be told of it."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runtime.core import Outcome
from runtime.daemon.proxy.parts import ToolCall
from runtime.daemon.proxy.tagging import text_of

KEPT = 4096
"""Calls that are remembered; a client whose tool takes longer leaves its call without outcome."""
_FAULTS = ("error", "traceback (most recent call last)", "exception")


class Issued:
    """Tool calls whose results have not come back yet."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._of: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def note(self, calls: Iterable[ToolCall], task_id: str, step_id: str) -> None:
        for call in calls:
            self._of[call.id] = task_id, step_id
        while len(self._of) > self._kept:
            self._of.popitem(last=False)

    def outcomes(self, messages: Iterable[Mapping[str, Any]]) -> Iterator[Outcome]:
        """What the tools returned, for calls of ours; each once, however often it is sent back.

        ``failed`` where the words begin as errors do, or are a JSON object with a true ``error``:
        the API has no field that says it.
        """
        for message in messages:
            known = self._of.pop(str(message.get("tool_call_id")), None)
            if message["role"] != "tool" or known is None:
                continue
            task_id, step_id = known
            words = text_of(message.get("content"))
            failed = _failed(words)
            yield Outcome(
                str(message["tool_call_id"]),
                task_id,
                step_id,
                "failed" if failed else "done",
                output=words,
                error=words[:500] if failed else "",
            )


def _failed(words: str) -> bool:
    if words.lstrip().lower().startswith(_FAULTS):
        return True
    try:
        body = json.loads(words)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and bool(body.get("error"))
