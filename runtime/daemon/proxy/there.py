"""Serving a call through the General: asked first where the user wants that, forwarded as it came
but for what is redacted, and handed back as it comes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.errors import Denied, GeneralFailed
from models.forwarding import Forwarded, Sent
from models.remote import Permit
from models.remote_failures import Unanswered
from runtime.core import GENERAL, Call, Decision, Result, new_id
from runtime.daemon.proxy.case import Case
from runtime.daemon.proxy.collecting import Collected, Collector
from runtime.daemon.proxy.local import parameters_of
from runtime.daemon.proxy.outgoing import Outgoing, Shown
from runtime.daemon.proxy.parts import Head, Raw
from runtime.daemon.proxy.restoring import restoring
from runtime.roles.seats import failed_at, first_answer

if TYPE_CHECKING:
    from runtime.roles.seats import Seat


LAST_EVENTS = (b"data: [DONE]", b"data:[DONE]", b"event: response.completed")
"""What the last event of a stream holds. One that is split over two chunks is not held."""


async def answer_there(case: Case, decision: Decision) -> Result:
    """The General's answer, all of it handed on.

    Raises Denied where it was not approved; Unanswered where no General answers, or where the
    answer breaks off.
    """
    permit = await _permit(case, decision)
    outgoing = await case.choosing.outgoing()
    seat, answer, failures = await _first_that_answers(case, decision, outgoing, permit)
    restored = restoring(outgoing, answer.content_type)
    collecting, broken = Collector(answer.content_type), True
    head = Head(
        decision,
        seat.remote.model,
        status=answer.status,
        content_type=answer.content_type or "application/octet-stream",
        headers=answer.headers,
    )
    handing = _Handing(case, collecting)
    try:
        case.exchange.begin(head)
        async for chunk in answer.chunks:
            await handing.on(restored.feed(chunk))
        await handing.on(restored.end())
        broken = False
    finally:
        # Whatever cancels us, the record is finished.
        collected, call = await asyncio.shield(
            _ended(case, decision, seat, outgoing, answer, collecting, failures, broken=broken)
        )
    if answer.status >= 400:
        return Result(case.task.id, "failed", None, f"the General refused: {answer.status}")
    case.desk.issued.note(collected.calls, case.task.id, case.step.id)
    return Result(case.task.id, "done", call.answer)


async def _ended(
    case: Case,
    decision: Decision,
    seat: Seat,
    outgoing: Outgoing,
    answer: Forwarded,
    collecting: Collector,
    failures: list[dict[str, Any]],
    *,
    broken: bool,
) -> tuple[Collected, Call]:
    """The connection let go of, and what was asked and answered on record."""
    await answer.aclose()
    collected = collecting.end()
    shown = outgoing.shown(seat.remote.model)
    # Counting tokens takes a while where the General did not, and the request is long.
    call = await asyncio.to_thread(_call, case, decision, seat, shown, answer, collected)
    if failures:
        call = replace(
            call,
            parameters={**call.parameters, "failed": failures},
            bytes_sent=call.bytes_sent + sum(f["bytes_sent"] for f in failures),
        )
    if broken:
        call = replace(call, parameters={**call.parameters, "cut": True})
    await case.recorder.note(call)
    return collected, call


class _Handing:
    """Hands the answer on and reads it; from its last event on, it is held until it is on
    record."""

    def __init__(self, case: Case, collecting: Collector) -> None:
        self._case, self._collecting = case, collecting
        self._ends = False

    async def on(self, data: bytes) -> None:
        if not data:
            return
        self._collecting.feed(data)
        self._ends = self._ends or any(mark in data for mark in LAST_EVENTS)
        if self._ends:
            self._case.exchange.hold(Raw(data))
        else:
            await self._case.exchange.put(Raw(data))


async def _permit(case: Case, decision: Decision) -> Permit:
    privacy = case.choosing.mode(case.task, decision)
    if privacy != "ask":
        return Permit(privacy, "policy")
    preview = await case.choosing.preview(case.task, case.step)
    wait_s = case.deadline_s / 2
    try:
        async with asyncio.timeout(wait_s):
            allowed = await case.approver.send(preview)
    except TimeoutError as error:
        raise Denied(
            f"Privacy mode 'ask': nobody approved sending this within {wait_s:g} s.",
            hint='Approve calls in `aidecamp tui`, or set privacy = "auto" in config.toml.',
        ) from error
    if not allowed:
        raise Denied("Privacy mode 'ask': sending this was not approved.")
    return Permit(privacy, "user")


async def _first_that_answers(
    case: Case, decision: Decision, outgoing: Outgoing, permit: Permit
) -> tuple[Seat, Forwarded, list[dict[str, Any]]]:
    """Each General in order of preference, until one answers."""
    seats = case.choosing.seats()
    if not seats:
        raise GeneralFailed("No General is configured.", hint="Set one in config.toml.")
    left = Sent()  # for those who were asked before

    async def forward(seat: Seat, left_s: float | None) -> Forwarded:
        sent = Sent()
        try:
            return await seat.remote.forward(
                case.asked.path,
                outgoing.body(seat.remote.model),
                permit,
                headers=case.asked.headers,
                streamed=outgoing.streamed,
                timeout_s=left_s,
                sent=sent,
            )
        except Unanswered as failure:
            left.total += failure.bytes_sent
            raise
        except asyncio.CancelledError:
            if total := left.total + sent.total:
                await asyncio.shield(_stopped(case, decision, seat, outgoing, total))
            raise

    limit_s = case.desk.staff.policy.general_timeout_s
    seat, answer, failures = await first_answer(seats, limit_s, forward)
    return seat, answer, [failed_at(s, f) for s, f in failures]


def _call(
    case: Case,
    decision: Decision,
    seat: Seat,
    shown: Shown,
    answer: Forwarded,
    collected: Collected,
) -> Call:
    parameters: dict[str, Any] = {**_asked_of(case, seat), "status": answer.status}
    if answer.attempts > 1:
        parameters["attempts"] = answer.attempts
    tokens_in, tokens_out = collected.tokens_in, collected.tokens_out
    if answer.status < 400 and not tokens_in:  # it counts none: the local tokenizer's estimate
        tokens_in = _estimated(case, shown)
        tokens_out = case.team.general.count_tokens(collected.text)
        parameters["tokens"] = "estimated"
    if collected.finish == "length":
        parameters["finish"] = "length"
    return replace(
        _unpaid(case, decision, parameters, answer.bytes_sent, answer.sent),
        model=collected.model or seat.remote.model,
        messages=shown.said,
        answer=_written(collected),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_cached=collected.tokens_cached,
        prefill_ms=answer.first_byte_ms,
        decode_ms=max(0.0, (answer.ms or answer.first_byte_ms) - answer.first_byte_ms),
        cost_usd=seat.cost(tokens_in, tokens_out),
    )


def _written(collected: Collected) -> str:
    """The answer as the record has it: its words, or its tool calls as JSON, after its words."""
    words = [t for t in (collected.text or collected.refusal, *collected.more) if t]
    calls = [{"name": c.name, "arguments": c.arguments} for c in collected.calls]
    if not calls:
        return "\n".join(words)
    return json.dumps([*words, *calls], ensure_ascii=False)


async def _stopped(
    case: Case, decision: Decision, seat: Seat, outgoing: Outgoing, bytes_sent: int
) -> None:
    """Records a call that was stopped before it was answered. It may be billed all the same: what
    it asked counts, by the local tokenizer's estimate."""
    shown = outgoing.shown(seat.remote.model)
    tokens_in = await asyncio.to_thread(_estimated, case, shown)
    parameters = {**_asked_of(case, seat), "tokens": "estimated", "cut": True}
    call = replace(
        _unpaid(case, decision, parameters, bytes_sent),
        model=seat.remote.model,
        messages=shown.said,
        tokens_in=tokens_in,
        cost_usd=seat.cost(tokens_in, 0),
    )
    await case.recorder.note(call)


