"""A daemon's server with one slow answer.

``python -m tests.runtime.daemon.slow_server FOLDER HOW`` answers ``begun``, then, on SIGUSR1,
``ended``. ``HOW``: ``kind`` ends when it is cancelled, and notes that in ``FOLDER/cancelled``;
``stubborn`` does not end.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from runtime.daemon.desk import Desk
from runtime.daemon.listen import listen
from runtime.daemon.server import GRACE_S, QUIET, Server
from runtime.ledger import Ledger
from tests.runtime.daemon.scripted import NOBODY, ScriptedAgent, plain


async def main(folder: Path, stubborn: bool) -> None:
    go_on = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, go_on.set)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        try:
            while not go_on.is_set():
                with suppress(*([asyncio.CancelledError] if stubborn else [])):
                    await go_on.wait()
        except asyncio.CancelledError:
            (folder / "cancelled").touch()
            raise
        await send({"type": "http.response.body", "body": b"ended", "more_body": False})

    ledger = Ledger(folder / "ledger.db")
    desk = Desk(ledger, lambda approver: ScriptedAgent(plain, approver or NOBODY), folder)
    with listen(folder / "d.sock", QUIET) as listening:
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", timeout_graceful_shutdown=GRACE_S
        )
        await Server(config, desk, listening, lambda _: print("ready", flush=True)).serve()
    desk.follower.close()
    ledger.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2] == "stubborn"))
