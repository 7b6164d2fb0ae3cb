"""What a call to ``/v1/responses`` asks for, read as a chat request: the API's stateless part.

What only a server with a memory or with tools of its own can do (earlier responses, conversations,
background work, hosted tools) is read too, so that the General can serve it, and is named in
``beyond``, so that a local model does not serve it as if it had not been asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runtime.daemon.errors import BadRequest
from runtime.daemon.proxy.fields import Fields, missing, read_object, show, wrong
from runtime.daemon.proxy.functions import Beyond, read_choice, read_tools
from runtime.daemon.proxy.requests import (
    MAX_TOKENS,
    MAX_TOP_LOGPROBS,
    OURS,
    ChatRequest,
    Format,
    metadata_of,
    options_of,
    read_kind,
    schema_format,
    unpadded,
)

LOGPROBS = "message.output_text.logprobs"
"""The one thing that ``include`` may ask of a local model."""

_READ = frozenset(
    {
        "model",
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "text",
        "max_output_tokens",
        "temperature",
        "top_p",
        "stream",
        "stream_options",
        "include",
        "top_logprobs",
        "metadata",
        "user",
        OURS,
    }
)
_SAME = ("parallel_tool_calls", "temperature", "top_p", "stream", "metadata", "user")
"""Parameters that chat completions write in the same way."""
_MEMORY = ("previous_response_id", "conversation", "prompt")
"""Parameters that bring input of their own from what the server keeps."""
_TEXT_PARTS = ("input_text", "output_text", "text")


@dataclass(frozen=True)
class ResponsesRequest(ChatRequest):
    """A call to ``/v1/responses`` as a chat request. ``body`` is the chat's; ``raw`` as it came."""

    asked: Mapping[str, Any] = field(default_factory=dict)
    """The body as it came."""


def to_chat(raw: bytes) -> ResponsesRequest:
    """The request in ``raw``. Raises BadRequest, which names the parameter at fault."""
    asked = read_object(raw)
    fields = Fields(asked)
    model = fields.need_text("model")
    beyond: Beyond = []
    messages = _messages(fields, beyond)
    tools = read_tools(fields, beyond, flat=True)
    tool_choice = read_choice(fields, tools, beyond, flat=True)
    response_format = _format(fields, beyond)
    logprobs = _logprobs(fields, beyond)
    if (options := fields.object("stream_options")) is not None:
        unpadded(options, beyond)
    request = ResponsesRequest(
        model=model,
        messages=tuple(messages),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=fields.flag("parallel_tool_calls", default=True),
        response_format=response_format,
        max_tokens=fields.whole("max_output_tokens", 1, MAX_TOKENS),
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        stream=fields.flag("stream"),
        include_usage=True,
        logprobs=logprobs,
        top_logprobs=(fields.whole("top_logprobs", 0, MAX_TOP_LOGPROBS) or 0) if logprobs else 0,
        user=fields.text("user"),
        metadata=metadata_of(fields),
        extra={
            name: value for name, value in asked.items() if name not in _READ and value is not None
        },
        beyond=tuple(beyond),
        aidecamp=options_of(fields),
        raw=raw,
        asked=asked,
    )
    return replace(request, body=chat_body(request))


def chat_body(request: ResponsesRequest) -> dict[str, Any]:
    """The request as chat completions write it, less what is ``beyond`` or ``extra``."""
    body: dict[str, Any] = {"model": request.model, "messages": list(request.messages)}
    body |= {name: request.asked[name] for name in _SAME if request.asked.get(name) is not None}
    if request.max_tokens is not None:
        body["max_completion_tokens"] = request.max_tokens
    if request.tools:
        body["tools"] = list(request.tools)
        choice = request.tool_choice
        named = {"type": "function", "function": {"name": choice.name}}
        body["tool_choice"] = named if choice.name else choice.mode
    if (form := request.response_format).kind == "json_schema":
        schema = {"name": form.name, "schema": form.schema, "strict": form.strict}
        body["response_format"] = {"type": form.kind, "json_schema": schema}
    elif form.kind == "json_object":
        body["response_format"] = {"type": form.kind}
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    return body


