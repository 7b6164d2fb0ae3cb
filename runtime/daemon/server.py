"""The daemon's process: one for each user, on a Unix socket that its user alone can open."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import uvicorn

from models.errors import AidecampError, StorageFailed
from runtime.core import Privacy
from runtime.daemon import place
from runtime.daemon.app import create_app
from runtime.daemon.desk import Desk
from runtime.daemon.errors import DaemonRunning
from runtime.daemon.runner import AgentFactory
from runtime.ledger import Ledger

log = logging.getLogger(__name__)

GRACE_S = 10
"""How long a stop waits for answers that are being sent."""


class Server(uvicorn.Server):
    """uvicorn, which on its way out first ends the tasks and the streams of ``desk``."""

    def __init__(self, config: uvicorn.Config, desk: Desk) -> None:
        super().__init__(config)
        self._desk = desk

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._desk.follower.start()
        await super().startup(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again when it is through, which would kill the
        # process before the socket, the lock and the ledger are put away.
        loop = asyncio.get_running_loop()
        caught = (signal.SIGINT, signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for one in caught:
            loop.add_signal_handler(one, self.stop)
        try:
            yield
        finally:
            for one in caught:
                loop.remove_signal_handler(one)

    def stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._desk.stop()
        await super().shutdown(sockets)


async def serve(
    path: Path,
    ledger: Ledger,
    make_agent: AgentFactory,
    *,
    folder: Path,
    privacy: Privacy = "ask",
    until: asyncio.Event | None = None,
) -> None:
    """Serve on the Unix socket ``path`` until SIGTERM, SIGINT, or ``until`` is set.

    Raises DaemonRunning where this user's daemon runs already; StorageFailed where the socket
    cannot be made.
    """
    with claim(path), listen(path) as sock:
        desk = Desk(ledger, make_agent, folder, privacy)
        config = uvicorn.Config(
            create_app(desk),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
        )
        server = Server(config, desk)
        waiter = asyncio.create_task(_stop_at(server, until)) if until else None
        try:
            await server.serve([sock])
        finally:
            if waiter is not None:
                waiter.cancel()
            await asyncio.to_thread(desk.follower.close)


async def _stop_at(server: Server, until: asyncio.Event) -> None:
    await until.wait()
    server.stop()


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Be the one daemon of this socket. The kernel lets go of the lock when the process dies."""
    import fcntl

    place.prepare(path.parent)
    with place.lock_path(path).open("a+", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise DaemonRunning(
                f"The daemon of {path} runs already (process {holder}).",
                hint="`aidecamp daemon status` shows it; `aidecamp daemon stop` ends it.",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def listen(path: Path) -> Iterator[socket.socket]:
    """The listening socket, 0600 from its first moment. The claim is held, so a file that lies
    there is what a killed daemon left behind."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        place.remove(path)
        mask = os.umask(0o177)
        try:
            sock.bind(os.fspath(path))
        finally:
            os.umask(mask)
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise StorageFailed(
            f"The daemon cannot listen on {path}: {error}.",
            hint="Set AIDECAMP_SOCKET to a path of at most"
            f" {place.MAX_SOCKET_BYTES} bytes in a folder of yours.",
        ) from error
    try:
        yield sock
    finally:
        sock.close()
        place.remove(path)


def main() -> int:
    """Run in the foreground with the real agent. The last line of stderr is the error, if any."""
    from runtime.config import data_dir, load_config
    from runtime.daemon.agents import Agents
    from runtime.team import ledger_path

    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    try:
        config = load_config()
        agents = Agents(config)
        path = place.socket_path()
        with closing(agents), closing(Ledger(ledger_path())) as ledger:
            folder = data_dir() / "work"
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            log.info("process %d listens on %s", os.getpid(), path)
            asyncio.run(serve(path, ledger, agents, folder=folder, privacy=config.privacy))
            log.info("process %d stopped; everything is recorded", os.getpid())
    except AidecampError as error:
        sys.stderr.write(json.dumps(error.as_dict()) + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
