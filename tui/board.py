"""What the screen shows: every row that is known, in order, and those that the filter keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtime.core import Event
from runtime.daemon.client import Row, Rows, Totals, Waiting
from tui.filter import Filter


class Board:
    """The state of the decisions screen. Changed in batches, drawn once after each."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.filter = Filter()
        self.waiting: tuple[Waiting, ...] = ()
        self.visible: list[Row] = []
        self._rows = Rows()
        self._place: dict[str, int] = {}
        """Index in ``visible`` by decision id."""

    def __len__(self) -> int:
        return len(self._rows.by_id)

    @property
    def waiting_actions(self) -> frozenset[str]:
        return frozenset(one.id for one in self.waiting)

    def load(self, rows: Iterable[Row], totals: Totals) -> None:
        """Start from what the daemon knows; ``rows`` come oldest first."""
        self._rows = Rows(rows)
        self.totals = totals
        self._refilter()

    def add(self, events: Sequence[Event]) -> None:
        changed: dict[str, None] = {}
        for event in events:
            self.totals = self.totals.add(event)
            changed.update(dict.fromkeys(self._rows.add(event)))
        if self.filter:
            if changed:
                self._refilter()
            return
        for id_ in changed:
            self._show(self._rows.by_id[id_])

    def search(self, filter_: Filter) -> None:
        self.filter = filter_
        self._refilter()

    def index(self, decision_id: str | None) -> int | None:
        """Where the decision stands among the visible rows."""
        return None if decision_id is None else self._place.get(decision_id)

    def _refilter(self) -> None:
        self.visible = []
        self._place = {}
        for row in self._rows.by_id.values():
            if self.filter.matches(row):
                self._show(row)

    def _show(self, row: Row) -> None:
        place = self._place.setdefault(row.id, len(self.visible))
        if place == len(self.visible):
            self.visible.append(row)
        else:
            self.visible[place] = row
