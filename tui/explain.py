"""One decision in words and lines: pure functions from a story to what the screen shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from textual.content import Content

from runtime.core import Action, Call, Decision
from runtime.daemon.client import Deed, Story
from runtime.plain import plain
from tui import figures, look

Part = Content | tuple[str, str] | str
QUIET = "$quiet"
BAR = 24


def headline(story: Story) -> Content:
    """Who serves which step, and how that ended."""
    row = story.row
    who, end = look.serves(row), look.outcome(row)
    parts: list[Part] = [
        (f" {who} ", f"bold {look.STYLES[who.tone]}"),
        ("  ", ""),
        (f"{row.decision.kind}", "bold"),
        ("   ", ""),
        (str(end), look.STYLES[end.tone]),
        ("   ", ""),
        (figures.clock(row.at), QUIET),
        ("  took ", QUIET),
        (figures.duration(row.ms), ""),
        "\n ",
        (plain(row.decision.text), "bold"),
    ]
    if story.task is not None and story.task.text != row.decision.text:
        parts += [("\n of the task: ", QUIET), (plain(story.task.text), QUIET)]
    if row.note:
        parts += ["\n ", (plain(row.note), look.STYLES[end.tone])]
    return Content.assemble(*parts)


def why(story: Story) -> Content:
    """The reason, the rule, the bar, and what would have decided otherwise."""
    decision = story.decision
    parts: list[Part] = [plain(decision.reason), "\n\n"]
    if look.always(decision):
        parts += [("This role always serves here: nothing was weighed.", QUIET), "\n"]
    else:
        parts += [*_bar(decision.probability, decision.threshold), "\n", _flips(decision), "\n"]
    parts += [("rule  ", QUIET), plain(decision.rule), ("   routed in ", QUIET)]
    parts += [figures.duration(decision.route_ms)]
    if decision.cut:
        parts += [("\nThe router read only the first 128 tokens of the step.", "$warning")]
    if story.overruled_by:
        parts += [("\nOverruled by the next decision on this step.", QUIET)]
    if decision.previous:
        what = "keeps the answer under" if decision.keeps else "overrules"
        parts += [(f"\nIt {what} an earlier decision on this step.", QUIET)]
    return Content.assemble(*parts)


def _bar(value: float, threshold: float) -> Iterable[Part]:
    tone = "$success" if value >= threshold else "$warning"
    for text, part in look.bar(value, threshold, BAR):
        yield (text, {"fill": tone, "rest": "$border", "mark": "bold"}[part])
    limit = "no local answer would do" if threshold > 1 else f"limit {threshold:.2f}"
    yield (f"  {value:.2f}", f"bold {tone}")
    yield (f"  {limit}", QUIET)


def _flips(decision: Decision) -> Content:
    value, threshold = decision.probability, decision.threshold
    if threshold > 1:
        text = "Steps of this kind never stay local, however sure the router is."
    elif value >= threshold:
        text = f"A limit above {value:.2f} would have escalated it."
    else:
        text = f"A limit of {value:.2f} or less would have kept it here."
    return Content.styled(text, QUIET)


def candidates(story: Story) -> Content:
    """Every worker that could have served, the chosen one marked."""
    parts: list[Part] = []
    for one in story.decision.candidates:
        who = look.worker(one.worker)
        chosen = one.worker == story.decision.chosen
        style = look.STYLES[who.tone]
        parts += [("▸ " if chosen else "  ", "bold"), (str(who).ljust(14), style)]
        if one.probability is None:
            parts += [("not measured".ljust(17), QUIET)]
        else:
            for text, part in look.bar(one.probability, None, 10):
                parts += [(text, style if part == "fill" else "$border")]
            parts += [f" {one.probability:.2f}  "]
        latency = "" if one.latency_ms is None else f"~{figures.duration(one.latency_ms)}"
        cost = "" if one.cost_usd is None else f"~{figures.dollars(one.cost_usd)}"
        parts += [(f"{latency:>9} {cost:>9}", QUIET)]
        if one.model:
            parts += [(f"\n    {_model(one.model)}", QUIET)]
        parts += ["\n"]
    return Content.assemble(*parts) if parts else Content.styled("none recorded", QUIET)


def signals(story: Story) -> Content:
    """What the router looked at, strongest first."""
    found = sorted(story.decision.signals.items(), key=lambda item: -abs(item[1]))
    if not found:
        return Content.styled("none recorded", QUIET)
    width = max(len(name) for name, _ in found)
    return Content.assemble(
        *(
            part
            for name, value in found
            for part in ((f"{plain(name):<{width}}  ", QUIET), f"{value:.3f}\n")
        )
    )


def left_machine(story: Story) -> Content:
    """Exactly what was sent, or would have been, or that nothing was."""
    sent = sum(call.bytes_sent for call in story.calls)
    away = [call for call in story.calls if call.bytes_sent]
    parts: list[Part] = []
    if sent:
        parts += [(f"▲ {figures.size(sent)} left this machine", "bold $warning"), ", in full:\n"]
        for call in away:
            for message in call.messages:
                parts += ["\n", shown_message(message)]
        return Content.assemble(*parts)
    chose_away = story.decision.chosen == "general" and not story.calls
    if chose_away:
        # A request that failed half-way has no call, and may still have been sent.
        parts += [("▲ The General was chosen, and no answer is recorded.", "bold $warning")]
    else:
        parts += [("● Nothing left this machine.", "bold $success")]
    if (would := story.decision.would_send) is not None:
        words = "This may have left: " if chose_away else "The General would have been sent "
        parts += [(f"\n\n{words}", QUIET)]
        parts += [f"{would.get('tokens_in_estimated', '?')} tokens"]
        if (usd := would.get("usd_at_most_estimated")) is not None:
            parts += [f", at most {figures.dollars(usd)}"]
        parts += [(f" (estimates; {plain(str(would.get('model')))}):\n", QUIET)]
        for message in would.get("messages", ()):
            parts += ["\n", shown_message(message)]
    return Content.assemble(*parts)


def shown_message(message: Mapping[str, str]) -> Content:
    """One chat message, its role before it."""
    return Content.assemble(
        (f"{plain(message.get('role', '?'))}  ", "$secondary"),
        plain(message.get("content", ""), lines=True),
        "\n",
    )


PHASES = (
    ("queue", "queue_ms", "$quiet"),
    ("prefill", "prefill_ms", "$primary"),
    ("decode", "decode_ms", "$success"),
    ("mask", "mask_ms", "$secondary"),
)


def calls(story: Story) -> Content:
    """Each model call: tokens, where its time went, how sure it was, what it said."""
    if not story.calls:
        return Content.styled("no model was called", QUIET)
    return Content("\n").join(_call(call) for call in story.calls)


def _call(call: Call) -> Content:
    cached = f" ({call.tokens_cached:,} from the cache)" if call.tokens_cached else ""
    rate = call.tokens_out / call.decode_ms * 1000 if call.decode_ms else 0.0
    parts: list[Part] = [
        (plain(call.role), "bold"),
        (f"  {_model(call.model)}\n", QUIET),
        f"{call.tokens_in:,}→{call.tokens_out:,} tokens",
        (cached, QUIET),
        (f"  {rate:.0f} tokens/s" if rate else "", QUIET),
        "\n",
        *_time_line(call),
    ]
    if call.confidence is not None:
        parts += [("sure  ", QUIET)]
        for text, part in look.bar(call.confidence, None, 10):
            parts += [(text, "$success" if part == "fill" else "$border")]
        parts += [f" {call.confidence:.2f}\n"]
    if call.cost_usd:
        parts += [("cost  ", QUIET), (f"{figures.dollars(call.cost_usd)}\n", "$warning")]
    parts += [("said  ", QUIET), (plain(call.answer, lines=True), "$success"), "\n"]
    return Content.assemble(*parts)


def _time_line(call: Call) -> Iterable[Part]:
    if call.ms <= 0:
        return
    for _, field, style in PHASES:
        yield ("█" * round(getattr(call, field) / call.ms * BAR), style)
    yield f" {figures.duration(call.ms)}\n"
    for name, field, style in PHASES:
        if value := getattr(call, field):
            yield ("■ ", style)
            yield (f"{name} {value:.0f}  ", QUIET)
    yield ("ms\n", QUIET)


def deeds(story: Story) -> Content:
    """Each action, the gate's verdict and what it did."""
    if not story.deeds:
        return Content.styled("nothing was done to the world", QUIET)
    return Content("\n").join(_deed(deed) for deed in story.deeds)


