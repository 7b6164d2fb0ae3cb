"""``aidecamp``: the table of subcommands. Arguments only; each is imported when it is used."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence

from models.errors import AidecampError

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("runtime.commands.run", "do a task: refine, route, act, and show who served each step"),
    "route": ("runtime.commands.route", "show who would serve a step, and why; run nothing"),
    "decisions": ("runtime.commands.decisions", "list, show and export past decisions"),
    "savings": ("runtime.commands.savings", "what was served locally, and what it saved"),
    "models": ("models.cli", "list, pull, remove and show models"),
    "doctor": ("models.doctor", "what this machine can run, on what device, and what is broken"),
    "quantize": ("quantize.cli", "make a GGUF model smaller"),
    "daemon": ("runtime.daemon.cli", "start, stop and inspect the local daemon"),
    "tui": ("tui.cli", "watch every decision as it is made"),
    "demo": ("runtime.commands.demo", "four tasks, live: GUI, shell, command parsing, planning"),
}
"""Name: (module whose ``app`` is the Typer application, one line of help)."""

ALIASES = {"--version": "version", "-h": "--help", "help": "--help"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one subcommand and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
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
        print(f"aidecamp: there is no command {name!r}.\n\n{_help()}", file=sys.stderr)
        sys.exit(2)
    try:
        app = importlib.import_module(COMMANDS[name][0]).app
        app(args=arguments[1:], prog_name=f"aidecamp {name}")
    except AidecampError as error:
        fail(error, as_json="--json" in arguments)
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def fail(error: AidecampError, *, as_json: bool) -> None:
    """Show an error the way that the caller reads, and exit with its code."""
    if as_json:
        print(json.dumps(error.as_dict(), ensure_ascii=False))
    else:
        print(f"aidecamp: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
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
