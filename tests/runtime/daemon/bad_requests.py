"""Requests that no client should send, made from good ones.

A new route that takes a body needs a line in TARGETS; a test says so.
"""

from __future__ import annotations

import copy
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.runtime.daemon.wire import request

Headers = dict[str, str | None]


def _each(name: str, *values: str) -> list[Headers]:
    return [{name: value} for value in values]


CHAT = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "short"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
    "stop": ["x"],
    "stream": False,
    "n": 1,
    "seed": 3,
    "temperature": 0.5,
    "max_tokens": 5,
    "logprobs": True,
    "top_logprobs": 2,
}
TARGETS: dict[str, Any] = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"model": "auto", "input": [{"role": "user", "content": "hi"}]},
    "/v1/embeddings": {"model": "auto", "input": ["one", "two"], "encoding_format": "float"},
    "/v1/tasks": {"text": "count", "surface": "auto", "tools": [], "budget_usd": 1.0, "yes": False},
    "/v1/tasks/task_x/approve": {"id": "act_x"},
    "/v1/tasks/task_x/deny": {"id": "act_x"},
    "/v1/tasks/task_x/cancel": None,
    "/v1/decisions/dec_x/replay": {"threshold": 0.5},
    "/v1/decisions/dec_x/mark": {"verdict": "right", "note": "x"},
    "/v1/policy/check": {"toml": "privacy = 'ask'"},
    "/v1/pool/load": {"model": "no-such-model"},
    "/v1/pool/unload": {"model": "no-such-model"},
    "/v1/store/pull": {"model": "no-such-model"},
    "/v1/route": {"text": "count the files", "kind": "shell"},
    "/mcp": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "route"}},
    "/v1/no/such/route": {"model": "auto"},
}
"""Paths that take a body, and a body from which bad ones are made."""
READ = (
    *("/v1/tasks?limit={}", "/v1/tasks/{}", "/v1/decisions?limit={}", "/v1/decisions/{}"),
    *("/v1/decisions?kind={}", "/v1/decisions?text={}&task_id={}", "/v1/events?after={}"),
    *("/v1/savings/{}", "/v1/models/{}", "/{}", "/v1/{}", "/metrics/{}", "/v1/savings/report?{}"),
)
"""Paths that are read. What goes into the braces is bad."""

JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 5, 2**63, 10**400, 0.1, -1e308, "", " ", "x", "\ud800", "\0", "é中✓"),
    *("x" * 5_000, [], {}, [[]], [None], {"": None}, ["x"] * 300, {"a": {"b": {"c": []}}}),
    *("../../etc/passwd", "{{7*7}}", "http://169.254.169.254/", "'; DROP TABLE events; --"),
)
IN_PATHS = (
    *("", "-1", "0", "1e9", "9" * 40, "NaN", "%00", "%ff%fe", "%ed%a0%80", "a%2Fb", "&&=", "[]"),
    *("..%2F..%2Fetc%2Fpasswd", "../../etc/passwd", "%", "%zz", "x" * 4_000, "a=1&a=2", "*"),
    *("task_none", "true", "null", ";", "//", "?", "%0d%0aSet-Cookie:x", "{0}"),
)
NOT_UTF8 = (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80", b"\xe2\x82")
NO_JSON = (
    *(b"NaN", b'{"text": NaN}', b'{"temperature": Infinity}', b"1e999", b"9" * 6_000, b"[1,]"),
    *(b'{"a":1,"a":2}', b"'single'", b"{text: 1}", b"\xef\xbb\xbf{}", b"<xml/>", b"\n", b"{}{}"),
    *(b'{"model":"a","model":"b"}', b"text=1&yes=2", b"true false", b'"' * 99, b"x" * 150_000),
    *(b'{"text": "\x01"}', b'{"text": "\\u12"}', b'{"text": "\\x"}'),
)
TYPES: tuple[Headers, ...] = (
    {"Content-Type": None},
    {"Content-Type": "text/plain"},
    {"Content-Type": "multipart/form-data"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": "application/json; charset=utf-7"},
    {"Content-Type": ";;;"},
    {"Content-Encoding": "gzip"},
    {"Accept": "image/png"},
)
HEADERS: tuple[Headers, ...] = (
    {"X-Long": "x" * 40_000},
    {f"X-{n}": "x" for n in range(150)},
    *_each("Last-Event-ID", "-1", "x", "1.5", "²", "9e9", "1 2"),
    *_each("Host", "evil.example", "", "localhost:x", "\xff"),
    *_each("Origin", "null", "https://evil.example", ""),
    *_each("Authorization", "Bearer x", "Basic eDp5", "\xff", "Bearer"),
    {"Sec-Fetch-Site": "cross-site"},
    {"Expect": "nonsense", "Last-Event-ID": "x"},
    {"Range": "bytes=0-1", "If-Match": '"x"', "Last-Event-ID": "x"},
    {"Upgrade": "websocket", "Connection": "Upgrade", "Last-Event-ID": "x"},
    {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "Last-Event-ID": "x"},
)
LENGTHS = ("-1", "x", "1, 2", "0x10", "", "9" * 30, "1e3")
CHUNKS = (
    *(b"zz\r\n", b"-1\r\n", b"F" * 21 + b"\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"\r\n\r\n"),
    *(b"g\r\n", b"5;" + b"x" * 40_000, b"2\r\n{}xx0\r\n\r\n", b"2\r\n{}\r\nzz\r\n"),
)
LINES = (
    *(b"\r\n\r\n", b"GET\r\n\r\n", b"GET /v1/health\r\n\r\n", b"\x16\x03\x01\x02\r\n\r\n"),
    *(b"GET  /v1/health HTTP/1.1\r\n\r\n", b"GET /v1/health HTTP/x\r\n\r\n", b"{}\r\n\r\n"),
    *(b"GET /v1/health HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"A" * 40_000),
    *(b"GET / HTTP/1.1\nHost:\n\n", b"GET http://evil/ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n",
)


@dataclass
class Bad:
    """One request. ``leaves``: the client goes away when it is sent, and reads nothing."""

    kind: str
    data: bytes
    method: str = "POST"
    leaves: bool = False


class Maker:
    """Makes bad requests, always the same ones for one seed."""

    def __init__(self, seed: int, token: str) -> None:
        self.dice = random.Random(seed)
        self.token = token
        self.makers: tuple[Callable[[], Bad], ...] = (
            *(self.wrong_type, self.wrong_type, self.fields, self.bytes_, self.bytes_),
            *(self.nesting, self.utf8, self.no_json, self.headers, self.framing, self.read),
            *(self.read, self.method, self.request_line, self.left, self.types),
        )

    def one(self) -> Bad:
        return self.dice.choice(self.makers)()

    def body(self) -> tuple[str, Any]:
        path = self.dice.choice(list(TARGETS))
        return path, copy.deepcopy(TARGETS[path])

    def send(
        self, path: str, body: bytes, method: str = "POST", headers: Headers | None = None
    ) -> bytes:
        return request(method, path, headers, body, self.token)

    def dump(self, value: Any) -> bytes:
        return json.dumps(value, ensure_ascii=self.dice.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )

    def wrong_type(self) -> Bad:
        """A value somewhere in the body is of another type or out of its range."""
        path, body = self.body()
        holder = {"": body}
        at: Any = holder
        key: Any = ""
        while isinstance(at[key], (dict, list)) and at[key] and self.dice.random() < 0.8:
            at = at[key]
            key = self.dice.choice(list(at) if isinstance(at, dict) else range(len(at)))
        at[key] = copy.deepcopy(self.dice.choice(JUNK))
        return Bad("wrong type", self.send(path, self.dump(holder[""])))

    def fields(self) -> Bad:
        """A field is missing, or one is there that nobody knows."""
        path, body = self.body()
        body = body if isinstance(body, dict) else {}
        if body and self.dice.random() < 0.5:
            del body[self.dice.choice(list(body))]
        else:
            body["".join(self.dice.choices(string.printable, k=6))] = self.dice.choice(JUNK)
        return Bad("fields", self.send(path, self.dump(body)))

    def bytes_(self) -> Bad:
        """Bytes of valid JSON are changed, lost, or too many."""
        path, body = self.body()
        data = bytearray(self.dump(body))
        for _ in range(self.dice.randrange(1, 6)):
            at = self.dice.randrange(len(data) + 1)
            match self.dice.randrange(4):
                case 0:
                    data[at : at + 1] = bytes([self.dice.randrange(256)])
                case 1:
                    del data[at:]
                case 2:
                    del data[at : at + self.dice.randrange(1, 9)]
                case _:
                    data[at:at] = self.dice.randbytes(self.dice.randrange(1, 9))
        return Bad("bytes", self.send(path, bytes(data)))

    def nesting(self) -> Bad:
        path, body = self.body()
        opens, closes = self.dice.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"":', b"}]")))
        deep = self.dice.choice((65, 200, 2_000, 15_000))
        data = opens * deep + b"1" + closes * self.dice.choice((deep, deep - 1, 0))
        if isinstance(body, dict) and body and self.dice.random() < 0.5:
            name = json.dumps(self.dice.choice(list(body))).encode()
            data = b"{" + name + b":" + data + b"}"
        return Bad("nesting", self.send(path, data))

    def utf8(self) -> Bad:
        path, body = self.body()
        data = self.dump(body)
        match self.dice.randrange(3):
            case 0:
                data = data.decode("utf-8").encode(self.dice.choice(("utf-16", "utf-32-le")))
            case 1:
                data = data.replace(b'"', b'"' + self.dice.choice(NOT_UTF8), 1)
            case _:
                data += self.dice.choice(NOT_UTF8)
        return Bad("utf-8", self.send(path, data))

    def no_json(self) -> Bad:
        path, _ = self.body()
        return Bad("no json", self.send(path, self.dice.choice(NO_JSON)))

    def types(self) -> Bad:
        """The body is what it should be, and its headers say that it is something else."""
        path, body = self.body()
        data = self.dump(body if self.dice.random() < 0.5 else [body])
        return Bad("types", self.send(path, data, headers=self.dice.choice(TYPES)))

    def headers(self) -> Bad:
        headers = self.dice.choice(HEADERS)
        path = self.dice.choice(("/v1/health", "/v1/tasks", "/v1/models", "/v1/events"))
        path = "/v1/events" if "Last-Event-ID" in headers else path
        return Bad("headers", self.send(path, b"", "GET", headers), "GET")

    def framing(self) -> Bad:
        """The message is not as long as it says."""
        path, body = self.body()
        if self.dice.random() < 0.5:
            head = self.send(path, b"", headers={"Transfer-Encoding": "chunked"})
            return Bad("chunks", head + self.dice.choice(CHUNKS))
        length: Headers = {"Content-Length": self.dice.choice(LENGTHS)}
        return Bad("length", self.send(path, self.dump(body), headers=length))

    def read(self) -> Bad:
        template = self.dice.choice(READ)
        path = template
        while "{}" in path:
            path = path.replace("{}", self.dice.choice(IN_PATHS), 1)
        if path.startswith("/v1/events") and "after=0" in path:
            path += "x"  # A good one would be a stream without end.
        return Bad("read", self.send(path, b"", "GET"), "GET")

    def method(self) -> Bad:
        path = self.dice.choice((*TARGETS, "/v1/health", "/openapi.json", "*"))
        method = self.dice.choice(("PUT", "PATCH", "DELETE", "TRACE", "BREW", "get", "OPTIONS"))
        return Bad("method", self.send(path, b"", method), method)

    def request_line(self) -> Bad:
        data = self.dice.choice((*LINES, self.dice.randbytes(50) + b"\n\n"))
        return Bad("request line", data, "GET")

    def left(self) -> Bad:
        """The client goes away in the middle of what it sends."""
        path, body = self.body()
        data = self.send(path, self.dump(body))
        return Bad("left", data[: self.dice.randrange(1, len(data))], leaves=True)
