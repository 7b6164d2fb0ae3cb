"""Structured calls against the peers: the same file, messages, schemas and threads, one slot.

Two readings: the whole prompt seen before on both sides, and the head alone (instructions,
function, examples) with a request that is new each time. Engines take turns within each
repetition, in an order that rotates, so drift of the machine meets all alike.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.base import Message
from tests.bench.engine_run import Run, is_valid, ms, note, ratio
from tests.bench.engine_schemas import Question, twelve
from tests.bench.peers import LLAMA_CPP_PYTHON, LLAMA_SERVER, Answer, Peer

OURS = "ours"
MAX_TOKENS = 320
REST_S = 0.02
"""Between two turns: an engine's threads spin for a moment after a call, and then sleep."""
TOO_SLOW = 2.0
"""Times the fastest server's first calls: a slower setting is left out, and reported. Where other
programs want the cores, spinning threads make every call take many times as long."""


@dataclass(slots=True)
class Readings:
    """One engine's answers for one schema."""

    seen: list[Answer] = field(default_factory=list)
    new: list[Answer] = field(default_factory=list)


async def measure(run: Run) -> dict[str, Any]:
    questions = twelve()
    peers: dict[str, Peer] = {}
    try:
        for setting in (*LLAMA_SERVER, LLAMA_CPP_PYTHON):
            note(f"  starting {setting.name}")
            peers[setting.name] = Peer(
                setting, run.model, threads=run.generator.threads, n_ctx=run.generator.n_ctx
            )
        systems = {name: peer.about["system"] for name, peer in peers.items()}
        left_out = _leave_out_slow(peers, questions[0])
        table = {q.id: await _question(run, peers, q) for q in questions}
    finally:
        for peer in peers.values():
            peer.close()
    figures = _figures(questions, table)
    figures["structured"] |= {"peer_systems": systems, "left_out_ms": left_out}
    return figures


def _leave_out_slow(peers: dict[str, Peer], q: Question) -> dict[str, float]:
    """Close the server's settings that are far from the fastest; their time of a first call."""
    probe: dict[str, float] = {}
    for setting in LLAMA_SERVER:
        messages = q.messages(q.requests[0])
        peers[setting.name].ask(messages, q.schema, 2)
        time.sleep(REST_S)
        probe[setting.name] = peers[setting.name].ask(messages, q.schema, 24).ms
    best = min(probe.values())
    slow = {name: round(ms_, 1) for name, ms_ in probe.items() if ms_ > TOO_SLOW * best}
    for name in slow:
        note(f"  {name} is left out: {probe[name]:.0f} ms for a call that takes {best:.0f}")
        peers.pop(name).close()
    return slow


async def _question(run: Run, peers: Mapping[str, Peer], q: Question) -> dict[str, Readings]:
    readings = {name: Readings() for name in (OURS, *peers)}
    for name in readings:
        await _ask(run, peers, name, q.messages(q.requests[0]), q.schema)
    for number in range(run.times(7, 3)):
        for name in _rotated(list(readings), number):
            answer = await _ask(run, peers, name, q.messages(q.requests[0]), q.schema)
            readings[name].seen.append(answer)
    for number, request in enumerate(q.requests[1 : run.times(8, 3)]):
        for name in _rotated(list(readings), number):
            answer = await _ask(run, peers, name, q.messages(request), q.schema)
            readings[name].new.append(answer)
    note(
        f"  {q.id:<24} "
        + "  ".join(
            f"{name} {ms([a.ms for a in r.seen])}/{ms([a.ms for a in r.new])}"
            for name, r in readings.items()
        )
    )
    return readings


def _rotated(names: Sequence[str], by: int) -> list[str]:
    by %= len(names)
    return [*names[by:], *names[:by]]


async def _ask(
    run: Run,
    peers: Mapping[str, Peer],
    name: str,
    messages: Sequence[Message],
    schema: Mapping[str, Any],
) -> Answer:
    await asyncio.sleep(REST_S)
    if name != OURS:
        return peers[name].ask(messages, schema, MAX_TOKENS)
    begun = time.perf_counter()
    got = await run.generator.generate(messages, schema=schema, max_tokens=MAX_TOKENS)
    wall = (time.perf_counter() - begun) * 1000
    usage = got.usage
    return Answer(
        wall,
        got.text,
        got.finish,
        usage.tokens_in,
        usage.tokens_cached,
        usage.tokens_out,
        {
            "prefill_ms": usage.prefill_ms,
            "decode_ms": usage.decode_ms,
            "mask_ms": usage.mask_ms,
            "forced": usage.tokens_forced,
            "drafted": usage.tokens_drafted,
            "model_calls": usage.model_calls,
        },
    )


