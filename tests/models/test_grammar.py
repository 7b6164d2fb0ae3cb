"""Grammars over the default model's vocabulary: whatever a walk through the masks writes is valid,
fast-forward and drafts agree with single steps, and what cannot be enforced is refused."""

from __future__ import annotations

import gc
import ipaddress
import json
import random
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from models import vocabulary as vocabularies
from models.enforceable import STRING_CHARS, enforceable
from models.errors import SchemaRefused
from models.formats import URI_CHARS
from models.gguf import read_header
from models.grammar import (
    Constraint,
    Grammars,
    check_output,
    cut_values,
    lark_grammar,
    regex_grammar,
    schema_grammar,
)
from models.llama_context import LlamaContext, Placement

MANY = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def context(gguf: Path) -> Iterator[LlamaContext]:
    context = open_context(gguf)
    yield context
    context.close()


def open_context(gguf: Path) -> LlamaContext:
    placement = Placement("cpu", 0, "a test of grammars")
    return LlamaContext(read_header(gguf), cells=256, threads=1, placement=placement)


@pytest.fixture(scope="module")
def grammars(context: LlamaContext) -> Grammars:
    return Grammars(context, "sha256:test")


@pytest.fixture(scope="module")
def spelled(context: LlamaContext) -> dict[bytes, set[int]]:
    """The tokens of each piece of text."""
    tokens: dict[bytes, set[int]] = {}
    for token in range(context.vocab_size):
        tokens.setdefault(context.piece(token), set()).add(token)
    return tokens


class Writer:
    """Writes by a grammar, one random token of the mask after the other."""

    def __init__(self, grammars: Grammars, context: LlamaContext, source: str, seed: int) -> None:
        self.constraint: Constraint = grammars.start(source)
        self.ends = frozenset(context.end_tokens())
        self.piece = context.piece
        self.random = random.Random(seed)
        self.tokens: list[int] = []
        self.masks: list[list[int] | None] = []

    @property
    def data(self) -> bytes:
        return b"".join(map(self.piece, self.tokens))

    def step(self) -> bool:
        """Write one token; False where the text is complete."""
        mask = self.constraint.allowed()
        self.masks.append(None if mask is None else mask.tolist())
        if mask is None:
            return False
        token = self.choose(mask.tolist())
        if token in self.ends:
            return False
        self.constraint.consume(token)
        self.tokens.append(token)
        return True

    def choose(self, allowed: list[int]) -> int:
        some = self.random.sample(allowed, min(len(allowed), 24))
        if len(self.tokens) > 30:  # long enough: take what closes something, where it may
            if self.ends & set(allowed):
                return min(self.ends & set(allowed))
            closing = [t for t in allowed if self.piece(t) in (b'"', b"]", b"}", b'"}', b"0")]
            some = closing or some
        return self.random.choice(some)

    def run(self, limit: int = 400) -> bool:
        """Write to the end; False where that is further than ``limit`` tokens."""
        return any(not self.step() for _ in range(limit))


def bounds(least: str, most: str, top: int) -> st.SearchStrategy[dict[str, int]]:
    pair = st.tuples(st.integers(0, top), st.integers(0, top)).map(sorted)
    return pair.map(lambda two: {least: two[0], most: two[1]}) | st.just({most: top})


FORMATS = ["date", "time", "date-time", "duration", "ipv4", "ipv6", "uuid", "email"]
PATTERNS = ["^[A-Z]{2}-[0-9]{4}$", "^(a|b|cd)+$", "^\\d{1,3}(\\.\\d+)?$", "^x.{0,5}y$"]
TEXTS = st.text(st.characters(exclude_categories=["C"]), max_size=6)
VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS
RANGES = st.one_of(
    st.tuples(st.integers(-50, 50), st.integers(0, 60)),
    st.tuples(
        st.floats(-1e4, 1e4, allow_subnormal=False), st.floats(0.01, 100, allow_subnormal=False)
    ),
)


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": draw(st.sampled_from(["integer", "number"]))}
    low, width = draw(RANGES)
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = low + width + 2
    elif draw(st.booleans()):
        schema["multipleOf"] = draw(st.sampled_from([1, 2, 5, 0.5]))
    return schema


