"""Texts that differ in their values alone share a template; others do not."""

from __future__ import annotations

import random

import pytest

from models.specialize.templates import MAX_WORDS, slotted, templates_of


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("Book a table for 4 at 19:30 on 2026-11-03", "book a table for <n> at <time> on <date>"),
        ("pay $12.50 for ORD-1234", "pay <n> for <id>"),
        ("mail bob@x.org about 'the thing'", "mail <email> about <text>"),
        ("open ~/notes/a.txt or /etc/hosts", "open <path> or <path>"),
        ("see https://x.y/z?q=1 by March 3, 2026", "see <url> by <date>"),
        ("on 3rd may at 5 pm", "on <date> at <time>"),
        ("job 9f1c2d3e-0000-4000-8000-0123456789ab", "job <id>"),
        ("-5 degrees, 1,234.5 kg", "<n> degrees, <n> kg"),
        # Nothing to replace: words with hyphens, apostrophes, and words that begin like months.
        ("don't stop the state-of-the-art market", "don't stop the state-of-the-art market"),
        ("  Same   WORDS\n\there ", "same words here"),
        ("", ""),
    ],
)
def test_values_become_slots(text: str, template: str) -> None:
    assert " ".join(slotted(text)) == template


def test_texts_that_agree_in_most_words_share_a_template() -> None:
    assert templates_of(["weather in Bern", "weather in Paris", "open the door"]) == [
        "weather in <*>",
        "weather in <*>",
        "open the door",
    ]


def test_texts_of_other_length_or_beginning_stay_apart() -> None:
    texts = ["weather in New York", "weather in Bern", "rain in Bern", "play jazz", "play rock"]
    assert len(set(templates_of(texts))) == 5


def test_a_template_does_not_melt_away_step_by_step() -> None:
    texts = ["a b c d e", "a b c d x", "a b c y x", "a b z y x", "a w z y x"]
    assert len(set(templates_of(texts))) > 1


def test_the_order_of_the_texts_does_not_matter() -> None:
    texts = [f"{verb} the {thing} now" for verb in ("open", "shut") for thing in "abcdef"] * 3
    texts += ["something else entirely", "open the a slowly"]
    once = dict(zip(texts, templates_of(texts), strict=True))
    random.Random(1).shuffle(texts)
    assert dict(zip(texts, templates_of(texts), strict=True)) == once


def test_a_long_text_is_known_by_its_beginning() -> None:
    begin = "word " * MAX_WORDS
    assert len(set(templates_of([begin + "one", begin + "two three"]))) == 1
