"""What a call to ``/v1/chat/completions`` asks for, checked by the rules of OpenAI's API.

A parameter that OpenAI's API has is checked here; one that it does not have lies in ``extra`` and
is judged by whoever serves the call (``unserved.py``), since another server may know it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from runtime.daemon.errors import BadRequest
from runtime.daemon.proxy import messages as message_rules
from runtime.daemon.proxy.fields import Fields, read_object, show, wrong
from runtime.daemon.proxy.functions import (
    NO_TOOLS,
    Beyond,
    ToolChoice,
    read_choice,
    read_name,
    read_tools,
)

MAX_CHOICES = 128
MAX_STOPS = 4
MAX_TOP_LOGPROBS = 20
MAX_TOKENS = 2**31 - 1
MAX_SEED = 2**63 - 1
MAX_METADATA_KEYS, MAX_METADATA_KEY, MAX_METADATA_VALUE = 16, 64, 512
OURS = "aidecamp"
"""The one parameter of a body that is ours; it is never forwarded."""
_OUR_OPTIONS = ("explain",)


Kind = Literal["text", "json_object", "json_schema"]
_KINDS: tuple[Kind, ...] = ("text", "json_object", "json_schema")


@dataclass(frozen=True)
class Format:
    """The form of the answer; ``schema`` is a JSON Schema where ``kind`` is json_schema."""

    kind: Kind = "text"
    schema: Mapping[str, Any] | None = None
    name: str = ""
    strict: bool = False


@dataclass(frozen=True)
class ChatRequest:
    """One chat completion as it was asked for. None and "" say that nothing was asked."""

    model: str
    messages: tuple[Mapping[str, Any], ...]
    """As they were given."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """The function tools, as they were given. Other tools are in ``body`` only."""
    tool_choice: ToolChoice = NO_TOOLS
    parallel_tool_calls: bool = True
    response_format: Format = field(default_factory=Format)
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    user: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Every other parameter that is not null, by name."""
    beyond: tuple[tuple[str, str], ...] = ()
    """What has no place here, and no local model has: each by its path, with the reason."""
    aidecamp: Mapping[str, Any] = field(default_factory=dict)
    """Our own options: ``{"explain": bool}``."""
    body: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes = b""

    @property
    def explain(self) -> bool:
        """True where the Decision is wanted in the body of the answer."""
        return bool(self.aidecamp.get("explain"))


READ = {one.name for one in dataclasses.fields(ChatRequest)}
READ -= {"include_usage", "extra", "beyond", OURS, "body", "raw"}
READ |= {"max_completion_tokens", "stream_options"}
"""The parameters of OpenAI's API that have a field of their own in ``ChatRequest``."""


def read_chat(raw: bytes) -> ChatRequest:
    """The request in ``raw``. Raises BadRequest, which names the parameter at fault."""
    return chat_of(read_object(raw), raw)


def chat_of(body: dict[str, Any], raw: bytes) -> ChatRequest:
    """The request in ``body``, which was read from ``raw``. Raises BadRequest."""
    fields = Fields(body)
    model = fields.need_text("model")
    messages = message_rules.read(fields)
    beyond: Beyond = []
    tools = read_tools(fields, beyond)
    tool_choice = read_choice(fields, tools, beyond)
    stream = fields.flag("stream")
    include_usage = _stream_options(fields, stream, beyond)
    logprobs = fields.flag("logprobs")
    return ChatRequest(
        model=model,
        messages=messages,
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=fields.flag("parallel_tool_calls", default=True),
        response_format=_response_format(fields),
        max_tokens=_max_tokens(fields),
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        seed=fields.whole("seed", -MAX_SEED - 1, MAX_SEED),
        presence_penalty=fields.number("presence_penalty", -2, 2) or 0.0,
        frequency_penalty=fields.number("frequency_penalty", -2, 2) or 0.0,
        stop=_stop(fields),
        n=fields.whole("n", 1, MAX_CHOICES) or 1,
        stream=stream,
        include_usage=include_usage,
        logprobs=logprobs,
        top_logprobs=_top_logprobs(fields, logprobs),
        user=fields.text("user"),
        metadata=metadata_of(fields),
        extra={
            name: value
            for name, value in body.items()
            if name not in READ and name != OURS and value is not None
        },
        beyond=tuple(beyond),
        aidecamp=options_of(fields),
        body=body,
        raw=raw,
    )


