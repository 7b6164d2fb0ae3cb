"""How long to wait before a remote call is made again."""

from __future__ import annotations

import pytest

from models.retry import Patience, backoff_s, retry_after_s

NOON = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the date that RFC 9110 uses


def test_the_bound_doubles_and_the_jitter_is_full() -> None:
    patience = Patience(backoff_s=0.5, most_backoff_s=3.0)
    assert [backoff_s(n, patience, lambda: 1.0) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 3.0]
    assert backoff_s(3, patience, lambda: 0.25) == 0.5
    assert backoff_s(3, patience, lambda: 0.0) == 0.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("9" * 5000, None),
        ("Sun, 99 Nov 1994 08:50:37 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOON) == seconds
