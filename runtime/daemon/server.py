"""The daemon's process: one for each user, on a Unix socket of theirs and on TCP."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

from models.errors import AidecampError, StorageFailed
from runtime.config import Config, DaemonConfig
from runtime.core import Privacy
from runtime.daemon import activation, place
from runtime.daemon.agents import Agents
from runtime.daemon.app import create_app
from runtime.daemon.connection import http_settings
from runtime.daemon.desk import Desk
from runtime.daemon.errors import DaemonRunning
from runtime.daemon.listen import BACKLOG, Listening, listen
from runtime.daemon.reload import Reloader
from runtime.daemon.runner import AgentFactory
from runtime.daemon.tokens import TokenStore
from runtime.ledger import Ledger
from runtime.retention import keep

log = logging.getLogger(__name__)

GRACE_S = 20
"""How long a stop waits for answers that are being sent."""
CANCELLED_S = 2.0
"""How long what was cancelled then has to record that."""
FORCED_S = 2.0
"""How long the end may take after a second signal, before the process is simply left."""
HANDSHAKE_S = 10.0
MAX_LOG_BYTES = 5_000_000
"""A log that is larger when the daemon starts becomes the old one."""
QUIET = DaemonConfig(tcp=False)


class Server(uvicorn.Server):
    """uvicorn on several sockets, some with TLS. On its way out it takes no new connection, ends
    the tasks and streams of ``desk``, and waits for answers that are being sent."""

    def __init__(
        self,
        config: uvicorn.Config,
        desk: Desk,
        listening: Listening,
        ready: Callable[[Listening], None] | None = None,
    ) -> None:
        super().__init__(config)
        self._desk = desk
        self._listening = listening
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._desk.follower.start()
        certificate = self._listening.certificate
        plain = [self._listening.unix, *(() if certificate else self._listening.tcp)]
        await super().startup(plain)
        if certificate is not None:
            # uvicorn knows one TLS context for all of its sockets; the Unix socket has none.
            loop = asyncio.get_running_loop()
            for sock in self._listening.tcp:
                self.servers.append(
                    await loop.create_server(
                        self._protocol,
                        sock=sock,
                        ssl=certificate.context,
                        ssl_handshake_timeout=HANDSHAKE_S,
                        backlog=BACKLOG,
                    )
                )
        if self._ready is not None:
            self._ready(self._listening)

    def _protocol(self) -> asyncio.Protocol:
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

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
        """End gracefully; called a second time, at once: whoever still gets an answer loses it."""
        if not self.should_exit:
            self.should_exit = True
            return
        log.warning("told to stop a second time: ends at once")
        self.force_exit = True
        leave = threading.Timer(FORCED_S, os._exit, (1,))
        leave.daemon = True
        leave.start()
        for task in self.server_state.tasks:
            task.cancel()
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        activation.notify("STOPPING=1")
        for server in self.servers:
            server.close()
        await self._desk.stop()
        await super().shutdown(sockets)
        await self._desk.close()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=CANCELLED_S)


async def serve(
    path: Path,
    ledger: Ledger,
    make_agent: AgentFactory,
    *,
    folder: Path,
    privacy: Privacy = "ask",
    agents: Agents | None = None,
    config: Config | None = None,
    handed: Sequence[socket.socket] = (),
    ready: Callable[[Listening], None] | None = None,
    until: asyncio.Event | None = None,
) -> None:
    """Serve on the Unix socket ``path`` until SIGTERM, SIGINT, or ``until`` is set.

    ``config``: also on TCP as it says, and changes of its files are taken over. ``ready`` is
    called when the daemon answers. Raises DaemonRunning where this user's daemon runs already;
    ListenRefused, UsageError or StorageFailed where a socket cannot be made.
    """
    settings = config.daemon if config is not None else QUIET
    with claim(path), listen(path, settings, handed) as listening:
        desk = Desk(ledger, make_agent, folder, privacy, agents)
        desk.addresses = (str(path), *((listening.address,) if listening.address else ()))
        reloader = Reloader(desk.take_over, config) if config is not None else None
        tokens = TokenStore(ledger.path.parent, settings.tokens_in)
        app = create_app(desk, tokens, lambda: reloader.config.daemon if reloader else settings)
        server = Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=GRACE_S,
                backlog=BACKLOG,
                **http_settings(),
            ),
            desk,
            listening,
            ready,
        )
        beside = [asyncio.create_task(_stop_at(server, until))] if until is not None else []
        if reloader is not None:
            keeping = keep(ledger, lambda: reloader.config.record)
            beside.append(asyncio.create_task(keeping, name="retention"))
        try:
            with _reloading(reloader, listening, beside):
                await server.serve()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await asyncio.to_thread(desk.follower.close)


async def _stop_at(server: Server, until: asyncio.Event) -> None:
    await until.wait()
    server.stop()


@contextmanager
def _reloading(
    reloader: Reloader | None, listening: Listening, beside: list[asyncio.Task[None]]
) -> Iterator[None]:
    """Watch the settings, and read them again on SIGHUP."""
    if reloader is None:
        yield
        return

    def again() -> None:
        if listening.certificate is not None:
            try:
                listening.certificate.renew()
            except AidecampError as error:
                log.error("the certificate in use stays: %s %s", error.message, error.hint)
        reloader.ask()

    beside.append(asyncio.create_task(reloader.watch()))
    loop = asyncio.get_running_loop()
    if threading.current_thread() is threading.main_thread():
        loop.add_signal_handler(signal.SIGHUP, again)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Be the one daemon of this socket. The kernel lets go of the lock when the process dies.

    Raises DaemonRunning, StorageFailed.
    """
    import fcntl

    place.prepare(path.parent)
    lock = place.lock_path(path)
    with ExitStack() as held:
        try:
            file = held.enter_context(lock.open("a+", encoding="utf-8"))
            os.fchmod(file.fileno(), 0o600)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise DaemonRunning(
                f"The daemon of {path} runs already (process {holder}).",
                hint="`aidecamp daemon status` shows it; `aidecamp daemon stop` ends it.",
            ) from error
        except OSError as error:
            raise StorageFailed(
                f"The daemon's lock {lock} cannot be written: {error.strerror}.",
                hint="Is the disk full, or does the file belong to another user?",
            ) from error
        yield