def metadata_of(fields: Fields) -> Mapping[str, str]:
    return fields.texts_by_name(
        "metadata",
        most=MAX_METADATA_KEYS,
        most_key=MAX_METADATA_KEY,
        most_value=MAX_METADATA_VALUE,
    )


def options_of(fields: Fields) -> Mapping[str, Any]:
    """Our own options. Raises BadRequest on one that does not exist."""
    if (inner := fields.object(OURS)) is None:
        return {}
    for name in inner.value:
        if name not in _OUR_OPTIONS:
            raise BadRequest(
                f"{OURS} has no option {show(name)}.",
                hint=f"It has: {', '.join(_OUR_OPTIONS)}.",
                param=OURS,
            )
    return {"explain": inner.flag("explain")}


def _max_tokens(fields: Fields) -> int | None:
    old = fields.whole("max_tokens", 1, MAX_TOKENS)
    new = fields.whole("max_completion_tokens", 1, MAX_TOKENS)
    if old is not None and new is not None:
        raise BadRequest(
            "max_tokens and max_completion_tokens are both set.",
            hint="Set max_completion_tokens alone: max_tokens is its old name.",
            param="max_tokens",
        )
    return old if new is None else new


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.get("stop")
    if value is None:
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or len(value) > MAX_STOPS:
        raise wrong("stop", f"a string or an array of at most {MAX_STOPS} strings", value)
    for index, one in enumerate(value):
        if not isinstance(one, str) or not one:
            raise wrong(f"stop[{index}]", "a string that is not empty", one)
    return tuple(value)


def _stream_options(fields: Fields, stream: bool, beyond: Beyond) -> bool:
    """Whether the stream ends with its usage."""
    if (options := fields.object("stream_options")) is None:
        return False
    if not stream:
        raise BadRequest(
            "stream_options is set, and stream is not.",
            hint="Set stream to true, or leave stream_options out.",
            param="stream_options",
        )
    unpadded(options, beyond)
    return options.flag("include_usage")


def unpadded(options: Fields, beyond: Beyond) -> None:
    """Every stream option but ``include_usage`` goes to ``beyond``, where it asks for something."""
    for name, value in options.value.items():
        if name != "include_usage" and value not in (None, False):
            beyond.append((options.at(name), "a local stream is not padded"))


def _top_logprobs(fields: Fields, logprobs: bool) -> int:
    wanted = fields.whole("top_logprobs", 0, MAX_TOP_LOGPROBS) or 0
    if wanted and not logprobs:
        raise BadRequest(
            "top_logprobs is set, and logprobs is not.",
            hint="Set logprobs to true.",
            param="top_logprobs",
        )
    return wanted


def _response_format(fields: Fields) -> Format:
    if (wanted := fields.object("response_format")) is None:
        return Format()
    kind = read_kind(wanted)
    if kind == "json_schema":
        return schema_format(wanted.need_object("json_schema"))
    return Format(kind)


def read_kind(wanted: Fields) -> Kind:
    value = wanted.need("type")
    for kind in _KINDS:
        if value == kind:
            return kind
    raise wrong(wanted.at("type"), f"one of {', '.join(_KINDS)}", value)


def schema_format(wanted: Fields) -> Format:
    """The format that the object ``wanted`` (name, schema, strict) describes."""
    name = read_name(wanted)
    wanted.text("description")
    schema = wanted.need_object("schema").value
    return Format("json_schema", schema, name, wanted.flag("strict"))
