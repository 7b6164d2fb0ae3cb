"""Guesses of what a model writes next. Whether they are right is for the model to say."""

from __future__ import annotations

import pytest

from models.base import Token
from models.drafts import Drafter, Habits, schema_keys
from tests.models.toy import ALPHABET, ToyConstraint, ToyContext


def draft(
    source: str,
    written: str,
    *answers: str,
    keys: tuple[str, ...] = (),
    habits: Habits | None = None,
    limit: int = 80,
) -> str:
    """What is drafted behind ``written``, where one of ``answers`` has to come out."""
    context = ToyContext()
    drafter = Drafter(source, context, habits if habits is not None else {}, keys)
    constraint = ToyConstraint(answers) if answers else None
    if constraint is not None:
        for token in context.tokenize(written, special=False):
            constraint.consume(token)
    tokens = drafter.draft(written, constraint, limit)  # type: ignore[arg-type]
    if constraint is not None:
        assert constraint.accepts(tokens) == len(tokens)
    return b"".join(map(context.piece, tokens)).decode()


TICKET = "Two seats from Oslo to Rome on 2026-03-14, class: economy"


@pytest.mark.parametrize(
    ("written", "answers", "expected"),
    [
        # What follows the key's own name in the request, and what the grammar forces behind it.
        ('{"class":"', ('{"class":"economy"}', '{"class":"~ ~"}'), 'economy"}'),
        # The rest of a word that was begun, as far as the grammar goes along.
        ('{"to":"Ro', ('{"to":"Rome"}', '{"to":"Rowan"}'), "me"),
        # A draft goes on over the next field.
        (
            '{"day":"2026',
            ('{"day":"2026-03-14","class":"economy"}', '{"day":"2026","class":"~"}'),
            '-03-14","class":"economy"}',
        ),
        # Nothing in the request speaks for either.
        ('{"wine":"', ('{"wine":"red"}', '{"wine":"dry"}'), ""),
    ],
)
def test_values_are_copied_from_the_request(
    written: str, answers: tuple[str, ...], expected: str
) -> None:
    assert draft(TICKET, written, *answers) == expected


def test_a_number_is_taken_once() -> None:
    answers = ('{"a":12,"b":7}', '{"a":12,"b":12}', '{"a":7,"b":12}')
    assert draft("12 by 7", '{"a":', *answers) == '12,"b":7}'


def test_a_key_is_drafted_where_the_request_names_it() -> None:
    answers = ('{"size":3}', '{"size":3,"color":"red"}', '{"color":"red"}')
    keys = ("color", "size")
    assert draft("a red one, size 3", "{", *answers, keys=keys).startswith('"size":3')
    assert draft("color red and size 3", "{", *answers, keys=keys).startswith('"color":"red')


def test_a_text_that_repeats_itself_is_taken_to_go_on() -> None:
    assert draft("nothing of it", "one two three four one two thr").startswith("ee four")


def test_free_text_follows_the_source() -> None:
    assert draft("Dear all, the meeting moves to noon. Best", "the meeting") == " moves to noon"


def test_punctuation_is_spelled_as_the_model_spelled_it() -> None:
    pair = len(ALPHABET)  # a token of two characters, which the plain tokenizer never gives

    class Context(ToyContext):
        def piece(self, token: int) -> bytes:
            return b'":' if token == pair else super().piece(token)

    context, habits = Context(), Habits()
    drafter = Drafter("", context, habits)
    quote = context.tokenize('"', special=False)[0]
    free = [
        Token(pair, b'":', -0.1, 0.9, forced=False),
        Token(quote, b'"', 0.0, 1.0, forced=True),
        Token(1, b"a", -0.1, 0.9, forced=False),
    ]
    drafter.learn(free)
    assert habits == {'":"': [pair, quote]}
    drafter.learn([Token(quote, b'"', 0.0, 1.0, forced=True)])
    assert '"' not in habits, "what the grammar forced says nothing about the model"


def test_no_draft_is_longer_than_it_may_be() -> None:
    assert draft(TICKET, '{"class":"', '{"class":"economy"}', '{"class":"x"}', limit=3) == "eco"


def test_letters_that_change_their_length_do_no_harm() -> None:
    assert draft("İİİİ city: Rome", '{"city":"', '{"city":"Rome"}', '{"city":"y"}') == 'Rome"}'


def test_keys_come_in_the_order_of_the_schema_and_once() -> None:
    inner = {"type": "object", "properties": {"zip": {}, "city": {}}}
    schema = {"properties": {"name": {}, "home": inner, "work": {"items": [inner]}, "city": {}}}
    assert schema_keys(schema) == ("name", "home", "work", "city", "zip")
