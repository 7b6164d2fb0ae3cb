"""The only outbound LLM connection: OpenAI's chat completions, through the ``openai`` SDK.

Nothing else in Aidecamp opens one (a test guards that), and this one needs a ``Permit``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.base import Message
from models.errors import Denied, GeneralFailed

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one task's data out. ``privacy`` is the task's; ``by`` who allowed it."""

    privacy: str
    by: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A remote answer with what was measured about it. ``bytes_sent`` is the request's body."""

    text: str
    model: str
    tokens_in: int
    tokens_out: int
    bytes_sent: int
    ms: float


class RemoteGenerator:
    """A remote LLM behind an OpenAI-compatible URL."""

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str = "",
        timeout_s: float = 60.0,
        max_tokens: int = 2048,
    ) -> None:
        self.base_url = base_url
        self.model = model
        self._api_key = api_key
        self.timeout_s = timeout_s
        self.max_tokens = max_tokens

    async def complete(
        self,
        messages: Sequence[Message],
        permit: Permit,
        *,
        schema: Mapping[str, Any] | None = None,
    ) -> Reply:
        """One answer. With ``schema``, the server is asked for JSON and the answer is parsed once.

        Raises Denied where the permit is for privacy ``local``: zero bytes leave.
        Raises GeneralFailed where the General is down, too slow, refuses or answers nonsense.
        """
        if permit.privacy not in ("ask", "auto"):
            raise Denied(
                "Privacy mode 'local': nothing may leave this machine, so nothing was sent.",
                hint="Use --privacy ask or --privacy auto to let the General help.",
            )
        import openai

        sent = 0

        async def watch(request: Any) -> None:
            async def count(event: str, info: Mapping[str, Any]) -> None:
                nonlocal sent
                # A retry sends it all again; a connection that failed sent nothing; a proxy's
                # CONNECT carries no body.
                if event.endswith(".send_request_headers.started"):
                    sent += len(request.content) * (info["request"].method != b"CONNECT")

            request.extensions["trace"] = count

        started = time.perf_counter()
        http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [watch]})
        async with openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._api_key or "none",
            timeout=self.timeout_s,
            max_retries=1,
            http_client=http,
        ) as client:
            extra: dict[str, Any] = {}
            if schema is not None:
                extra["response_format"] = {"type": "json_object"}
            try:
                completion = await client.chat.completions.create(
                    model=self.model,
                    messages=[dict(m) for m in messages],  # type: ignore[misc]
                    max_completion_tokens=self.max_tokens,
                    **extra,
                )
            except openai.OpenAIError as error:
                raise self._failure(error, sent) from error
            except ValueError as error:
                raise self._nonsense(f"its response is not JSON ({error})", sent) from error
            text = self._text(completion, schema, sent)
        usage = completion.usage
        return Reply(
            text=text,
            model=completion.model if isinstance(completion.model, str) else self.model,
            tokens_in=_count(usage, "prompt_tokens"),
            tokens_out=_count(usage, "completion_tokens"),
            bytes_sent=sent,
            ms=(time.perf_counter() - started) * 1000,
        )

    def _text(self, completion: ChatCompletion, schema: Mapping[str, Any] | None, sent: int) -> str:
        # The SDK builds its records without checking them: any field may be of any type.
        try:
            choices: Any = completion.choices
            text: Any = choices[0].message.content if choices else None
        except (AttributeError, KeyError, TypeError) as error:
            raise self._nonsense("its response is no chat completion", sent) from error
        if not isinstance(text, str) or not text.strip():
            raise self._nonsense("it answered nothing", sent)
        if schema is not None:
            try:
                json.loads(text)
            except ValueError as error:
                raise self._nonsense(
                    f"it was asked for JSON and wrote {text[:80]!r}", sent
                ) from error
        return text

    def _nonsense(self, what: str, sent: int) -> GeneralFailed:
        return GeneralFailed(
            f"The General at {self.base_url} cannot be used: {what}.",
            hint="Check that the base URL ends in the API's root, such as …/v1.",
            bytes_sent=sent,
        )

    def _failure(self, error: Exception, sent: int) -> GeneralFailed:
        import openai

        where = f"The General at {self.base_url}"
        if isinstance(error, openai.APITimeoutError):
            return GeneralFailed(
                f"{where} did not answer within {self.timeout_s:g} s.",
                hint="Try again, or raise [policy] general_timeout_s in config.toml.",
                bytes_sent=sent,
            )
        if isinstance(error, openai.APIConnectionError):
            return GeneralFailed(
                f"{where} cannot be reached ({error.__cause__ or error}).",
                hint="Check the URL and the network, or run with --privacy local.",
                bytes_sent=sent,
            )
        if isinstance(error, openai.AuthenticationError):
            return GeneralFailed(
                f"{where} refused the API key.",
                hint="Set AIDECAMP_GENERAL__API_KEY or OPENAI_API_KEY, or store it in the keyring.",
                bytes_sent=sent,
            )
        if isinstance(error, openai.APIStatusError):
            return GeneralFailed(
                f"{where} answered {error.status_code}: {error.message[:200]}",
                hint=f"The model asked for is {self.model!r}.",
                bytes_sent=sent,
            )
        return self._nonsense(str(error)[:200], sent)


def _count(usage: Any, name: str) -> int:
    """A token count as the server reported it; 0 where it reported none."""
    count = getattr(usage, name, None)
    return count if isinstance(count, int) and count > 0 else 0
