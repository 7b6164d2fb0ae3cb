"""From an HTTP request to what is asked of whom, and what every answer tells in its headers."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from runtime.core import Privacy
from runtime.daemon.desk import Desk
from runtime.daemon.errors import BadRequest
from runtime.daemon.proxy.case import Asked
from runtime.daemon.proxy.parts import Head
from runtime.daemon.proxy.requests import ChatRequest
from runtime.daemon.proxy.tagging import client_of, session_of
from runtime.daemon.proxy.targets import Target, Targets

STRICTER: tuple[Privacy, ...] = ("local", "ask", "auto")
MOST_HEADER_CHARS = 500


def targets(desk: Desk) -> Targets:
    """The models that clients may name now."""
    return Targets(desk.staff.config.line_up(), desk.staff.store)


def asked_of(
    desk: Desk, http: Request, token: str, request: ChatRequest, target: Target, path: str
) -> Asked:
    """The call, tagged with its client and session. Raises BadRequest."""
    client = client_of(http.headers, token)
    return Asked(
        request,
        target,
        path,
        client,
        session_of(http.headers, request, client),
        _privacy(http.headers, desk.privacy),
        dict(http.headers),
    )


def _privacy(headers: Mapping[str, str], set_: Privacy) -> Privacy:
    """The user's setting, or what the client asks for where that is stricter."""
    asked = headers.get("x-aidecamp-privacy", set_)
    if asked not in STRICTER:
        raise BadRequest(
            f"x-aidecamp-privacy is {asked!r}; it is one of {', '.join(STRICTER)}.",
            param="x-aidecamp-privacy",
        )
    return min(asked, set_, key=STRICTER.index)


def headers_of(head: Head) -> dict[str, str]:
    told = {
        "x-aidecamp-route": head.decision.chosen,
        "x-aidecamp-decision": head.decision.id,
    }
    if head.unsure:
        # Headers are Latin-1 without control characters; a reason may quote the user's words.
        words = "".join(c if c.isprintable() else " " for c in head.unsure)
        told["x-aidecamp-unsure"] = (
            " ".join(words.split())[:MOST_HEADER_CHARS].encode("ascii", "backslashreplace").decode()
        )
    return {**head.headers, **told}
