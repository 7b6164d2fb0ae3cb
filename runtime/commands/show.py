"""Events as lines in a terminal: who serves each step, why, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import (
    Console,
    ConsoleOptions,
    ConsoleRenderable,
    Group,
    RenderableType,
    RenderHook,
    RenderResult,
)
from rich.markup import escape
from rich.panel import Panel
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from runtime.core import Action, Call, Decision, Event, Gate, Outcome, Step
from runtime.plain import plain

GLYPHS = {"local": "●", "general": "▲", "declined": "◇"}
COLOURS = {"local": "green", "general": "magenta", "declined": "yellow"}
STATUS_COLOURS = {"done": "green", "unsure": "yellow", "declined": "yellow"}
MAX_ROWS = 20
MAX_LINES = 40


class _Plain(RenderHook):
    """Whatever is printed, none of its text is obeyed by the terminal."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_PlainRenderable(one) for one in renderables]


class _PlainRenderable:
    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._inner, options):
            yield Segment(text if control else plain(text, lines=True), style, control)


def console(*, stderr: bool = False) -> Console:
    """Where the commands print: file names, outputs and answers are shown, never obeyed."""
    made = Console(stderr=stderr)
    made.push_render_hook(_Plain())
    return made


def served_by(chosen: str) -> Text:
    """Who serves, a glyph beside the colour: ``● tool_user``, ``▲ general``, ``◇ declined``."""
    group, _, role = chosen.partition(":")
    return Text(f"{GLYPHS.get(group, '?')} {role or group}", COLOURS.get(group, "white"))


def bar(probability: float, threshold: float, width: int = 10) -> str:
    """A probability as a bar with its threshold marked: ``███████│░░``."""
    filled = round(max(0.0, min(1.0, probability)) * width)
    cells = ["█"] * filled + ["░"] * (width - filled)
    mark = round(max(0.0, min(1.0, threshold)) * width)
    cells.insert(min(mark, width), "│")
    return "".join(cells)


def event_line(event: Event) -> RenderableType | None:
    """The event as it is shown live; None for what is shown elsewhere."""
    match event.record:
        case Step(index=index, kind=kind, text=text):
            shown = "understand the request" if kind == "refine" else text
            return Text.assemble(("▸ ", "bold"), (f"{index} {kind:<8}", "bold cyan"), " ", shown)
        case Decision() as decision:
            return _decision(decision)
        case Call(model=model, tokens_in=n_in, tokens_out=n_out) as call:
            confidence = "" if call.confidence is None else f", confidence {call.confidence:.2f}"
            name = model[:15] + "…" if model.startswith("sha256:") else model
            where = f", {call.bytes_sent:,} bytes sent" if call.bytes_sent else ""
            answer = " ".join(call.answer.split())
            return Text(
                f"    {call.role}: {_short(answer, 70)}  "
                f"({call.ms:.0f} ms, {n_in}+{n_out} tokens{confidence}, {name}{where})",
                "dim",
            )
        case Action(preview=preview, risk=risk, sandbox=sandbox):
            line = Text.assemble("    ", (preview, "bold"), (f"  [{risk}]", "yellow"))
            return line.append(f"  {sandbox}", "dim") if sandbox else line
        case Gate(verdict=verdict, by=by, reason=reason):
            colour = "dim" if verdict == "allow" else "red"
            return Text(f"    gate: {verdict} ({by}: {reason})", colour)
        case Outcome(status=status, error=error, ms=ms):
            colour = "green" if status == "done" else "red"
            return Text(f"    {status} in {ms:.0f} ms{': ' + error if error else ''}", colour)
        case _:
            return None


def _decision(decision: Decision) -> Text:
    line = Text("    ")
    line.append_text(served_by(decision.chosen))
    if not decision.rule.startswith("role:"):
        line.append(
            f"  {bar(decision.probability, decision.threshold)} "
            f"{decision.probability:.2f} vs {min(decision.threshold, 1):.2f}"
        )
    line.append(f"  {decision.rule}: {decision.reason}", "dim")
    if decision.route_ms:
        line.append(f"  ({decision.route_ms:.1f} ms)", "dim")
    return line


def would_send(preview: Mapping[str, Any]) -> RenderableType:
    """Exactly what would leave the machine, how many tokens and at what price."""
    body = "\n".join(f"[{m['role']}] {m['content']}" for m in preview["messages"])
    usd = preview["usd_at_most_estimated"]
    price = (
        "price unknown"
        if usd is None
        else f"at most ${usd:.4f} (list price of {preview['price_as_of']})"
    )
    return Panel(
        Group(
            Text(body),
            Text(
                f"\n≈ {preview['tokens_in_estimated']} tokens in, at most "
                f"{preview['tokens_out_at_most']} out, for {preview['model']}: {price}. "
                "Token counts are the local tokenizer's estimate.",
                "dim",
            ),
        ),
        title=f"what would be sent to {preview['to'] or 'a General, if one were configured'}",
        border_style="yellow",
    )