def main(argv: Sequence[str] = ()) -> int:
    """Run in the foreground with the real agent. The last line of stderr is the error, if any."""
    parser = argparse.ArgumentParser(prog="python -m runtime.daemon")
    parser.add_argument("--log", action="store_true", help="write to the daemon's log file")
    parser.add_argument(
        "--tell", type=int, metavar="FD", help="say here when it answers, or why not"
    )
    options = parser.parse_args(argv)
    try:
        if options.log:
            _write_to_log(place.socket_path())
        logging.basicConfig(
            stream=sys.stderr,
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s %(message)s",
        )
        _run(lambda said: _tell(options.tell, said))
    except AidecampError as error:
        _fail(error, options.tell)
        return error.exit_code
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        refused = StorageFailed(
            f"The operating system refused: {error.strerror or error}{where}.",
            hint="Is the disk full?",
        )
        _fail(refused, options.tell)
        return refused.exit_code
    return 0


def _run(tell: Callable[[dict[str, Any]], None]) -> None:
    from runtime.config import data_dir, load_config
    from runtime.team import ledger_path

    handed = activation.inherited()
    config = load_config()
    # The file of a socket that was handed over decides where the lock and the address lie.
    unix = [one.getsockname() for one in handed if one.family == socket.AF_UNIX]
    path = Path(os.fsdecode(unix[0])) if unix else place.socket_path()

    def ready(listening: Listening) -> None:
        gc.freeze()
        gc.enable()
        where = f"{path} and {listening.address}" if listening.address else str(path)
        log.info("process %d listens on %s", os.getpid(), where)
        activation.notify(f"READY=1\nSTATUS=listens on {where}")
        tell({"pid": os.getpid(), "socket": str(path), "address": listening.address})

    with closing(Ledger(ledger_path())) as ledger, closing(Agents(config, ledger)) as agents:
        folder = data_dir() / "work"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        asyncio.run(
            serve(
                path,
                ledger,
                agents,
                folder=folder,
                privacy=config.privacy,
                agents=agents,
                config=config,
                handed=handed,
                ready=ready,
            )
        )
        log.info("process %d stopped; everything is recorded", os.getpid())


def _write_to_log(path: Path) -> None:
    """Standard output and error go to the log file from here on, C libraries' too."""
    place.prepare(path.parent)
    file = place.log_path(path)
    with suppress(FileNotFoundError):
        if file.stat().st_size > MAX_LOG_BYTES:
            file.replace(place.old_log_path(path))
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _fail(error: AidecampError, tell: int | None) -> None:
    _tell(tell, error.as_dict())
    with suppress(OSError):  # A full disk takes no line of the log either.
        sys.stderr.write(json.dumps(error.as_dict()) + "\n")
        sys.stderr.flush()


def _tell(descriptor: int | None, said: dict[str, Any]) -> None:
    """Write ``said`` to whoever started this process, who may be gone."""
    if descriptor is None:
        return
    with suppress(OSError):
        os.write(descriptor, json.dumps(said).encode() + b"\n")
        os.close(descriptor)
