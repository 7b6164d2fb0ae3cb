"""A decision with its reasons: what moved the score, which rule won, what would have changed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from runtime.budgets import UNITS, shown
from runtime.commands.show import bar, candidates_table, served_by
from runtime.core import Decision
from runtime.decisions import is_unsure
from runtime.replay import Replay, differs

HALF = 10
"""Cells of an effect's bar on each side of zero."""
MAX_CHANGES = 20
NAMES = {
    "meaning": "its meaning (embedding)",
    "words": "its words together",
    "familiar": "likeness to known requests",
    "probability": "P(kind right and in scope)",
    "nearest": "likeness to the nearest known request",
    "chars": "its length",
    "tools": "how many functions are on offer",
    "schema_chars": "how long their schemas are",
    "pick": "P(this tool is meant)",
    "second": "P(the runner-up is meant)",
    "confidence": "how sure the arguments are",
    "least_margin": "margin of the SLM's choice",
    "agreement": "the SLM's own answer agrees",
    "likeness": "likeness to the tool's examples",
    "score": "how well words explain arguments",
    "gap": "distance to the next best arguments",
    "taken": "how much of it is free text",
    "swallowed": "the tool's own words in free text",
    "edges": "how free text begins and ends",
    "marks": "punctuation within free text",
    "unnamed": "choices that no word names",
    "question": "whether it is a question",
    "reach": "whether any tool here does it",
    "verb_known": "the tool knows its verb",
    "leftover": "words that nothing explains",
    "problems": "what the verifier found",
}
LINES = ("rule", "why", "flip", "promise", "given", "spent")


def explained(decision: Decision) -> RenderableType:
    """One decision in full. Fits 80 columns."""
    parts: list[RenderableType] = [
        Text.assemble((f"{decision.kind}  ", "bold cyan"), " ".join(decision.text.split())),
        _headline(decision),
        Text(),
        _lines(decision),
        Text(),
        candidates_table(decision),
    ]
    if decision.effects:
        parts += [Text(), _effects(decision.effects)]
    if decision.signals:
        signals = "  ".join(f"{name} {value:.3g}" for name, value in decision.signals.items())
        parts += [Text(), Text(f"signals: {signals}", "dim")]
    return Group(*parts)


def compared(before: Decision, after: Decision) -> RenderableType:
    """A decision as it was, and as another policy would have made it."""
    same = not differs(before, after)
    table = Table(show_edge=False, pad_edge=False)
    for name in ("", "as it was", "under the other policy"):
        table.add_column(name, overflow="fold")
    table.add_row("served by", _served(before), _served(after))
    for name in ("rule", "threshold", "reason", "flip"):
        was, now = (getattr(d, name) for d in (before, after))
        was, now = (f"{v:.2f}" if isinstance(v, float) else v or "–" for v in (was, now))
        table.add_row(name, Text(was), Text(now) if now != was else Text("the same", "dim"))
    head = Text.assemble((f"{before.kind}  ", "bold cyan"), " ".join(before.text.split()))
    verdict = Text("unchanged", "green") if same else Text("changed", "bold yellow")
    return Group(head, verdict, table)


def replayed(replay: Replay, name: str) -> RenderableType:
    """What a policy would have changed on the record."""
    changes = replay.changed
    parts: list[RenderableType] = [
        Text(
            f"{name}: of {replay.replayed:,} past decisions, {len(changes):,} would have been "
            "made otherwise.",
            "bold",
        )
    ]
    if changes:
        table = Table(show_edge=False, pad_edge=False)
        table.add_column("kind", no_wrap=True)
        table.add_column("was", no_wrap=True)
        table.add_column("would be", no_wrap=True)
        table.add_column("step, and why", overflow="fold")
        for change in changes[:MAX_CHANGES]:
            step = Text.assemble(
                " ".join(change.before.text.split())[:60],
                "\n",
                (f"{change.after.rule}: {change.after.reason}", "dim"),
                "\n",
                (change.before.id, "cyan"),
            )
            was, now = _served(change.before), _served(change.after)
            table.add_row(change.before.kind, was, now, step)
        if len(changes) > MAX_CHANGES:
            table.caption = f"… {len(changes) - MAX_CHANGES:,} more (--json shows all)"
        parts.append(table)
        sides = " · ".join(
            f"{side} {replay.before[side]:,} → {replay.after[side]:,}"
            for side in ("local", "unsure", "general", "declined")
        )
        parts.append(Text(sides))
    if replay.moot:
        parts.append(Text(f"{replay.moot:,} more would not have come that far.", "dim"))
    if replay.skipped:
        said = "a role's own work, or recorded before decisions held what they were made from"
        parts.append(Text(f"{replay.skipped:,} cannot be made again: {said}.", "dim"))
    return Group(*parts)


