"""``aidecamp models list|pull|rm|show``: arguments and output only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import Interrupted, ModelCorrupt

if TYPE_CHECKING:
    from models.catalog import Entry
    from models.store import Store

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    epilog="Example: aidecamp models pull tiny",
    help="The local models: what exists, what is here, pull, check and remove.",
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command("list", epilog="Example: aidecamp models list --json")
def list_models(as_json: Json = False) -> None:
    """Every pack and model of the catalog, and which of them are here."""
    store = _store()
    recommended = _recommended()
    if as_json:
        _print_json(
            {
                "store": str(store.root),
                "recommended_pack": recommended,
                "packs": [_pack_json(store, name) for name in store.catalog.packs],
                "models": [_entry_json(store, e) for e in store.catalog.entries.values()],
            }
        )
        return
    _print_table(store, recommended)


@app.command(
    epilog="Examples: aidecamp models pull\n\n"
    "          aidecamp models pull small\n\n"
    "          HF_ENDPOINT=https://mirror.example aidecamp models pull smollm3-3b"
)
def pull(
    name: Annotated[str, typer.Argument(help="A pack or a model.")] = "tiny",
    as_json: Json = False,
) -> None:
    """Fetch, verify and repack a pack or a model; what is here and right is left alone."""
    from models import progress

    store = _store()
    try:
        with progress.shown() as report:
            entries = store.pull(name, report)
    except KeyboardInterrupt:
        raise Interrupted(
            "the pull was stopped; models already pulled are kept",
            hint="pull again: what the hub sent is kept too, and goes on there",
        ) from None
    if as_json:
        _print_json({"store": str(store.root), "models": [_entry_json(store, e) for e in entries]})
    else:
        names = ", ".join(e.name for e in entries)
        print(f"{names}: pulled and verified, in {store.root}")


@app.command(
    epilog="Examples: aidecamp models rm smollm3-3b\n\n"
    "          aidecamp models rm smollm3-3b --forget"
)
def rm(
    name: Annotated[str, typer.Argument(help="A pack or a model.")],
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help="Forget the digest that the first pull of an unverified file recorded."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete a pack's or a model's files. An encoder that another pulled pack needs stays."""
    freed = _store().remove(name, forget=forget)
    if as_json:
        _print_json({"removed": name, "freed_bytes": freed, "forgotten": forget})
    else:
        print(f"{name}: removed, {freed / 1e6:,.1f} MB freed")


@app.command(
    epilog="Examples: aidecamp models show smollm2-135m\n\n"
    "          aidecamp models show smollm2-135m --check"
)
def show(
    name: Annotated[str, typer.Argument(help="A model.")],
    check: Annotated[
        bool, typer.Option("--check", help="Read every byte and compare the digests.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Where a model comes from, its licence, its files and their digests."""
    store = _store()
    entry = store.catalog.entry(name)
    body = _entry_json(store, entry)
    problems = store.verify(name) if check else ()
    if check:
        body["problems"] = [*problems]
    if problems:
        raise ModelCorrupt("; ".join(problems), hint=f"run: aidecamp models pull {name}")
    if as_json:
        _print_json(body)
        return
    for key in ("name", "about", "pack", "role", "licence", "context", "memory_mb"):
        print(f"{key:10} {body[key]}")
    print(f"{'verified':10} {'by its first pull' if entry.unverified else 'by the catalog'}")
    for file in body["files"]:
        print(f"{file['role']:10} {file['state']}, {file['source']}")
        for key in ("path", "size", "sha256", "revision", "type"):
            if file.get(key) is not None:
                print(f"{'':10}   {key:9} {file[key]}")
    if check:
        print("every byte was read, and the digests are right")


def _store() -> Store:
    from models.store import Store

    return Store()


def _recommended() -> str:
    from models.catalog import Catalog
    from models.machine import Machine, recommend

    return recommend(Catalog.load(), Machine.measure()).pack


def _pack_json(store: Store, name: str) -> dict[str, Any]:
    pack = store.catalog.packs[name]
    return {
        "name": name,
        "about": pack.about,
        "generator": pack.generator,
        "encoder": pack.encoder,
        "memory_mb": pack.memory_mb,
        "pulled": all(store.is_pulled(e) for e in (pack.generator, pack.encoder)),
    }


def _entry_json(store: Store, entry: Entry) -> dict[str, Any]:
    files: list[dict[str, Any]] = []
    for state in store.installed(entry.name):
        held = state.repacked or state.pulled
        files.append(
            {
                "role": state.file.role,
                "source": str(state.file.source),
                "state": state.state,
                "path": str(store.root / entry.name / held.name) if held else None,
                "size": held.size if held else state.file.size,
                "sha256": held.sha256 if held else state.file.sha256,
                "revision": held.revision if held else None,
                "type": held.type if held else None,
            }
        )
    return {
        "name": entry.name,
        "about": entry.about,
        "pack": entry.pack,
        "role": entry.role,
        "licence": entry.licence,
        "params_m": entry.params_m,
        "context": entry.context,
        "memory_mb": entry.memory_mb,
        "unverified": entry.unverified,
        "pulled": store.is_pulled(entry.name),
        "files": files,
    }


def _print_table(store: Store, recommended: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in ("model", "pack", "role", "here", "MB", "RAM MB", "licence", "digest"):
        justify: Any = "right" if column.endswith("MB") else "left"
        table.add_column(column, justify=justify, no_wrap=True)
    for entry in store.catalog.entries.values():
        body = _entry_json(store, entry)
        size = sum(f["size"] or 0 for f in body["files"])
        table.add_row(
            entry.name,
            entry.pack,
            entry.role,
            "yes" if body["pulled"] else "no",
            f"{size / 1e6:.0f}" if size else "?",
            str(entry.memory_mb),
            entry.licence,
            "unverified" if entry.unverified else "pinned",
        )
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"models in {store.root}", markup=False)
    console.print(table)
    for pack in store.catalog.packs.values():
        mark = " (recommended here)" if pack.name == recommended else ""
        console.print(f"pack {pack.name}: {pack.generator} + {pack.encoder}; {pack.about}{mark}")


def _print_json(body: dict[str, Any]) -> None:
    print(json.dumps(body, ensure_ascii=False))
