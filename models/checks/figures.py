"""Runs the benchmark of this machine (``models/benchmark.py``) and shows what it measured."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.checks import storage
from models.checks.engine import REBUILD
from models.errors import ModelMissing, ToolFailed
from models.gguf import read_header
from models.store import Store

if TYPE_CHECKING:
    from rich.table import Table

STAGES = ("load", "prefill", "decode", "structured_call", "choose", "memory", "encoder", "machine")
Figures = Mapping[str, Mapping[str, Any]]
"""What each stage measured; ``encoder`` is missing where none was pulled."""


def measure(
    store: Store, model: Path | None = None, tell: Callable[[str], None] = lambda stage: None
) -> Figures:
    """Measure ``model``, or the pulled default generator. ``tell`` hears each stage begin.

    Raises ModelMissing, ModelCorrupt, and ToolFailed where the benchmark dies.
    """
    path = model or storage.generator_file(store)
    if path is None:
        raise ModelMissing("no generator is here to measure", hint="run: aidecamp models pull")
    read_header(path)
    encoder = storage.encoder_files(store)
    command = [sys.executable, "-m", "models.benchmark", "--generator", str(path)]
    command += ["--encoder", *map(str, encoder)] if encoder else []
    stages = [stage for stage in STAGES if encoder or stage != "encoder"]
    found: dict[str, dict[str, Any]] = {}
    tell(stages[0])
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None  # noqa: S101  (it was asked for)
        for line in process.stdout:
            try:
                body = json.loads(line)
                found[body.pop("stage")] = body
            except (ValueError, KeyError, AttributeError):
                continue  # a library's own chatter
            following = [stage for stage in stages if stage not in found]
            if following:
                tell(following[0])
        code = process.wait()
        errors.seek(0)
        words = errors.read().decode(errors="replace").strip().splitlines()
    if code or set(stages) - found.keys():
        reached = list(found)[-1] if found else "nothing"
        why = signal.Signals(-code).name if code < 0 else (words or [f"exit code {code}"])[-1]
        raise ToolFailed(
            f"the benchmark of {path.name} ended after stage {reached}: {why}",
            hint=REBUILD if code < 0 else "aidecamp doctor says what is broken",
        )
    return found


def table(figures: Figures) -> Table:
    """The figures as rows: what, how much, and how it was measured."""
    from rich.table import Table

    load, memory, machine = figures["load"], figures["memory"], figures["machine"]
    prefill, decode = figures["prefill"], figures["decode"]
    call, choose = figures["structured_call"], figures["choose"]
    shown = Table(
        title=f"{load['model']} on {load['device'].upper()}, {load['threads']} threads: "
        f"{load['reason']}",
        title_justify="left",
        caption=_caption(machine),
        caption_justify="left",
    )
    shown.add_column("measured now")
    shown.add_column("figure", justify="right")
    shown.add_column("how")
    rows = [
        ("load", f"{load['seconds']:.2f} s", f"{load['file_mb']:,.0f} MiB, digest included; once"),
        ("prefill", f"{prefill['tokens_per_s']:,.0f} tokens/s", _runs(prefill, "new tokens")),
        ("decode", f"{decode['tokens_per_s']:,.1f} tokens/s", _runs(decode, "tokens of free text")),
        ("structured call", f"{call['ms']:,.0f} ms", _runs(call, "tokens by schema, head cached")),
        ("", f"{call['p95_ms']:,.0f} ms", _spread(call["runs"])),
        (
            "choose",
            f"{choose['ms']:,.0f} ms",
            f"median of {choose['runs']}, {choose['options']} options, prompt cached",
        ),
        (
            "memory",
            f"{memory['model_mb']:,} MiB",
            f"model with {load['n_ctx']:,} tokens of context; whole process "
            f"{memory['process_mb']:,} MiB",
        ),
        (
            "KV cache",
            f"{load['kv_bytes_per_token']['f16']:,} B/token",
            f"as f16; q8_0 {load['kv_bytes_per_token']['q8_0']:,}, "
            f"q4_0 {load['kv_bytes_per_token']['q4_0']:,}",
        ),
    ]
    if encoder := figures.get("encoder"):
        rows.append(
            (
                "encoder",
                f"{encoder['ms']:,.1f} ms",
                f"median of {encoder['runs']}, one sentence, on {encoder['device'].upper()} "
                f"({encoder['reason']})",
            )
        )
    for row in rows:
        shown.add_row(*row)
    return shown


def _runs(stage: Mapping[str, Any], what: str) -> str:
    return f"median of {stage['runs']}, {stage['tokens']} {what}"


def _spread(runs: int) -> str:
    # Below 20 calls the nearest rank of 95 % is the last one: no percentile, just the slowest.
    return f"95th percentile of the same {runs}" if runs >= 20 else f"slowest of the same {runs}"


def _caption(machine: Mapping[str, Any]) -> str:
    words = f"load {machine['load']:g} on {machine['cores']} cores at the end"
    # The benchmark itself keeps the cores busy.
    busy = machine["load"] > machine["cores"] + 1
    return f"{words}: other programs were busy too, so alone it is faster" if busy else words
