"""``aidecamp doctor``: what this machine can run, on what device, and what is broken.

Every check runs whatever the others found; one that itself breaks is a failed line, not an end.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from models.catalog import Catalog
from models.checks import desktop, engine, figures, storage
from models.checks.base import Check
from models.errors import AidecampError, UsageError
from models.machine import Machine
from models.store import Store

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@dataclass(frozen=True, slots=True)
class Examination:
    """The whole report."""

    checks: tuple[Check, ...]
    recommended_pack: str

    @property
    def failed(self) -> bool:
        return any(check.status == "fail" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": not self.failed,
            "recommended_pack": self.recommended_pack,
            "checks": [dataclasses.asdict(check) for check in self.checks],
        }


@app.command(epilog="Example: aidecamp doctor --json")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    bench: Annotated[
        bool, typer.Option("--bench", help="Measure this machine's speed and memory instead.")
    ] = False,
    model: Annotated[
        Path | None, typer.Option("--model", help="With --bench: a GGUF file of your own.")
    ] = None,
) -> None:
    """What this machine can run, on what device, and what is broken.

    Exit code 0: nothing that a default run needs is broken; 1: something is.
    """
    if model is not None and not bench:
        raise UsageError("--model names the file to measure", hint="add --bench")
    if bench:
        _bench(model, as_json=as_json)
        return
    report = examine(None if as_json else _print_check)
    if as_json:
        print(json.dumps(report.as_dict(), ensure_ascii=False))
    if report.failed:
        raise typer.Exit(1)


def _bench(model: Path | None, *, as_json: bool) -> None:
    from rich.console import Console

    with Console(stderr=True).status("measuring …") as status:
        measured = figures.measure(
            Store(), model, lambda stage: status.update(f"measuring: {stage.replace('_', ' ')} …")
        )
    if as_json:
        print(json.dumps({"ok": True, "bench": measured}, ensure_ascii=False))
    else:
        Console(file=sys.stdout, highlight=False).print(figures.table(measured))


def examine(tell: Callable[[Check], None] | None = None) -> Examination:
    """Run every check; ``tell`` hears each answer at once."""
    checks = []
    for check in _checks():
        checks.append(check)
        if tell:
            tell(check)
    advice = next((c.data["pack"] for c in checks if "pack" in c.data), "")
    return Examination(tuple(checks), advice)


def _checks() -> Iterator[Check]:
    catalog, machine = Catalog.load(), Machine.measure()
    store = Store(catalog=catalog)
    yield _guarded("python", storage.python)
    yield _guarded("cpu", engine.cpu)
    model, encoder = storage.generator_file(store), storage.encoder_files(store)
    llama = engine.probe(*(("--generator", model) if model else ()))
    yield _guarded("llama.cpp", lambda: engine.llama(llama, model=model))
    yield _guarded("gpu", lambda: engine.gpu(machine, llama))
    onnx = engine.probe("--encoder", *(encoder or ()))
    yield _guarded("onnxruntime", lambda: engine.onnx(onnx, pulled=encoder is not None))
    gpu_works = bool(machine.gpus and llama.built and llama.built["gpu_offload"] and not llama.code)
    yield _guarded("memory", lambda: storage.memory(machine, catalog, gpu_works=gpu_works))
    yield _guarded("disk", storage.disk)
    yield _guarded("data folder", storage.writable)
    yield _guarded("models", lambda: storage.models(store))
    yield _guarded("sandbox", desktop.sandbox)
    yield _guarded("private display", desktop.display)
    yield _guarded("own display", desktop.desktop)
    yield _guarded("gui programs", desktop.programs)
    yield _guarded("keyring", desktop.keyring)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except AidecampError as error:
        return Check(name, "fail", error.message, error.hint)
    except Exception as error:
        # A doctor that dies of what it examines helps nobody.
        return Check(name, "fail", f"the check itself broke: {type(error).__name__}: {error}")


def _print_check(check: Check) -> None:
    from rich.console import Console
    from rich.markup import escape

    colour = {"ok": "green", "warn": "yellow", "fail": "red"}[check.status]
    console = Console(highlight=False, soft_wrap=True, file=sys.stdout)
    console.print(f"[{colour}]{check.status:4}[/{colour}] {check.name:15} {escape(check.detail)}")
    if check.fix:
        console.print(f"{'':20} → {escape(check.fix)}")
