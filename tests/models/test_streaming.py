"""What of an answer is shown while it is written: never a stop text, never half a character."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.streaming import TextStream


def whole(pieces: Sequence[bytes], stop: Sequence[str]) -> str:
    """The text of an answer that ends with the first token that completes a stop text."""
    written = b""
    for piece in pieces:
        written += piece
        text = written.decode("utf-8", "replace")
        cuts = [text.find(s) for s in stop if s in text]
        if cuts:
            return text[: min(cuts)]
    return written.decode("utf-8", "replace")


def streamed(pieces: Sequence[bytes], stop: Sequence[str] = ()) -> list[str]:
    stream = TextStream(stop)
    return [*map(stream.feed, pieces), stream.finish()]


texts = st.text(st.sampled_from("ab\n é€🙂"), max_size=24)
splits = st.lists(st.integers(0, 60), max_size=12)
stops = st.lists(st.text(st.sampled_from("ab\n é🙂"), min_size=1, max_size=5), max_size=4)


def split(data: bytes, at: Sequence[int]) -> list[bytes]:
    cuts = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    return [data[a:b] for a, b in pairwise(cuts)]


@given(texts, splits, stops)
def test_what_was_shown_is_the_answer_and_nothing_is_taken_back(
    text: str, at: list[int], stop: list[str]
) -> None:
    pieces = split(text.encode(), at)
    shown = streamed(pieces, stop)
    assert "".join(shown) == whole(pieces, stop)


@given(st.binary(max_size=24), splits)
def test_bytes_that_are_no_text_are_shown_as_the_answer_has_them(
    data: bytes, at: list[int]
) -> None:
    assert "".join(streamed(split(data, at))) == data.decode("utf-8", "replace")


def test_text_is_shown_at_once_where_no_stop_text_can_begin() -> None:
    assert streamed([b"a", b"bc", b"\n"], ["END"]) == ["a", "bc", "\n", ""]


def test_the_begin_of_a_stop_text_waits_until_it_is_none() -> None:
    assert streamed([b"so ", b"E", b"N", b"E"], ["END"]) == ["so ", "", "", "EN", "E"]


def test_a_stop_text_over_several_tokens_is_never_shown() -> None:
    stream = TextStream(["END", "stop"])
    assert [stream.feed(p) for p in (b"so st", b"o", b"p and more", b"never")] == [
        "so ",
        "",
        "",
        "",
    ]
    assert stream.stopped
    assert stream.finish() == ""


def test_a_character_over_several_tokens_is_shown_once_it_is_whole() -> None:
    first, second = "🙂".encode()[:2], "🙂".encode()[2:]
    assert streamed([b"a" + first, second + b"b"]) == ["a", "🙂b", ""]


def test_a_character_that_stays_half_is_replaced_at_the_end() -> None:
    assert streamed([b"a\xf0\x9f"]) == ["a", "\ufffd"]


def test_of_two_stop_texts_in_one_token_the_first_cuts() -> None:
    assert "".join(streamed([b"one two three"], ["three", "two"])) == "one "


@pytest.mark.parametrize("stop", [[], [""], ["", ""]])
def test_empty_stop_texts_stop_nothing(stop: list[str]) -> None:
    assert streamed([b"a", b"b"], stop) == ["a", "b", ""]
