"""What can go wrong between a client and the daemon.

AidecampError
├── UsageError             2    400
│   ├── BadRequest         2    400  a parameter of a proxied call is not what it must be
│   ├── NotFound           2    404  no task or decision has this id
│   │   └── ModelUnknown   2    404  no model of that name can be asked here
│   ├── Conflict           2    409  the request is fine, but not now (nothing waits, already over)
│   ├── TokenRefused       2    401  no token came with the request, or one that is not known
│   ├── Foreign            2    403  another host's name, or a web page that is not listed
│   ├── ScopeMissing       2    403  the token is known, and may not do this
│   ├── BodyLate           2    408  the request did not come whole in time
│   ├── TooLarge           2    413  the body is larger than the daemon reads
│   ├── Unsupported        2    415  a body in a form that the daemon does not read
│   ├── TooManyRefused     2    429  too many wrong tokens from one address
│   ├── HeadTooLarge       2    431  the request line and headers are larger than the daemon reads
│   └── Unreadable         2    422  a field of the body is not what it must be
├── Declined              11    403  only the General could serve the call, and it may not be asked
│   └── NoGeneral         11    503  … or there is none
├── NoStaff               14    503  this daemon was started without models
├── DaemonMissing         15    503  no daemon answers on the socket
├── DaemonRunning         16    409  this user's daemon runs already
└── ListenRefused         19    503  an address that the settings name cannot be listened on
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import errors as model_errors
from models.errors import AidecampError, UsageError


class BadRequest(UsageError):
    """``param``: the parameter at fault, as a path into the body (``messages[2].role``)."""

    def __init__(self, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param


class NotFound(UsageError):
    http_status = 404


class ModelUnknown(NotFound):
    """No model of that name may be asked here."""

    param = "model"


class Conflict(UsageError):
    http_status = 409


class TokenRefused(UsageError):
    http_status = 401


class Foreign(UsageError):
    http_status = 403


class ScopeMissing(UsageError):
    http_status = 403


class BodyLate(UsageError):
    http_status = 408


class TooManyRefused(UsageError):
    http_status = 429

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class HeadTooLarge(UsageError):
    http_status = 431


class TooLarge(UsageError):
    http_status = 413


class Unsupported(UsageError):
    http_status = 415


class Unreadable(UsageError):
    http_status = 422


class Declined(AidecampError):
    exit_code = 11
    http_status = 403


class NoGeneral(Declined):
    http_status = 503


class NoStaff(AidecampError):
    exit_code = 14
    http_status = 503


class DaemonMissing(AidecampError):
    exit_code = 15
    http_status = 503


class DaemonRunning(AidecampError):
    exit_code = 16
    http_status = 409


class ListenRefused(AidecampError):
    exit_code = 19
    http_status = 503


def fault(error: BaseException) -> AidecampError:
    """What a client is told of a bug of ours; the log has its traceback."""
    return AidecampError(
        f"A fault in Aidecamp itself: {type(error).__name__}.",
        hint="`aidecamp daemon logs` has the traceback.",
    )


def body_of(error: AidecampError, param: str | None = None) -> dict[str, Any]:
    """``error`` as OpenAI's API writes one, with our hint and exit code beside it. ``param``: the
    parameter at fault; a BadRequest names its own."""
    if param is None and isinstance(error, BadRequest):
        param = error.param
    return {
        "error": {
            "message": f"{error.message} {error.hint}".strip(),
            "type": _type(error.http_status),
            "param": param,
            "code": error.name,
            "says": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
    }


def _type(status: int) -> str:
    """OpenAI's word for a family of errors."""
    known = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
    if status == 429:
        return "rate_limit_error"
    return known.get(status, "invalid_request_error" if status < 500 else "server_error")


def revive(body: Mapping[str, Any]) -> AidecampError:
    """The error that ``body`` holds, as ``body_of`` or ``as_dict`` wrote it: its own class again.

    Raises KeyError or TypeError where ``body`` is no error.
    """
    if isinstance(inner := body["error"], Mapping):
        body = {"error": inner["code"], "message": inner["says"], "hint": inner["hint"]}
    name, message, hint = str(body["error"]), str(body["message"]), str(body["hint"])
    class_ = globals().get(name) or getattr(model_errors, name, None)
    if isinstance(class_, type) and issubclass(class_, AidecampError):
        return class_(message, hint=hint)
    return AidecampError(message, hint=hint)