STRINGS = st.one_of(
    bounds("minLength", "maxLength", 12).map(lambda b: {"type": "string", **b}),
    st.sampled_from(FORMATS).map(lambda f: {"type": "string", "format": f}),
    st.sampled_from(PATTERNS).map(lambda p: {"type": "string", "pattern": p}),
    st.just({"type": "string"}),
)
LEAVES = st.one_of(
    numbers(),
    STRINGS,
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["integer", "null"]}]),
    st.lists(VALUES, min_size=1, max_size=4).map(lambda v: {"enum": v}),
    VALUES.map(lambda v: {"const": v}),
    st.just({"$ref": "#/$defs/tree"}),
)


def arrays(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    plain = st.tuples(items, bounds("minItems", "maxItems", 3)).map(
        lambda two: {"type": "array", "items": two[0], **two[1]}
    )
    tuple_ = st.lists(items, min_size=1, max_size=3).map(
        lambda p: {"type": "array", "prefixItems": p, "items": False, "minItems": len(p)}
    )
    return plain | tuple_


@st.composite
def objects(draw: st.DrawFn, parts: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(TEXTS, parts, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    more = draw(st.sampled_from([False, False, {"type": "boolean"}]))
    schema = {"type": "object", "properties": properties, "additionalProperties": more}
    return {**schema, "required": required} if required else schema


SCHEMAS = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        arrays(parts),
        objects(parts),
        st.lists(parts, min_size=1, max_size=3).map(lambda p: {"anyOf": p}),
        parts.map(lambda p: {"allOf": [p]}),
    ),
    max_leaves=6,
).map(
    lambda schema: {
        **schema,
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 4},
                    "children": {
                        "type": "array",
                        "items": {"$ref": "#/$defs/tree"},
                        "maxItems": 2,
                    },
                },
                "required": ["name"],
                "additionalProperties": False,
            }
        },
    }
)
READERS: dict[str, Callable[[str], object]] = {
    "date": date.fromisoformat,
    "date-time": datetime.fromisoformat,
    "time": lambda text: datetime.fromisoformat(f"2024-01-01T{text}"),
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "uuid": uuid.UUID,
    "email": lambda text: text.index("@"),
}
"""Python's own reader of each format, which raises ValueError."""
FORMAT_CHECKS = jsonschema.FormatChecker(formats=())


def reads(format_: str) -> Callable[[object], bool]:
    return lambda value: not isinstance(value, str) or READERS[format_](value) is not None


for format_ in READERS:
    FORMAT_CHECKS.checks(format_, ValueError)(reads(format_))


@MANY
@given(schema=SCHEMAS, seed=st.integers(0, 2**32))
def test_every_walk_through_the_masks_writes_a_valid_compact_value(
    schema: Any, seed: int, grammars: Grammars, context: LlamaContext
) -> None:
    writer = Writer(grammars, context, schema_grammar(schema), seed)
    assume(writer.run())
    text = writer.data.decode()  # whole characters, whatever the tokens
    value = json.loads(text)
    jsonschema.Draft202012Validator(schema, format_checker=FORMAT_CHECKS).validate(value)
    check_output(schema, text)
    outside_strings = re.sub(r'"(?:\\.|[^"\\])*"', "", text)
    assert not re.search(r"\s", outside_strings)


@MANY
@given(schema=SCHEMAS, seed=st.integers(0, 2**32))
def test_fast_forward_writes_what_single_steps_write(
    schema: Any,
    seed: int,
    grammars: Grammars,
    context: LlamaContext,
    spelled: dict[bytes, set[int]],
) -> None:
    source = schema_grammar(schema)
    writer = Writer(grammars, context, source, seed)
    assume(writer.run())
    rest = writer.data
    fast = grammars.start(source)
    while True:
        forced = b"".join(map(context.piece, fast.forced(1000)))
        assert rest.startswith(forced)
        rest = rest[len(forced) :]
        allowed = fast.allowed()
        if not rest:
            break
        assert allowed is not None
        may = set(allowed.tolist())
        longest = next(n for n in range(32, 0, -1) if spelled.get(rest[:n], set()) & may)
        fast.consume(min(spelled[rest[:longest]] & may))
        rest = rest[longest:]
    assert allowed is None or writer.ends & set(allowed.tolist())


