"""A rate tells how sure one can be of it."""

from __future__ import annotations

import pytest

from models.specialize.rates import Rate, Z


@pytest.mark.parametrize(("hits", "n"), [(8, 10), (0, 20), (20, 20), (50, 100), (1, 3)])
def test_the_interval_is_wilson_s(hits: int, n: int) -> None:
    """Its ends are the true rates from which what was counted is ``Z`` standard errors away."""
    rate = Rate(hits, n)
    for end in (rate.low, rate.high):
        assert (hits / n - end) ** 2 == pytest.approx(Z**2 * end * (1 - end) / n, abs=1e-9)
    assert rate.low <= hits / n <= rate.high
    assert rate.low < rate.high


def test_of_nothing_nothing_is_known() -> None:
    rate = Rate(0, 0)
    assert (rate.value, rate.low, rate.high) == (None, 0.0, 1.0)
    assert str(rate) == "not known"


def test_more_of_the_same_makes_surer() -> None:
    assert Rate(5, 10).low < Rate(50, 100).low < Rate(500, 1000).low < 0.5
    assert str(Rate(50, 100)) == "50 % (40 to 60)"
