"""``aidecamp daemon token``: who may call the daemon, and how much. Arguments only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from runtime.daemon import place
from runtime.daemon.saying import Json, say

if TYPE_CHECKING:
    from runtime.daemon.tokens import Scope

app = typer.Typer(
    help="Tokens: each client gets one of its own, with a scope (infer, act or admin).",
    epilog="Example: aidecamp daemon token add my-agent --scope infer",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(epilog="Example: aidecamp daemon token add my-agent --scope infer")
def add(
    name: Annotated[str, typer.Argument(help="What you call the client.")],
    scope: Annotated[
        str,
        typer.Option(
            help="infer: calls to models alone. act: tasks and tools too. admin: everything."
        ),
    ] = "infer",
    json_: Json = False,
) -> None:
    """Make a token, and show it: this once."""
    from runtime.daemon.tokens import configured

    secret = configured().add(name, cast("Scope", scope))
    url = _base_url()
    say(
        json_,
        f"{secret}\n\n"
        f"It is not shown again. {name!r} may {_MAY.get(scope, scope)}; it needs:\n"
        f"  export OPENAI_BASE_URL={url}\n"
        f"  export OPENAI_API_KEY={secret}",
        name=name,
        scope=scope,
        token=secret,
        base_url=url,
    )


@app.command("list", epilog="Example: aidecamp daemon token list --json")
def list_(json_: Json = False) -> None:
    """Every token's name, scope and age; never the token."""
    from runtime.daemon.tokens import configured

    names = configured().names()
    width = max((len(one.name) for one in names), default=0)
    text = "\n".join(f"{one.name:<{width}}  {one.scope:<5}  made {one.made}" for one in names)
    rows = [{"name": one.name, "scope": one.scope, "made": one.made} for one in names]
    say(json_, text or "There is no token yet: `aidecamp daemon token add NAME`.", tokens=rows)


@app.command(epilog="Example: aidecamp daemon token remove my-agent")
def remove(
    name: Annotated[str, typer.Argument(help="As `aidecamp daemon token list` shows it.")],
    json_: Json = False,
) -> None:
    """Refuse whoever holds the token, from now on. Removing `own` makes you a new one."""
    from runtime.daemon.tokens import configured

    configured().remove(name)
    say(json_, f"The token {name!r} is refused from now on.", name=name)


@app.command(epilog="Example: export OPENAI_API_KEY=$(aidecamp daemon token show)")
def show(json_: Json = False) -> None:
    """Your own token, which may everything. Give programs one of their own instead."""
    from runtime.daemon.tokens import configured

    own = configured().own()
    say(json_, own, token=own, base_url=_base_url())


_MAY = {
    "infer": "call models",
    "act": "call models, run tasks and use tools",
    "admin": "do everything",
}


def _base_url() -> str:
    """Where the daemon answers on TCP: the address that is bound, else the one that would be."""
    bound = place.address(place.socket_path())
    if bound is not None:
        return f"{bound}/v1"
    from runtime.config import load_config

    daemon = load_config().daemon
    host = f"[{daemon.host}]" if ":" in daemon.host else daemon.host
    scheme = "https" if daemon.tls_cert else "http"
    return f"{scheme}://{host}:{daemon.port or 'PORT'}/v1"
