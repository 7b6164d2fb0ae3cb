"""JSON Schemas, grammars and regular expressions as token masks, through llguidance.

A schema that cannot be enforced whole is refused with its reason, and never loosened. Compiled
grammars are kept. Output is compact JSON: no whitespace between tokens.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from models.enforceable import CUT_INTEGER, LEAST_BOUND, enforceable
from models.errors import SchemaRefused
from models.lark import lark_text, refuse_unwritable
from models.llama_context import LlamaContext
from models.vocabulary import Vocabulary, vocabulary

if TYPE_CHECKING:
    import numpy as np
    from jsonschema import ValidationError
    from numpy.typing import NDArray

KEPT_GRAMMARS = 64
_JSON_OPTIONS = {
    "whitespace_flexible": False,
    "lenient": False,
    "coerce_one_of": False,
    # No \\uXXXX: with it, a property could be written under a second spelling of its name.
    "json_allowed_escapes": 'nrbtf\\"',
}


class Grammars:
    """Compiled grammars for one context. Belongs to one thread.

    ``model``: the digest under which the vocabulary is kept for other contexts of this model.
    """

    def __init__(self, context: LlamaContext, model: str | None = None) -> None:
        self._vocabulary = vocabulary(context, model)
        self._compiled: OrderedDict[str, Any] = OrderedDict()

    def has(self, source: str) -> bool:
        """True where ``source`` is compiled, so that ``start`` is quick."""
        return source in self._compiled

    def start(self, source: str) -> Constraint:
        """A fresh constraint from ``schema_grammar`` or ``lark_grammar``. Raises SchemaRefused."""
        if source not in self._compiled:
            self._compiled[source] = self._compile(source)
            if len(self._compiled) > KEPT_GRAMMARS:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(source)
        # A copy shares what its original has learnt about the grammar, and takes 25 µs, not 800.
        return Constraint(self._compiled[source].deep_copy(), self._vocabulary)

    def _compile(self, source: str) -> Any:
        from llguidance import LLMatcher, LLParserLimits

        # Without verbose_errors: the state of the parser is nothing that a user can read.
        matcher = LLMatcher(
            self._vocabulary.tokenizer,
            source,
            log_level=0,
            limits=LLParserLimits(verbose_errors=False),
        )
        warnings = matcher.get_grammar_warnings()
        if matcher.is_error() or warnings:
            raise _refusal(matcher.get_error() or warnings[0])
        # An empty language shows with the first mask alone.
        trial = matcher.deep_copy()
        trial.compute_bitmask()
        if trial.is_error():
            raise SchemaRefused(
                "nothing can be written under this grammar: no text meets it",
                hint="look for parts that exclude one another",
            )
        return matcher


def _refusal(reason: str) -> SchemaRefused:
    return SchemaRefused(
        f"this cannot be enforced: {' '.join(reason.split())[:400]}",
        hint="leave out what is named, or check it after the answer",
    )


class Constraint:
    """Where one generation stands in its grammar."""

    def __init__(self, matcher: Any, vocabulary: Vocabulary) -> None:
        self._matcher = matcher
        self._size = vocabulary.size
        self._ends = vocabulary.ends

    def forced(self, room: int) -> list[int]:
        """Tokens that must come next, already consumed: no mask is computed for them.

        Stops looking once there are ``room`` of them; the last run may go beyond.
        """
        forced: list[int] = []
        while len(forced) < room and not self._matcher.is_stopped():
            tokens: list[int] = self._matcher.compute_ff_tokens()
            if not tokens:
                break
            self._consume(tokens)
            forced += tokens
        self._check()
        return forced

    def allowed(self) -> NDArray[np.intp] | None:
        """Ids of the tokens that may follow, in order; None where the text is complete."""
        import numpy as np

        if self._matcher.is_stopped():
            self._check()
            return None
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        # Seen as booleans, flatnonzero is six times faster than on bytes.
        flags = np.unpackbits(bits, bitorder="little").view(np.bool_)
        allowed = np.flatnonzero(flags[: self._size])
        if len(allowed) <= len(self._ends) and self._ends.issuperset(allowed.tolist()):
            return None
        return allowed

    @property
    def complete(self) -> bool:
        """True where nothing can follow. Cheap: no mask is computed, so a text that only its end
        can follow may show as complete in ``allowed`` alone."""
        stopped: bool = self._matcher.is_stopped()
        if stopped:
            self._check()
        return stopped

    def forced_text(self, tokens: Sequence[int]) -> str:
        """What the grammar forces after ``tokens``, which it accepts. Changes nothing."""
        self._consume(list(tokens))
        text = bytes(self._matcher.compute_ff_bytes()).decode("utf-8", "ignore")
        self.rollback(len(tokens))
        return text

    def accepts(self, tokens: Sequence[int]) -> int:
        """How many leading ``tokens`` the grammar would take from here. Changes nothing.

        A token that ends the text is never among them: ``allowed`` says where that may be.
        """
        inner = list(takewhile(lambda token: token not in self._ends, tokens))
        count: int = self._matcher.validate_tokens(inner)
        self._check()
        return count

    def consume(self, token: int) -> None:
        self._consume([token])

    def rollback(self, count: int) -> None:
        """Take back the last ``count`` consumed tokens."""
        if count:
            self._matcher.rollback(count)
            self._check()

    def _consume(self, tokens: list[int]) -> None:
        self._matcher.consume_tokens(tokens)
        self._check()

    def _check(self) -> None:
        # The matcher never raises: it stays in an error state, for example when it runs into
        # its limits on a grammar that branches without end.
        if self._matcher.is_error():
            raise _refusal(self._matcher.get_error())


@lru_cache(KEPT_GRAMMARS)
def _schema_grammar(text: str) -> str:
    from llguidance import LLMatcher

    prepared = json.dumps(enforceable(json.loads(text)))
    return str(LLMatcher.grammar_from_json_schema(prepared, overrides=_JSON_OPTIONS))


def schema_grammar(schema: Mapping[str, Any]) -> str:
    """llguidance's grammar for a JSON Schema (draft 2020-12), with the bounds that
    ``models/enforceable.py`` states. Raises SchemaRefused."""
    return _schema_grammar(_schema_text(schema))


def _schema_text(schema: Mapping[str, Any]) -> str:
    if not isinstance(schema, Mapping):
        raise SchemaRefused(f"a schema is a JSON object, and this is {type(schema).__name__}")
    try:
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaRefused(f"this is no JSON Schema: {error}") from error


def lark_grammar(grammar: str) -> str:
    """llguidance's form of a grammar in Lark (its dialect) or GBNF. Raises SchemaRefused."""
    from llguidance import LLMatcher

    def compact(schema: Any) -> dict[str, Any]:
        return {**enforceable(schema), "x-guidance": _JSON_OPTIONS}

    return str(LLMatcher.grammar_from_lark(lark_text(grammar, compact)))


