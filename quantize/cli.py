"""``aidecamp quantize FILE --type T``: arguments and output only."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import UsageError
from models.ggml_types import FILE_TYPES

if TYPE_CHECKING:
    from models.llama_quantize import Progress, Quantized

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    help="Write a GGUF model as another type. FILE is never changed.",
    epilog="Example: aidecamp quantize model.F16.gguf --type Q4_K_M\n\n"
    f"Types: {', '.join(FILE_TYPES)}",
)
def quantize(
    file: Annotated[Path, typer.Argument(help="A GGUF file, best in F16, BF16 or F32.")],
    type_: Annotated[str, typer.Option("--type", "-t", help="What to make of it.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write; by default beside FILE."),
    ] = None,
    allow_requantize: Annotated[
        bool,
        typer.Option(
            "--allow-requantize",
            help="Accept a FILE that is quantized already: its weights are rounded twice.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; by default one for each core.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    from models.llama_quantize import file_type
    from models.llama_quantize import quantize as run

    canonical = file_type(type_)
    target = output or _beside(file, canonical)
    if target.exists() and not force:
        raise UsageError(
            f"{target} exists and was left as it is.", hint="Name another --output, or --force."
        )
    with _progress(shown=not as_json) as progress:
        made = run(
            file,
            target,
            canonical,
            threads=threads,
            allow_requantize=allow_requantize,
            progress=progress,
        )
    print(json.dumps(made.to_json()) if as_json else _report(made))


def _beside(file: Path, type_: str) -> Path:
    """``model.F16.gguf`` becomes ``model.Q8_0.gguf``: the old type's name is replaced."""
    stem = file.name.removesuffix(".gguf")
    for known in FILE_TYPES:
        for mark in (".", "-", "_"):
            if stem.lower().endswith(f"{mark}{known}".lower()):
                return file.with_name(f"{stem[: -len(known) - 1]}{mark}{type_}.gguf")
    return file.with_name(f"{stem}.{type_}.gguf")


def _report(made: Quantized) -> str:
    ratio = made.bytes / made.source_bytes
    types = ", ".join(f"{count} {name}" for name, count in made.tensors.items())
    lines = [
        f"{made.target}",
        f"  {made.type}: {made.bytes / 2**20:,.1f} MiB ({ratio:.0%} of the source), "
        f"{made.bits_per_weight:.2f} bits per weight, {made.seconds:.1f} s",
        f"  tensors: {types}",
        f"  {made.digest}",
    ]
    if made.fallbacks:
        kept = ", ".join(f"{count} as {name}" for name, count in made.fallbacks.items())
        lines.insert(3, f"  of other types, by shape or by llama.cpp's choice: {kept}")
    return "\n".join(lines)


def _progress(*, shown: bool) -> AbstractContextManager[Progress | None]:
    import sys

    if not shown or not sys.stderr.isatty():
        return nullcontext()
    return _Bar()


class _Bar:
    """A progress bar on standard error, in tensors."""

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import Progress as Bar

        self._bar: Any = Bar(console=Console(stderr=True), transient=True)
        self._bar.start()
        task = self._bar.add_task("tensors", total=None)

        def update(done: int, total: int) -> None:
            self._bar.update(task, completed=done, total=total)

        return update

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
