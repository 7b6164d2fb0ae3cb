"""A Hugging Face hub on loopback: as much of its protocol as a download needs, and its failures.

Serves ``/OWNER/REPO/resolve/REVISION/PATH`` with ETag, commit and ranges. Knows nothing of the
hub's API, and of no storage but its own memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds and does; tests change it while it runs."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Path below the host, such as ``/acme/tiny/resolve/main/model.bin``."""
    url: str = ""
    lfs: bool = True
    """Whether the ETag is the file's SHA-256, as it is for large files."""
    break_after: int | None = None
    """Close the connection after this many bytes of a body."""
    refuse_ranges: bool = False
    """Answer HTTP 503 to a request that wants to go on."""
    redirect_to: str = ""
    """Send downloads to this host, as the hub does with its content network."""
    gate: threading.Event = field(default_factory=threading.Event)
    """Bodies are sent only while this is set."""
    asked: threading.Event = field(default_factory=threading.Event)
    """Set by the first GET."""
    gets: list[dict[str, str]] = field(default_factory=list)
    """The headers of each GET, names in lower case, and its ``path``."""

    def put(self, path: str, body: bytes) -> None:
        self.files[path] = body


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    hub.gate.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            headers = {k.lower(): v for k, v in self.headers.items()}
            hub.asked.set()
            hub.gets.append({**headers, "path": self.path})
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            body = hub.files.get(self.path)
            if body is None:
                self._head(404, {"X-Error-Code": "EntryNotFound", "Content-Length": "0"})
                return
            sha256 = hashlib.sha256(body).hexdigest()
            etag = sha256 if hub.lfs else hashlib.sha1(body).hexdigest()
            common = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
            if hub.redirect_to:
                linked = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(body))}
                place = {"Location": hub.redirect_to + self.path, "Content-Length": "0"}
                self._head(302, common | linked | place)
                return
            start = 0
            if wanted := self.headers.get("Range"):
                if hub.refuse_ranges:
                    self._head(503, {"Content-Length": "0"})
                    return
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                common["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            rest = body[start:]
            self._head(206 if wanted else 200, common | {"Content-Length": str(len(rest))})
            if not with_body:
                return
            hub.gate.wait(30)
            if hub.break_after is not None:
                rest = rest[: hub.break_after]
                self.close_connection = True
            with contextlib.suppress(ConnectionError):  # the client may have gone
                self.wfile.write(rest)

        def _head(self, code: int, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
