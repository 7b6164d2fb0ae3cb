"""Why a remote call failed, in the user's words, and what follows from it.

Each failure of one attempt says whether the same request may be sent again, and whether it tells
anything about the server's health. ``Unanswered`` is what the caller of a remote call meets.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.errors import GeneralFailed
from models.retry import RETRIED, retry_after_s
from models.schemas import violations


class Failure(Exception):
    """One attempt that failed. ``again``: the same request may be sent once more; ``sick``: it
    counts against the server's health; ``wait_s``: what the server asked for; ``status``: what it
    answered, 0 where it did not."""

    def __init__(
        self,
        what: str,
        hint: str = "",
        *,
        again: bool = False,
        sick: bool = True,
        wait_s: float | None = None,
        status: int = 0,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.again = again
        self.sick = sick
        self.wait_s = wait_s
        self.status = status


class Unanswered(GeneralFailed):
    """GeneralFailed, with what is needed to account for the call.

    ``sent`` is as in ``Reply``; ``failures`` holds one record for each General that was asked,
    where there were several. ``status``: the HTTP status that it answered with, 0 where it did
    not; ``wait_s``: how long it is to be left alone, None where nobody said.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        bytes_sent: int = 0,
        sent: str = "",
        attempts: int = 0,
        failures: Sequence[Mapping[str, Any]] = (),
        status: int = 0,
        wait_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, bytes_sent=bytes_sent)
        self.sent = sent
        self.attempts = attempts
        self.failures = tuple(failures)
        self.status = status
        self.wait_s = wait_s
        if status == 429:
            self.http_status = status

    @property
    def retry_after_s(self) -> float | None:
        """When to try again, for whoever passes the error on."""
        return self.wait_s

    @property
    def name(self) -> str:
        return GeneralFailed.__name__


def refusal(status: int, says: str, headers: Mapping[str, str], model: str) -> Failure:
    """An HTTP status other than success."""
    if status == 401:
        return Failure(
            "refused the API key",
            "Set AIDECAMP_GENERAL__API_KEY or OPENAI_API_KEY, or store it in the keyring.",
            sick=False,
            status=status,
        )
    what = f"answered {status}: {says}" if says else f"answered {status}"
    if status < 400:
        what += f" and sends on to {headers.get('location', 'nowhere')}, which is not followed"
    return Failure(
        what,
        f"The model asked for is {model!r}.",
        again=status in RETRIED,
        sick=status in RETRIED or status >= 500,
        wait_s=retry_after_s(headers.get("retry-after"), time.time()),
        status=status,
    )


def check(text: str, schema: Mapping[str, Any] | None) -> None:
    """Raises Failure where ``text`` is no JSON that meets ``schema``."""
    if schema is None:
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise nonsense(f"it was asked for JSON and wrote {text[:80]!r}", sick=False) from error
    wrong = violations(schema, value)
    if wrong:
        raise nonsense(f"its JSON does not fit: {wrong[0].message[:200]}", sick=False)


def nonsense(what: str, *, sick: bool) -> Failure:
    """Something else than an answer."""
    return Failure(
        f"cannot be used: {what}",
        "Check that the base URL ends in the API's root, such as …/v1.",
        sick=sick,
    )


def too_late(seconds: float, *, whole: bool) -> Failure:
    """Its time is over. ``whole``: that of the call, not that to the first of an answer."""
    wait = f"{round(seconds, 2):g} s" + ("" if whole else " to the first of an answer")
    return Failure(
        f"did not answer within {wait}", "Try again, or raise its timeouts in config.toml."
    )


def broke_off(error: Exception, read_bytes: int) -> Failure:
    """The answer began, and did not end."""
    says = str(error) or type(error).__name__
    return nonsense(f"its answer broke off after {read_bytes:,} bytes ({says})", sick=True)


def unreached(error: Exception, left: bool) -> Failure:
    """No answer began. ``left``: the request did leave, and may have been served."""
    hint = "Check the URL and the network, or run with --privacy local."
    if left:
        return Failure(f"hung up before it answered ({error})", hint)
    causes = list(_causes(error))
    cannot_pass = any(isinstance(c, ssl.SSLError) for c in causes)
    network = any(isinstance(c, OSError) for c in causes) or "Timeout" in type(error).__name__
    return Failure(f"cannot be reached ({error})", hint, again=network and not cannot_pass)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
