"""The only outbound LLM connection: OpenAI's HTTP API, with one pool of connections a server.

Nothing else in Aidecamp opens one (a test guards that), and this one needs a ``Permit``. A call
ends within its deadline, is made again only where that is safe (``retry``), reads no more than
an answer can be long, and leaves a server alone that keeps failing (``breaker``). ``complete``
asks a question of ours; ``forward`` hands on a request that a client wrote (``forwarding``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from models.base import Message
from models.breaker import Breaker
from models.completions import Completion, NoCompletion, read, read_error
from models.forwarding import Forwarded, RecordSent, Sent, handed_back, handed_on, is_the_clients
from models.guarded import Guard, Held, Permit
from models.remote_failures import (
    Failure,
    broke_off,
    check,
    nonsense,
    refusal,
    too_late,
    unreached,
)
from models.retry import Patience

if TYPE_CHECKING:
    import httpx2

__all__ = ["Permit", "RemoteGenerator", "Reply"]

IDLE_S = 4.0
"""A connection that is idle for longer is closed. uvicorn, Node and cpp-httplib hang up after 5 s:
a request that meets the hang-up may have been served, and could not be sent again."""
MOST_CONNECTIONS = 1000
MOST_IDLE = 100


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
        self._guard = Guard(
            base_url,
            patience=self.patience,
            timeout_s=self.timeout_s,
            breaker=self.breaker,
            record_sent=record_sent,
            sleep=sleep,
            jitter=jitter,
        )
        self._pool: tuple[asyncio.AbstractEventLoop, httpx2.AsyncClient] | None = None

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
        call = self._guard.admitted(permit, timeout_s, ready=self._connections)
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(m) for m in messages],
            "max_completion_tokens": self.max_tokens,
        }
        if schema is not None:
            request["response_format"] = {"type": "json_object"}
        if on_text is not None:
            request |= {"stream": True, "stream_options": {"include_usage": True}}
        try:
            body = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
            answer = await self._guard.tried(lambda: self._answer(call, body, on_text), call)
            check(answer.text, schema)
        except Failure as failure:
            raise self._guard.failed(failure, call) from failure
        finally:
            self.breaker.released()
        self.breaker.succeeded()
        return Reply(
            text=answer.text,
            model=answer.model or self.model,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            bytes_sent=call.sent.total,
            ms=call.ms,
            sent=call.sent.recorded(self._record_sent),
            attempts=call.sent.attempts,
            finish=answer.finish,
        )

    async def forward(
        self,
        path: str,
        body: bytes,
        permit: Permit,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        streamed: bool = False,
        timeout_s: float | None = None,
        sent: Sent | None = None,
    ) -> Forwarded:
        """POST ``body`` as it is to ``path``, such as ``/chat/completions``, under the base URL.

        Returns once the first bytes of the answer are there, whose status is 2xx or one that
        the request itself caused (400, 404, 422, …: handed on, and no sign of illness).
        ``headers``: the client's, of which ``forwarding.TO_THE_GENERAL`` leave; the key is always
        ours. ``streamed``: the body asks for a stream, so its first bytes must come as soon as
        ``patience`` says. ``timeout_s``: less than the usual, to the last byte. ``sent``: the
        account of what leaves, for a caller that may be cancelled meanwhile.

        Raises as ``complete`` does. Once the answer has begun it is not asked for again: reading
        it then raises Unanswered where it breaks off.
        """
        call = self._guard.admitted(permit, timeout_s, ready=self._connections)
        call.sent = call.sent if sent is None else sent
        try:
            response, chunks, first = await self._guard.tried(
                lambda: self._begun(call, path, body, handed_on(headers), streamed), call
            )
            if self.breaker.state != "closed":  # it answers: nobody needs to wait for the end
                self.breaker.succeeded()
        except Failure as failure:
            raise self._guard.failed(failure, call) from failure
        finally:
            self.breaker.released()

        async def release() -> None:
            answer.ms = answer.ms or call.ms
            await response.aclose()

        answer = Forwarded(
            status=response.status_code,
            content_type=response.headers.get("content-type", ""),
            headers=handed_back(response.headers),
            chunks=self._rest(call, first, chunks, release),
            bytes_sent=call.sent.total,
            sent=call.sent.recorded(self._record_sent),
            attempts=call.sent.attempts,
            first_byte_ms=call.ms,
            release=release,
        )
        return answer

    async def close(self) -> None:
        """Close the connections that are kept. A later call opens new ones."""
        if self._pool is not None:
            (loop, http), self._pool = self._pool, None
            if loop is asyncio.get_running_loop():
                await http.aclose()

    # ---- one attempt

    async def _answer(
        self, call: Held, body: bytes, on_text: Callable[[str], None] | None
    ) -> Completion:
        """One attempt to get a whole answer. Raises Failure."""
        with self._failures(call):
            async with asyncio.timeout_at(
                call.first_by(self._begins_s(on_text is not None))
            ) as timer:
                response = await self._open(call, "/chat/completions", body, {})
                try:
                    await self._refused(response)
                    kind = response.headers.get("content-type", "")
                    return await read(
                        response.aiter_bytes(),
                        streamed=on_text is not None and "json" not in kind,
                        most_bytes=self.patience.most_answer_bytes,
                        began=lambda: timer.reschedule(call.deadline),
                        on_text=on_text,
                    )
                finally:
                    await response.aclose()

    async def _begun(
        self, call: Held, path: str, body: bytes, headers: Mapping[str, str], streamed: bool
    ) -> tuple[httpx2.Response, AsyncGenerator[bytes, None], bytes]:
        """One attempt to get an answer that may be handed on, as far as its first bytes (empty:
        it has none). Raises Failure."""
        with self._failures(call):
            async with asyncio.timeout_at(call.first_by(self._begins_s(streamed))):
                # Compressed, the parts of a stream would wait for one another.
                headers = {"accept-encoding": "identity", **headers}
                response = await self._open(call, path, body, headers)
                try:
                    if not is_the_clients(response.status_code):
                        await self._refused(response)
                    chunks = response.aiter_bytes()
                    return response, chunks, await anext(chunks, b"")
                except BaseException:
                    await response.aclose()
                    raise

    def _begins_s(self, streamed: bool) -> float | None:
        return self.patience.first_token_timeout_s if streamed else None

    async def _rest(
        self,
        call: Held,
        chunk: bytes,
        chunks: AsyncGenerator[bytes, None],
        release: Callable[[], Awaitable[None]],
    ) -> AsyncGenerator[bytes, None]:
        """``chunk`` and all that follow it."""
        total = 0
        try:
            while chunk:
                total += len(chunk)
                if total > self.patience.most_forwarded_bytes:
                    raise nonsense(
                        f"its answer is longer than {self.patience.most_forwarded_bytes:,} bytes, "
                        "and was not read further",
                        sick=True,
                    )
                yield chunk
                with self._failures(call, read_bytes=total):
                    async with asyncio.timeout_at(call.deadline):
                        chunk = await anext(chunks, b"")
            self.breaker.succeeded()
        except Failure as failure:
            raise self._guard.failed(failure, call) from failure
        finally:
            await release()

    # ---- the connection

    def _connections(self) -> httpx2.AsyncClient:
        """The pool, which belongs to the event loop that made it."""
        import httpx2

        loop = asyncio.get_running_loop()
        if self._pool is None or self._pool[0] is not loop:
            http = httpx2.AsyncClient(
                follow_redirects=False,  # what was approved for one address goes to no other
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                headers={"user-agent": "aidecamp"},
                timeout=httpx2.Timeout(None, connect=self.patience.connect_timeout_s),
                limits=httpx2.Limits(
                    max_connections=MOST_CONNECTIONS,
                    max_keepalive_connections=MOST_IDLE,
                    keepalive_expiry=IDLE_S,
                ),
            )
            self._pool = (loop, http)
        return self._pool[1]

    async def _open(
        self, call: Held, path: str, body: bytes, headers: Mapping[str, str]
    ) -> httpx2.Response:
        """Send, and come back with the head of the answer. The response is to be closed."""
        sent = call.sent
        call.before = sent.total

        async def count(event: str, info: Mapping[str, Any]) -> None:
            # A connection that failed sent nothing; a proxy's CONNECT carries no body.
            starts = event.endswith(".send_request_headers.started")
            if starts and info["request"].method != b"CONNECT":
                sent.body = body
                sent.total += len(body)

        key = {"authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        request = self._connections().build_request(
            "POST",
            self.base_url.rstrip("/") + path,
            content=body,
            headers={**headers, **key, "content-type": "application/json"},
            extensions={"trace": count},
        )
        return await self._connections().send(request, stream=True)

    async def _refused(self, response: httpx2.Response) -> None:
        """Raises Failure where the status is no success."""
        if response.status_code >= 300:
            says = await read_error(response.aiter_bytes(), self.patience.most_error_bytes)
            raise refusal(response.status_code, says, response.headers, self.model)

    @contextlib.contextmanager
    def _failures(self, call: Held, read_bytes: int = 0) -> Iterator[None]:
        """Whatever goes wrong in an attempt, as a Failure. ``read_bytes``: of its answer."""
        import httpx2

        try:
            yield
        except TimeoutError as error:
            late = asyncio.get_running_loop().time() >= call.deadline
            raise too_late(
                call.seconds if late else self.patience.first_token_timeout_s, whole=late
            ) from error
        except NoCompletion as error:
            raise nonsense(str(error), sick=True) from error
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise nonsense(str(error)[:200], sick=False) from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            if read_bytes:
                raise broke_off(error, read_bytes) from error
            raise unreached(error, call.sent.total > call.before) from error