@MANY
@given(schema=SCHEMAS, seed=st.integers(0, 2**32), data=st.data())
def test_rolling_back_brings_each_earlier_mask_back(
    schema: Any, seed: int, data: st.DataObject, grammars: Grammars, context: LlamaContext
) -> None:
    writer = Writer(grammars, context, schema_grammar(schema), seed)
    writer.run(limit=40)
    written = list(writer.tokens)
    forced = writer.constraint.forced(100)
    writer.constraint.rollback(len(forced))
    at = len(written)
    while at:
        back = data.draw(st.integers(1, at))
        writer.constraint.rollback(back)
        at -= back
        mask = writer.constraint.allowed()
        assert (None if mask is None else mask.tolist()) == writer.masks[at]
    for token in written:
        writer.constraint.consume(token)


@MANY
@given(schema=SCHEMAS, seed=st.integers(0, 2**32), data=st.data())
def test_accepts_counts_what_single_steps_would_take(
    schema: Any, seed: int, data: st.DataObject, grammars: Grammars, context: LlamaContext
) -> None:
    source = schema_grammar(schema)
    writer = Writer(grammars, context, source, seed)
    writer.run(limit=60)
    draft = list(writer.tokens)
    start = data.draw(st.integers(0, len(draft)))
    spoil: bool = data.draw(st.booleans())
    if draft and spoil:
        wrong = data.draw(st.integers(0, context.vocab_size - 1))
        draft[data.draw(st.integers(0, len(draft) - 1))] = wrong
    draft += data.draw(st.lists(st.sampled_from([min(writer.ends), 28, 504]), max_size=2))
    constraint = grammars.start(source)
    for token in writer.tokens[:start]:
        constraint.consume(token)
    counted = constraint.accepts(draft[start:])

    taken = 0
    for token in draft[start:]:
        allowed = constraint.allowed()
        if allowed is None or token in writer.ends or token not in allowed:
            break
        constraint.consume(token)
        taken += 1
    assert counted == taken


def test_accepts_and_rollback_hold_at_the_end_of_a_text(
    grammars: Grammars, context: LlamaContext
) -> None:
    constraint = grammars.start(schema_grammar({"const": "yes"}))
    tokens = constraint.forced(100)
    while (allowed := constraint.allowed()) is not None:
        constraint.consume(int(allowed[0]))
        tokens.append(int(allowed[0]))
    assert b"".join(map(context.piece, tokens)) == b'"yes"'
    assert constraint.accepts([*tokens, *context.end_tokens()]) == 0
    constraint.rollback(len(tokens))
    assert constraint.accepts([*tokens, min(context.end_tokens())]) == len(tokens)


def takes(grammars: Grammars, context: LlamaContext, source: str, text: str) -> bool:
    """True where ``text`` is a whole text of the grammar."""
    constraint = grammars.start(source)
    tokens = context.tokenize(text, special=False)
    if constraint.accepts(tokens) < len(tokens):
        return False
    for token in tokens:
        constraint.consume(token)
    allowed = constraint.allowed()
    return allowed is None or bool(set(context.end_tokens()) & set(allowed.tolist()))