def unanswered_call(case: Case, decision: Decision, failure: Unanswered) -> Call:
    """The record of a call that brought no answer, so that what left is still accounted for."""
    parameters = {**parameters_of(case.request), "error": failure.message}
    if failure.failures:
        parameters["failed"] = list(failure.failures)
    return _unpaid(case, decision, parameters, failure.bytes_sent, failure.sent)


def _unpaid(
    case: Case, decision: Decision, parameters: dict[str, Any], bytes_sent: int, sent: str = ""
) -> Call:
    """A call to the General as far as it is the same whatever came of it."""
    return Call(
        id=new_id("call"),
        task_id=case.task.id,
        step_id=case.step.id,
        decision_id=decision.id,
        kind=case.step.kind,
        role=GENERAL,
        model=case.choosing.general_name() or "",
        messages=(),
        parameters=parameters,
        answer="",
        confidence=None,
        tokens_in=0,
        tokens_out=0,
        bytes_sent=bytes_sent,
        sent=sent,
    )


def _asked_of(case: Case, seat: Seat) -> dict[str, Any]:
    """What was asked, and of whom."""
    return {**parameters_of(case.request), "general": seat.name, "to": seat.remote.base_url}


def _estimated(case: Case, shown: Shown) -> int:
    """Tokens of what left, by the local tokenizer."""
    return case.team.general.count_tokens("\n".join(m["content"] for m in shown.said))
