"""Every error that a user can meet, one class each, with its exit code and HTTP status.

AidecampError           1    500  base; never raised itself
├── UsageError          2    400  the request cannot be read (empty or oversized task, bad flag)
├── ModelMissing        3    409  a model that is needed was not pulled
├── ModelCorrupt        4    422  a model file or download is not what it should be
├── DisplayMissing      5    503  no display can be reached or started
├── GeneralFailed       6    502  the remote LLM is down, slow, or answered nonsense
├── SchemaRefused       7    400  a JSON Schema that is none, or that cannot be enforced
├── StorageFailed       8    507  the data folder cannot be written or read
├── Denied              9    403  the gate, the privacy mode or a budget said no
├── SandboxMissing     12    503  a command cannot be isolated on this machine
├── ContextOverflow    13    413  more tokens than the model's context holds
├── ToolFailed         14    500  a tool could not do what it was asked
├── Overloaded         17    429  the queue of a model is full
├── DeadlineMissed     18    504  a local call took longer than its caller waits
└── Interrupted       130    499  stopped by the user
A finished task has an exit code too (``runtime.core.EXIT_CODES``): unsure 10, declined 11.
"""

from __future__ import annotations


class AidecampError(Exception):
    """Shown to the user as it stands: what is wrong, what was kept, and what to do next.

    ``message`` says what is wrong (and what was kept); ``hint`` what to do next.
    """

    exit_code = 1
    http_status = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def name(self) -> str:
        """Stable machine-readable name of the error kind, such as ``ModelMissing``."""
        return type(self).__name__

    def as_dict(self) -> dict[str, str | int]:
        """The JSON form that every surface shows: error, message, hint, exit_code."""
        return {
            "error": self.name,
            "message": self.message,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }


class UsageError(AidecampError):
    exit_code = 2
    http_status = 400


class ModelMissing(AidecampError):
    exit_code = 3
    http_status = 409


class ModelCorrupt(AidecampError):
    exit_code = 4
    http_status = 422


class DisplayMissing(AidecampError):
    exit_code = 5
    http_status = 503


class GeneralFailed(AidecampError):
    """``bytes_sent``: what had left the machine when it failed."""

    exit_code = 6
    http_status = 502

    def __init__(self, message: str, *, hint: str = "", bytes_sent: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.bytes_sent = bytes_sent


class SchemaRefused(AidecampError):
    exit_code = 7
    http_status = 400


class StorageFailed(AidecampError):
    exit_code = 8
    http_status = 507


class Denied(AidecampError):
    exit_code = 9
    http_status = 403


class SandboxMissing(AidecampError):
    exit_code = 12
    http_status = 503


class ContextOverflow(AidecampError):
    exit_code = 13
    http_status = 413


class ToolFailed(AidecampError):
    exit_code = 14
    http_status = 500


class Overloaded(AidecampError):
    """``retry_after_s``: when it is worth trying again, where that can be told."""

    exit_code = 17
    http_status = 429

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class DeadlineMissed(AidecampError):
    exit_code = 18
    http_status = 504


class Interrupted(AidecampError):
    exit_code = 130
    http_status = 499