RISKS = {"read": "$success", "write": "$warning", "sensitive": "$error"}


def shown_action(action: Action) -> Content:
    """What would be done: the preview, its risk and how it is isolated."""
    return Content.assemble(
        (f" {action.tool} ", "bold $accent"),
        (f" {plain(action.recipe)}\n\n", QUIET),
        *(
            part
            for line in plain(action.preview, lines=True).split("\n")
            for part in (("  ┃ ", "$accent"), (f"{line}\n", "bold"))
        ),
        ("\nrisk     ", QUIET),
        (action.risk, f"bold {RISKS.get(action.risk, '$error')}"),
        ("\nsandbox  ", QUIET),
        plain(action.sandbox) or ("none: it acts on the machine itself", "bold $error"),
        "\n",
    )


def _deed(deed: Deed) -> Content:
    parts: list[Part] = [shown_action(deed.action), ("gate     ", QUIET)]
    gate, outcome = deed.gate, deed.outcome
    if gate is None:
        parts += [("waiting for a person", "bold $accent")]
    else:
        allowed = gate.verdict == "allow"
        parts += [("✓ allowed" if allowed else "⊘ denied", "$success" if allowed else "$error")]
        parts += [(f" by {plain(gate.by)}: {plain(gate.reason)}", QUIET)]
    if outcome is not None:
        end = look.OUTCOMES.get(outcome.status) or look.Look("·", outcome.status, "quiet")
        parts += [("\noutcome  ", QUIET), (str(end), look.STYLES[end.tone])]
        parts += [(f"  {figures.duration(outcome.ms)}\n", QUIET)]
        if outcome.error:
            parts += [(plain(outcome.error, lines=True), "$error"), "\n"]
        if outcome.output:
            parts += ["\n", plain(outcome.output, lines=True)]
        elif outcome.data is not None:
            parts += ["\n", _json(outcome.data)]
    return Content.assemble(*parts)


def answer(story: Story) -> Content:
    """What the whole task answered."""
    result = story.result
    if result is None:
        return Content.styled("the task has not ended", QUIET)
    end = look.OUTCOMES.get(result.status) or look.Look("·", result.status, "quiet")
    parts: list[Part] = [(str(end), look.STYLES[end.tone])]
    if result.reason:
        parts += [(f"  {plain(result.reason)}", QUIET)]
    if result.answer is not None:
        parts += ["\n\n", _json(result.answer)]
    return Content.assemble(*parts)


def _json(value: Any) -> str:
    if isinstance(value, str):
        return plain(value, lines=True)
    return plain(json.dumps(value, ensure_ascii=False, indent=2), lines=True)


def _model(model: str) -> str:
    """A file's digest short enough to read; any other name whole."""
    return model[:19] + "…" if model.startswith("sha256:") and len(model) > 20 else plain(model)
