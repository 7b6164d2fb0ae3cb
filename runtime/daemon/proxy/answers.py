"""What the proxy answers with: the objects of OpenAI's chat completions API, whole or in chunks.

Everything here is a plain dict; ``sse`` makes it a line of a stream.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from models.base import Token

Finish = Literal["stop", "length", "tool_calls", "content_filter"]
Json = dict[str, Any]

DONE = b"data: [DONE]\n\n"
"""The last line of a stream of chunks."""
_LEAST_LOGPROB = -9999.0
"""What OpenAI's API writes for a token that is hardly possible; JSON has no infinity."""


def completion_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


def call_id() -> str:
    """Id of a tool call: its answer comes back under it."""
    return f"call_{uuid.uuid4().hex[:24]}"


def fingerprint_of(model: str) -> str:
    """OpenAI's ``system_fingerprint`` for the digest ``model``: equal where the file is."""
    return f"fp_{model.removeprefix('sha256:')[:10]}"


def usage_of(prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> Json:
    """``cached_tokens``: of the prompt's, those that were decoded before."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def tool_call(id: str, name: str, arguments: str) -> Json:
    """``arguments``: a JSON object as text."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def logprobs_of(tokens: Iterable[Token]) -> Json:
    """``tokens`` as the ``logprobs`` of a choice; a token that only ends the answer is no part."""
    return {
        "content": [
            _logprob(token.piece, token.logprob)
            | {"top_logprobs": [_logprob(other.piece, other.logprob) for other in token.top]}
            for token in tokens
            if token.piece
        ],
        "refusal": None,
    }


def _logprob(piece: bytes, logprob: float) -> Json:
    return {
        "token": piece.decode("utf-8", "replace"),
        "logprob": max(logprob, _LEAST_LOGPROB),
        "bytes": list(piece),
    }


def choice(
    index: int,
    content: str | None,
    finish: Finish,
    tool_calls: Sequence[Mapping[str, Any]] = (),
    logprobs: Mapping[str, Any] | None = None,
) -> Json:
    """One choice of a completion. ``content`` is None where the model only calls tools."""
    message: Json = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    if tool_calls:
        message["tool_calls"] = list(tool_calls)
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}


def completion(
    id: str,
    created: int,
    model: str,
    choices: Sequence[Mapping[str, Any]],
    usage: Mapping[str, Any],
    fingerprint: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Json:
    """A chat completion. ``created``: seconds since 1970. ``extra``: fields of ours beside it."""
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": list(choices),
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": fingerprint,
        **(extra or {}),
    }


def chunk(
    id: str,
    created: int,
    model: str,
    choices: Sequence[Mapping[str, Any]],
    fingerprint: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Json:
    """One chunk of a streamed chat completion."""
    return {
        "id": id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": list(choices),
        "service_tier": "default",
        "system_fingerprint": fingerprint,
        **(extra or {}),
    }


@dataclass
class ChunkWriter:
    """The chunks of one streamed completion, in their order.

    Every method returns the chunks to send, as dicts (``sse`` writes one): a choice's first is
    preceded by the one that names its role. ``include_usage``: every chunk then has a ``usage``,
    null but in the last, which ``usage`` makes. ``extra`` goes with the first chunk.
    """

    id: str
    created: int
    model: str
    fingerprint: str | None = None
    include_usage: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set, init=False)
    """The choices whose role was told."""

    def content(
        self, text: str, logprobs: Mapping[str, Any] | None = None, choice: int = 0
    ) -> list[Json]:
        """More of the text."""
        return [
            *self.role(choice, content=""),
            self._chunk(choice, {"content": text}, logprobs=logprobs),
        ]

    def tool_call(self, call: int, id: str, name: str, choice: int = 0) -> list[Json]:
        """The tool call number ``call`` of the choice begins."""
        begun = {"index": call, "id": id, "type": "function"}
        begun |= {"function": {"name": name, "arguments": ""}}
        return [
            *self.role(choice, content=None),
            self._chunk(choice, {"tool_calls": [begun]}),
        ]

    def arguments(self, call: int, piece: str, choice: int = 0) -> list[Json]:
        """More of the arguments of a tool call that has begun."""
        more = {"index": call, "function": {"arguments": piece}}
        return [self._chunk(choice, {"tool_calls": [more]})]

    def finish(self, reason: Finish, choice: int = 0) -> list[Json]:
        """The choice is complete."""
        return [*self.role(choice, content=""), self._chunk(choice, {}, finish=reason)]

    def usage(self, usage: Mapping[str, Any]) -> list[Json]:
        """The last chunk of all; none where usage was not asked for."""
        if not self.include_usage:
            return []
        return [self._write([]) | {"usage": usage}]

    def role(self, choice: int = 0, content: str | None = "") -> list[Json]:
        """The chunk that opens a choice; none where it is open."""
        if choice in self._open:
            return []
        first = not self._open
        self._open.add(choice)
        delta = {"role": "assistant", "content": content, "refusal": None}
        return [self._chunk(choice, delta) | (dict(self.extra) if first else {})]

    def _chunk(
        self,
        choice: int,
        delta: Json,
        *,
        logprobs: Mapping[str, Any] | None = None,
        finish: Finish | None = None,
    ) -> Json:
        one = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._write([one])

    def _write(self, choices: list[Json]) -> Json:
        extra = {"usage": None} if self.include_usage else None
        return chunk(self.id, self.created, self.model, choices, self.fingerprint, extra)


def sse(data: Mapping[str, Any], event: str = "") -> bytes:
    """One event of a stream. ASCII only: some readers also break lines at U+0085 and U+2028."""
    line = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {line}\n\n".encode("ascii")
