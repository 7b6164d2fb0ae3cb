"""What can go wrong between a client and the daemon.

AidecampError
├── UsageError             2    400
│   ├── NotFound           2    404  no task or decision has this id
│   ├── Conflict           2    409  the request is fine, but not now (nothing waits, already over)
│   ├── TooLarge           2    413  the body is larger than the daemon reads
│   └── Unreadable         2    422  a field of the body is not what it must be
├── DaemonMissing         15    503  no daemon answers on the socket
└── DaemonRunning         16    409  this user's daemon runs already
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import errors as model_errors
from models.errors import AidecampError, UsageError


class NotFound(UsageError):
    http_status = 404


class Conflict(UsageError):
    http_status = 409


class TooLarge(UsageError):
    http_status = 413


class Unreadable(UsageError):
    http_status = 422


class DaemonMissing(AidecampError):
    exit_code = 15
    http_status = 503


class DaemonRunning(AidecampError):
    exit_code = 16
    http_status = 409


def revive(body: Mapping[str, Any]) -> AidecampError:
    """The error whose ``as_dict()`` is ``body``, as its own class again.

    Raises KeyError or TypeError where ``body`` is no error.
    """
    name, message, hint = str(body["error"]), str(body["message"]), str(body["hint"])
    class_ = globals().get(name) or getattr(model_errors, name, None)
    if isinstance(class_, type) and issubclass(class_, AidecampError):
        return class_(message, hint=hint)
    return AidecampError(message, hint=hint)
