"""Greedy choice and its evidence, on logits whose probabilities are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.sampling import log_softmax, pick

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))


def test_all_tokens_are_allowed_by_default() -> None:
    best = pick(LOGITS, None)
    assert best.token == 1
    assert best.logprob == pytest.approx(math.log(0.4), abs=1e-6)
    assert best.margin == pytest.approx(0.1, abs=1e-6)


def test_a_probability_is_among_the_allowed_tokens_only() -> None:
    best = pick(LOGITS, np.array([0, 3]))
    assert best.token == 3
    assert best.logprob == pytest.approx(math.log(0.75), abs=1e-6)
    assert best.margin == pytest.approx(0.5, abs=1e-6)


def test_a_single_allowed_token_is_certain() -> None:
    assert pick(LOGITS, np.array([2])) == (2, 0.0, 1.0)


def test_a_tie_has_no_margin() -> None:
    assert pick(np.zeros(4, np.float32), None).margin == 0


def test_large_logits_do_not_overflow() -> None:
    even = log_softmax(np.array([1e4, 1e4], np.float32))
    assert even[0] == pytest.approx(math.log(0.5))
    assert np.exp(log_softmax(LOGITS + 1e4)).sum() == pytest.approx(1, abs=1e-3)
