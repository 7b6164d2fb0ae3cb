"""The tools of a request and the choice among them, as either of OpenAI's APIs writes them.

Chat completions nest a function (``{"type": "function", "function": {"name": …}}``), responses
write it flat (``{"type": "function", "name": …}``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runtime.daemon.errors import BadRequest
from runtime.daemon.proxy.fields import Fields, show, wrong

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KNOWN = ("name", "description", "parameters", "strict")
_NO_NEWS: tuple[Any, ...] = (None, "", [], {})
"""Values of an unread field that ask for nothing."""

Beyond = list[tuple[str, str]]
"""What is asked for and no local model has: each by its path, with the reason."""


@dataclass(frozen=True)
class ToolChoice:
    """``mode`` none: no tool is called; auto: the model may; required: it must.

    ``name``: the one tool that must be called (``mode`` is then required); "" for any.
    """

    mode: Literal["none", "auto", "required"]
    name: str = ""


NO_TOOLS = ToolChoice("none")


def read_tools(
    fields: Fields, beyond: Beyond, *, flat: bool = False
) -> tuple[Mapping[str, Any], ...]:
    """The function tools of a request, nested. ``flat``: they are written as responses have them.

    Tools of other kinds go to ``beyond``. Raises BadRequest, also where two have one name.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for index, item in enumerate(fields.items("tools")):
        tool = Fields(item, f"tools[{index}]")
        if tool.need_text("type") != "function":
            beyond.append((tool.at("type"), "a local model calls functions only"))
            continue
        function = tool if flat else tool.need_object("function")
        name = read_name(function)
        function.text("description")
        function.object("parameters")
        function.flag("strict")
        if name in found:
            raise BadRequest(f"Two tools have the name {show(name)}.", param=function.at("name"))
        unread = [(function, key) for key in function.value if key not in (*_KNOWN, "type")]
        if not flat:
            unread += [(tool, key) for key in item if key not in ("type", "function")]
        for where, key in unread:
            if where.value[key] not in _NO_NEWS and where.value[key] is not False:
                beyond.append((where.at(key), "a local model does not know it"))
        known = {key: item[key] for key in _KNOWN if key in item}
        found[name] = {"type": "function", "function": known} if flat else item
    return tuple(found.values())


def read_name(fields: Fields) -> str:
    """The name of a function or a format. Raises BadRequest."""
    name = fields.need_text("name")
    if not _NAME.fullmatch(name):
        raise wrong(fields.at("name"), "1 to 64 letters, digits, _ or -", name)
    return name


def read_choice(
    fields: Fields, tools: tuple[Mapping[str, Any], ...], beyond: Beyond, *, flat: bool = False
) -> ToolChoice:
    """What a request says about calling ``tools``. Raises BadRequest."""
    value = fields.get("tool_choice")
    offered = bool(fields.items("tools"))
    if value == "none" or (value in (None, "auto") and not offered):
        return ToolChoice("none")
    if value in (None, "auto"):
        return ToolChoice("auto")
    if value == "required":
        if not offered:
            raise BadRequest("tool_choice is required; there are no tools.", param="tool_choice")
        return ToolChoice("required")
    if not isinstance(value, dict):
        raise wrong("tool_choice", "none, auto, required or an object", value)
    choice = Fields(value, "tool_choice")
    if choice.need_text("type") != "function":
        beyond.append((choice.at("type"), "a local model is given one function, or any"))
        return ToolChoice("auto")
    function = choice if flat else choice.need_object("function")
    name = function.need_text("name")
    if name not in {tool["function"]["name"] for tool in tools}:
        raise BadRequest(f"No tool has the name {show(name)}.", param=function.at("name"))
    return ToolChoice("required", name)
