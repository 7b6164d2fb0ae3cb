"""JSON Schemas and Lark grammars as token masks, through llguidance.

A schema that cannot be enforced whole is refused with its reason, and never loosened. Compiled
grammars are kept. Output is compact JSON: no whitespace between tokens.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from models.errors import SchemaRefused
from models.llama_context import LlamaContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT_GRAMMARS = 64
_JSON_OPTIONS = {"whitespace_flexible": False, "lenient": False, "coerce_one_of": False}


class Grammars:
    """Compiled grammars for one vocabulary. Belongs to one thread."""

    def __init__(self, context: LlamaContext) -> None:
        self._ends = frozenset(context.end_tokens())
        self._tokenizer = _tokenizer(context, sorted(self._ends))
        self._size = context.vocab_size
        self._compiled: OrderedDict[str, Any] = OrderedDict()

    def start(self, source: str) -> Constraint:
        """A fresh constraint from ``schema_grammar`` or ``lark_grammar``. Raises SchemaRefused."""
        if source not in self._compiled:
            self._compiled[source] = self._compile(source)
            if len(self._compiled) > KEPT_GRAMMARS:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(source)
        return Constraint(self._compiled[source].deep_copy(), self._size, self._ends)

    def _compile(self, source: str) -> Any:
        from llguidance import LLMatcher

        failed, messages = LLMatcher.validate_grammar_with_warnings(source, self._tokenizer)
        if failed:
            raise SchemaRefused(
                f"this cannot be enforced: {messages[0].strip()}",
                hint="leave out what is named, or check it after the answer",
            )
        matcher = LLMatcher(self._tokenizer, source, log_level=0)
        if matcher.is_error():
            raise SchemaRefused(f"this cannot be enforced: {matcher.get_error().strip()}")
        return matcher


def _tokenizer(context: LlamaContext, ends: list[int]) -> Any:
    """llguidance's view of the vocabulary, as its own ``llamacpp.lltokenizer_from_vocab`` makes
    it; that one calls a deprecated function, which warns once for each token and is slow."""
    from llguidance import LLTokenizer

    # llguidance knows a control token by the byte 0xff in front, which no UTF-8 text holds.
    pieces = [
        b"\xff" * context.is_control(token) + context.piece(token, special=True)
        for token in range(context.vocab_size)
    ]
    make: Any = LLTokenizer
    return make.from_llamacpp(
        tokens=pieces,
        vocab_ptr=context.vocab,
        tokenize_fptr=context.tokenize_address,
        eos_token=ends,
        slices=None,
    )


class Constraint:
    """Where one generation stands in its grammar."""

    def __init__(self, matcher: Any, vocab_size: int, ends: frozenset[int]) -> None:
        self._matcher = matcher
        self._size = vocab_size
        self._ends = ends

    def advance(self, room: int) -> tuple[list[int], NDArray[np.intp] | None]:
        """Tokens that must come next, already consumed, and those that may come after them.

        None for the latter where the text is then complete. Stops looking for forced tokens
        once there are ``room`` of them; the last run may go beyond.
        """
        forced: list[int] = []
        while True:
            forced += self._forced()
            if self._matcher.is_stopped():
                return forced, None
            allowed = self._allowed()
            if len(allowed) <= len(self._ends) and self._ends.issuperset(allowed.tolist()):
                return forced, None
            if len(allowed) > 1 or len(forced) >= room:
                return forced, allowed
            self.consume(int(allowed[0]))
            forced.append(int(allowed[0]))

    def _forced(self) -> list[int]:
        tokens: list[int] = self._matcher.compute_ff_tokens()
        if tokens:
            self._consume(tokens)
        return tokens

    def _allowed(self) -> NDArray[np.intp]:
        """Ids of the tokens that may follow, in order."""
        import numpy as np

        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.flatnonzero(np.unpackbits(bits, bitorder="little")[: self._size])

    def consume(self, token: int) -> None:
        self._consume([token])

    def _consume(self, tokens: list[int]) -> None:
        self._matcher.consume_tokens(tokens)
        self._check()

    def _check(self) -> None:
        # The matcher never raises: it stays in an error state, for example when it runs into
        # its limits on a grammar that branches without end.
        if self._matcher.is_error():
            raise SchemaRefused(f"this cannot be enforced: {self._matcher.get_error().strip()}")


def schema_grammar(schema: Mapping[str, Any]) -> str:
    """llguidance's grammar for a JSON Schema (draft 2020-12).

    Raises SchemaRefused where it is no schema. What a schema asks for beyond what can be
    enforced shows when it is compiled.
    """
    from llguidance import LLMatcher

    text = json.dumps(_bounded(_checked(schema)))
    return str(LLMatcher.grammar_from_json_schema(text, overrides=_JSON_OPTIONS))


def lark_grammar(grammar: str) -> str:
    """llguidance's form of a Lark grammar, in its dialect."""
    from llguidance import LLMatcher

    return str(LLMatcher.grammar_from_lark(grammar))


def check_output(schema: Mapping[str, Any], text: str) -> None:
    """Hold a finished answer against its schema. Raises SchemaRefused.

    The grammar should make this impossible; it guards against a grammar that says less than
    its schema.
    """
    from models.schemas import violations

    try:
        wrong = [error.message for error in violations(schema, json.loads(text))]
    except ValueError as error:
        wrong = [str(error)]
    if wrong:
        raise SchemaRefused(f"the grammar of this schema let through {text!r}: {wrong[0]}")


_FORMAT_LENGTHS = {"date-time": 32, "time": 21}
"""Characters of a date-time or time down to microseconds, with its offset: RFC 3339 bounds the
fraction of a second nowhere, and a small model can go on with it until it runs out of tokens."""
_DATA = {"const", "enum", "default", "examples"}
"""Keywords whose values are data, and no schemas."""


def _bounded(schema: Any) -> Any:
    """The schema with a length for each format that has none. It allows less, never more."""
    if isinstance(schema, list):
        return [_bounded(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    bounded = {k: v if k in _DATA else _bounded(v) for k, v in schema.items()}
    format_ = schema.get("format")
    if schema.get("type") == "string" and isinstance(format_, str) and format_ in _FORMAT_LENGTHS:
        bounded.setdefault("maxLength", _FORMAT_LENGTHS[format_])
    return bounded


def _checked(schema: Mapping[str, Any]) -> Any:
    """The schema as plain JSON values. Raises SchemaRefused."""
    import jsonschema

    if not isinstance(schema, Mapping):
        raise SchemaRefused(f"a schema is a JSON object, and this is {type(schema).__name__}")
    try:
        plain = json.loads(json.dumps(schema))
        jsonschema.Draft202012Validator.check_schema(plain)
    except jsonschema.SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top level"
        raise SchemaRefused(f"this is no JSON Schema: at {where}, {error.message}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaRefused(f"this is no JSON Schema: {error}") from error
    return plain
