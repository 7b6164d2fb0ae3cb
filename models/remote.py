"""The only outbound LLM connection: OpenAI's chat completions, through the ``openai`` SDK.

Nothing else in Aidecamp opens one (a test guards that), and this one needs a ``Permit``. A call
ends within its deadline, is made again only where that is safe (``retry``), reads no more than
an answer can be long, and leaves a server alone that keeps failing (``breaker``).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.base import Message
from models.breaker import Breaker
from models.completions import Completion, NoCompletion, read, read_error
from models.errors import Denied
from models.remote_failures import Failure, Unanswered, check, nonsense, refusal, unreached
from models.retry import Patience, backoff_s

RecordSent = Literal["body", "digest"]


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one task's data out. ``privacy`` is the task's; ``by`` who allowed it."""

    privacy: str
    by: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A remote answer with what was measured about it."""

    text: str
    model: str
    tokens_in: int
    tokens_out: int
    bytes_sent: int
    """The bodies of all attempts together."""
    ms: float
    sent: str = ""
    """The request's body as it left, or ``sha256:<hex>`` of it."""
    attempts: int = 1
    finish: str = ""
    """Why the server stopped, in its words: ``length`` means that the answer was cut."""


@dataclass
class _Sent:
    """What left this machine in one call."""

    body: bytes = b""
    total: int = 0
    attempts: int = 0