def _served(decision: Decision) -> Text:
    who = served_by(decision.chosen)
    return who.append(", unsure", "yellow") if is_unsure(decision) else who


def _headline(decision: Decision) -> Text:
    line = _served(decision)
    if not decision.rule.startswith("role:"):
        line.append(f"   {bar(decision.probability, decision.threshold)} ")
        level = (
            f"threshold {decision.threshold:.2f}" if decision.threshold <= 1 else "none is enough"
        )
        line.append(f"p {decision.probability:.3f}, {level}", "bold")
    if decision.route_ms:
        line.append(f"   {decision.route_ms:.1f} ms", "dim")
    return line


def _lines(decision: Decision) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    values = {
        "rule": decision.rule,
        "why": decision.reason,
        "flip": decision.flip or "no change of one setting or two",
        "promise": _promise(decision.given),
        "given": _given(decision.given),
        "spent": _spent(decision.given),
    }
    for name in LINES:
        if values[name] and (decision.given or name in ("rule", "why")):
            table.add_row(name, Text(values[name]))
    return table


def _promise(given: Mapping[str, Any]) -> str:
    """The score that each promise takes: ``≤ 5% wrong from 0.91``."""
    certified = given.get("certified") if given else None
    if not certified:
        return ""
    parts = [
        f"≤ {float(alpha):.0%} wrong from {threshold:.2f}"
        for alpha, threshold in certified.items()
        if threshold is not None
    ]
    least = given.get("smallest_alpha")
    if not parts:
        parts = [f"none up to {max(map(float, certified)):.0%}"]
    return " · ".join([*parts, *([f"the least is {least:.1%}"] if least is not None else [])])


def _given(given: Mapping[str, Any]) -> str:
    """The circumstances in words."""
    if not given:
        return ""
    parts = [
        f"privacy {given['privacy']}",
        "a General" if given["general"] else "no General",
        "somebody to ask" if given["person"] else "nobody to ask",
    ]
    if given.get("incumbent"):
        parts.append(f"the step before: {given['incumbent']}")
    if given.get("window"):
        parts.append(f"in front: {given['window']}")
    return " · ".join(parts)


def _spent(given: Mapping[str, Any]) -> str:
    """What a call could take, on top of what."""
    worst = given.get("worst") if given else None
    if not worst:
        return ""
    most = ", ".join(shown(u, worst[u]) for u in UNITS if worst[u] is not None)
    parts = [f"this call at most {most}"]
    for scope, had in given["spent"].items():
        if had["usd"] is not None:
            parts.append(f"{scope} so far {shown('usd', had['usd'])}")
    return " · ".join(parts)


def _effects(effects: Mapping[str, float]) -> Table:
    """Each signal's push as a bar from the middle: General on the left, local on the right."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("what moved the score", overflow="fold")
    table.add_column("General │ local".center(2 * HALF + 1), no_wrap=True)
    table.add_column("log odds", justify="right", no_wrap=True)
    largest = max(abs(value) for value in effects.values()) or 1.0
    for name, value in effects.items():
        cells = max(1, round(abs(value) / largest * HALF))
        left = "█" * cells if value < 0 else ""
        right = "█" * cells if value > 0 else ""
        push = Text.assemble(
            (left.rjust(HALF), "magenta"), ("│", "dim"), (right.ljust(HALF), "green")
        )
        table.add_row(Text(_named(name)), push, f"{value:+.2f}")
    return table


def _named(effect: str) -> str:
    group, _, rest = effect.partition(":")
    if group == "word":
        return f'the word "{rest}"'
    if group == "surface":
        return f"{rest}, as you asked"
    return NAMES.get(effect, effect)
