"""What counts as a loop, and how an answer gets out of one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.base import Token
from models.llama import LlamaGenerator
from models.loops import LoopBreaker, looped
from models.store import Store

LETTERS = [chr(code) for code in range(32, 127)] + ['","', '"]', "},{"]


def written(text: str) -> list[Token]:
    return [Token(LETTERS.index(letter), letter.encode(), 0.0, 1.0, False) for letter in text]


def piece(token: int) -> bytes:
    return LETTERS[token].encode()


def ids(*texts: str) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.array([LETTERS.index(text) for text in texts], np.intp)


def narrowed(text: str, allowed: list[str], *, source: str = "") -> list[str] | None:
    breaker = LoopBreaker(source, piece)
    found = breaker.narrow(written(text), ids(*allowed), text.encode())
    return None if found is None else [LETTERS[int(token)] for token in found]


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("a" * 15, ""),
        ("a" * 16, "a" * 16),
        ("abcdefgh" * 2, ""),
        ("x" + "abcdefgh" * 3, "abcdefgh" * 3),
        ("abcdefgh" * 2 + "abcdefgX", ""),
        ("1000000", ""),
    ],
)
def test_a_loop_is_a_span_three_times_in_a_row(text: str, loop: str) -> None:
    assert looped(written(text)) == loop


def test_a_string_that_loops_is_closed() -> None:
    assert narrowed('{"a":"' + "search+" * 3, ["s", '"', '","', " "]) == ['"']


def test_what_the_request_repeats_is_copied() -> None:
    text = "search+" * 3
    assert narrowed('{"a":"' + text, ["s", '"'], source=f"write {text}") is None


def test_an_array_that_loops_ends_behind_its_value() -> None:
    breaker = LoopBreaker("", piece)
    text = '["' + 'ab","' * 6
    first = breaker.narrow(written(text), ids("a", '"', '","', '"]'), text.encode())
    assert first is not None
    assert sorted(LETTERS[int(t)] for t in first) == ['"', '"]']
    text += '"'
    then = breaker.narrow(written(text), ids(",", "]"), text.encode())
    assert then is not None
    assert [LETTERS[int(t)] for t in then] == ["]"]
    text += "]"
    assert breaker.narrow(written(text), ids(",", "}"), text.encode()) is None


def test_an_object_that_needs_more_goes_on() -> None:
    breaker = LoopBreaker("", piece)
    text = '{"a":"' + "search+" * 3
    assert breaker.narrow(written(text), ids("s", '"'), text.encode()) is not None
    text += '"'
    then = breaker.narrow(written(text), ids(","), text.encode())
    assert then is not None
    assert [LETTERS[int(t)] for t in then] == [","]
    text += ',"b":"'
    assert breaker.narrow(written(text), ids("x", '"'), text.encode()) is None


async def test_a_small_model_that_repeats_itself_still_ends_its_answer() -> None:
    """An array of strings without a bound, which the default model fills without end."""
    generator = LlamaGenerator(Store().file("smollm2-135m", "model"), n_ctx=1024)
    schema = {
        "type": "object",
        "properties": {"words": {"type": "array", "items": {"type": "string"}, "minItems": 4}},
        "required": ["words"],
    }
    messages = [{"role": "user", "content": "Count for ever."}]
    try:
        answer = await generator.generate(messages, schema=schema, max_tokens=400)
    finally:
        generator.close()
    assert answer.finish == "stop"
    assert 4 <= len(json.loads(answer.text)["words"]) < 20
    assert answer.margin == 0
