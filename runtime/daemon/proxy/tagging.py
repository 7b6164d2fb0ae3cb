"""What a proxied call is tagged with: its words, kind, client and session. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from runtime.core import Kind
from runtime.daemon.proxy.requests import ChatRequest
from runtime.daemon.tokens import OWN

MAX_NAME = 64
"""Characters of a client's or a session's name."""
_PRODUCT = re.compile(r"[A-Za-z][\w.+-]*")
_SAFE = re.compile(r"[^\w.:/@+ -]")


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
    """What the user said last: what the Router reads."""
    said = (text_of(m.get("content")) for m in reversed(request.messages) if m["role"] == "user")
    return next((words for words in said if words.strip()), "")


def offers_tools(request: ChatRequest) -> bool:
    """A tool may be called in the answer."""
    return bool(request.tools) and request.tool_choice.mode != "none"


def after_tools(request: ChatRequest) -> bool:
    """The last message is what a tool returned: the answer goes on from there."""
    return bool(request.messages[-1]["role"] == "tool")


def plain_kind(request: ChatRequest) -> Kind:
    """The kind as the request's form tells it; the Router is not asked."""
    if offers_tools(request) and not after_tools(request):
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
