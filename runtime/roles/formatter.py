"""The Formatter: data or words in the form that was asked for.

A schema, a template, or a plain answer. Rules map what they can (``mapping``, ``templates``), and
that is no model call. What they cannot, the SLM generates under the schema; its values are
looked for in the source, and those not found there cost confidence. What comes out meets the
schema, or SchemaRefused is raised.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from models.base import Encoder, Generation, Generator, Message
from models.errors import SchemaRefused
from models.schemas import check, violations
from runtime.core import Call, Decision, Step, Task, new_id
from runtime.roles import templates
from runtime.roles.filling import Filled, fill
from runtime.roles.functions import from_functions
from runtime.roles.grounding import spans
from runtime.roles.mapping import fit

MAX_TOKENS = 768
WORDS_TOKENS, TALK_TOKENS = 256, 48
"""Most tokens of an answer in plain words, and of small talk."""
UNGROUNDED_FACTOR = 0.6
"""Confidence left for each generated value that stands nowhere in the source."""
SYSTEM = "You turn data into the form that is asked for. Copy values exactly. Invent nothing."


class Formatter:
    """Formats answers. ``encoder`` matches names of columns and properties that differ."""

    def __init__(self, generator: Generator, encoder: Encoder) -> None:
        self.generator = generator
        self.encoder = encoder

    async def format(
        self, task: Task, step: Step, decision: Decision, data: Any
    ) -> tuple[Any, float, list[Call]]:
        """The value in its form, its confidence, and the model calls that it took.

        Raises SchemaRefused where the schema is none, or nothing could be made to meet it.
        """
        record = _Record(task, step, decision, self)
        if task.template is not None:
            return await self._template(record, task.template, data)
        if task.schema is not None:
            return await self._schema(record, task.schema, data)
        if isinstance(data, str) and data == step.text and step.kind in ("format", "dialogue"):
            return await self._words(record)
        return _plain(data), 1.0, record.calls

    async def _schema(
        self, record: _Record, schema: Mapping[str, Any], data: Any
    ) -> tuple[Any, float, list[Call]]:
        check(schema)
        asked = isinstance(data, str) and data == record.step.text
        if not asked:
            try:
                value = await asyncio.to_thread(fit, data, schema, record.similar)
            except LookupError:
                value = None
            if value is not None and not violations(schema, value):
                return value, 1.0, record.calls
        elif extracted := await self._extracted(record, schema, str(data)):
            value, confidence = extracted
            if not violations(schema, value):
                return value, confidence, record.calls
        return await self._generated(record, schema, data)

    async def _extracted(
        self, record: _Record, schema: Mapping[str, Any], text: str
    ) -> tuple[Any, float] | None:
        """A flat object out of words: its properties are slots like any tool's."""
        properties = schema.get("properties")
        if schema.get("type") != "object" or not isinstance(properties, Mapping):
            return None
        about = str(schema.get("description") or schema.get("title") or "Extract the values.")
        tool = {"function": {"name": "extract", "description": about, "parameters": schema}}
        (recipe,) = from_functions([tool])
        if any(s.type == "json" for s in recipe.slots):
            return None
        now = _now(record.task)
        folder = Path(record.task.folder) if record.task.folder else Path.cwd()
        got = await fill(self.generator, text, recipe, now=now, folder=folder)
        if got.usage is not None:
            record.add_fill(got)
        return (dict(got.arguments), got.confidence) if not got.problems else None

    async def _generated(
        self, record: _Record, schema: Mapping[str, Any], data: Any
    ) -> tuple[Any, float, list[Call]]:
        source = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        messages: tuple[Message, ...] = (
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"{record.task.text}\n\nData:\n{source}"},
        )
        generation = await self.generator.generate(messages, schema=schema, max_tokens=MAX_TOKENS)
        record.add(messages, generation, {"schema": dict(schema)})
        try:
            value = json.loads(generation.text)
        except ValueError as error:
            raise SchemaRefused(
                f"The answer did not fit into {MAX_TOKENS} tokens under this schema; "
                "the data itself is kept in the record.",
                hint="Ask for less, or leave out the schema.",
            ) from error
        problem = next(iter(violations(schema, value)), None)
        if problem is not None:
            raise SchemaRefused(
                f"Nothing could be made to meet the schema: {problem.message[:200]}.",
                hint="Check what the schema asks for against what the task can give.",
            )
        invented = _invented(value, f"{source}\n{record.task.text}", schema)
        return value, generation.confidence * UNGROUNDED_FACTOR**invented, record.calls

    async def _template(
        self, record: _Record, template: str, data: Any
    ) -> tuple[Any, float, list[Call]]:
        names = templates.fields(template)
        if isinstance(data, list) and len(data) > 1:
            # Several rows that hold every field: the template once for each, so none is dropped.
            rows = [templates.values_from_data(names, row) for row in data]
            if all(len(row) == len(names) for row in rows):
                lines = [templates.filled(template, row) for row in rows]
                return "\n".join(lines), 1.0, record.calls
        values: dict[str, Any] = templates.values_from_data(names, data)
        text = record.task.text.replace(template, " ")
        said = templates.values_from_text([n for n in names if n not in values], text)
        values = {**said, **values}
        missing = [n for n in names if n not in values]
        if not missing:
            return templates.filled(template, values), 1.0, record.calls
        source = text if isinstance(data, str) or data is None else f"{text}\n{json.dumps(data)}"
        schema = {
            "type": "object",
            "properties": {n: {"type": "string", "maxLength": 200} for n in missing},
            "required": missing,
            "additionalProperties": False,
        }
        messages: tuple[Message, ...] = (
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"{source}\n\nGive: {', '.join(missing)}"},
        )
        generation = await self.generator.generate(messages, schema=schema, max_tokens=MAX_TOKENS)
        record.add(messages, generation, {"schema": schema})
        try:
            values |= json.loads(generation.text)
        except ValueError:
            return template, 0.0, record.calls
        invented = _invented({n: values[n] for n in missing}, source, schema)
        confidence = generation.confidence * UNGROUNDED_FACTOR**invented
        return templates.filled(template, values), confidence, record.calls

    async def _words(self, record: _Record) -> tuple[Any, float, list[Call]]:
        """A request to format that brings its own material, or small talk.

        What a small model says freely is grounded in nothing, so talk is never sure.
        """
        text = record.step.text
        quoted = [s.value for s in spans(text, now=_now(record.task), folder=Path("/")) if s.quoted]
        template = templates.find_template(text, quoted)
        if template is not None:
            return await self._template(record, template, None)
        messages: tuple[Message, ...] = ({"role": "user", "content": text},)
        talk = record.step.kind == "dialogue"
        limit = TALK_TOKENS if talk else WORDS_TOKENS
        generation = await self.generator.generate(messages, max_tokens=limit)
        record.add(messages, generation, {})
        if talk:
            return generation.text.strip(), 0.0, record.calls
        complete = 1.0 if generation.finish == "stop" else 0.5
        return generation.text.strip(), generation.confidence * complete, record.calls


