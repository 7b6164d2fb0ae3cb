"""The encoder picks the right shell recipe for requests worded apart from the examples."""

from __future__ import annotations

import pytest

from models.errors import ModelMissing
from models.pool import Pool
from runtime.roles.picking import Picker
from runtime.tools.shell import recipes

from .requests import REQUESTS


def test_requests_name_recipes_that_exist_and_repeat_no_example() -> None:
    known = {r.id for r in recipes.load()}
    examples = {e.text.lower() for r in recipes.load() for e in r.examples}
    assert {recipe for _, recipe in REQUESTS} <= known
    assert not {text.lower() for text, _ in REQUESTS} & examples


def test_most_requests_are_picked_right_and_nearly_all_are_among_three() -> None:
    pool = Pool()
    try:
        encoder = pool.encoder()
    except ModelMissing:
        pytest.skip("the default model pack is not pulled")
    picker = Picker(encoder, recipes.load())
    picks = [[p.recipe.id for p in picker.pick(text, 3)] for text, _ in REQUESTS]
    wanted = [recipe for _, recipe in REQUESTS]
    first = sum(p[0] == w for p, w in zip(picks, wanted, strict=True)) / len(wanted)
    among = sum(w in p for p, w in zip(picks, wanted, strict=True)) / len(wanted)
    pool.close()
    assert first >= 0.85, first
    assert among >= 0.93, among
