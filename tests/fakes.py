"""Stand-ins for what is slow or far away. Each is as small as it can be, and none is a mock."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from models.base import Choice, Generation, Message, Token, Usage
from runtime.core import (
    Action,
    Call,
    Candidate,
    Decision,
    Kind,
    Outcome,
    Risk,
    Step,
    Task,
    new_id,
)
from runtime.policy import Policy
from runtime.tools.recipe import Proposal, Recipe, Slot


class FakeGenerator:
    """Answers from a queue: texts for ``generate``, option numbers for ``choose``."""

    model = "sha256:fake"
    name = "fake"

    def __init__(self, answers: Iterable[str | int] = (), probability: float = 0.9) -> None:
        self.answers = deque(answers)
        self.probability = probability
        self.asked: list[Sequence[Message]] = []

    async def generate(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        grammar: str | None = None,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
    ) -> Generation:
        import math

        self.asked.append(messages)
        text = str(self.answers.popleft())
        token = Token(0, text.encode(), math.log(self.probability), self.probability, forced=False)
        return Generation(text, (token,), "stop", self.model, Usage(tokens_in=10, tokens_out=1))

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        self.asked.append(messages)
        index = int(self.answers.popleft())
        rest = (1 - self.probability) / max(1, len(options) - 1)
        probabilities = tuple(self.probability if i == index else rest for i in range(len(options)))
        return Choice(tuple(options), probabilities, index, self.model, Usage(tokens_in=10))

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def recipe(id_: str = "make", kind: Kind = "shell", risk: Risk = "write") -> Recipe:
    return Recipe(id_, kind, f"{id_} something", (Slot("name", "text", "its name"),), (), risk)


class FakeRouter:
    """Sends ``plan`` to the General and keeps everything else, unless told otherwise."""

    def __init__(self, probability: float = 0.9) -> None:
        self.probability = probability

    def kinds(self, text: str) -> dict[Kind, float]:
        return {"plan" if text.startswith("plan:") else "dialogue": self.probability}

    def route(
        self,
        task: Task,
        step: Step,
        policy: Policy,
        *,
        general: str | None,
        previous: Decision | None = None,
    ) -> Decision:
        threshold = policy.route_threshold[step.kind]
        local = self.probability >= threshold
        return Decision(
            id=new_id("dec"),
            task_id=task.id,
            step_id=step.id,
            kind=step.kind,
            text=step.text,
            chosen="local:tool_user" if local else "general",
            candidates=(
                Candidate("local:tool_user", "sha256:fake", self.probability, None, 0.0),
                Candidate("general", general or "", None, None, None),
            ),
            probability=self.probability,
            threshold=threshold,
            rule=f"threshold:{step.kind}" if local else f"kind:{step.kind}",
            reason="as the fake was told",
            route_ms=0.1,
        )


class FakeRefiner:
    """Splits at semicolons; ``plan:`` in front of a part makes it a plan step."""

    def __init__(self, kind: Kind = "shell") -> None:
        self.kind = kind

    async def refine(self, task: Task) -> tuple[list[Step], list[Call]]:
        steps = []
        for index, part in enumerate(task.text.split(";")):
            kind: Kind = "plan" if part.strip().startswith("plan:") else self.kind
            steps.append(Step(new_id("step"), task.id, index, kind, part.strip()))
        return steps, []


class FakeToolUser:
    """Proposes the first recipe with the step's text as its argument."""

    models = ("sha256:fake-encoder", "sha256:fake")

    def __init__(self, confidence: float = 0.9, problems: tuple[str, ...] = ()) -> None:
        self.confidence = confidence
        self.problems = problems

    async def propose(
        self, task: Task, step: Step, decision: Decision, recipes: Sequence[Recipe]
    ) -> tuple[Proposal, list[Call]]:
        call = Call(
            id=new_id("call"),
            task_id=task.id,
            step_id=step.id,
            decision_id=decision.id,
            kind=step.kind,
            role="tool_user",
            model="sha256:fake",
            messages=(),
            parameters={},
            answer=step.text,
            confidence=self.confidence,
            tokens_in=10,
            tokens_out=2,
        )
        chosen = recipes[0] if recipes else recipe("nothing")
        signals = {"pick": self.confidence, "confidence": self.confidence}
        arguments = {"name": step.text}
        return Proposal(chosen, arguments, self.confidence, self.problems, signals), [call]


