"""Local answers to proxied calls: words or JSON from an SLM, tool calls from the Tool User."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.base import Generation, Message, Token
from models.sampling import Sampling
from runtime.core import Call, Decision, Step, Task, new_id
from runtime.daemon.proxy.parts import ToolCall
from runtime.daemon.proxy.requests import ChatRequest
from runtime.daemon.proxy.tagging import text_of
from runtime.roles.functions import from_functions
from runtime.tools.recipe import Proposal

if TYPE_CHECKING:
    from models.pooled import PooledGenerator
    from runtime.agent import Team
    from runtime.roster import ToolUserRole

MAX_TOKENS = 1024
"""Of an answer whose request says nothing: a small model may go on without end. ``finish_reason``
is then ``length``."""
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
"""What ``response_format: json_object`` promises."""
SAMPLED = 1.0
"""OpenAI's temperature where none is given. Here it is used for several choices alone: one answer
is the likeliest one, the same each time."""


def messages_of(request: ChatRequest) -> tuple[Message, ...]:
    """The conversation in the three roles that local chat templates know.

    What a tool returned becomes words of the user, marked as data, and what the assistant called
    becomes its words. Instructions that stand between later messages stay where they are.
    """
    return tuple(_message(m) for m in request.messages)


def _message(message: Mapping[str, Any]) -> Message:
    role, words = message["role"], text_of(message.get("content"))
    if role == "tool":
        return {"role": "user", "content": f"<data>\n{words}\n</data>"}
    if calls := message.get("tool_calls"):
        written = [
            json.dumps(
                {"name": c["function"]["name"], "arguments": c["function"]["arguments"]},
                ensure_ascii=False,
            )
            for c in calls
        ]
        words = "\n".join([*([words] if words else []), *written])
    return {"role": "system" if role == "developer" else role, "content": words}


def schema_of(request: ChatRequest) -> Mapping[str, Any] | None:
    """The JSON Schema that the answer is held to; None for plain words."""
    asked = request.response_format
    if asked.kind == "json_schema":
        return asked.schema
    return ANY_OBJECT if asked.kind == "json_object" else None


def sampling_of(request: ChatRequest, index: int) -> Sampling | None:
    """How choice ``index`` is sampled; None for the likeliest answer."""
    temperature = request.temperature
    if temperature is None:
        temperature = SAMPLED if request.n > 1 else 0.0
    penalties = request.presence_penalty or request.frequency_penalty
    if not temperature and not penalties:
        return None
    return Sampling(
        temperature=temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=None if request.seed is None else (request.seed + index) % 2**63,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
    )


async def generate(
    generator: PooledGenerator,
    request: ChatRequest,
    index: int,
    on_tokens: Callable[[Sequence[Token]], None] | None,
) -> Generation:
    """Choice ``index`` of the answer. Raises what ``LlamaGenerator.generate`` raises."""
    return await generator.generate(
        messages_of(request),
        schema=schema_of(request),
        max_tokens=request.max_tokens or MAX_TOKENS,
        stop=request.stop,
        sampling=sampling_of(request, index),
        top_logprobs=request.top_logprobs,
        on_tokens=on_tokens,
    )


def call_of(step: Step, decision: Decision, request: ChatRequest, generation: Generation) -> Call:
    """The record of one choice."""
    usage = generation.usage
    return Call(
        id=new_id("call"),
        task_id=step.task_id,
        step_id=step.id,
        decision_id=decision.id,
        kind=step.kind,
        role="generator",
        model=generation.model,
        messages=messages_of(request),
        parameters=parameters_of(request),
        answer=generation.text,
        confidence=generation.confidence,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        tokens_cached=usage.tokens_cached,
        queue_ms=usage.queue_ms,
        prefill_ms=usage.prefill_ms,
        decode_ms=usage.decode_ms,
        mask_ms=usage.mask_ms,
        adapter=generation.adapter,
    )


def parameters_of(request: ChatRequest) -> dict[str, Any]:
    """What the request asks for besides its messages: what the record keeps."""
    return {k: v for k, v in request.body.items() if k not in ("messages", "aidecamp")}


@dataclass(frozen=True, slots=True)
class Proposed:
    """Tool calls as the Tool User would make them, and what it rests on."""

    proposals: tuple[Proposal, ...]
    records: tuple[Call, ...]

    @property
    def weakest(self) -> Proposal:
        """The one that stands for all where they are judged: a fault in one is a fault in all."""
        return min(self.proposals, key=lambda p: (not p.problems, p.confidence))

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(problem for p in self.proposals for problem in p.problems)

    def calls(self) -> tuple[ToolCall, ...]:
        """As the client gets them, each with a fresh id."""
        return tuple(
            ToolCall(new_id("call"), p.recipe.id, written_arguments(p)) for p in self.proposals
        )


def written_arguments(proposal: Proposal) -> str:
    """The arguments as the client reads them."""
    return json.dumps(dict(proposal.arguments), ensure_ascii=False, separators=(",", ":"))


async def propose(
    team: Team,
    tool_user: ToolUserRole,
    request: ChatRequest,
    task: Task,
    step: Step,
    decision: Decision,
) -> Proposed:
    """The tool calls that the user's last words ask for: several, where they are several orders
    and the client takes several. Raises UsageError on a tool that is none."""
    wanted = request.tool_choice.name
    offered = [t for t in request.tools if not wanted or t["function"]["name"] == wanted]
    recipes = from_functions(offered)
    orders = [step]
    records: list[Call] = []
    if request.parallel_tool_calls and not wanted:
        steps, calls = await team.refiner.refine(task)
        records += [replace(c, step_id=step.id, decision_id=decision.id) for c in calls]
        if len(steps) > 1 and all(s.kind in ("parse", "tool") for s in steps):
            orders = [replace(step, text=s.text) for s in steps]
    proposals = []
    for order in orders:
        proposal, calls = await tool_user.propose(task, order, decision, recipes)
        proposals.append(_ended(proposal, request.stop))
        records += [replace(c, step_id=step.id, decision_id=decision.id) for c in calls]
        await asyncio.sleep(0)  # others get their turn between two orders
    return Proposed(tuple(proposals), tuple(records))


def _ended(proposal: Proposal, stop: Sequence[str]) -> Proposal:
    """``proposal``, with a problem where its call would have been cut off at one of ``stop``."""
    written = written_arguments(proposal)
    met = [f"Its arguments hold the stop sequence {text!r}." for text in stop if text in written]
    return replace(proposal, problems=(*proposal.problems, *met)) if met else proposal
