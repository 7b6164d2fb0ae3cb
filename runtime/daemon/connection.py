"""One HTTP connection: uvicorn's, with what it lacks towards clients that are broken or slow.

What cannot be parsed is answered in JSON. Headers have a time by which they must have come. Whoever
is still sending when it is refused can read why: closing at once would reset the connection, and
take the answer with it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from models.errors import AidecampError, UsageError
from runtime.daemon.errors import BodyLate, HeadTooLarge, body_of
from runtime.daemon.limits import MAX_HEAD_BYTES, head_too_large

HEAD_TIMEOUT_S = 10.0
"""From a connection's first byte of a request, or from its opening, to the end of the headers."""
LINGER_S = 5.0
"""How long what a refused client still sends is read and thrown away."""


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1, with limits on waiting and an end that loses no answer."""

    _head_timer: asyncio.TimerHandle | None = None
    _linger_timer: asyncio.TimerHandle | None = None
    _lingers = False
    _socket: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._socket = transport
        super().connection_made(cast("asyncio.Transport", _Closing(transport, self)))
        self._watch(opening=True)

    def connection_lost(self, exc: Exception | None) -> None:
        _stop(self._head_timer)
        _stop(self._linger_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._lingers:
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def shutdown(self) -> None:
        super().shutdown()
        if self._lingers:
            self._socket.close()

    @property
    def closing(self) -> bool:
        return self._lingers or self._socket.is_closing()

    def close(self) -> None:
        """Close the connection, at once where its client has nothing more to send."""
        if self.closing:
            return
        if self.conn.their_state not in (h11.SEND_BODY, h11.ERROR):
            self._socket.close()
            return
        self._lingers = True
        if self._socket.can_write_eof():
            self._socket.write_eof()
        self._socket.resume_reading()
        self._watch()

    def _watch(self, opening: bool = False) -> None:
        """Start and stop the two clocks by the state that the connection is in."""
        theirs = self.conn.their_state
        begun = theirs is h11.IDLE and (opening or bool(self.conn.trailing_data[0]))
        if self.closing or not (begun or (theirs is h11.IDLE and self.cycle is None)):
            _stop(self._head_timer)
            self._head_timer = None
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_late)
        answered = self.conn.our_state is h11.DONE and theirs is h11.SEND_BODY
        if not (self._lingers or answered):
            _stop(self._linger_timer)
            self._linger_timer = None
        elif self._linger_timer is None:
            self._linger_timer = self.loop.call_later(LINGER_S, self._socket.close)

    def _head_late(self) -> None:
        if self.closing:
            return
        if not self.conn.trailing_data[0]:
            self.close()  # It was opened, and nothing was ever asked.
            return
        self._refuse(
            BodyLate(
                f"The headers did not come whole within {HEAD_TIMEOUT_S:g} s.",
                hint="Send the request at once.",
            )
        )

    def send_400_response(self, msg: str) -> None:
        # uvicorn calls this while it handles h11's error, and passes its own words alone.
        problem = sys.exc_info()[1]
        status = getattr(problem, "error_status_hint", 400)
        if status == HeadTooLarge.http_status:
            self._refuse(head_too_large())
            return
        said = f": {problem}" if isinstance(problem, h11.RemoteProtocolError) else ""
        self._refuse(
            UsageError(f"This is no HTTP request that can be read{said}.", hint="Use HTTP/1.1."),
            status,
        )

    def _refuse(self, error: AidecampError, status: int | None = None) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._socket.close()  # An answer has begun, and cannot be taken back.
            return
        status = status or error.http_status
        body = json.dumps(body_of(error)).encode()
        head = h11.Response(
            status_code=status,
            headers=[
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ],
            reason=STATUS_PHRASES[status],
        )
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self._socket.write(self.conn.send(event) or b"")
        self.close()


class _Closing:
    """A transport, as uvicorn uses it, that is closed the way its connection wants."""

    def __init__(self, transport: asyncio.Transport, connection: Protocol) -> None:
        self._transport = transport
        self._connection = connection

    def close(self) -> None:
        self._connection.close()

    def is_closing(self) -> bool:
        return self._connection.closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def http_settings() -> dict[str, Any]:
    """What ``uvicorn.Config`` needs, so that the limits hold before the app is asked."""
    return {
        "http": Protocol,
        "ws": "none",
        "h11_max_incomplete_event_size": MAX_HEAD_BYTES,
        "server_header": False,
    }
