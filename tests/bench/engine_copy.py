"""Copying: records of about 200 tokens written as JSON, with drafts from the prompt and without.

One example stands in front, as a caller of a small model would put it; what is copied is drawn
anew for each record.

``copy_speedup``: tokens/s with drafts by tokens/s without, both with fast-forward, the prompt
decoded before. ``copy_identical``: records whose answers are the same text, or part only where
the two best tokens were within 0.05 (those are the ``flips``).
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Mapping
from typing import Any

from models.base import Generation, Message
from models.decoding import Decoding
from tests.bench.engine_run import Run, difference, is_valid, note

MODES: Mapping[str, Decoding] = {
    "drafts": Decoding(),
    "no drafts": Decoding(draft_tokens=0),
    "token by token": Decoding(fast_forward=False, draft_tokens=0),
}
MAX_TOKENS = 512
FIELDS = {
    "company": ("Halden Instruments", "Kestrel Marine Supply", "Orrin & Vale", "Tamsin Optics"),
    "contact": ("Dr. Ingrid Solheim", "Matteo Brandt", "Aoife Gallagher", "Ruben Castellanos"),
    "street": ("Harbour Road", "Lindenallee", "Rue des Tanneurs", "Mill Lane", "Calle del Pozo"),
    "city": ("Trondheim", "Groningen", "Valladolid", "Maribor", "Linköping"),
    "subject": (
        "two calibrated pressure sensors arrived with cracked housings",
        "the spare gearbox for the second pump has not been delivered",
        "the invoice lists a service visit that never took place",
        "the replacement lenses do not fit the frames that were ordered",
    ),
    "request": (
        "send two replacements by courier and collect the broken ones next week",
        "confirm the new delivery date in writing before the end of the month",
        "correct the invoice and return the amount to the account on file",
        "exchange the lenses free of charge and extend the warranty by one year",
    ),
    "terms": (
        "payment within thirty days of the invoice, two percent discount within ten days",
        "payment in advance, delivery free of charge from an order of 500 euros on",
        "delivery within five working days, insurance is included in the price",
    ),
    "remark": (
        "the boxes were already wet when the driver handed them over at the gate",
        "the warehouse is closed on Friday afternoon and all of Saturday",
        "please quote the order number in every reply to this message",
        "the technician should call half an hour before he arrives on site",
    ),
}
EXAMPLE = 1_000
"""Seed of the record that is shown as an example in front of every other."""
KEYS = (
    *("reference", "date", "company", "contact", "email", "phone", "street", "city"),
    *("subject", "request", "terms", "remark", "internal_note"),
)
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {key: {"type": "string", "maxLength": 200} for key in KEYS},
    "required": list(KEYS),
    "additionalProperties": False,
}


def record(seed: int) -> dict[str, str]:
    """A customer's letter as a record; all of its values differ from seed to seed."""
    source = random.Random(seed)
    drawn = {name: source.choice(values) for name, values in FIELDS.items()}
    number = source.randrange(10_000, 100_000)
    name = drawn["contact"].split()[-1].lower()
    values = {
        "reference": f"{source.choice('ABCDEFGH')}-{number}/{source.randrange(10, 99)}",
        "date": f"2026-{source.randrange(1, 13):02}-{source.randrange(1, 29):02}",
        "email": f"{name}{source.randrange(10, 99)}@example.com",
        "phone": f"+{source.randrange(30, 60)} {number} {source.randrange(1000, 9999)}",
        "internal_note": f"case {number} was opened by {source.choice(FIELDS['contact'])} "
        f"after a call of {source.randrange(3, 50)} minutes",
        **drawn,
        "street": f"{drawn['street']} {source.randrange(1, 200)}",
    }
    return {key: values[key] for key in KEYS}


def lines(values: Mapping[str, str]) -> str:
    return "\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in values.items())


def messages(seed: int) -> tuple[Message, ...]:
    example = record(EXAMPLE)
    return (
        {"role": "system", "content": "Write the record as JSON. Copy every value exactly."},
        {"role": "user", "content": lines(example)},
        {"role": "assistant", "content": json.dumps(example, separators=(",", ":"))},
        {"role": "user", "content": lines(record(seed))},
    )


async def measure(run: Run) -> dict[str, Any]:
    speeds: dict[str, list[float]] = {mode: [] for mode in MODES}
    compared = {"no drafts": 0, "token by token": 0}
    flips = dict(compared)
    drafted = tokens = right = valid = 0
    count = run.times(12, 4)
    sizes: list[int] = []
    equals: list[bool] = []
    for seed in range(count):
        sizes.append(run.generator.count_tokens(lines(record(seed))))
        answers = await _answers(run, seed, speeds)
        fast = answers["drafts"]
        tokens += fast.usage.tokens_out
        drafted += fast.usage.tokens_drafted
        valid += is_valid(SCHEMA, fast.text, fast.finish)
        right += _values(fast) == record(seed)
        for mode in compared:
            found = difference(fast, answers[mode])
            compared[mode] += found is None
            flips[mode] += found is not None and found.flip
            if mode == "no drafts":
                equals.append(found is None)
            if found is not None:
                note(f"  record {seed}: differs from {mode} at {found.at}, margin {found.margin}")
    median = {mode: statistics.median(values) for mode, values in speeds.items()}
    note(f"  tokens/s {median}")
    same = [
        a / b
        for a, b, equal in zip(speeds["drafts"], speeds["no drafts"], equals, strict=True)
        if equal
    ]
    identical = {mode: (compared[mode] + flips[mode]) / count for mode in compared}
    return {
        "copy_speedup": round(median["drafts"] / median["no drafts"], 3),
        "copy_identical": round(identical["no drafts"], 4),
        "copy": {
            "tokens_per_s": {mode: round(value, 1) for mode, value in median.items()},
            "speedup_over_token_by_token": round(median["drafts"] / median["token by token"], 3),
            "speedup_where_same_text": round(statistics.median(same), 3) if same else None,
            "same_text": compared,
            "flips": flips,
            "identical_to_token_by_token": round(identical["token by token"], 4),
            "records": count,
            "record_tokens": round(statistics.median(sizes)),
            "answer_tokens": round(tokens / count),
            "drafted_share": round(drafted / tokens, 3),
            "valid": valid,
            "copied_exactly": right,
        },
    }


async def _answers(run: Run, seed: int, speeds: Mapping[str, list[float]]) -> dict[str, Generation]:
    """The record in every mode, in turns; the first call decodes the prompt and is not timed."""
    await run.generator.generate(messages(seed), schema=SCHEMA, max_tokens=1)
    answers: dict[str, Generation] = {}
    walls: dict[str, list[float]] = {mode: [] for mode in MODES}
    for _ in range(run.times(3, 2)):
        for mode, decoding in MODES.items():
            begun = time.perf_counter()
            answers[mode] = await run.generator.generate(
                messages(seed), schema=SCHEMA, max_tokens=MAX_TOKENS, decoding=decoding
            )
            walls[mode].append(time.perf_counter() - begun)
    for mode, answer in answers.items():
        speeds[mode].append(answer.usage.tokens_out / statistics.median(walls[mode]))
    return answers


def _values(answer: Generation) -> Any:
    try:
        return json.loads(answer.text)
    except ValueError:
        return None
