"""What moved a score, checked against the real head with one thing left out."""

from __future__ import annotations

import numpy as np
import pytest

from models.pool import Pool
from runtime.core import Step, Task
from runtime.effects import MAX_WORDS, SHOWN_WORDS, Effects, log_odds, scores_of
from runtime.policy import Policy
from runtime.router import HEAD, Router
from runtime.router_features import features, words
from runtime.router_head import EVIDENCE, Head, Scores

TEXT = "list the five largest files under /var/lib"


@pytest.fixture(scope="module")
def head(pool: Pool) -> Head:
    return Head.load(HEAD, encoder=pool.encoder().model)


def in_scope(scores: Scores, i: int) -> float:
    return float(scores.in_scope[i])


def shell(head: Head, scores: Scores, i: int) -> float:
    return float(scores.classes[i, head.labels.index("shell")] * scores.in_scope[i])


def test_the_head_put_together_from_its_parts_says_what_the_head_says(
    head: Head, pool: Pool
) -> None:
    rows = features(pool.encoder(), [TEXT, "why is the sky blue", ""])
    logits = rows @ head.weights.T + head.bias
    _, evidence = head.evidence(rows)
    near = evidence[:, [EVIDENCE.index("nearest"), EVIDENCE.index("fifth")]]
    ours, theirs = scores_of(head, logits, near), head.score(rows)
    assert np.allclose(ours.classes, theirs.classes, atol=1e-6)
    assert np.allclose(ours.in_scope, theirs.in_scope, atol=1e-6)


def test_an_effect_is_the_head_s_own_answer_with_that_signal_left_out(
    head: Head, pool: Pool
) -> None:
    row = features(pool.encoder(), [TEXT])
    cut = head.bank.shape[1]
    found = Effects(head).of(TEXT, row, head.score(row), lambda scores, i: shell(head, scores, i))
    whole = log_odds(shell(head, head.score(row), 0))

    no_words = row.copy()
    no_words[:, cut:] = 0.0
    assert found["words"] == pytest.approx(
        whole - log_odds(shell(head, head.score(no_words), 0)), abs=2e-3
    )
    word = next(name for name in found if name.startswith("word:"))
    without = row.copy()
    without[0, cut:] = words(TEXT.replace(word.removeprefix("word:"), "", 1))
    assert found[word] == pytest.approx(
        whole - log_odds(shell(head, head.score(without), 0)), abs=2e-3
    )
    mean = row.copy()
    mean[0, :cut] = head.bank.mean(axis=0)
    logits = mean @ head.weights.T + head.bias
    _, evidence = head.evidence(row)  # likeness to known requests is a signal of its own
    near = evidence[:, [EVIDENCE.index("nearest"), EVIDENCE.index("fifth")]]
    assert found["meaning"] == pytest.approx(
        whole - log_odds(shell(head, scores_of(head, logits, near), 0)), abs=2e-3
    )


def test_effects_come_largest_first_and_name_at_most_three_words(head: Head, pool: Pool) -> None:
    row = features(pool.encoder(), [TEXT])
    found = Effects(head).of(TEXT, row, head.score(row), in_scope)
    assert sorted(found.values(), key=lambda v: -abs(v)) == list(found.values())
    assert sum(name.startswith("word:") for name in found) <= SHOWN_WORDS


def test_a_long_or_empty_text_has_no_effects_of_single_words(head: Head, pool: Pool) -> None:
    effects = Effects(head)
    for text in (" ".join(["move"] * (MAX_WORDS + 1)), "", "?!"):
        row = features(pool.encoder(), [text])
        found = effects.of(text, row, head.score(row), in_scope)
        assert not any(name.startswith("word:") for name in found)


def test_a_decision_says_what_moved_its_probability(pool: Pool) -> None:
    router = Router(pool.encoder())
    task = Task("t", "make a file notes.txt with the text hello", surface="gui")
    step = Step("s", "t", 1, "gui", task.text)
    pinned = router.route(task, step, Policy(), general=None)
    free = router.route(Task("t", task.text), step, Policy(), general=None)
    assert pinned.effects["surface:gui"] == pytest.approx(
        log_odds(pinned.probability) - log_odds(free.probability), abs=2e-3
    )
    assert "surface:gui" not in free.effects
    assert abs(free.effects["meaning"]) > 0


def test_log_odds_are_finite() -> None:
    assert log_odds(0.5) == 0.0
    assert log_odds(1.0) == pytest.approx(-log_odds(0.0)) == pytest.approx(13.8, abs=0.1)
