"""Pick, fill, verify: what the Tool User proposes, and what it records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import UsageError
from models.pool import Pool
from runtime.roles.functions import schema_of
from runtime.roles.picking import Picker, embed_cached, masked
from runtime.roles.tool_user import PICKERS, ToolUser, from_functions
from tests.bench.dev_roles import OUTSIDE, PARSE
from tests.fakes import FakeGenerator
from tests.runtime.roles.support import FUNCTIONS, TOOLS, a_decision, a_step, a_task

RECIPES = tuple(FUNCTIONS.values())


def test_function_tools_become_recipes_with_slot_types() -> None:
    types = {(r.id, s.name): (s.type, s.unit, s.required) for r in RECIPES for s in r.slots}
    assert types[("create_reminder", "when")] == ("datetime", "date-time", True)
    assert types[("create_event", "duration_minutes")] == ("duration", "minutes", False)
    assert types[("send_message", "recipient")] == ("name", "", True)
    assert types[("set_light", "room")] == ("choice", "", True)
    assert types[("set_light", "brightness")] == ("integer", "", False)
    assert types[("get_weather", "city")] == ("name", "", True)


def test_a_recipe_keeps_its_functions_schema() -> None:
    for tool, recipe in zip(TOOLS, RECIPES, strict=True):
        assert schema_of(recipe) == tool["function"]["parameters"]


@pytest.mark.parametrize(
    "tool", [{}, {"function": {}}, {"function": {"name": ""}}, {"function": 3}]
)
def test_what_is_no_function_tool_is_refused(tool: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        from_functions([tool])


def test_examples_know_only_functions_and_arguments_that_exist() -> None:
    for recipe in RECIPES:
        assert len(recipe.examples) >= 6
        names = {s.name for s in recipe.slots}
        required = {s.name for s in recipe.slots if s.required}
        for example in recipe.examples:
            assert required <= set(example.arguments) <= names


def test_what_varies_is_masked_before_texts_are_compared() -> None:
    assert masked('copy "a b" to /tmp/x.txt 3 times') == "copy some text to a file 3 times"


def test_the_picker_finds_the_function_and_knows_what_is_none_of_them(pool: Pool) -> None:
    picker = Picker(pool.encoder(), RECIPES)
    right = sum(picker.pick(text)[0].recipe.id == name for text, name, _ in PARSE)
    assert right >= 0.9 * len(PARSE)
    inside = [sum(p.probability for p in picker.pick(text, top=99)) for text, _, _ in PARSE]
    outside = [sum(p.probability for p in picker.pick(text, top=99)) for text in OUTSIDE]
    assert max([*inside, *outside]) <= 1.0 + 1e-6
    assert np.median(inside) > 0.7
    assert np.median(outside) < 0.3


def test_pick_is_calibrated_on_its_own_examples(pool: Pool) -> None:
    fitted = Picker(pool.encoder(), RECIPES).calibration
    assert fitted.examples == sum(len(r.examples) for r in RECIPES)
    assert fitted.top1 is not None and fitted.top1 >= 0.8
    few = Picker(pool.encoder(), RECIPES[:1]).calibration
    assert few.top1 is None


def test_embeddings_are_kept_and_a_broken_cache_is_made_again(pool: Pool, tmp_path: Path) -> None:
    encoder = pool.encoder()
    first = embed_cached(encoder, ["a", "b"], tmp_path)
    (kept,) = tmp_path.glob("*.npy")
    assert np.array_equal(np.load(kept), first)
    kept.write_bytes(b"broken")
    assert np.array_equal(embed_cached(encoder, ["a", "b"], tmp_path), first)
    assert np.array_equal(np.load(kept), first)


def test_a_picker_with_nothing_to_pick_from_says_so(pool: Pool) -> None:
    with pytest.raises(UsageError):
        Picker(pool.encoder(), ())


async def test_a_plain_request_becomes_one_sure_call(pool: Pool) -> None:
    text = "turn the bedroom lights off"
    user = ToolUser(FakeGenerator(), pool.encoder())
    proposal, calls = await user.propose(a_task(text), a_step(text), a_decision(text), RECIPES)
    assert proposal.recipe.id == "set_light" and proposal.problems == ()
    assert proposal.arguments == {"room": "bedroom", "state": "off"}
    assert proposal.confidence > 0.5
    (pick,) = calls
    assert (pick.role, pick.model, pick.answer) == ("tool_user", pool.encoder().model, "set_light")
    assert pick.bytes_sent == 0 and pick.tokens_in > 0


def order_tool(values: list[str]) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {"order": {"type": "string", "enum": values, "description": "its number"}},
        "required": ["order"],
        "additionalProperties": False,
    }
    does = "Sends an order of tea to the kitchen."
    return {"function": {"name": "send_order", "description": does, "parameters": parameters}}


async def test_tools_that_read_alike_keep_each_their_own_values(pool: Pool) -> None:
    user = ToolUser(FakeGenerator(), pool.encoder())
    for order in ("q17", "q23"):
        text = f"Send the order {order} to the kitchen"
        recipes = from_functions([order_tool([order])])
        proposal, _ = await user.propose(a_task(text), a_step(text), a_decision(text), recipes)
        assert proposal.recipe is recipes[0]
        assert proposal.arguments == {"order": order}


async def test_embeddings_of_tools_are_kept_for_so_many_sets_only(pool: Pool) -> None:
    user = ToolUser(FakeGenerator(), pool.encoder())
    for number in range(PICKERS + 8):
        text = "turn the bedroom lights off"
        tool = {"function": {"name": f"tool_{number}", "parameters": {}}}
        recipes = (*from_functions([tool]), FUNCTIONS["set_light"])
        await user.propose(a_task(text), a_step(text), a_decision(text), recipes)
    assert len(user._pickers) == PICKERS


async def test_a_fill_that_asked_the_model_is_a_call_of_its_own(pool: Pool) -> None:
    text = "let mom know we landed safely"
    said = json.dumps({"recipient": "mom", "text": "we landed safely"})
    user = ToolUser(FakeGenerator([1, said]), pool.encoder())
    proposal, calls = await user.propose(a_task(text), a_step(text), a_decision(text), RECIPES)
    pick, filled, second = calls
    # The SLM's own opinion of the free texts is on record, and is no part of the answer.
    assert (second.role, second.answer, second.serves) == ("verifier", said, False)
    assert pick.serves and filled.serves
    same = proposal.arguments == {"recipient": "mom", "text": "we landed safely"}
    assert (proposal.signals["agreement"] == 1.0) is same
    assert filled.model == FakeGenerator.model and filled.kind == pick.kind == "parse"
    assert filled.answer in filled.parameters["options"]
    assert filled.messages[-1]["content"] == text


@pytest.mark.parametrize(
    "text",
    ["what is the capital of Mongolia", "prove that the square root of two is irrational",
     "why did the build fail last night"],
)  # fmt: skip
async def test_a_request_that_no_tool_serves_is_a_problem(pool: Pool, text: str) -> None:
    user = ToolUser(FakeGenerator([0]), pool.encoder())
    proposal, _ = await user.propose(a_task(text), a_step(text), a_decision(text), RECIPES)
    assert "No offered tool fits this request." in proposal.problems
    assert proposal.confidence < 0.5


async def test_no_recipes_at_all_is_an_error_with_a_hint(pool: Pool) -> None:
    user = ToolUser(FakeGenerator(), pool.encoder())
    with pytest.raises(UsageError) as error:
        await user.propose(a_task("x"), a_step("x"), a_decision("x"), ())
    assert error.value.hint


async def test_arguments_meet_the_functions_own_schema(pool: Pool) -> None:
    code = {"type": "string", "pattern": "^[0-9]{4}$", "description": "the code"}
    parameters = {"type": "object", "required": ["code"], "properties": {"code": code}}
    about = "Save the entry code of a door."
    tool = {"function": {"name": "save_code", "description": about, "parameters": parameters}}
    text = 'save the entry code "12ab"'
    user = ToolUser(FakeGenerator(), pool.encoder())
    proposal, _ = await user.propose(
        a_task(text), a_step(text), a_decision(text), from_functions([tool])
    )
    assert proposal.arguments == {"code": "12ab"}
    assert any("does not match" in p for p in proposal.problems)
