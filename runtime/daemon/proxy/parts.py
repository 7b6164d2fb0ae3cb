"""The parts of an answer as they come, whoever gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.base import Token
from runtime.core import Decision


@dataclass(frozen=True, slots=True)
class Words:
    """Text of choice ``index``, with its tokens where the client wants their probabilities."""

    index: int
    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function; ``arguments`` is JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Calls:
    """The tool calls of choice ``index``."""

    index: int
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """Choice ``index`` is complete. ``reason``: ``stop``, ``length`` or ``tool_calls``."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens of the whole answer."""

    prompt: int
    completion: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes of the General's answer, as they came."""

    data: bytes


Part = Words | Calls | Finish | Used | Raw


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an answer before its first part."""

    decision: Decision
    """The one in force: who serves, and why."""
    model: str
    """What answers: ``local/NAME``, or the General's model."""
    status: int = 200
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the General, that go through to the client."""
    unsure: str = ""
    """Why the answer is not given as sure; empty where it is."""
    fingerprint: str = ""
    """Of the local model's file."""

    @property
    def forwarded(self) -> bool:
        """The parts are bytes of the General."""
        return bool(self.content_type)
