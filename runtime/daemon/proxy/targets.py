"""Which model a client asked for by name: ``auto``, ``local/NAME`` or ``general/NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from models.catalog import Entry
from models.pool import ENCODER, GENERATOR
from models.store import Store
from runtime.config import GeneralConfig
from runtime.daemon.errors import ModelUnknown

AUTO: Final = "auto"
LOCAL: Final = "local"
GENERAL: Final = "general"


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked for. ``name``: the catalog's for ``local``, the seat's for ``general``; empty
    for whoever is preferred."""

    side: Literal["auto", "local", "general"]
    name: str = ""

    @property
    def pinned(self) -> bool:
        return self.side != AUTO


class Targets:
    """The names that clients may use."""

    def __init__(self, line_up: tuple[GeneralConfig, ...], store: Store) -> None:
        self._line_up = line_up
        self._store = store

    def find(self, model: str, role: str = "generator") -> Target:
        """Who ``model`` is. Raises ModelUnknown, also for a model that was not pulled."""
        side, _, name = model.partition("/")
        if side == AUTO and not name:
            return Target(AUTO)
        if side == GENERAL and self._line_up:
            seats = {seat_name(g): g for g in self._line_up}
            by_model = next((n for n, g in seats.items() if g.model == name), None)
            if not name or name in seats or by_model:
                return Target(GENERAL, name if name in seats else by_model or "")
        if side == LOCAL:
            name = name or (GENERATOR if role == "generator" else ENCODER)
            entry = self._store.catalog.entries.get(name)
            if entry is not None and entry.role == role and self._store.is_pulled(name):
                return Target(LOCAL, name)
        raise ModelUnknown(
            f"There is no model {model!r} here.", hint="GET /v1/models lists those that there are."
        )

    def _local(self) -> list[Entry]:
        return [e for e in self._store.catalog.entries.values() if self._store.is_pulled(e.name)]

    def all(self) -> list[Mapping[str, Any]]:
        """Every name, as ``/v1/models`` lists them."""
        listed = [_listed(AUTO, "aidecamp")]
        listed += [_listed(f"{LOCAL}/{e.name}", "this machine") for e in self._local()]
        listed += [_listed(f"{GENERAL}/{seat_name(g)}", g.base_url) for g in self._line_up]
        return listed


def seat_name(general: GeneralConfig) -> str:
    """What a General is called in the record, and by clients."""
    return general.name or general.model


def _listed(id_: str, owner: str) -> Mapping[str, Any]:
    return {"id": id_, "object": "model", "created": 0, "owned_by": owner}