def regex_grammar(regex: str) -> str:
    """llguidance's form of a regular expression (of Rust) that the whole answer matches.

    Raises SchemaRefused.
    """
    from llguidance import LLMatcher

    refuse_unwritable(regex, "regex")
    return str(LLMatcher.grammar_from_regex(regex))


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


def cut_values(schema: Mapping[str, Any], value: Any) -> list[str]:
    """Where in a finished ``value`` a string or integer is as long as a bound that the schema did
    not state: it may have been cut. Places are JSON pointers; empty where nothing was cut."""
    from models.schemas import violations

    if not any(map(_long, _leaves(value))):
        return []
    tighter = enforceable(json.loads(_schema_text(schema)), slack=1)
    return sorted({place for error in violations(tighter, value) for place in _too_long(error)})


def _too_long(error: ValidationError) -> Iterator[str]:
    last = (CUT_INTEGER - 1, 1 - CUT_INTEGER)
    if error.validator == "maxLength" or error.validator_value in last:
        yield "".join(f"/{part}" for part in error.absolute_path)
    for inner in error.context or ():
        yield from _too_long(inner)


def _long(leaf: Any) -> bool:
    if isinstance(leaf, str):
        return len(leaf) >= LEAST_BOUND
    return isinstance(leaf, int) and abs(leaf) >= CUT_INTEGER


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    else:
        yield value