def _figures(
    questions: Sequence[Question], table: Mapping[str, Mapping[str, Readings]]
) -> dict[str, Any]:
    """Medians over the schemas of medians over the calls, where both sides' answers are valid."""
    seen = _against_servers(questions, table, "seen")
    new = _against_servers(questions, table, "new")
    python = _against(questions, table, LLAMA_CPP_PYTHON.name, "seen")
    return {
        "structured_ratio": seen["ratio"],
        "structured_ratio_new_request": new["ratio"],
        "structured_ratio_llama_cpp_python": python["ratio"],
        "structured": {
            "seen": seen,
            "new_request": new,
            "llama_cpp_python": python,
            "by_schema": {q.id: _rows(q, table[q.id]) for q in questions},
        },
    }


def _against_servers(
    questions: Sequence[Question], table: Mapping[str, Mapping[str, Readings]], reading: str
) -> dict[str, Any]:
    """Against the fastest setting of the server."""
    names = [s.name for s in LLAMA_SERVER if s.name in table[questions[0].id]]
    rows = {name: _against(questions, table, name, reading) for name in names}
    best = min(rows, key=lambda name: float(rows[name]["peer_ms"] or "inf"))
    return {
        "peer": best,
        **rows[best],
        "peer_ms_by_setting": {n: r["peer_ms"] for n, r in rows.items()},
    }


def _against(
    questions: Sequence[Question],
    table: Mapping[str, Mapping[str, Readings]],
    peer: str,
    reading: str,
) -> dict[str, Any]:
    ours_ms, peer_ms, by_schema = [], [], {}
    best: list[float] = []
    valid = {OURS: 0, peer: 0}
    asked = 0
    for q in questions:
        ours: list[Answer] = getattr(table[q.id][OURS], reading)
        theirs: list[Answer] = getattr(table[q.id][peer], reading)
        good = []
        for mine, other in zip(ours, theirs, strict=True):
            both = (
                is_valid(q.schema, mine.text, mine.finish),
                is_valid(q.schema, other.text, other.finish),
            )
            asked += 1
            valid[OURS] += both[0]
            valid[peer] += both[1]
            if all(both):
                good.append((mine.ms, other.ms))
        if good:
            ours_ms.append(statistics.median(a for a, _ in good))
            peer_ms.append(statistics.median(b for _, b in good))
            by_schema[q.id] = ratio(ours_ms[-1], peer_ms[-1])
            best.append(min(a for a, _ in good) / min(b for _, b in good))
    if not ours_ms:
        return {"ratio": None, "peer_ms": None, "asked": asked, "valid": valid}
    return {
        "ratio": ratio(statistics.median(ours_ms), statistics.median(peer_ms)),
        "ours_ms": ms(ours_ms),
        "peer_ms": ms(peer_ms),
        "median_of_ratios": round(statistics.median(by_schema.values()), 3),
        "median_of_best_ratios": round(statistics.median(best), 3),
        "ratio_by_schema": by_schema,
        "schemas": len(ours_ms),
        "asked": asked,
        "valid": valid,
    }


def _rows(q: Question, readings: Mapping[str, Readings]) -> dict[str, Any]:
    return {
        name: {
            reading: {
                "ms": ms([a.ms for a in answers]),
                "tokens_in": ms([a.tokens_in for a in answers]),
                "tokens_cached": ms([a.tokens_cached for a in answers]),
                "tokens_out": ms([a.tokens_out for a in answers]),
                "valid": sum(is_valid(q.schema, a.text, a.finish) for a in answers),
                "of": len(answers),
                "timings": {
                    key: ms([a.timings[key] for a in answers]) for key in answers[0].timings
                },
            }
            for reading, answers in (("seen", r.seen), ("new_request", r.new))
        }
        for name, r in readings.items()
    }
