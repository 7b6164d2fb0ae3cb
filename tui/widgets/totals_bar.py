"""The strip at the top: what was served here, and what that saved."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from runtime.daemon.client import Totals
from tui import figures, look

BAR = 16
Figure = tuple[str, str, str]
"""Value, its style, and what it is."""


class TotalsBar(Widget):
    """Figures of the whole ledger, each over its name, and the state of the connection."""

    def __init__(self, **kwargs: str) -> None:
        super().__init__(id=kwargs.get("id"))
        self._totals = Totals()
        self._state: tuple[str, str] = ("○ connecting", "$quiet")
        self._hint = ""

    def show(self, totals: Totals, state: tuple[str, str], hint: str) -> None:
        """``state`` is a text and its style; ``hint`` stands under it."""
        if (totals, state, hint) != (self._totals, self._state, self._hint):
            self._totals, self._state, self._hint = totals, state, hint
            self.refresh()

    def render(self) -> Content:
        width = self.size.width
        totals = self._totals
        share = totals.local_share
        wide = width >= 100
        left = look.bar(share or 0.0, None, BAR if wide else BAR // 2)
        top = Content.assemble(
            *((text, "$success" if part == "fill" else "$border") for text, part in left),
            ("  –    " if share is None else f" {figures.percent(share):>6}", "bold $success"),
        )
        bottom = Content.styled(
            ("served on this machine" if wide else "served here").ljust(top.cell_length),
            "$quiet",
        )
        columns = [(top, bottom)]
        for value, style, name in self._figures(width):
            cells = max(len(value), len(name))
            columns.append(
                (
                    Content.styled(value.rjust(cells), style),
                    Content.styled(name.rjust(cells), "$quiet"),
                )
            )
        gap = Content("   " if wide else "  ")
        lines = [gap.join(column[line] for column in columns) for line in (0, 1)]
        rights = [Content.styled(*self._state), Content.styled(self._hint, "$quiet")]
        return Content("\n").join(
            _ends(line, right, width) for line, right in zip(lines, rights, strict=True)
        )

    def _figures(self, width: int) -> list[Figure]:
        totals = self._totals
        tokens = totals.tokens_in + totals.tokens_out
        spent = "$warning" if totals.cost_usd else "bold"
        away = "$warning" if totals.escalated else "bold"
        shown = [
            (figures.count(totals.calls), "bold", "calls"),
            (figures.count(tokens), "bold", "tokens"),
            (figures.dollars(totals.cost_usd), spent, "spent"),
            (figures.count(totals.escalated), away, "escalated"),
            (figures.count(totals.declined), "$secondary", "declined"),
        ]
        if width >= 120:
            shown.append((figures.size(totals.bytes_sent), spent, "sent away"))
        if width >= 140:
            shown.insert(0, (figures.count(totals.decisions), "bold", "decisions"))
        return shown


def _ends(left: Content, right: Content, width: int) -> Content:
    space = width - left.cell_length - right.cell_length
    if space < 1:
        return left.truncate(width)
    return Content.assemble(left, " " * space, right)
