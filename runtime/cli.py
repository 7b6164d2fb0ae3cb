"""``aidecamp``: the table of subcommands. Arguments only; each is imported when it is used."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from models.errors import AidecampError, StorageFailed, UsageError
from runtime.plain import plain

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("runtime.commands.run", "do a task: refine, route, act, and show who served each step"),
    "route": ("runtime.commands.route", "show who would serve a step, and why; run nothing"),
    "decisions": (
        "runtime.commands.decisions",
        "list, show, replay, mark and export past decisions",
    ),
    "policy": ("runtime.commands.policy", "rules, budgets, thresholds: show, check, replay"),
    "calibrate": (
        "runtime.commands.calibrate",
        "how often local answers are right, and what that holds",
    ),
    "savings": ("runtime.commands.savings", "what was served locally, and what it saved"),
    "specialize": (
        "runtime.commands.specialize",
        "find what your agents repeat, and what a small model could take over",
    ),
    "models": ("models.cli", "list, pull, remove and show models"),
    "doctor": ("models.doctor", "what this machine can run, on what device, and what is broken"),
    "quantize": ("quantize.cli", "make a GGUF model smaller"),
    "daemon": ("runtime.daemon.cli", "start, stop and inspect the local daemon"),
    "mcp": ("runtime.commands.mcp", "offer Aidecamp's tools to MCP clients; list those of servers"),
    "tui": ("tui.cli", "watch every decision as it is made"),
    "demo": ("runtime.commands.demo", "four tasks, live: GUI, shell, command parsing, planning"),
}
"""Name: (module whose ``app`` is the Typer application, one line of help)."""

ALIASES = {"--version": "version", "-h": "--help", "help": "--help"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one subcommand and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    name = arguments[0] if arguments else "--help"
    name = ALIASES.get(name, name)
    if name == "--help":
        print(_help())
        sys.exit(0)
    if name == "version":
        from importlib.metadata import version

        print(f"aidecamp {version('aidecamp')}")
        sys.exit(0)
    if name not in COMMANDS:
        known = f"It is one of {', '.join(COMMANDS)}; aidecamp --help tells more."
        fail(UsageError(f"There is no command {name!r}.", hint=known), as_json=as_json)
    try:
        _run(name, arguments[1:], as_json=as_json)
    except AidecampError as error:
        fail(error, as_json=as_json)
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        refused = StorageFailed(
            f"The operating system refused: {error.strerror or error}{where}.",
            hint="Is the disk full, or the folder that you are in gone?",
        )
        with contextlib.suppress(OSError):
            fail(refused, as_json=as_json)
        # Standard output itself is what failed: what is left in its buffer is given up.
        sys.stdout = sys.stderr
        fail(refused, as_json=False)


def _run(name: str, arguments: Sequence[str], *, as_json: bool) -> None:
    """One command, to its end. Exits where it says so, or where its arguments are wrong."""
    app = importlib.import_module(COMMANDS[name][0]).app

    from typer.exceptions import TyperException

    try:
        # On its own, Typer writes an error as text, also to who asked for JSON.
        code = app(args=arguments, prog_name=f"aidecamp {name}", standalone_mode=not as_json)
    except TyperException as error:
        hint = f"See: aidecamp {name} --help"
        fail(UsageError(error.format_message(), hint=hint), as_json=as_json)
    finally:
        sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else 0)


def fail(error: AidecampError, *, as_json: bool) -> NoReturn:
    """Show an error the way that the caller reads, and exit with its code."""
    if as_json:
        print(json.dumps(error.as_dict(), ensure_ascii=False))
    else:
        print(f"aidecamp: {plain(error.message, lines=True)}", file=sys.stderr)
        if error.hint:
            print(f"  {plain(error.hint, lines=True)}", file=sys.stderr)
    sys.exit(error.exit_code)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        "aidecamp: local-first AI agents. Small models on this machine do the routine;",
        "only hard planning goes to a remote LLM, and every decision is shown.",
        "",
        "usage: aidecamp COMMAND [OPTIONS]",
        "",
        *(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()),
        "",
        'example: aidecamp run "which five files under /usr/share are the largest?"',
        "aidecamp COMMAND --help tells more; every command has --json.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