OPEN = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
EXACT: dict[str, tuple[Any, list[str], list[str]]] = {
    "leap days": (
        {"type": "string", "format": "date"},
        ['"2024-02-29"', '"2000-02-29"', '"0001-01-01"'],
        ['"2023-02-29"', '"1900-02-29"', '"0000-01-01"', '"2024-04-31"'],
    ),
    "seconds": (
        {"type": "string", "format": "date-time"},
        ['"2024-02-29T23:59:59.123456+01:00"'],
        ['"2024-02-29T23:59:60Z"', '"2024-02-29T23:59:59.1234567Z"', '"2023-02-29T00:00:00Z"'],
    ),
    "a second spelling of a name": (
        OPEN,
        ['{"a":1}', '{"a":1,"b":"x"}'],
        ['{"a":1,"\\u0061":"x"}', '{"a":1,"a":"x"}'],
    ),
    "no escape for any character": ({"type": "string"}, ['"\\n\\\\"'], ['"\\u0000"', '"\\ud800"']),
    "the bound itself, excluded": (
        {"type": "number", "exclusiveMinimum": 5, "maximum": 5.25},
        ["5.25", "5.1"],
        ["5", "5.0", "5.00"],
    ),
    "a bound of more digits than a float": (
        {"type": "number", "exclusiveMaximum": 918.4881107206079},
        ["918.3", "-1"],
        ["918.4881107206079", "918.48811072060790", "918.4881107206080"],
    ),
    "decimal multiples": ({"type": "number", "multipleOf": 0.1}, ["0.7", "3"], ["0.75"]),
    "int32": ({"type": "integer", "format": "int32"}, ["2147483647"], ["2147483648"]),
    "float is every number": ({"type": "number", "format": "float"}, ["0.5"], ['"x"']),
    "properties called like keywords": (
        {
            "type": "object",
            "properties": {"enum": {"type": "string"}, "const": {"type": "integer"}},
            "additionalProperties": False,
        },
        ['{"enum":"x","const":1}'],
        ['{"enum":1}', json.dumps({"enum": "x" * (STRING_CHARS + 1)}, separators=(",", ":"))],
    ),
    "a reference beside what it narrows": (
        {"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a", "maxLength": 2},
        ['"ab"'],
        ['"abc"'],
    ),
    "references by anchor, and to anywhere in the schema": (
        {
            "components": {"x": {"type": "string", "maxLength": 3}},
            "$defs": {"n": {"$anchor": "number", "type": "integer"}},
            "anyOf": [{"$ref": "#/components/x"}, {"$ref": "#number"}],
        },
        ['"abc"', "5"],
        ['"abcd"', "5.5"],
    ),
    "keywords that constrain nothing": (
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": False, "minContains": 2},
        ["[1,1]", "[]"],
        ['["x"]'],
    ),
    "options for llguidance in a schema": (
        {**OPEN, "additionalProperties": False, "x-guidance": {"whitespace_flexible": True}},
        ['{"a":1}'],
        ['{ "a":1}'],
    ),
    "a stated bound over ours, in another part": (
        {"allOf": [{"type": "string"}, {"maxLength": STRING_CHARS + 9}]},
        [f'"{"x" * (STRING_CHARS + 9)}"'],
        [f'"{"x" * (STRING_CHARS + 10)}"'],
    ),
    "a stated least length over ours": (
        {"type": "string", "minLength": STRING_CHARS + 9},
        [f'"{"x" * (STRING_CHARS + 9)}"'],
        [f'"{"x" * STRING_CHARS}"'],
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_schema_lets_through_what_it_says(
    name: str, grammars: Grammars, context: LlamaContext
) -> None:
    schema, right, wrong = EXACT[name]
    source = schema_grammar(schema)
    assert [text for text in right if not takes(grammars, context, source, text)] == []
    assert [text for text in wrong if takes(grammars, context, source, text)] == []
    for text in right:
        check_output(schema, text)


DEEP: dict[str, Any] = {"type": "null"}
for _ in range(400):
    DEEP = {"items": DEEP}
REFUSED: dict[str, tuple[Any, str]] = {
    "not an object": (True, "JSON object"),
    "no type": ({"type": "strin"}, "no JSON Schema"),
    "not a number of JSON": ({"const": float("nan")}, "no JSON Schema"),
    "no JSON": ({"const": {1, 2}}, "no JSON Schema"),
    "another document": ({"$ref": "https://example.com/s"}, "nothing was fetched"),
    "reference to nowhere": ({"$ref": "#/$defs/x"}, "nothing was fetched"),
    "reference to data": ({"$ref": "#/const", "const": 3}, "no schema"),
    "an id within": ({"properties": {"a": {"$id": "x"}}}, "id of its own"),
    "itself": ({"$ref": "#"}, "no finite value"),
    "itself, required": (
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        "no finite value",
    ),
    "itself, in every item": ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "finite"),
    "each other": (
        {
            "$defs": {
                "a": {"type": "array", "prefixItems": [{"$ref": "#/$defs/b"}], "minItems": 1},
                "b": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]},
            },
            "$ref": "#/$defs/b",
        },
        "no finite value",
    ),
    "itself, behind a narrowed option": (
        {
            "type": "object",
            "properties": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#"}], "type": "object"}},
            "required": ["a"],
        },
        "no finite value",
    ),
    "lengths": ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
    "range": ({"type": "integer", "minimum": 3, "maximum": 2}, "minimum"),
    "range without integers": ({"type": "integer", "minimum": 1.2, "maximum": 1.8}, "integer"),
    "pattern and length": ({"type": "string", "pattern": "^a$", "minLength": 3}, "empty"),
    "types": ({"allOf": [{"type": "string"}, {"type": "null"}]}, "no finite value"),
    "required and false": (
        {"properties": {"a": False}, "required": ["a"], "type": "object"},
        "finite",
    ),
    "empty enum": ({"enum": []}, "enforced"),
    "NUL": ({"const": "a\0"}, r"U\+0000"),
    "lone surrogate": ({"enum": ["\ud800"]}, r"U\+D800"),
    "control character in a name": ({"properties": {"\x07": {}}}, r"U\+0007"),
    "NUL in a pattern": ({"pattern": "\0"}, r"U\+0000"),
    "broken pattern": ({"pattern": "("}, "pattern"),
    "lookahead": ({"pattern": "^(?=a)b"}, "enforced"),
    "pattern of two meanings": ({"pattern": "^\\W$"}, "different readers"),
    "set in a set": ({"pattern": "^[[:alpha:]]$"}, "different readers"),
    "inexact integer": ({"const": 2**60}, "exact"),
    "format": ({"type": "string", "format": "nonsense"}, "'nonsense'"),
    "format that llguidance ignores": ({"type": "string", "format": "unknown"}, "'unknown'"),
    "format of a string on an integer": ({"type": "integer", "format": "date"}, "'date'"),
    "oneOf that overlaps": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
    "names that may repeat": ({"type": "object", "minProperties": 2}, "minProperties"),
    "optional properties counted": (
        {
            "type": "object",
            "properties": {"a": {}, "b": {}},
            "minProperties": 1,
            "maxProperties": 1,
        },
        "Properties",
    ),
    "patterns that overlap": (
        {"patternProperties": {"a": {"type": "integer"}, "b": {"type": "null"}}},
        "disjoint",
    ),
    "deep": (DEEP, "recursion"),
    **{
        keyword: ({keyword: value}, re.escape(repr(keyword)))
        for keyword, value in {
            "not": {},
            "uniqueItems": True,
            "contains": {},
            "dependentRequired": {"a": ["b"]},
            "dependentSchemas": {"a": {}},
            "dependencies": {"a": ["b"]},
            "propertyNames": {"maxLength": 1},
            "unevaluatedProperties": False,
            "unevaluatedItems": False,
            "additionalItems": False,
            "contentEncoding": "base64",
            "contentMediaType": "text/html",
            "contentSchema": {},
            "$dynamicRef": "#x",
            "$dynamicAnchor": "x",
            "$recursiveRef": "#",
        }.items()
    },
    "if": ({"if": {"const": 3}, "then": {"const": 4}}, "'if'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_schema_that_cannot_be_enforced_is_refused_with_its_reason(
    name: str, grammars: Grammars
) -> None:
    schema, reason = REFUSED[name]
    with pytest.raises(SchemaRefused, match=reason):
        grammars.start(schema_grammar(schema))


