"""Serving a call on this machine: words and JSON as they are written, tool calls once judged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.base import Generation, Token
from models.pool import GENERATOR
from models.streaming import TextStream
from runtime.core import Decision, Result
from runtime.daemon.proxy import local
from runtime.daemon.proxy.answers import fingerprint_of
from runtime.daemon.proxy.case import Case
from runtime.daemon.proxy.parts import Calls, Finish, Head, Used, Words
from runtime.daemon.proxy.tagging import after_tools, offers_tools
from runtime.decisions import is_unsure

if TYPE_CHECKING:
    from models.pooled import PooledGenerator


async def answer_here(case: Case, decision: Decision) -> Result | Decision:
    """The answer, all of it handed on; or the decision that takes the call elsewhere.

    Raises Overloaded and DeadlineMissed where no slot came free, and what the model raises.
    """
    async with case.desk.slots.taken(case.asked.client, deadline_s=case.deadline_s):
        if offers_tools(case.request) and not after_tools(case.request):
            return await _call_tools(case, decision)
        return await _write(case, decision)


def _model(case: Case) -> str:
    target = case.asked.target
    return target.name if target.side == "local" else GENERATOR


async def _generator(case: Case) -> PooledGenerator:
    staff, model = case.desk.staff, _model(case)
    if (generator := staff.loaded(model)) is not None:
        return generator
    return await asyncio.to_thread(staff.generator, model)


async def _begin(case: Case, decision: Decision, generator: PooledGenerator, unsure: str) -> None:
    await case.recorder.settled()
    if case.exchange.begun:  # by another choice, meanwhile
        return
    name = f"local/{_model(case)}"
    print_ = fingerprint_of(generator.model)
    case.exchange.begin(Head(decision, name, unsure=unsure, fingerprint=print_))


# ---- words


async def _write(case: Case, decision: Decision) -> Result:
    """Every choice at once, each streamed as it is written."""
    generator = await _generator(case)
    unsure = decision.reason if is_unsure(decision) else ""
    count = range(case.request.n)
    writers = [_Writer(case, decision, generator, index, unsure) for index in count]
    tasks = [asyncio.create_task(w.run()) for w in writers]
    try:
        generations = await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    calls = [local.call_of(case.step, decision, case.request, g) for g in generations]
    case.recorder.hold(*calls)
    first = generations[0].usage
    written = sum(c.tokens_out for c in calls)
    case.exchange.add(Used(first.tokens_in, written, first.tokens_cached))
    answers = [g.text for g in generations]
    answer = answers[0] if len(answers) == 1 else answers
    return Result(case.task.id, "unsure" if unsure else "done", answer, unsure)


class _Writer:
    """One choice: its tokens come from the engine's thread and leave as text."""

    def __init__(
        self, case: Case, decision: Decision, generator: PooledGenerator, index: int, unsure: str
    ) -> None:
        self._case, self._decision, self._generator = case, decision, generator
        self._index, self._unsure = index, unsure
        self._loop = asyncio.get_running_loop()
        self._tokens: asyncio.Queue[Sequence[Token] | None] = asyncio.Queue()
        self._stream = TextStream(case.request.stop)
        self._kept: list[Token] = []
        """Those whose text waits: it may yet turn out to be no part of the answer."""
        self._kept_at = 0
        """Bytes of the answer before them."""
        self._shown = 0
        """Bytes of the answer that were handed on."""

    async def run(self) -> Generation:
        made = asyncio.create_task(self._generate())
        try:
            while (tokens := await self._tokens.get()) is not None:
                await self._put(tokens)
            generation = await made
        finally:
            if not made.done():
                made.cancel()
                await asyncio.gather(made, return_exceptions=True)
        await self._begin()
        self._hand_on(self._stream.finish(), last=not self._stream.stopped)
        self._case.exchange.add(Finish(self._index, generation.finish))
        return generation

    async def _generate(self) -> Generation:
        def hand_over(tokens: Sequence[Token]) -> None:
            self._loop.call_soon_threadsafe(self._tokens.put_nowait, tuple(tokens))

        try:
            return await local.generate(self._generator, self._case.request, self._index, hand_over)
        finally:
            # Behind every token that the engine's thread handed over before it was through.
            self._loop.call_soon(self._tokens.put_nowait, None)

    async def _put(self, tokens: Sequence[Token]) -> None:
        await self._begin()
        text = ""
        for token in tokens:
            if not self._stream.stopped and self._case.request.logprobs:
                self._kept.append(token)
            text += self._stream.feed(token.piece)
        self._hand_on(text)

    def _hand_on(self, text: str, *, last: bool = False) -> None:
        """``text``, with the tokens that it came from; ``last``: with all that are left."""
        self._shown += len(text.encode("utf-8", "replace"))
        told: list[Token] = []
        while self._kept and (last or self._kept_at < self._shown):
            end = self._kept_at + len(self._kept[0].piece)
            if self._stream.stopped and end > self._shown:  # the stop text begins in it
                break
            told.append(self._kept.pop(0))
            self._kept_at = end
        if text or told:
            self._case.exchange.add(Words(self._index, text, tuple(told)))

    async def _begin(self) -> None:
        if not self._case.exchange.begun:
            await _begin(self._case, self._decision, self._generator, self._unsure)


# ---- tool calls


async def _call_tools(case: Case, decision: Decision) -> Result | Decision:
    """The Tool User's calls, where they are kept; where no tool fits and none has to be called,
    words."""
    request, step, task = case.request, case.step, case.task
    tool_user = await asyncio.to_thread(case.desk.staff.tool_user, _model(case))
    proposed = await local.propose(case.team, tool_user, request, task, step, decision)
    case.recorder.hold(*proposed.records)
    weakest = proposed.weakest
    pinned = case.asked.target.pinned
    if not pinned and not is_unsure(decision):
        progress = case.recorder.progress
        decision = await case.choosing.judged(decision, task, step, weakest, progress)
        if not decision.chosen.startswith("local:"):
            return decision  # whoever follows it notes it
        await case.recorder.note(decision)
    misfit = any("No offered tool fits" in problem for problem in proposed.problems)
    if misfit and request.tool_choice.mode == "auto":
        return await _write(case, decision)
    unsure = "; ".join(proposed.problems) if pinned else ""
    if is_unsure(decision):
        unsure = decision.reason
    calls = proposed.calls()
    written = [{"name": c.name, "arguments": json.loads(c.arguments)} for c in calls]
    generator = await _generator(case)
    await _begin(case, decision, generator, unsure)
    case.exchange.add(Calls(0, calls))
    case.exchange.add(Finish(0, "tool_calls"))
    tokens_in = max((c.tokens_in for c in proposed.records), default=0)
    tokens_out = sum(c.tokens_out for c in proposed.records if c.serves)
    case.exchange.add(Used(tokens_in, tokens_out))
    case.desk.issued.note(calls, task.id, step.id)
    return Result(task.id, "unsure" if unsure else "done", written, unsure)