class RemoteGenerator:
    """A remote LLM behind an OpenAI-compatible URL."""

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str = "",
        timeout_s: float | None = None,
        max_tokens: int = 2048,
        patience: Patience | None = None,
        record_sent: RecordSent = "digest",
        breaker: Breaker | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``timeout_s`` takes the place of the one in ``patience``."""
        self.base_url = base_url
        self.model = model
        self._api_key = api_key
        self.patience = patience or Patience()
        self.timeout_s = self.patience.timeout_s if timeout_s is None else timeout_s
        self.max_tokens = max_tokens
        self.breaker = breaker or Breaker()
        self._record_sent = record_sent
        self._sleep = sleep
        self._jitter = jitter

    async def complete(
        self,
        messages: Sequence[Message],
        permit: Permit,
        *,
        schema: Mapping[str, Any] | None = None,
        on_text: Callable[[str], None] | None = None,
        timeout_s: float | None = None,
    ) -> Reply:
        """One answer. With ``schema``, the server is asked for JSON, and the answer must meet it.

        ``on_text``: stream, and call this with the whole text so far each time it grows.
        ``timeout_s``: less than the usual for this call.

        Raises Denied where the permit is for privacy ``local``: zero bytes leave.
        Raises GeneralFailed (an ``Unanswered``) where the General is down, too slow, refuses,
        answers nonsense, or is left alone because it kept doing so.
        """
        if permit.privacy not in ("ask", "auto"):
            raise Denied(
                "Privacy mode 'local': nothing may leave this machine, so nothing was sent.",
                hint="Use --privacy ask or --privacy auto to let the General help.",
            )
        if not self.breaker.admit():
            status = self.breaker.status
            raise Unanswered(
                f"The General at {self.base_url} is not asked now: it failed "
                f"{status.failures} times in a row, at last because {status.problem}.",
                hint=f"It is tried again in {status.retry_in_s:.0f} s.",
            )
        import openai  # noqa: F401 (its import takes longer than a call, and is not the General's)

        request: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(m) for m in messages],
            "max_completion_tokens": self.max_tokens,
        }
        if schema is not None:
            request["response_format"] = {"type": "json_object"}
        if on_text is not None:
            request |= {"stream": True, "stream_options": {"include_usage": True}}
        seconds = self.timeout_s if timeout_s is None else min(timeout_s, self.timeout_s)
        started = time.perf_counter()
        sent = _Sent()
        try:
            answer = await self._answer(request, schema, on_text, seconds, sent)
        except Failure as failure:
            if failure.sick:
                self.breaker.failed(failure.what, wait_s=failure.wait_s)
            else:
                self.breaker.succeeded()
            raise Unanswered(
                f"The General at {self.base_url} {failure.what}.",
                hint=failure.hint,
                bytes_sent=sent.total,
                sent=self._recorded(sent),
                attempts=sent.attempts,
            ) from failure
        finally:
            self.breaker.released()
        self.breaker.succeeded()
        return Reply(
            text=answer.text,
            model=answer.model or self.model,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            bytes_sent=sent.total,
            ms=(time.perf_counter() - started) * 1000,
            sent=self._recorded(sent),
            attempts=sent.attempts,
            finish=answer.finish,
        )

    async def _answer(
        self,
        request: Mapping[str, Any],
        schema: Mapping[str, Any] | None,
        on_text: Callable[[str], None] | None,
        seconds: float,
        sent: _Sent,
    ) -> Completion:
        """As many attempts as are safe and fit into ``seconds``. Raises Failure."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while True:
            sent.attempts += 1
            try:
                answer = await self._attempt(request, on_text, deadline, seconds, sent)
            except Failure as failure:
                if not failure.again or sent.attempts >= self.patience.attempts:
                    raise
                pause = backoff_s(sent.attempts, self.patience, self._jitter)
                pause = max(pause, failure.wait_s or 0.0)
                if clock() + pause >= deadline:
                    failure.what += (
                        f", and {round(seconds, 2):g} s are not enough to wait and try again"
                    )
                    raise
                await self._sleep(pause)
            else:
                check(answer.text, schema)
                return answer

    async def _attempt(
        self,
        request: Mapping[str, Any],
        on_text: Callable[[str], None] | None,
        deadline: float,
        seconds: float,
        sent: _Sent,
    ) -> Completion:
        import openai

        before = sent.total

        async def watch(outgoing: Any) -> None:
            async def count(event: str, info: Mapping[str, Any]) -> None:
                # A connection that failed sent nothing; a proxy's CONNECT carries no body.
                starts = event.endswith(".send_request_headers.started")
                if starts and info["request"].method != b"CONNECT":
                    sent.body = outgoing.content
                    sent.total += len(sent.body)

            outgoing.extensions["trace"] = count

        async def refuse(response: Any) -> None:
            # Here, because the SDK reads an error's body to its end, however long it is.
            if response.status_code >= 300:
                says = await read_error(response.aiter_bytes(), self.patience.most_error_bytes)
                raise openai.APIStatusError(says, response=response, body=None)

        http = openai.DefaultAsyncHttpxClient(
            event_hooks={"request": [watch], "response": [refuse]},
            follow_redirects=False,  # what was approved for one address goes to no other
        )
        client = openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._api_key or "none",
            timeout=openai.Timeout(None, connect=self.patience.connect_timeout_s),
            max_retries=0,
            http_client=http,
        )
        first = asyncio.get_running_loop().time() + self.patience.first_token_timeout_s
        timer = asyncio.timeout_at(deadline if on_text is None else min(first, deadline))
        create: Any = client.chat.completions.with_streaming_response.create
        try:
            async with timer, client, create(**request) as response:
                kind = response.headers.get("content-type", "")
                return await read(
                    response.iter_bytes(),
                    streamed=on_text is not None and "json" not in kind,
                    most_bytes=self.patience.most_answer_bytes,
                    began=lambda: timer.reschedule(deadline),
                    on_text=on_text,
                )
        except TimeoutError as error:
            if asyncio.get_running_loop().time() < deadline:
                wait = f"{self.patience.first_token_timeout_s:g} s to the first of an answer"
            else:
                wait = f"{round(seconds, 2):g} s"
            raise Failure(
                f"did not answer within {wait}",
                "Try again, or raise its timeouts in config.toml.",
            ) from error
        except NoCompletion as error:
            raise nonsense(str(error), sick=True) from error
        except openai.APIStatusError as error:
            headers = error.response.headers
            raise refusal(error.status_code, error.message, headers, self.model) from error
        except openai.APIConnectionError as error:
            raise unreached(error, sent.total > before) from error
        except openai.OpenAIError as error:
            raise nonsense(str(error)[:200], sick=False) from error

    def _recorded(self, sent: _Sent) -> str:
        if not sent.total:
            return ""
        if self._record_sent == "body":
            return sent.body.decode("utf-8")
        return f"sha256:{hashlib.sha256(sent.body).hexdigest()}"
