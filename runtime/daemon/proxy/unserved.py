"""What a local text model cannot honour in a chat request: each by name, with the reason.

Nothing is ignored silently: a call that asks for any of it goes to the General, or is refused.
What changes no answer (``user``, ``metadata``, cache hints) is honoured by doing nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from runtime.daemon.errors import BadRequest
from runtime.daemon.proxy.fields import under
from runtime.daemon.proxy.requests import ChatRequest
from runtime.daemon.proxy.tagging import after_tools

_HARMLESS: Mapping[str, Callable[[Any], bool]] = {
    "prompt_cache_key": lambda value: True,
    "prompt_cache_options": lambda value: True,
    "prompt_cache_retention": lambda value: True,
    "safety_identifier": lambda value: True,
    "store": lambda value: value is False,
    "service_tier": lambda value: value in ("auto", "default"),
    "modalities": lambda value: value == ["text"],
    "logit_bias": lambda value: value == {},
    "reasoning_effort": lambda value: value == "none",
    "functions": lambda value: value == [],
    "reasoning": lambda value: (
        isinstance(value, Mapping) and all(one in (None, "none") for one in value.values())
    ),
    "background": lambda value: value is False,
    "truncation": lambda value: value == "disabled",
}
"""Parameters that a local model meets as they are where the test holds for their value."""

_REASONS = {
    "logit_bias": "its token numbers belong to another tokenizer",
    "modalities": "a local model writes text only",
    "audio": "a local model writes text only",
    "prediction": "a local model takes no predicted output",
    "web_search_options": "a local model has no web search",
    "service_tier": "there is one tier here",
    "store": "no completion is kept for the API to list",
    "reasoning_effort": "a local model does not reason before it answers",
    "verbosity": "a local model has no such setting",
    "moderation": "nothing here moderates",
    "functions": "the old form of tools",
    "function_call": "the old form of tool_choice",
    "reasoning": "a local model does not reason before it answers",
    "previous_response_id": "no response is kept here",
    "conversation": "no conversation is kept here",
    "prompt": "no prompt is kept here",
    "background": "an answer is given at once here",
    "truncation": "nothing is cut here: what does not fit is refused",
    "max_tool_calls": "a local model has no tools of its own",
}
_PARTS = {
    "image_url": "a local model reads text only",
    "input_audio": "a local model reads text only",
    "file": "a local model reads text only",
}
_MESSAGE_FIELDS = {
    "assistant": ("tool_calls", "refusal"),
    "tool": ("tool_call_id", "name"),
}
_NO_NEWS: tuple[Any, ...] = (None, "", [], {})
"""Values of an unread field that say nothing: clients send back what an answer held."""


def unserved(request: ChatRequest, *, sampling: bool = True) -> list[str]:
    """Each part of ``request`` that a local model cannot honour: ``"name: reason"``.

    ``sampling``: whether the local model can sample; one that cannot answers greedily.
    Empty where the call can be served locally.
    """
    found = [*_parameters(request), *_messages(request), *request.beyond, *_together(request)]
    if not sampling:
        found += _sampled(request)
    return [f"{name}: {reason}" for name, reason in found]


def refused(found: Sequence[str], model: str) -> BadRequest:
    """The answer to a call that must stay on ``model``, which cannot honour ``found``."""
    return BadRequest(
        f"{model} cannot honour {'; '.join(found)}.",
        hint='Leave it out, or let the call go to the General: model "auto" or "general/...".',
        param=found[0].partition(": ")[0],
    )


Named = Iterator[tuple[str, str]]


def _parameters(request: ChatRequest) -> Named:
    for name, value in request.extra.items():
        harmless = _HARMLESS.get(name)
        if harmless is None or not harmless(value):
            yield name, _REASONS.get(name, "a local model does not know it")


def _messages(request: ChatRequest) -> Named:
    for index, message in enumerate(request.messages):
        at, role = f"messages[{index}]", message["role"]
        if role == "function":
            yield f"{at}.role", "function messages are the old form of tool messages"
        known = ("role", "content", *_MESSAGE_FIELDS.get(role, ()))
        for name, value in message.items():
            if name == "content" and isinstance(value, list):
                yield from _content(value, f"{at}.content")
            elif name == "tool_calls":
                yield from _calls(value or [], f"{at}.tool_calls")
            elif name not in known and value not in _NO_NEWS:
                yield under(at, name), "a local model would not see it"


def _content(parts: Sequence[Mapping[str, Any]], at: str) -> Named:
    for index, part in enumerate(parts):
        kind = part["type"]
        if kind not in ("text", "refusal"):
            yield f"{at}[{index}].type", _PARTS.get(kind, "a local model does not know it")


def _calls(calls: Sequence[Mapping[str, Any]], at: str) -> Named:
    for index, call in enumerate(calls):
        if call["type"] != "function":
            yield f"{at}[{index}].type", "a local model calls functions only"


def _together(request: ChatRequest) -> Named:
    """What is served alone, but not along with something else."""
    tools = bool(request.tools) and request.tool_choice.mode != "none"
    formatted = request.response_format.kind != "text"
    if request.n > 1 and tools:
        yield "n", "not along with tools"
    if request.logprobs and tools:
        yield "logprobs", "not along with tools"
    if formatted and tools:
        yield "response_format", "not along with tools"
    if tools and request.tool_choice.mode == "required" and after_tools(request):
        yield "tool_choice", "what a tool returned is put into words here, and calls nothing"
    if request.stop and formatted:
        yield "stop", "not along with response_format"


def _sampled(request: ChatRequest) -> Named:
    reason = "the local model always writes the likeliest token"
    if request.temperature:
        yield "temperature", reason
    if request.n > 1:
        yield "n", reason
    if request.presence_penalty:
        yield "presence_penalty", reason
    if request.frequency_penalty:
        yield "frequency_penalty", reason
