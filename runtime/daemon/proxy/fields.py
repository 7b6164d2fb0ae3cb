"""A JSON body, and typed reading of its fields; every fault names its parameter.

Stricter than ``json.loads``: what two readers could take differently (NaN, duplicate keys, lone
surrogates) is refused here, so that the General never reads something other than we did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from runtime.daemon.errors import BadRequest

MAX_DEPTH = 100
"""Objects and arrays within one another."""
_MAX_SHOWN = 60
"""Characters of a wrong value that an error repeats."""


def read_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``, which is UTF-8. Raises BadRequest."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start} is invalid.") from None
    try:
        body = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
        )
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # JSONDecodeError, or an integer with thousands of digits
        raise BadRequest(f"The body is not valid JSON: {error}.") from None
    if not isinstance(body, dict):
        raise BadRequest(f"The body is a JSON {_kind(body)}; it must be an object.")
    _look_through(body, surrogates="\\ud" in text.lower())
    return body


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"The key {show(twice)} stands twice in one object.", param=_safe(twice))
    return made


def _constant(word: str) -> NoReturn:
    raise BadRequest(f"The body is not valid JSON: it holds {word}.")


def _float(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise BadRequest(f"The number {digits[:_MAX_SHOWN]} is too large.")
    return number


def _too_deep() -> BadRequest:
    return BadRequest(f"The body nests more than {MAX_DEPTH} levels deep.")


def _look_through(body: dict[str, Any], *, surrogates: bool) -> None:
    """Refuse what is too deep, and text that cannot be written as UTF-8."""
    todo: list[tuple[Any, str, int]] = [(body, "", 1)]
    while todo:
        value, path, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise _too_deep()
        inner: list[tuple[Any, str]] = []
        if isinstance(value, dict):
            inner = [(one, under(path, name)) for name, one in value.items()]
            if surrogates:
                inner += [(name, path) for name in value]
        elif isinstance(value, list):
            inner = [(one, f"{path}[{index}]") for index, one in enumerate(value)]
        for one, where in inner:
            if isinstance(one, dict | list):
                todo.append((one, where, depth + 1))
            elif surrogates and isinstance(one, str) and not _writable(one):
                raise BadRequest(
                    f"{_safe(where)} holds half of a surrogate pair: it is no valid text.",
                    param=_safe(where),
                )


def _writable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _safe(text: str) -> str:
    """``text``, short, and so that it can be written as UTF-8 whatever it holds."""
    return text[:_MAX_SHOWN].encode("utf-8", "replace").decode("utf-8")


def under(path: str, name: str) -> str:
    """The path of the field ``name`` of the object at ``path``; ``""`` is the body itself."""
    return f"{path}.{name}" if path else name


def show(value: Any) -> str:
    """``value`` as JSON, short enough for an error."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _kind(value: Any) -> str:
    """JSON's word for the type of ``value``."""
    if value is None:
        return "null"
    for types, word in (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
    ):
        if isinstance(value, types):
            return word
    return "object"


def wrong(param: str, must: str, value: Any) -> BadRequest:
    """``param`` is ``value``, and must be something else."""
    return BadRequest(f"{param} must be {must}; it is {show(value)}.", param=param)


def missing(param: str) -> BadRequest:
    return BadRequest(f"{param} is missing.", param=param)


class Fields:
    """The fields of the object ``value``, which stands at ``path`` in the body.

    A field that is null counts as absent, as OpenAI's API counts it. Every method raises
    BadRequest where the field has another type or range; ``need`` where it is absent too.
    """

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise wrong(path, "an object", value)
        self.value: dict[str, Any] = value
        self.path = path

    def at(self, name: str) -> str:
        return under(self.path, name)

    def get(self, name: str) -> Any:
        return self.value.get(name)

    def need(self, name: str) -> Any:
        if (value := self.value.get(name)) is None:
            raise missing(self.at(name))
        return value

    def text(self, name: str, default: str = "", *, most: int | None = None) -> str:
        if (value := self.get(name)) is None:
            return default
        return self._text(name, value, most)

    def need_text(self, name: str, *, most: int | None = None) -> str:
        """A string that is not empty."""
        if not (text := self._text(name, self.need(name), most)):
            raise BadRequest(f"{self.at(name)} is empty.", param=self.at(name))
        return text

    def _text(self, name: str, value: Any, most: int | None) -> str:
        if not isinstance(value, str):
            raise wrong(self.at(name), "a string", value)
        if most is not None and len(value) > most:
            raise BadRequest(
                f"{self.at(name)} has {len(value)} characters; at most {most} are allowed.",
                param=self.at(name),
            )
        return value

    def word(self, name: str, allowed: Collection[str], default: str) -> str:
        if (value := self.get(name)) is None:
            return default
        if not isinstance(value, str) or value not in allowed:
            raise wrong(self.at(name), f"one of {', '.join(sorted(allowed))}", value)
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        if (value := self.get(name)) is None:
            return default
        if not isinstance(value, bool):
            raise wrong(self.at(name), "true or false", value)
        return value

    def whole(self, name: str, low: int, high: int) -> int | None:
        if (value := self.get(name)) is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise wrong(self.at(name), f"an integer from {low} to {high}", value)
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        if (value := self.get(name)) is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise wrong(self.at(name), f"a number from {low:g} to {high:g}", value)
        if not low <= value <= high:
            raise wrong(self.at(name), f"from {low:g} to {high:g}", value)
        return float(value)

    def object(self, name: str) -> Fields | None:
        return None if self.get(name) is None else Fields(self.get(name), self.at(name))

    def need_object(self, name: str) -> Fields:
        return Fields(self.need(name), self.at(name))

    def items(self, name: str) -> list[Any]:
        if (value := self.get(name)) is None:
            return []
        if not isinstance(value, list):
            raise wrong(self.at(name), "an array", value)
        return value

    def texts_by_name(
        self, name: str, *, most: int, most_key: int, most_value: int
    ) -> Mapping[str, str]:
        """A flat object of strings, such as ``metadata``."""
        if (inner := self.object(name)) is None:
            return {}
        if len(inner.value) > most:
            raise BadRequest(f"{inner.path} has more than {most} keys.", param=inner.path)
        for key in inner.value:
            if len(key) > most_key:
                raise BadRequest(
                    f"A key of {inner.path} has more than {most_key} characters.", param=inner.path
                )
            if not isinstance(inner.value[key], str):
                raise wrong(inner.at(key), "a string", inner.value[key])
            inner.text(key, most=most_value)
        return inner.value