def answer(value: Any) -> RenderableType:
    """An answer for people: rows as a table, text as text, anything else as JSON."""
    if value is None:
        return Text("(no answer)", "dim")
    if isinstance(value, str):
        lines = value.rstrip("\n").split("\n")
        kept = "\n".join(lines[:MAX_LINES])
        if len(lines) > MAX_LINES:
            kept += f"\n… {len(lines) - MAX_LINES} more lines (--json shows all)"
        return Text(kept)
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        table = Table(show_edge=False, pad_edge=False)
        columns = list(dict.fromkeys(key for row in value for key in row))
        for column in columns:
            numeric = all(isinstance(row.get(column), (int, float)) for row in value)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in value[:MAX_ROWS]:
            table.add_row(*(escape(_cell(row.get(column))) for column in columns))
        if len(value) > MAX_ROWS:
            table.caption = f"… {len(value) - MAX_ROWS} more rows (--json shows all)"
        return table
    return Text(json.dumps(value, ensure_ascii=False, indent=2))


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def ending(summary: Mapping[str, Any]) -> Text:
    """One line: how it ended, and what it took."""
    status = summary["status"]
    share = summary["local_share"]
    parts = [
        f"{summary['ms'] / 1000:.1f} s",
        f"{summary['tokens']:,} tokens",
        "no model call" if share is None else f"{share:.0%} of calls local",
        f"{summary['bytes_sent']:,} bytes sent",
        f"${summary['cost_usd']:.4f}",
    ]
    line = Text.assemble((status, f"bold {STATUS_COLOURS.get(status, 'red')}"))
    if summary["reason"] and status != "done":
        line.append(f": {summary['reason']}")
    return line.append("  ·  " + "  ·  ".join(parts), "dim")


def decisions_table(events: Sequence[Event], *, with_ids: bool = False) -> Table:
    """Decisions as rows: kind, who serves, probability against threshold, and why."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("kind", no_wrap=True)
    table.add_column("served by", no_wrap=True)
    table.add_column("p vs threshold", no_wrap=True)
    table.add_column("step, and why", overflow="fold")
    for event in events:
        if isinstance(event.record, Decision):
            d = event.record
            fixed = d.rule.startswith("role:")
            level = "" if fixed else f"{bar(d.probability, d.threshold, 6)} {d.probability:.2f}"
            step = "understand the request" if d.kind == "refine" else " ".join(d.text.split())
            why = Text.assemble(_short(step, 60), "\n", (f"{d.rule}: {d.reason}", "dim"))
            if with_ids:
                why.append(f"\n{d.id}\n{d.task_id}", "cyan")
            table.add_row(d.kind, served_by(d.chosen), level, why)
    return table


def candidates_table(decision: Decision) -> Table:
    """Everyone who could serve, with what is known of each."""
    table = Table(show_edge=False, pad_edge=False)
    for name in ("candidate", "model", "p", "latency", "cost"):
        table.add_column(name, justify="left" if name in ("candidate", "model") else "right")
    for c in decision.candidates:
        table.add_row(
            served_by(c.worker),
            c.model[:19],
            "not measured" if c.probability is None else f"{c.probability:.3f}",
            "not measured" if c.latency_ms is None else f"{c.latency_ms:.0f} ms",
            "not known" if c.cost_usd is None else f"${c.cost_usd:.4f}",
        )
    return table


def one_decision(decision: Decision) -> RenderableType:
    """A decision with its candidates, and what would have changed it."""
    head = Text.assemble((f"{decision.kind}  ", "bold cyan"), decision.text)
    parts: list[RenderableType] = [head, _decision(decision), candidates_table(decision)]
    if decision.flip:
        parts.append(Text(f"otherwise with {decision.flip}", "dim"))
    return Group(*parts)


def nothing(event: Event) -> None:
    """Show nothing: for ``--json``."""


def live(console: Console) -> Callable[[Event], None]:
    """A callback that prints each event as it is committed."""

    def show(event: Event) -> None:
        line = event_line(event)
        if line is not None:
            console.print(line)
        record = event.record
        if not isinstance(record, Decision) or record.chosen != "declined":
            return
        # After a General that failed, it is no "would": it was sent.
        if record.would_send and record.rule != "general-failed":
            console.print(would_send(record.would_send))

    return show
