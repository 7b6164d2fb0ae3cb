"""The sockets that the daemon listens on: a Unix socket of its user's, and TCP.

TCP beyond loopback is refused without TLS. Loopback means 127.0.0.0/8, ::1 and ``localhost``.
Of systemd's sockets (:mod:`runtime.daemon.activation`) those that there are take the place of
what would be opened here.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import StorageFailed, UsageError
from runtime.config import DaemonConfig
from runtime.daemon import place
from runtime.daemon.certificate import Certificate, certificate_of
from runtime.daemon.errors import DaemonRunning, ListenRefused

BACKLOG = 256


@dataclass(frozen=True, slots=True)
class Listening:
    """What the daemon listens on."""

    unix: socket.socket
    tcp: tuple[socket.socket, ...] = ()
    certificate: Certificate | None = None
    """With one, TCP is TLS; the Unix socket never is."""

    @property
    def address(self) -> str | None:
        """The first TCP address, such as ``http://127.0.0.1:24332``; None without TCP."""
        if not self.tcp:
            return None
        host, port = self.tcp[0].getsockname()[:2]
        named = f"[{host}]" if ":" in host else host
        return f"{'https' if self.certificate else 'http'}://{named}:{port}"


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, is this machine to itself."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


@contextmanager
def listen(
    path: Path, settings: DaemonConfig, handed: Sequence[socket.socket] = ()
) -> Iterator[Listening]:
    """Listen on the Unix socket ``path`` and, as ``settings`` say, on TCP; ``handed`` sockets are
    used where they fit. What was opened here is put away at the end, what was handed is left.

    Raises ListenRefused, UsageError, StorageFailed, DaemonRunning. TCP comes first, so that the
    Unix socket is untouched where a setting is wrong.
    """
    unix = [one for one in handed if one.family == socket.AF_UNIX]
    tcp = [one for one in handed if one.family != socket.AF_UNIX]
    certificate = certificate_of(settings) if settings.tcp or tcp else None
    with ExitStack() as open_:
        for one in handed:
            open_.enter_context(one)
        for one in tcp:
            _check(one.getsockname()[0], certificate)
        if settings.tcp and not tcp:
            tcp = list(open_.enter_context(_tcp(settings.host, settings.port, certificate)))
        if not unix:
            unix = [open_.enter_context(_unix(path))]
        listening = Listening(unix[0], tuple(tcp), certificate)
        with _told(path, listening.address):
            yield listening


def _check(host: str, certificate: Certificate | None) -> None:
    if certificate is None and not is_loopback(host):
        raise UsageError(
            f"daemon.host {host!r} can be reached from other machines, and there is no TLS: a"
            " token would cross the network in the clear.",
            hint="Set daemon.tls_cert and daemon.tls_key, or leave daemon.host at 127.0.0.1.",
        )


@contextmanager
def _tcp(
    host: str, port: int, certificate: Certificate | None
) -> Iterator[tuple[socket.socket, ...]]:
    """Every address of ``host``, on one port."""
    _check(host, certificate)
    with ExitStack() as open_:
        sockets: list[socket.socket] = []
        for family, address in _addresses(host, port):
            # A name such as localhost is loopback by what it resolves to, not by its letters.
            _check(address[0], certificate)
            # asyncio sets TCP_NODELAY only where the protocol is named; without it, every answer
            # of two writes waits 40 ms for an acknowledgement.
            sock = open_.enter_context(
                socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            )
            # localhost on both protocols: else another user could take the other half.
            shared = sockets[0].getsockname()[1] if sockets else port
            if _bound(sock, (address[0], shared, *address[2:]), optional=bool(sockets)):
                sockets.append(sock)
        yield tuple(sockets)


Address = tuple[Any, ...]
"""As ``bind`` takes it: host and port, and two numbers more for IPv6."""


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Address]]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(
            f"daemon.host {host!r} is no address of this machine: {error}.",
            hint="Write 127.0.0.1, ::1, or a name that this machine has.",
        ) from error
    # IPv4 first: it is what the address that is shown should be, where there are both.
    unique = dict.fromkeys((family, address) for family, _, _, _, address in found)
    return sorted(unique, key=lambda one: one[0] != socket.AF_INET)


def _bound(sock: socket.socket, address: Address, *, optional: bool) -> bool:
    if sys.platform == "win32":
        # There SO_REUSEADDR would share the port with whoever asks next.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        if optional and error.errno == errno.EADDRNOTAVAIL:
            return False  # This machine has no IPv6, though its hosts file says so.
        raise _refused(error, address[0], address[1]) from error
    sock.setblocking(False)
    return True


def _refused(error: OSError, host: str, port: int) -> ListenRefused:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return ListenRefused(
            f"Another program listens on {where}, so the daemon cannot (daemon.port).",
            hint="Set daemon.port in config.toml, or AIDECAMP_DAEMON__PORT, to another one;"
            " 0 takes any that is free. Without TCP: daemon.tcp = false.",
        )
    if error.errno == errno.EACCES:
        return ListenRefused(
            f"The system does not let you listen on {where} (daemon.port).",
            hint="Set daemon.port to 1024 or above.",
        )
    return ListenRefused(
        f"The daemon cannot listen on {where} (daemon.host): {error.strerror}.",
        hint="daemon.host is an address of this machine; 127.0.0.1 always is.",
    )


@contextmanager
def _unix(path: Path) -> Iterator[socket.socket]:
    """A socket at ``path``, 0600 from its first moment. The claim is held, so a file that lies
    there is what a killed daemon left behind, unless something listens on it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if listened(path):
            raise DaemonRunning(
                f"Something listens on {path} already, and it is not a daemon that runs.",
                hint="With aidecamp.socket installed, start it there:"
                " systemctl --user start aidecamp.service",
            )
        _clear(path)
        mask = os.umask(0o177)
        try:
            sock.bind(os.fspath(path))
        finally:
            os.umask(mask)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise StorageFailed(
            f"The daemon cannot listen on {path}: {error.strerror or error}.",
            hint="Set AIDECAMP_SOCKET to a path of at most"
            f" {place.MAX_SOCKET_BYTES} bytes in a folder of yours.",
        ) from error
    except BaseException:
        sock.close()
        raise
    try:
        yield sock
    finally:
        sock.close()
        place.remove(path)


def _clear(path: Path) -> None:
    """Remove the socket that lies at ``path``, and nothing else that might."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StorageFailed(
            f"{path} is there and is no socket; the daemon left it alone.",
            hint="Set AIDECAMP_SOCKET to a path where nothing lies.",
        )
    place.remove(path)


def listened(path: Path) -> bool:
    """Whether anything accepts connections on the Unix socket ``path``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(os.fspath(path))
        except OSError:
            return False
    return True


@contextmanager
def _told(path: Path, address: str | None) -> Iterator[None]:
    """The TCP address in its file, 0600, for as long as it holds."""
    file = place.address_path(path)
    try:
        if address is None:
            place.remove(file)
        else:
            place.write(file, f"{address}\n")
    except OSError as error:
        raise StorageFailed(
            f"{file} cannot be written: {error.strerror}.", hint="Is the disk full?"
        ) from error
    try:
        yield
    finally:
        place.remove(file)