def _messages(fields: Fields, beyond: Beyond) -> list[dict[str, Any]]:
    """``instructions`` and ``input`` as chat messages."""
    found: list[dict[str, Any]] = []
    if instructions := fields.text("instructions"):
        found.append({"role": "system", "content": instructions})
    given = fields.get("input")
    if given is None:
        if not any(fields.get(name) for name in _MEMORY):
            raise missing("input")
        found.append({"role": "user", "content": ""})  # The General has the words; nobody here.
    elif isinstance(given, str):
        found.append({"role": "user", "content": given})
    elif not isinstance(given, list):
        raise wrong("input", "a string or an array of items", given)
    elif not given:
        raise BadRequest("input is empty.", param="input")
    else:
        for index, item in enumerate(given):
            _item(Fields(item, f"input[{index}]"), found, beyond)
    return found


def _item(item: Fields, found: list[dict[str, Any]], beyond: Beyond) -> None:
    kind = item.text("type") or ("message" if item.get("role") is not None else "")
    if kind == "message":
        item.need("role")
        role = item.word("role", ("user", "assistant", "system", "developer"), "")
        found.append({"role": role, "content": _content(item, "content", beyond)})
    elif kind == "function_call":
        call = _call(item)
        if found and found[-1]["role"] == "assistant":
            found[-1].setdefault("tool_calls", []).append(call)
        else:
            found.append({"role": "assistant", "content": None, "tool_calls": [call]})
    elif kind == "function_call_output":
        answered = item.need_text("call_id")
        content = _content(item, "output", beyond)
        found.append({"role": "tool", "tool_call_id": answered, "content": content})
    elif kind:
        beyond.append((item.at("type"), f"a local model cannot read {show(kind)} items"))
    else:
        raise missing(item.at("type"))


def _call(item: Fields) -> dict[str, Any]:
    item.need("arguments")
    function = {"name": item.need_text("name"), "arguments": item.text("arguments")}
    return {"id": item.need_text("call_id"), "type": "function", "function": function}


def _content(item: Fields, name: str, beyond: Beyond) -> str | list[dict[str, Any]]:
    """Text as it is, or text parts; other parts go to ``beyond``."""
    content = item.need(name)
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong(item.at(name), "a string or an array of parts", content)
    parts: list[dict[str, Any]] = []
    for index, one in enumerate(content):
        part = Fields(one, f"{item.at(name)}[{index}]")
        kind = part.need_text("type")
        if kind in _TEXT_PARTS:
            part.need("text")
            parts.append({"type": "text", "text": part.text("text")})
        elif kind == "refusal":
            part.need("refusal")
            parts.append({"type": "refusal", "refusal": part.text("refusal")})
        else:
            beyond.append((part.at("type"), "a local model reads text only"))
    return parts


def _format(fields: Fields, beyond: Beyond) -> Format:
    if (text := fields.object("text")) is None:
        return Format()
    for name, value in text.value.items():
        if name != "format" and value is not None:
            beyond.append((text.at(name), "a local model has no such setting"))
    if (wanted := text.object("format")) is None:
        return Format()
    kind = read_kind(wanted)
    return schema_format(wanted) if kind == "json_schema" else Format(kind)


def _logprobs(fields: Fields, beyond: Beyond) -> bool:
    wanted = False
    for index, one in enumerate(fields.items("include")):
        if one == LOGPROBS:
            wanted = True
        else:
            beyond.append((f"include[{index}]", f"{show(one)} is nothing that a local model has"))
    if not wanted and fields.whole("top_logprobs", 0, MAX_TOP_LOGPROBS):
        raise BadRequest(
            "top_logprobs is set, and include does not ask for logprobs.",
            hint=f'Add "{LOGPROBS}" to include.',
            param="top_logprobs",
        )
    return wanted
