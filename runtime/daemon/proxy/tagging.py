"""What a proxied call is tagged with: its words, kind, client and session. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.core import Kind
from runtime.daemon.proxy.requests import ChatRequest
from runtime.daemon.tokens import OWN

MAX_NAME = 64
"""Characters of a client's or a session's name."""
_PRODUCT = re.compile(r"[A-Za-z][\w.+-]*")
_SAFE = re.compile(r"[^\w.:/@+ -]")
_FRAME = re.compile(r"\s*(?:new )?task:[ \t]*\n", re.IGNORECASE)
"""The line that an agent (smolagents) writes over what its user said."""
_OBSERVED = re.compile(r"\s*observation:", re.IGNORECASE)
"""How an agent that keeps to the roles user and assistant (ReAct) hands on what a tool returned."""


def text_of(content: Any) -> str:
    """The words of a message's content: a string, or its parts of type text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part for part in content if isinstance(part, Mapping)]
    words = (part.get(WORDS_IN.get(str(part.get("type")), "")) for part in parts)
    return "\n".join(one for one in words if isinstance(one, str))


WORDS_IN = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""The field of a part that holds its words, by the part's type."""


def last_words(request: ChatRequest) -> str:
    """What the user said last: what the Router reads. An agent's frame around it is left out."""
    messages = request.messages
    for index in range(len(messages) - 1, -1, -1):
        if messages[index]["role"] == "user" and not _is_returned(messages, index):
            words = text_of(messages[index].get("content"))
            if words.strip():
                return _FRAME.sub("", words, count=1) if _FRAME.match(words) else words
    return ""


def _is_returned(messages: Sequence[Mapping[str, Any]], index: int) -> bool:
    """The message is what a tool returned: by its role, or by how an agent marks it, which only
    a message after an answer can be."""
    message = messages[index]
    if message["role"] != "user":
        return bool(message["role"] == "tool")
    marked = _OBSERVED.match(text_of(message.get("content")))
    return bool(marked) and any(m["role"] == "assistant" for m in messages[:index])


def offers_tools(request: ChatRequest) -> bool:
    """A tool may be called in the answer."""
    return bool(request.tools) and request.tool_choice.mode != "none"


def after_tools(request: ChatRequest) -> bool:
    """The last message is what a tool returned: the answer goes on from there."""
    return _is_returned(request.messages, len(request.messages) - 1)


def plain_kind(request: ChatRequest) -> Kind:
    """The kind as the request's form tells it; the Router is not asked."""
    must_call = request.tool_choice.mode == "required"
    if offers_tools(request) and (must_call or not after_tools(request)):
        return "tool"
    if request.response_format.kind != "text" or after_tools(request):
        return "format"
    return "dialogue"


def client_of(headers: Mapping[str, str], token: str) -> str:
    """Who asks: ``x-aidecamp-client``; the name of its token, unless that is the user's own; the
    product that its User-Agent names."""
    if given := _name(headers.get("x-aidecamp-client", "")):
        return given
    if token and token != OWN:
        return token
    product = _PRODUCT.match(headers.get("user-agent", ""))
    return _name(product.group()) if product else token or "unknown"


def session_of(headers: Mapping[str, str], request: ChatRequest, client: str) -> str:
    """Which conversation: ``x-aidecamp-session``, ``metadata.session_id``, else a digest of the
    client and of how the conversation begins, which its later requests repeat."""
    named = headers.get("x-aidecamp-session") or request.metadata.get("session_id")
    if isinstance(named, str) and (given := _name(named)):
        return given
    begin: list[str] = []
    for message in request.messages:
        begin += [str(message["role"]), text_of(message.get("content"))]
        if message["role"] == "user":
            break
    key = json.dumps([client, *begin])
    return f"ses_{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:12]}"


def _name(text: str) -> str:
    return _SAFE.sub("", text).strip()[:MAX_NAME]