GRAMMARS: dict[str, tuple[str, list[str], list[str]]] = {
    "lark": ('start: HOUR ":" "00"\nHOUR: /[01][0-9]/', ["13:00"], ["23:00", "13:0"]),
    "ambiguous": ('start: s\ns: s s | "a"', ["a", "aaa"], ["", "b"]),
    "recursion with a way out": ('start: "a" b?\nb: b "x"', ["a"], ["ax"]),
    "repeated": ('start: (a | "c") b~2 | b{0,1} "!"\na: "x"\nb: "z"', ["xzz", "czz", "!"], ["xz"]),
    "the mark of GBNF in a text": ('start: a "::=" a\na: /x+/', ["x::=xx"], ["x=x"]),
    "a schema in a grammar": (
        'start: "<" j ">"\nj: %json {"type":"array","items":{"type":"integer"},"maxItems":2}',
        ["<[1,2]>", "<[]>"],
        ["<[1, 2]>", "<[1,2,3]>"],
    ),
    "gbnf": ('root ::= ("a" | [0-9]+){2} "," end # two\nend ::= "z"', ["a1,z"], ["a,z"]),
    "gbnf escapes": (r'root ::= "\u00e9\x41" [\u4e2d\u0020]', ["éA中", "éA "], ["éa中"]),
}


