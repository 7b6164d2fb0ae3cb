"""A minute of 64 clients at once, mixed and cancelled, on a daemon of its own."""

from __future__ import annotations

import pytest

from models.store import Store
from tests.bench import daemon_soak

SECONDS = 60.0


@pytest.mark.timeout(170)
def test_many_clients_at_once_lose_nothing_and_get_their_own_answers(store: Store) -> None:
    found = daemon_soak.measure(SECONDS)
    soak = found["soak"]
    assert (found["lost"], found["wrong"], found["duplicated"]) == (0, 0, 0), soak["why"]
    assert found["leaked_slots"] == 0, soak["left"]
    assert soak["refused"] == 0, soak["why"]
    # Enough happened for that to mean something.
    assert soak["answered"] >= 2 * daemon_soak.CLIENTS
    assert soak["cancelled"] and set(soak["p50_ms"]) == {"json", "tool", "words"}
    # Whoever asks for more than the queue takes is told to wait, and the others are not.
    assert soak["asked_again_after_429"] == soak["of_them_greedy"]
    assert soak["fair_min"] > 0.5
    assert soak["rss_growth"] < 0.1