class FakeFormatter:
    """Wraps the data into ``{"value": data}``."""

    async def format(
        self, task: Task, step: Step, decision: Decision, data: Any
    ) -> tuple[Any, float, list[Call]]:
        return {"value": data}, 1.0, []


@dataclass
class FakeTool:
    """Notes what it is made to do. ``fails`` names recipes whose action fails."""

    name: str = "shell"
    recipes: tuple[Recipe, ...] = (recipe(),)
    fails: frozenset[str] = frozenset()
    done: list[str] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def prepare(self, task: Task, step: Step, proposal: Proposal) -> Action:
        return Action(
            new_id("act"),
            task.id,
            step.id,
            self.name,
            proposal.recipe.id,
            proposal.arguments,
            f"{proposal.recipe.id} {proposal.arguments['name']}",
            proposal.recipe.risk,
        )

    def run(self, task: Task, action: Action) -> Outcome:
        if action.recipe in self.fails:
            return Outcome(action.id, task.id, action.step_id, "failed", error="it broke")
        self.done.append(str(action.arguments["name"]))
        return Outcome(action.id, task.id, action.step_id, "done", data=action.arguments["name"])

    def look(self, task: Task, action: Action) -> Outcome:
        self.looked.append(action.id)
        return Outcome(action.id, task.id, action.step_id, "interrupted")

    def stop(self, action: Action) -> None:
        self.stopped.append(action.id)

    def close(self) -> None:
        self.done.append("closed")


class Asked(BaseHTTPRequestHandler):
    """One request to ``FakeGeneral``."""

    body = b""

    def answer(self, text: str, status: int = 200) -> None:
        """Send ``text``, which is JSON, as the whole answer."""
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    """Connections that come at once; where it is full, the kernel makes a client wait for 1 s."""


class FakeGeneral:
    """A real HTTP server on loopback that speaks OpenAI's chat completions.

    ``replies`` is a queue: text to answer with, ``(status, body)``, or whatever writes an answer
    itself (``tests.fault_server``). The last one is repeated. It keeps every request body in
    ``received``, with its path in ``paths`` and its headers in ``heads``. ``keep_alive``: a
    connection serves more than one request (replies must then say how long they are).
    """

    def __init__(
        self,
        replies: Iterable[str | tuple[int, str] | Callable[[Asked], None]] = (),
        *,
        keep_alive: bool = False,
    ) -> None:
        self.replies = deque(replies)
        self.received: list[bytes] = []
        self.paths: list[str] = []
        self.heads: list[dict[str, str]] = []
        self.connections = 0
        fake = self

        class Handler(Asked):
            protocol_version = "HTTP/1.1" if keep_alive else "HTTP/1.0"
            disable_nagle_algorithm = True  # else head and body are 40 ms apart

            def setup(self) -> None:
                super().setup()
                fake.connections += 1

            def do_POST(self) -> None:
                self.body = self.rfile.read(int(self.headers["Content-Length"]))
                fake.paths.append(self.path)
                fake.heads.append({k.lower(): v for k, v in self.headers.items()})
                fake.received.append(self.body)
                reply = fake.replies.popleft() if len(fake.replies) > 1 else fake.replies[0]
                if callable(reply):
                    reply(self)
                    return
                status, text = reply if isinstance(reply, tuple) else (200, completion(reply))
                self.answer(text, status)

            def log_message(self, format: str, *args: Any) -> None:
                """Tests read ``received`` instead."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        # It looks for its end every 10 ms, not every 500.
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def completion(text: str) -> str:
    """The body of a right answer."""
    return json.dumps(
        {
            "id": "fake",
            "object": "chat.completion",
            "created": 0,
            "model": "fake-general",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
            ],
            "usage": {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70},
        }
    )