@pytest.mark.parametrize("name", GRAMMARS)
def test_a_grammar_lets_through_what_it_says(
    name: str, grammars: Grammars, context: LlamaContext
) -> None:
    text, right, wrong = GRAMMARS[name]
    source = lark_grammar(text)
    assert [text for text in right if not takes(grammars, context, source, text)] == []
    assert [text for text in wrong if takes(grammars, context, source, text)] == []


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ("", "enforced"),
        ("start: nowhere", "nowhere"),
        ("start: start", "ever ends"),
        ('start: start "a"', "ever ends"),
        ('start: "a" start', "ever ends"),
        ('start: "a" (b | b "x")\nb: "(" b ")"', "ever ends"),
        ('start: a~2\na: b+\nb: "x" a', "ever ends"),
        ("start: A\nA: /[^\\s\\S]/", "nothing can be written"),
        ('start: "a\0"', r"U\+0000"),
        ('start: "\ud800"', r"U\+D800"),
        ("start: <|im_end|>", "control token"),
        ('start: %json {"type"', "no JSON"),
        ('start: %json {"type":"string","format":"x"}', "format 'x'"),
        ('start: %json {"uniqueItems":true,"x-guidance":{"lenient":true}}', "uniqueItems"),
        ('start: "unclosed', "enforced"),
        ('root ::= "a" root', "ever ends"),
        ('x ::= "a"', "root"),
        ('root ::= "a', "GBNF"),
        ("root ::= " + "(" * 3000, "cannot be read|nested"),
        ("start: " + "(" * 3000 + '"a"' + ")" * 3000, "nested too deep"),
    ],
)
def test_a_grammar_that_cannot_be_enforced_is_refused_with_its_reason(
    grammar: str, reason: str, grammars: Grammars
) -> None:
    with pytest.raises(SchemaRefused, match=reason):
        grammars.start(lark_grammar(grammar))


def test_a_regex_is_matched_by_the_whole_text(grammars: Grammars, context: LlamaContext) -> None:
    source = regex_grammar(r"\d{4}-(0[1-9]|1[0-2])|n/a")
    assert takes(grammars, context, source, "2024-12")
    assert takes(grammars, context, source, "n/a")
    assert not takes(grammars, context, source, "2024-13")
    assert not takes(grammars, context, source, "n/a ")


@pytest.mark.parametrize(
    ("regex", "reason"),
    [
        ("(", "regex"),
        ("(?=a)b", "look-around"),
        ("[^\\s\\S]", "nothing can be written"),
        ("a\0", r"U\+0000"),
        ("\udfff", r"U\+DFFF"),
    ],
)
def test_a_regex_that_cannot_be_enforced_is_refused_with_its_reason(
    regex: str, reason: str, grammars: Grammars
) -> None:
    with pytest.raises(SchemaRefused, match=reason) as caught:
        grammars.start(regex_grammar(regex))
    assert "\n" not in caught.value.message


