"""What systemd hands to a service: sockets that listen already, and where to say "ready".

sd_listen_fds(3) and sd_notify(3), without their library. launchd has a call of its own for this
(``launch_activate_socket``), which is not made here.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping

from models.errors import UsageError

FIRST_FD = 3
"""``SD_LISTEN_FDS_START``."""


def inherited(environ: Mapping[str, str] | None = None) -> list[socket.socket]:
    """The listening sockets that were handed to this process; empty where none were.

    The variables that told of them are removed, so that no child takes them for its own.
    Raises UsageError where one is not a listening stream socket, or is open to other users.
    """
    given = os.environ if environ is None else environ
    pid, count = given.get("LISTEN_PID", ""), given.get("LISTEN_FDS", "")
    if environ is None:
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    return [_taken(FIRST_FD + number) for number in range(int(count))]


def _taken(fd: int) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise UsageError(
            f"LISTEN_FDS names file descriptor {fd}, which is no socket: {error.strerror}.",
            hint="Is the daemon started by its own aidecamp.service?",
        ) from error
    if not listens or sock.type != socket.SOCK_STREAM:
        raise UsageError(
            f"The socket that was handed over ({sock.getsockname()!r}) does not listen.",
            hint="ListenStream= with Accept=no is what a socket unit needs.",
        )
    if sock.family == socket.AF_UNIX:
        path = sock.getsockname()
        mode = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116  (bytes or text)
        if mode & 0o077:
            raise UsageError(
                f"Others may connect to {path} (mode {mode:04o}).",
                hint="Set SocketMode=0600 in aidecamp.socket.",
            )
    sock.setblocking(False)
    return sock


def notify(message: str) -> None:
    """Tell systemd ``message``, such as ``READY=1``, if it asked to be told (``Type=notify``)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        # A leading @ stands for the NUL of the abstract namespace.
        sock.sendto(
            message.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address
        )
