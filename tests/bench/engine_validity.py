"""Every output valid, and the same as token by token.

``valid_share``: of 200 functions of BFCL, the answers that meet their schema and were not cut,
among those that were not refused. ``greedy_equal``: answers that are the same text as the same
call decoded token by token under the same grammar. Of the others, ``greedy_flips`` part where the
two best tokens were within 0.05, and ``greedy_wrong`` elsewhere; ``greedy_equal_but_flips`` counts
the flips as equal.
"""

from __future__ import annotations

from typing import Any

from models.base import Generation
from models.decoding import Decoding
from models.errors import SchemaRefused
from tests.bench.engine_run import Run, difference, is_valid, note
from tests.bench.engine_schemas import Question, many, twelve

MAX_TOKENS = 512
SCHEMAS = 200
PLAIN = Decoding(fast_forward=False, draft_tokens=0)


async def measure(run: Run) -> dict[str, Any]:
    refused: list[dict[str, str]] = []
    invalid: list[str] = []
    answered: list[tuple[Question, str, Generation]] = []
    questions = many(run.times(SCHEMAS, 30))
    for q in questions:
        try:
            answer = await _answer(run, q, q.requests[0])
        except SchemaRefused as error:
            refused.append({"id": q.id, "reason": error.message})
            note(f"  refused {q.id}: {error.message}")
            continue
        if not is_valid(q.schema, answer.text, answer.finish):
            invalid.append(q.id)
            note(f"  not valid ({answer.finish}) {q.id}: {answer.text[-160:]!r}")
        answered.append((q, q.requests[0], answer))
    asked = len(answered)
    for q in twelve():
        for request in q.requests[: run.times(6, 2)]:
            answered.append((q, request, await _answer(run, q, request)))
    note(f"  {asked - len(invalid)} of {asked} valid; token by token now")
    return {
        "valid_share": round(1 - len(invalid) / asked, 4),
        "refused": refused,
        "validity": {"schemas": len(questions), "answered": asked, "invalid": invalid},
        **await _greedy(run, answered),
    }


async def _answer(
    run: Run, q: Question, request: str, decoding: Decoding | None = None
) -> Generation:
    return await run.generator.generate(
        q.messages(request), schema=q.schema, max_tokens=MAX_TOKENS, decoding=decoding
    )


async def _greedy(run: Run, answered: list[tuple[Question, str, Generation]]) -> dict[str, Any]:
    parted: list[dict[str, Any]] = []
    for q, request, fast in answered:
        plain = await _answer(run, q, request, PLAIN)
        if (found := difference(fast, plain)) is not None:
            parted.append(
                {
                    "id": q.id,
                    "margin": round(found.margin, 4),
                    "flip": found.flip,
                    "fast": fast.text[max(0, found.at - 20) : found.at + 20],
                    "plain": plain.text[max(0, found.at - 20) : found.at + 20],
                }
            )
            note(f"  differs: {parted[-1]}")
    flips = sum(row["flip"] for row in parted)
    return {
        "greedy_equal": round(1 - len(parted) / len(answered), 4),
        "greedy_equal_but_flips": round(1 - (len(parted) - flips) / len(answered), 4),
        "greedy_flips": flips,
        "greedy_wrong": len(parted) - flips,
        "greedy": {"calls": len(answered), "parted": parted},
    }