def test_strings_at_a_bound_that_the_schema_did_not_state_are_found() -> None:
    schema = {
        "type": "object",
        "properties": {
            "free": {"type": "string"},
            "stated": {"type": "string", "maxLength": STRING_CHARS},
            "links": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/uri"}, {"const": 1}]}},
        },
        "$defs": {"uri": {"type": "string", "format": "uri"}},
    }
    full, uri = "x" * STRING_CHARS, "a:" + "b" * (URI_CHARS - 2)
    assert cut_values(schema, {"free": full, "stated": full, "links": ["a:b", 1, uri]}) == [
        "/free",
        "/links/2",
    ]
    assert cut_values(schema, {"free": full[:-1], "stated": full, "links": [uri[:-1]]}) == []


def test_integers_without_an_end_get_one_and_it_is_told(
    grammars: Grammars, context: LlamaContext
) -> None:
    free, stated = {"type": "integer"}, {"type": "integer", "maximum": 2**53}
    assert takes(grammars, context, schema_grammar(free), str(2**53 - 1))
    assert not takes(grammars, context, schema_grammar(free), str(2**53))
    assert takes(grammars, context, schema_grammar(stated), str(2**53))
    assert cut_values(free, 2**53 - 1) == [""]
    assert cut_values({"type": "array", "items": free}, [5, -(10**15)]) == ["/1"]
    assert cut_values(free, 10**15 - 1) == []
    assert cut_values(stated, 10**15) == []


def test_a_free_string_is_written_up_to_its_bound_and_no_further(
    grammars: Grammars, context: LlamaContext
) -> None:
    constraint = grammars.start(schema_grammar({"type": "string"}))
    x = context.tokenize("x", special=False)
    quote = context.tokenize('"', special=False)
    assert constraint.accepts(quote + x * (STRING_CHARS + 5)) == 1 + STRING_CHARS


def test_descriptions_are_left_out_and_change_nothing() -> None:
    bare = {"type": "object", "properties": {"a": {"type": "integer"}}}
    told = {
        **bare,
        "title": "T\0",
        "description": "d",
        "examples": [{"a": 1}],
        "properties": {"a": {"type": "integer", "default": 3, "$comment": "c"}},
        "$schema": "https://json-schema.org/draft/2020-12/schema",
    }
    assert enforceable(told) == enforceable(bare)


def test_output_beyond_its_schema_is_caught() -> None:
    with pytest.raises(SchemaRefused, match="let through"):
        check_output({"type": "integer"}, '"three"')
    with pytest.raises(SchemaRefused, match="let through"):
        check_output({"type": "integer"}, "[1")


def test_a_mask_may_be_computed_in_another_thread(grammars: Grammars) -> None:
    source = schema_grammar({"type": "string", "pattern": "foo", "maxLength": 60})
    constraint = grammars.start(source)
    others = [grammars.start(source) for _ in range(4)]
    found: list[list[int]] = []

    def compute(constraint: Constraint) -> None:
        mask = constraint.allowed()
        assert mask is not None
        found.append(mask.tolist())

    threads = [threading.Thread(target=compute, args=[c]) for c in [constraint, *others]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mask = grammars.start(source).allowed()
    assert mask is not None
    assert found == [mask.tolist()] * 5


def test_a_vocabulary_serves_the_contexts_of_its_model_one_after_another(gguf: Path) -> None:
    unit = {"const": "celsius degrees"}
    schema = {"type": "object", "properties": {"unit": unit}, "required": ["unit"]}
    first = open_context(gguf)
    expected = Grammars(first, "sha256:kept").start(schema_grammar(schema)).forced(100)
    assert expected
    first.close()
    del first
    gc.collect()

    second = open_context(gguf)
    kept = vocabularies.vocabulary(second, "sha256:kept")
    assert vocabularies.vocabulary(second, "sha256:kept") is kept
    # llguidance asks this context for tokens now: the first one is gone.
    assert Grammars(second, "sha256:kept").start(schema_grammar(schema)).forced(100) == expected
    second.close()
