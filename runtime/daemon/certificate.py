"""The daemon's TLS certificate: what it shows to clients beyond this machine."""

from __future__ import annotations

import ssl
from pathlib import Path

from models.errors import UsageError
from runtime.config import DaemonConfig


class Certificate:
    """A certificate chain and its key, as an ``ssl`` context that can be renewed while it serves.

    Raises UsageError where a file is missing, cannot be read, or does not fit the other.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self.renew()

    def renew(self) -> None:
        """Read the files again: connections that come from now on see them."""
        # Into a context of its own first: a pair that does not fit must not replace one that does.
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self._load(self.context)

    def _load(self, context: ssl.SSLContext) -> None:
        def locked() -> bytes:
            raise UsageError(
                f"The key of daemon.tls_key ({self._key}) asks for a password.",
                hint="Give the daemon a key without one, in a file that only you may read.",
            )

        try:
            context.load_cert_chain(self._chain, self._key, locked)
        except ssl.SSLError as error:
            raise UsageError(
                f"daemon.tls_cert ({self._chain}) and daemon.tls_key ({self._key}) are no"
                f" certificate and its key: {error.reason or error}.",
                hint="Both are PEM files; the certificate comes first in its own.",
            ) from error
        except OSError as error:
            missing = next((p for p in (self._chain, self._key) if not p.is_file()), self._key)
            raise UsageError(
                f"The file {missing} of daemon.tls_cert and daemon.tls_key cannot be read:"
                f" {error.strerror}.",
                hint="Both are paths of PEM files.",
            ) from error


def certificate_of(settings: DaemonConfig) -> Certificate | None:
    """The certificate that ``settings`` name; None where they name none. Raises UsageError."""
    chain, key = settings.tls_cert, settings.tls_key
    if chain is None and key is None:
        return None
    if chain is None or key is None:
        raise UsageError(
            f"daemon.tls_{'key' if key else 'cert'} is set, and"
            f" daemon.tls_{'cert' if key else 'key'} is not.",
            hint="TLS needs both.",
        )
    return Certificate(chain.expanduser(), key.expanduser())
