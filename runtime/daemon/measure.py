"""What the daemon measures of itself: how long requests take, and how many streams are open.

One registry for each app, none for the process. Labels come from the routes' templates and from
short lists, so that no client can make up new ones.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TypeVar

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Gauge, Histogram
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
T = TypeVar("T")


class Meter:
    """The daemon's own instruments."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.requests = Histogram(
            "aidecamp_request_seconds",
            "From a request to the end of its answer, by the template of its path.",
            ("method", "route", "status"),
            registry=self.registry,
            buckets=BUCKETS_S,
        )
        self.streams = Gauge(
            "aidecamp_streams_open", "Server-sent event streams now.", registry=self.registry
        )

    @staticmethod
    def of(request: Request) -> Meter:
        """The meter of the app that serves ``request``."""
        meter = request.app.state.meter
        if not isinstance(meter, Meter):
            raise TypeError("the app measures nothing")
        return meter

    async def streaming(self, events: AsyncIterator[T]) -> AsyncIterator[T]:
        """``events``, counted as an open stream until its reader or its source ends it."""
        self.streams.inc()
        try:
            async for event in events:
                yield event
        finally:
            self.streams.dec()
            if (close := getattr(events, "aclose", None)) is not None:
                await close()


def install(app: FastAPI) -> None:
    """Measure every request that comes to ``app``."""
    app.state.meter = meter = Meter()
    app.add_middleware(Measured, meter=meter)


class Measured:
    """ASGI middleware: the time of each request, into ``meter.requests``."""

    def __init__(self, app: ASGIApp, meter: Meter) -> None:
        self._app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = "none"

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        begun = time.perf_counter()
        try:
            await self._app(scope, receive, noting)
        finally:
            method = scope["method"] if scope["method"] in METHODS else OTHER
            route = getattr(scope.get("route"), "path", OTHER)
            self._meter.requests.labels(method, route, status).observe(time.perf_counter() - begun)
