"""The Router with its real encoder and the shipped head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import ModelCorrupt, ModelMissing
from models.pool import Pool
from runtime.core import Decision, Kind, Step, Surface, Task
from runtime.policy import Policy
from runtime.router import HEAD, LOCAL_WORKER, Router
from runtime.router_features import WORD_COLUMNS, features, without_quotes, words
from runtime.router_head import Head
from runtime.router_train import fit


class OtherEncoder:
    """An encoder whose file is not the one that the head was fitted on."""

    model = "sha256:" + "0" * 64
    name = "other"
    dimension = 384

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.full((len(texts), self.dimension), self.dimension**-0.5, np.float32)

    def was_cut(self, text: str) -> bool:
        return False


@pytest.fixture(scope="module")
def router(pool: Pool) -> Router:
    return Router(pool.encoder())


def route(
    router: Router,
    text: str,
    kind: Kind,
    *,
    surface: Surface = "auto",
    policy: Policy | None = None,
    **options: Any,
) -> Decision:
    task = Task("task_1", text, surface=surface)
    step = Step("step_1", task.id, 1, kind, text)
    return router.route(
        task, step, policy or Policy(), general=options.pop("general", None), **options
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("list the five largest files under /var/lib", "shell"),
        ("how many lines does server.log have?", "shell"),
        ("Open mousepad, type two lines and save them as demo.txt", "gui"),
        ("click the Save button", "gui"),
        ("remind me tomorrow at nine to call Sam", "parse"),
        ("turn off the lights in the bedroom", "parse"),
        ("convert 75 dollars to euros", "tool"),
        ("turn this into JSON: name Ada, age 36", "format"),
        ("ls: cannot access 'x.txt': No such file or directory", "repair"),
        ("hello, how are you today?", "dialogue"),
        ("draw up a strategy for entering the Asian market over three years", "plan"),
    ],
)
def test_plain_requests_get_their_kind(router: Router, text: str, kind: Kind) -> None:
    found, probability, oos = router.classify(text, "auto")
    assert (found, oos) == (kind, False)
    assert probability >= 0.5


@pytest.mark.parametrize(
    "text",
    [
        "why is the sky blue",
        "mow the lawn and wash my car",
        "wo liegt die Datei denn nur",
        "qzx vbn plok",
    ],
)
def test_what_no_local_tool_does_is_out_of_scope_and_goes_to_the_general(
    router: Router, text: str
) -> None:
    kind, probability, oos = router.classify(text, "auto")
    assert (kind, oos) == ("plan", True)
    assert probability > 0.0
    decision = route(router, text, kind)
    assert (decision.chosen, decision.rule) == ("general", "out-of-scope")


def test_quoted_text_does_not_decide_the_kind(router: Router) -> None:
    for inside in ("list all files in /tmp", "remind me to call Sam", "plan the summer party"):
        assert router.classify(f'type "{inside}" into the editor', "auto")[0] == "gui"


def test_probabilities_of_kinds_and_out_of_scope_sum_to_one(router: Router) -> None:
    for text in ("kill process 42", "what is love", "", "x" * 5000):
        kinds = router.kinds(text)
        reading = router.read(text)
        assert all(0.0 <= p <= 1.0 for p in kinds.values())
        assert sum(kinds.values()) == pytest.approx(reading.in_scope)


def test_decision_has_every_field_and_its_numbers_are_in_the_reason(router: Router) -> None:
    decision = route(router, "show the files in /tmp", "shell", general="gpt-x")
    assert decision.chosen == "local:tool_user"
    assert decision.rule == "threshold:shell"
    assert decision.threshold == Policy().route_threshold["shell"]
    assert f"{decision.probability:.2f}" in decision.reason
    assert f"{decision.threshold:.2f}" in decision.reason
    local, general = decision.candidates
    assert (local.worker, local.probability) == ("local:tool_user", decision.probability)
    assert (general.worker, general.model, general.probability) == ("general", "gpt-x", None)
    assert local.latency_ms is None
    assert decision.route_ms > 0.0
    assert {"margin", "out_of_scope", "nearest", "chars"} <= set(decision.signals)
    assert not decision.cut
    assert (decision.task_id, decision.step_id, decision.kind) == ("task_1", "step_1", "shell")


def test_plan_goes_to_the_general_however_local_it_reads(router: Router) -> None:
    for text in ("list the files in /tmp", "plan the merger"):
        decision = route(router, text, "plan")
        assert (decision.chosen, decision.rule) == ("general", "kind:plan")


def test_plan_stays_with_the_general_under_any_threshold(router: Router) -> None:
    policy = Policy(route_threshold={"plan": 0.0})
    assert route(router, "plan the merger", "plan", policy=policy).chosen == "general"


def test_threshold_above_the_probability_escalates(router: Router) -> None:
    policy = Policy(route_threshold={"shell": 1.01})
    decision = route(router, "show the files in /tmp", "shell", policy=policy)
    assert (decision.chosen, decision.rule) == ("general", "threshold:shell")
    assert "below 1.01" in decision.reason


def test_wrong_kind_has_a_low_probability_and_names_the_likelier_one(router: Router) -> None:
    decision = route(router, "remind me tomorrow at nine to call Sam", "shell")
    assert decision.chosen == "general"
    assert "parse" in decision.reason


def test_pinned_surface_turns_a_local_kind_into_it(router: Router) -> None:
    text = "make a file notes.txt with the text hello"
    kind, probability, _ = router.classify(text, "gui")
    assert kind == "gui"
    decision = route(router, text, "gui", surface="gui")
    assert (decision.chosen, decision.rule) == ("local:tool_user", "surface:gui")
    assert decision.probability == pytest.approx(probability)
    assert decision.probability > route(router, text, "gui").probability


def test_pinned_surface_makes_no_plan_local(router: Router) -> None:
    text = "develop a strategy for our company over the next five years"
    assert router.classify(text, "shell")[0] == "plan"


def test_answer_that_was_not_accepted_escalates_and_names_the_first_decision(
    router: Router,
) -> None:
    first = route(router, "show the files in /tmp", "shell")
    second = route(router, "show the files in /tmp", "shell", previous=first)
    assert (second.chosen, second.rule, second.previous) == ("general", "escalated", first.id)


def test_failed_action_is_repaired_here_once(router: Router) -> None:
    text = "ls: cannot access 'a': No such file or directory"
    failed = route(router, "show the folder a", "shell")
    repair = route(router, text, "repair", previous=failed)
    assert (repair.chosen, repair.rule) == ("local:tool_user", "repair:once")
    assert route(router, text, "repair", previous=repair).chosen == "general"


def test_long_text_is_marked_as_cut(router: Router) -> None:
    decision = route(router, "show the files in /tmp " * 60, "shell")
    assert decision.cut
    assert "128 tokens" in decision.reason


def test_measured_latencies_are_shown(pool: Pool) -> None:
    router = Router(pool.encoder(), latency_ms={"local:tool_user": 300.0})
    decision = route(router, "show the files in /tmp", "shell")
    assert [c.latency_ms for c in decision.candidates] == [300.0, None]


def test_every_kind_has_a_worker_and_a_decision(router: Router) -> None:
    for kind, worker in LOCAL_WORKER.items():
        assert route(router, "show the files", kind).candidates[0].worker == worker


def test_head_of_another_encoder_is_refused() -> None:
    with pytest.raises(ModelCorrupt) as caught:
        Router(OtherEncoder())
    assert OtherEncoder.model in caught.value.message
    assert "router_train" in caught.value.hint


def test_missing_and_broken_heads_are_refused(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing):
        Router(pool.encoder(), head=tmp_path / "none.npz")
    whole = HEAD.read_bytes()
    for number, content in enumerate((b"", b"not a zip", whole[: len(whole) // 2])):
        broken = tmp_path / f"broken{number}.npz"
        broken.write_bytes(content)
        with pytest.raises(ModelCorrupt):
            Router(pool.encoder(), head=broken)


def test_head_survives_saving(tmp_path: Path, pool: Pool) -> None:
    encoder = pool.encoder()
    head = Head.load(HEAD, encoder=encoder.model)
    head.save(tmp_path / "again.npz")
    again = Head.load(tmp_path / "again.npz", encoder=encoder.model)
    row = features(encoder, ["show the files in /tmp"])
    assert np.allclose(head.score(row).classes, again.score(row).classes, atol=1e-6)
    assert again.threshold == head.threshold


def test_fitting_separates_classes_and_rejects_what_is_neither() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(3, 16)

    def near(centre: int, rows: int) -> NDArray[np.float32]:
        points = centres[centre] + rng.normal(scale=0.1, size=(rows, 16))
        unit: NDArray[np.float32] = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(
            np.float32
        )
        return unit

    train = np.concatenate([near(0, 60), near(1, 60)])
    head = fit(train, ["a"] * 60 + ["b"] * 60, near(2, 40), encoder="sha256:x")
    inside, outside = (
        head.score(np.concatenate([near(0, 20), near(1, 20)])),
        head.score(near(2, 20)),
    )
    assert inside.classes.argmax(axis=1).tolist() == [0] * 20 + [1] * 20
    assert (inside.in_scope >= head.threshold).mean() > 0.9
    assert (outside.in_scope < head.threshold).mean() > 0.9


def test_words_tell_sentences_apart_and_no_word_is_no_evidence() -> None:
    assert words("").shape == (WORD_COLUMNS,)
    assert not words("").any()
    assert np.linalg.norm(words("click the button")) == pytest.approx(1.0)
    assert words("click the button") @ words("click the icon") > words("click") @ words("sum it up")


def test_quotes_are_masked_unless_they_are_everything() -> None:
    assert without_quotes('type "rm -rf /" now') == 'type "text" now'
    assert without_quotes("grep 'some words' here") == 'grep "text" here'
    assert without_quotes("don't touch Sam's file") == "don't touch Sam's file"
    assert without_quotes('"just this"') == '"just this"'
