"""The generator on the real default model: what it promises about every answer."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from models.base import Message
from models.choosing import GROUP_OPTIONS as PARALLEL_OPTIONS
from models.decoding import Decoding
from models.errors import (
    ContextOverflow,
    DeadlineMissed,
    ModelCorrupt,
    Overloaded,
    SchemaRefused,
    StorageFailed,
    ToolFailed,
    UsageError,
)
from models.llama import CONTEXT_TOKENS, LlamaGenerator
from models.prefix_cache import KEPT_PROMPTS
from tests.models.adapter_files import write_adapter

SYSTEM = {"role": "system", "content": "Fill in the arguments of the call, as JSON. " * 4}


def ask(text: str) -> list[Message]:
    return [SYSTEM, {"role": "user", "content": text}]


@pytest.fixture(scope="module")
def generator(gguf: Path) -> Iterator[LlamaGenerator]:
    generator = LlamaGenerator(gguf)
    yield generator
    generator.close()


def record(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SHORT = {"type": "string", "maxLength": 20}
SCHEMAS: dict[str, dict[str, Any]] = {
    "enum": {"enum": ["read", "write", "sensitive"]},
    "const": {"const": {"a": [1, None, "x"]}},
    "boolean": record(recursive={"type": "boolean"}),
    "integer range": record(count={"type": "integer", "minimum": 3, "maximum": 7}),
    "number": record(ratio={"type": "number", "minimum": 0, "exclusiveMaximum": 1}),
    "string": record(text=SHORT),
    "pattern": record(code={"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}),
    "date-time": record(when={"type": "string", "format": "date-time"}),
    "date": record(day={"type": "string", "format": "date"}),
    "array": {"type": "array", "items": SHORT, "minItems": 2, "maxItems": 3},
    "nested": record(
        file=record(name=SHORT, size={"type": "integer", "minimum": 0, "maximum": 10**9}),
        tags={"type": "array", "items": {"enum": ["new", "old"]}, "maxItems": 2},
    ),
    "optional": {
        "type": "object",
        "properties": {"path": SHORT, "depth": {"type": "integer", "maximum": 9, "minimum": 0}},
        "required": ["path"],
        "additionalProperties": False,
    },
    "anyOf": {"anyOf": [record(x={"type": "boolean"}), {"type": "null"}]},
    "reference": {
        "$defs": {"leaf": record(value={"type": "integer", "minimum": 0, "maximum": 99})},
        "type": "array",
        "items": {"$ref": "#/$defs/leaf"},
        "minItems": 1,
        "maxItems": 2,
    },
    "escapes": record(**{'we"ird \\ näme': {"enum": ['é "x"', "中\n✓"]}}),
}


@pytest.mark.parametrize("name", SCHEMAS)
async def test_output_under_a_schema_is_valid_and_compact(
    name: str, generator: LlamaGenerator
) -> None:
    answer = await generator.generate(ask(f"an example of: {name}"), schema=SCHEMAS[name])
    assert answer.finish == "stop"
    value = json.loads(answer.text)
    jsonschema.validate(value, SCHEMAS[name])
    assert answer.text == json.dumps(value, separators=(",", ":"), ensure_ascii=False) or (
        name in ("number", "escapes")  # 0.50 and \\u escapes read back as another spelling
    )


async def test_tokens_carry_their_evidence(generator: LlamaGenerator) -> None:
    schema = record(unit={"enum": ["celsius", "fahrenheit"]}, city=SHORT)
    answer = await generator.generate(ask("weather in Paris in celsius"), schema=schema)
    assert "".join(token.text for token in answer.tokens) == answer.text
    free = [token for token in answer.tokens if not token.forced]
    forced = [token for token in answer.tokens if token.forced]
    assert free
    assert forced
    assert all(token.logprob <= 0 and 0 <= token.margin <= 1 for token in free)
    assert all((token.logprob, token.margin) == (0, 1) for token in forced)
    assert answer.confidence == pytest.approx(
        math.exp(sum(token.logprob for token in free) / len(free))
    )
    assert answer.usage.tokens_forced == len(forced)
    assert answer.usage.tokens_out == len(answer.tokens)
    assert answer.model == generator.model


async def test_a_grammar_is_obeyed(generator: LlamaGenerator) -> None:
    answer = await generator.generate(
        ask("a time"), grammar=r'start: HOUR ":" MINUTE' "\nHOUR: /[01][0-9]/\nMINUTE: /[0-5][0-9]/"
    )
    hour, minute = answer.text.split(":")
    assert 0 <= int(hour) < 20
    assert 0 <= int(minute) < 60


async def test_length_ends_a_constrained_answer_and_says_so(generator: LlamaGenerator) -> None:
    schema = record(name={"type": "string", "minLength": 200, "maxLength": 400})
    answer = await generator.generate(ask("a long name"), schema=schema, max_tokens=8)
    assert answer.finish == "length"
    assert len(answer.tokens) == 8


async def test_a_forced_end_that_has_no_room_is_a_cut_answer(generator: LlamaGenerator) -> None:
    """What the grammar forces in one go may end the text, and still not fit."""
    schema = record(name={"const": "a name that is much longer than five tokens are"})
    answer = await generator.generate(ask("name it"), schema=schema, max_tokens=5)
    assert (answer.finish, len(answer.tokens)) == ("length", 5)
    with pytest.raises(ValueError):
        json.loads(answer.text)


async def test_stop_texts_end_a_free_answer_and_are_left_out(generator: LlamaGenerator) -> None:
    whole = await generator.generate(ask("Count from one to nine."), max_tokens=24)
    stop = whole.text[6:9]
    cut = await generator.generate(ask("Count from one to nine."), max_tokens=24, stop=[stop])
    assert cut.finish == "stop"
    assert cut.text == whole.text[: whole.text.index(stop)]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strin"}, "no JSON Schema"),
        ({"type": "object", "required": "name"}, "no JSON Schema"),
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"$ref": "https://example.com/schema"}, "example.com"),
        ({"$ref": "#/$defs/nowhere"}, "nowhere"),
        ({"type": "string", "pattern": "(?=x)y"}, "enforced"),
        (False, "JSON object"),
    ],
)
async def test_a_schema_that_cannot_be_enforced_is_refused(
    schema: Any, reason: str, generator: LlamaGenerator
) -> None:
    with pytest.raises(SchemaRefused, match=reason.replace("$", r"\$")):
        await generator.generate(ask("x"), schema=schema)


async def test_a_circular_schema_object_is_refused(generator: LlamaGenerator) -> None:
    schema: dict[str, Any] = {"type": "array"}
    schema["items"] = schema
    with pytest.raises(SchemaRefused):
        await generator.generate(ask("x"), schema=schema)


async def test_a_broken_grammar_is_refused(generator: LlamaGenerator) -> None:
    with pytest.raises(SchemaRefused, match="nowhere"):
        await generator.generate(ask("x"), grammar="start: nowhere")


async def test_a_prompt_over_the_context_is_an_error_with_both_numbers(
    generator: LlamaGenerator,
) -> None:
    with pytest.raises(ContextOverflow, match=rf"\d{{4,}} tokens.*{CONTEXT_TOKENS}"):
        await generator.generate(ask("word " * 6000))
    with pytest.raises(ContextOverflow):
        await generator.choose(ask("word " * 6000), ["a", "b"])


@pytest.mark.parametrize(
    "options", [{"max_tokens": 0}, {"schema": {}, "grammar": "x"}, {"schema": {}, "stop": ["x"]}]
)
async def test_a_call_that_makes_no_sense_is_refused(
    options: dict[str, Any], generator: LlamaGenerator
) -> None:
    with pytest.raises(UsageError):
        await generator.generate(ask("x"), **options)


async def test_a_lone_surrogate_is_refused_and_a_nul_byte_is_read(
    generator: LlamaGenerator,
) -> None:
    with pytest.raises(UsageError, match="surrogate"):
        await generator.generate(ask("a\ud800b"))
    assert (await generator.generate(ask("a\0b"), max_tokens=2)).tokens


async def test_a_shared_head_is_decoded_once(generator: LlamaGenerator) -> None:
    schema = record(city=SHORT)
    first = await generator.generate(ask("weather in Oslo, please"), schema=schema)
    second = await generator.generate(ask("how warm is it in Rome?"), schema=schema)
    third = await generator.generate(ask("how warm is it in Rome?"), schema=schema)
    head = len(generator.prompt_tokens([SYSTEM])) - 4
    assert second.usage.tokens_cached >= head - 4
    assert third.usage.tokens_cached == third.usage.tokens_in - 1
    assert third.text == second.text
    assert first.usage.tokens_in > head


async def test_cached_and_uncached_answers_agree(gguf: Path, generator: LlamaGenerator) -> None:
    schema = record(city=SHORT, days={"type": "integer", "minimum": 1, "maximum": 9})
    asked = [ask(f"weather in {city} for {n} days") for n, city in enumerate(("Bern", "Kyiv"), 2)]
    warm = [await generator.generate(m, schema=schema) for m in asked * 2][2:]
    fresh = LlamaGenerator(gguf)
    try:
        for messages, cached in zip(reversed(asked), reversed(warm), strict=True):
            cold = await fresh.generate(messages, schema=schema)
            assert cached.usage.tokens_cached > cached.usage.tokens_in / 2
            for ours, theirs in zip(cached.tokens, cold.tokens, strict=False):
                if not theirs.forced and theirs.margin < 0.05:
                    break  # a near tie: batch shape alone may turn it
                assert ours.id == theirs.id
    finally:
        fresh.close()


async def test_choose_gives_each_option_a_probability(generator: LlamaGenerator) -> None:
    messages: list[Message] = [
        {"role": "system", "content": "Complete with the colour."},
        {"role": "user", "content": "grass"},
        {"role": "assistant", "content": "green"},
        {"role": "user", "content": "snow"},
        {"role": "assistant", "content": "white"},
        {"role": "user", "content": "fresh snow"},
    ]
    options = ["white", "purple and yellow stripes", "green"]
    choice = await generator.choose(messages, options)
    assert sum(choice.probabilities) == pytest.approx(1)
    assert choice.option == "white"
    turned = await generator.choose(messages, options[::-1])
    assert turned.probabilities == pytest.approx(choice.probabilities[::-1], abs=0.02)


async def test_choose_scores_as_decoding_one_by_one_would(generator: LlamaGenerator) -> None:
    messages = ask("Where is the Eiffel tower?")
    options = ["Paris, the capital of France", "London", "Berlin in Germany"]
    choice = await generator.choose(messages, options)
    alone = [await generator.choose(messages, [option, "London"]) for option in options]
    for i in (0, 2):
        expected = math.log(alone[i].probabilities[0] / alone[i].probabilities[1])
        found = math.log(choice.probabilities[i] / choice.probabilities[1])
        assert found == pytest.approx(expected, abs=0.1)


async def test_an_option_that_begins_another_is_scored_as_a_whole_answer(
    generator: LlamaGenerator,
) -> None:
    messages: list[Message] = [
        {"role": "system", "content": "Answer with the folder."},
        {"role": "user", "content": "list the files in /etc/apt"},
        {"role": "assistant", "content": "/etc/apt"},
        {"role": "user", "content": "how big is /var"},
        {"role": "assistant", "content": "/var"},
        {"role": "user", "content": "count files in /usr/share/doc"},
    ]
    choice = await generator.choose(messages, ["/usr", "/usr/share", "/usr/share/doc"])
    assert choice.option == "/usr/share/doc"
    assert choice.probability > 0.6


async def test_choose_takes_more_options_than_fit_one_batch(generator: LlamaGenerator) -> None:
    options = [f"option {n} of many" for n in range(PARALLEL_OPTIONS + 5)]
    choice = await generator.choose(ask("pick one"), options)
    assert sum(choice.probabilities) == pytest.approx(1)
    assert all(p > 0 for p in choice.probabilities)


@pytest.mark.parametrize("options", [[], ["a", ""]])
async def test_choose_needs_options(options: list[str], generator: LlamaGenerator) -> None:
    with pytest.raises(UsageError):
        await generator.choose(ask("x"), options)


async def test_callers_queue_and_each_gets_its_own_answer(generator: LlamaGenerator) -> None:
    words = ["red", "green", "blue", "black"]
    answers = await asyncio.gather(
        *(generator.generate(ask(word), grammar=f'start: "{word}"') for word in words)
    )
    assert [answer.text for answer in answers] == words


async def test_a_cancelled_call_ends_early_and_leaves_the_engine_serving(
    generator: LlamaGenerator,
) -> None:
    long = asyncio.create_task(
        generator.generate(ask("tell a story"), grammar=r"start: /[a-z ]{4000}/", max_tokens=3000)
    )
    waiting = asyncio.create_task(generator.generate(ask("never"), max_tokens=500))
    await asyncio.sleep(0)
    waiting.cancel()
    long.cancel()
    for task in (long, waiting):
        with pytest.raises(asyncio.CancelledError):
            await task
    answer = await generator.generate(ask("and now?"), grammar='start: "here"')
    assert answer.text == "here"
    # 3,000 tokens would have taken far longer than the queue time that is seen here.
    assert answer.usage.queue_ms < 10_000


@pytest.fixture
async def small(gguf: Path) -> AsyncIterator[LlamaGenerator]:
    generator = LlamaGenerator(gguf, n_ctx=256, n_threads=1, n_gpu_layers=0, name="small")
    yield generator
    generator.close()


async def test_more_prompts_than_the_cache_holds_still_answer(small: LlamaGenerator) -> None:
    filler = "alpha beta gamma delta " * 16
    for n in range(KEPT_PROMPTS + 4):
        messages: list[Message] = [
            {"role": "system", "content": f"{n} {filler if n < 8 else ''}"},
            {"role": "user", "content": "a or b"},
        ]
        answer = await small.generate(messages, grammar='start: "a" | "b"')
        assert answer.text in ("a", "b")
        again = await small.generate(messages, grammar='start: "a" | "b"')
        assert again.text == answer.text
        assert again.usage.tokens_cached == again.usage.tokens_in - 1


async def test_a_full_context_ends_with_length(small: LlamaGenerator) -> None:
    answer = await small.generate(
        [{"role": "user", "content": "x " * 200}], grammar="start: /[a-z]{900}/", max_tokens=900
    )
    assert answer.finish == "length"
    assert answer.usage.tokens_in + answer.usage.tokens_out == small.n_ctx == 256


async def test_a_closed_model_fails_its_callers(small: LlamaGenerator) -> None:
    assert small.placement.reason.startswith("asked for the CPU")
    running = asyncio.create_task(
        small.generate([{"role": "user", "content": "x"}], grammar="start: /[a-z]{900}/")
    )
    await asyncio.sleep(0)
    small.close()
    with pytest.raises(ToolFailed, match="closed"):
        await running
    with pytest.raises(ToolFailed, match="closed"):
        await small.generate([{"role": "user", "content": "x"}])
    small.close()


def test_a_corrupt_file_never_reaches_llama_cpp(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llama_cpp

    damaged = tmp_path / "cut.gguf"
    with gguf.open("rb") as stream:
        damaged.write_bytes(stream.read(5 * 2**20))
    asked: list[bytes] = []
    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", lambda path, _: asked.append(path))
    with pytest.raises(ModelCorrupt, match="cut off"):
        LlamaGenerator(damaged)
    assert not asked


def test_a_file_that_llama_cpp_refuses_is_named_with_its_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from tests.models.test_gguf import file

    path = tmp_path / "odd.gguf"
    path.write_bytes(file())
    with pytest.raises(ModelCorrupt, match=r"odd\.gguf: .*llama"):
        LlamaGenerator(path)
    assert capfd.readouterr() == ("", "")


async def test_a_regex_and_a_gbnf_grammar_are_obeyed(generator: LlamaGenerator) -> None:
    code = await generator.generate(ask("a code"), regex="[A-Z]{2}-[0-9]{3}")
    assert re.fullmatch("[A-Z]{2}-[0-9]{3}", code.text)
    word = await generator.generate(ask("yes or no"), grammar='root ::= "yes" | "no"')
    assert word.text in ("yes", "no")
    with pytest.raises(UsageError, match="one of"):
        await generator.generate(ask("x"), regex="a", grammar='root ::= "a"')


@pytest.mark.parametrize("how", [Decoding(True, 0), Decoding(True, 15)])
async def test_forced_and_drafted_tokens_leave_the_answer_as_it_is_token_by_token(
    generator: LlamaGenerator, how: Decoding
) -> None:
    schema = record(city=SHORT, days={"type": "integer", "minimum": 0, "maximum": 30})
    for request in ("5 days in Rome", "the weather of Oslo for 3 days", "Lima, 14 days"):
        messages = ask(request)
        plain = await generator.generate(messages, schema=schema, decoding=Decoding(False, 0))
        other = await generator.generate(messages, schema=schema, decoding=how)
        assert other.usage.model_calls < plain.usage.model_calls
        if other.text != plain.text:
            # Batch shape moves logits a little: only a near tie may fall the other way.
            pairs = zip(plain.tokens, other.tokens, strict=False)
            first = next((a, b) for a, b in pairs if a.id != b.id)
            assert min(first[0].margin, first[1].margin) < 0.1


async def test_an_answer_that_ran_into_a_bound_nobody_stated_is_cut(
    generator: LlamaGenerator,
) -> None:
    schema = {"type": "string"}
    answer = await generator.generate(
        [{"role": "user", "content": "Repeat the word again without end: again again again"}],
        schema=schema,
        max_tokens=1000,
    )
    long = len(json.loads(answer.text)) == 512 if answer.text.endswith('"') else False
    assert answer.finish == ("length" if long else "stop")


async def test_a_deadline_ends_a_call_and_frees_its_place(generator: LlamaGenerator) -> None:
    with pytest.raises(DeadlineMissed, match="did not answer within"):
        await generator.generate(ask("a story"), regex="[a-z ]{3000}", deadline_s=0.05)
    assert generator.busy == 0
    assert (await generator.generate(ask("and now?"), grammar='start: "here"')).text == "here"


async def test_callers_beyond_the_queue_are_told(gguf: Path) -> None:
    generator = LlamaGenerator(gguf, n_ctx=512, parallel=1, queue_cap=1)
    try:
        calls = [
            asyncio.create_task(generator.generate(ask(f"{n}"), regex="[a-z]{40}"))
            for n in range(6)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        refused = [r for r in results if isinstance(r, Overloaded)]
        answered = [r for r in results if not isinstance(r, BaseException)]
        assert refused
        assert answered
        assert len(refused) + len(answered) == 6
    finally:
        generator.close()


async def test_an_adapter_changes_its_own_calls_and_no_other(
    generator: LlamaGenerator, tmp_path: Path
) -> None:
    path = tmp_path / "strong.gguf"
    write_adapter(path, generator.header, size=0.5)
    messages = ask("Tell me about the sea.")
    base = await generator.generate(messages, max_tokens=12)
    adapted, again = await asyncio.gather(
        generator.generate(messages, max_tokens=12, adapter=path),
        generator.generate(messages, max_tokens=12),
    )
    assert adapted.text != base.text
    assert again.text == base.text
    assert adapted.adapter is not None
    assert again.adapter is None
    # The adapted call decoded its own prompt: the base model's would be another one.
    assert adapted.usage.tokens_cached == 0
    other = tmp_path / "other.gguf"
    write_adapter(other, generator.header, architecture="gpt2")
    with pytest.raises(UsageError, match="another base"):
        await generator.generate(messages, adapter=other)


async def test_a_restart_finds_the_head_of_its_prompts_decoded(gguf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prefixes"
    answers = []
    for _ in range(2):
        generator = LlamaGenerator(gguf, n_ctx=512, cache_folder=folder)
        answers.append(await generator.generate(ask("how are you?"), max_tokens=4))
        generator.close()
    cold, warm = answers
    assert cold.usage.tokens_cached == 0
    assert warm.usage.tokens_cached > 30
    assert warm.usage.tokens_cached < warm.usage.tokens_in
    assert warm.text == cold.text
    assert len([*folder.iterdir()]) == 1


@pytest.fixture
def copied(gguf: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf.read_bytes())
    return path


def overwrite(path: Path) -> None:
    path.write_bytes(b"something else")


async def test_a_file_that_changes_while_it_is_loaded_is_an_error(copied: Path) -> None:
    generator = LlamaGenerator(copied, n_ctx=256)
    try:
        assert (await generator.generate(ask("x"), max_tokens=1)).tokens
        overwrite(copied)
        with pytest.raises(ModelCorrupt, match="changed on disk"):
            await generator.generate(ask("x"), max_tokens=1)
    finally:
        generator.close()


async def test_a_context_that_memory_cannot_hold_is_an_error_with_both_numbers(gguf: Path) -> None:
    with pytest.raises(StorageFailed, match="MiB"):
        LlamaGenerator(gguf, n_ctx=8192, cache_bytes=1 << 50)