class _Record:
    """The model calls of one formatting."""

    def __init__(self, task: Task, step: Step, decision: Decision, formatter: Formatter) -> None:
        self.task, self.step, self.decision = task, step, decision
        self._formatter = formatter
        self.calls: list[Call] = []

    def similar(self, left: Sequence[str], right: Sequence[str]) -> list[list[float]]:
        """Cosines by the encoder: a model call, and recorded as one."""
        encoder = self._formatter.encoder
        rows = encoder.embed([*left, *right])
        cosines = rows[: len(left)] @ rows[len(left) :].T
        texts = "; ".join([*left, *right])
        self._append(
            encoder.model,
            ({"role": "user", "content": texts},),
            {"match": len(left)},
            "",
            float(cosines.max()),
        )
        return [[float(c) for c in row] for row in cosines]

    def add(
        self, messages: Sequence[Message], generation: Generation, parameters: Mapping[str, Any]
    ) -> None:
        self._append(
            generation.model,
            messages,
            parameters,
            generation.text,
            generation.confidence,
            generation,
        )

    def add_fill(self, got: Filled) -> None:
        usage = got.usage
        if usage is None:
            return
        answer = got.choice.option if got.choice else json.dumps(dict(got.arguments), default=str)
        model = got.choice.model if got.choice else self._formatter.generator.model
        self._append(model, got.messages, {}, answer, got.confidence, got)

    def _append(
        self,
        model: str,
        messages: Sequence[Message],
        parameters: Mapping[str, Any],
        answer: str,
        confidence: float,
        source: Generation | Filled | None = None,
    ) -> None:
        usage = source.usage if source is not None else None
        text = " ".join(m["content"] for m in messages)
        self.calls.append(
            Call(
                id=new_id("call"),
                task_id=self.task.id,
                step_id=self.step.id,
                decision_id=self.decision.id,
                kind="format",
                role="formatter",
                model=model,
                messages=tuple(messages),
                parameters=dict(parameters),
                answer=answer,
                confidence=confidence,
                tokens_in=usage.tokens_in
                if usage
                else self._formatter.generator.count_tokens(text),
                tokens_out=usage.tokens_out if usage else 0,
                tokens_cached=usage.tokens_cached if usage else 0,
                queue_ms=usage.queue_ms if usage else 0.0,
                prefill_ms=usage.prefill_ms if usage else 0.0,
                decode_ms=usage.decode_ms if usage else 0.0,
                mask_ms=usage.mask_ms if usage else 0.0,
            )
        )


def _now(task: Task) -> datetime:
    return datetime.fromisoformat(task.now) if task.now else datetime.now()


def _plain(data: Any) -> Any:
    """Data with nothing asked of its form: rows and numbers as they are, text without its ends."""
    if data is None:
        return "Done."
    return data.strip() if isinstance(data, str) else data


def _invented(value: Any, source: str, schema: Mapping[str, Any]) -> int:
    """How many strings and numbers of ``value`` stand neither in ``source`` nor in ``schema``."""
    known = f"{source}\n{json.dumps(schema, ensure_ascii=False)}".lower()
    return sum(str(leaf).lower() not in known for leaf in _leaves(value))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [leaf for v in value.values() for leaf in _leaves(v)]
    if isinstance(value, list):
        return [leaf for v in value for leaf in _leaves(v)]
    return [] if value is None or isinstance(value, bool) or value == "" else [value]
