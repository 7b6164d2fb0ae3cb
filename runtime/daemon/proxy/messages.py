"""The messages of a chat request, checked: roles, content parts, tool calls and their answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.daemon.errors import BadRequest
from runtime.daemon.proxy.fields import Fields, missing, wrong

ROLES = ("developer", "system", "user", "assistant", "tool", "function")


def read(fields: Fields) -> tuple[Mapping[str, Any], ...]:
    """The messages of the request ``fields``, as they were given. Raises BadRequest."""
    fields.need("messages")
    items = fields.items("messages")
    if not items:
        raise BadRequest("messages is empty.", param="messages")
    for index, item in enumerate(items):
        _check(Fields(item, f"messages[{index}]"))
    return tuple(items)


def _check(message: Fields) -> None:
    message.need("role")
    role = message.word("role", ROLES, "")
    message.text("name")
    if role == "assistant":
        _assistant(message)
        return
    if role == "function":
        message.need_text("name")
        message.text("content")
        return
    if role == "tool":
        message.need_text("tool_call_id")
    message.need("content")
    _content(message)


def _assistant(message: Fields) -> None:
    """An assistant's message says something, or calls something."""
    message.text("refusal")
    calls = message.items("tool_calls")
    for index, item in enumerate(calls):
        _call(Fields(item, f"{message.at('tool_calls')}[{index}]"))
    if message.get("content") is not None:
        _content(message)
    elif not calls and not any(message.get(name) for name in ("refusal", "function_call", "audio")):
        raise missing(message.at("content"))


def _call(call: Fields) -> None:
    call.need_text("id")
    if call.need_text("type") == "function":
        function = call.need_object("function")
        function.need_text("name")
        function.need("arguments")
        function.text("arguments")


def _content(message: Fields) -> None:
    content = message.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise wrong(message.at("content"), "a string or an array of parts", content)
    if not content:
        raise BadRequest(f"{message.at('content')} is empty.", param=message.at("content"))
    for index, item in enumerate(content):
        _part(Fields(item, f"{message.at('content')}[{index}]"))


def _part(part: Fields) -> None:
    """What OpenAI's API knows is checked; a part of another type is for whoever knows it."""
    match part.need_text("type"):
        case "text":
            part.need("text")
            part.text("text")
        case "refusal":
            part.need("refusal")
            part.text("refusal")
        case "image_url":
            part.need_object("image_url").need_text("url")
        case "input_audio":
            audio = part.need_object("input_audio")
            audio.need_text("data")
            audio.need_text("format")
        case "file":
            part.need_object("file")
