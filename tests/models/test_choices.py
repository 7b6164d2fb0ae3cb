"""Yes or no, scores, and temperatures: on a generator that is told its scores, and on the model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from models import choices
from models.base import Choice, Message, Usage
from models.choices import TEMPERATURES, score, temperature_for, yes_no
from models.digest import file_digest
from models.errors import UsageError
from models.pool import Pool

ASK: list[Message] = [{"role": "user", "content": "Is the sky blue? Answer Yes or No."}]


class Scored:
    """Scores options as it was told, and divides by the temperature that it is given."""

    def __init__(self, scores: dict[str, float], model: str = "sha256:unknown") -> None:
        self.model = model
        self.scores = scores
        self.temperatures: list[float | None] = []

    async def choose(
        self,
        messages: Sequence[Message],
        options: Sequence[str],
        *,
        temperature: float | None = None,
    ) -> Choice:
        self.temperatures.append(temperature)
        scores = [self.scores[option] for option in options]
        odds = [math.exp(s / (temperature or 1.0)) for s in scores]
        probabilities = tuple(o / sum(odds) for o in odds)
        best = probabilities.index(max(probabilities))
        return Choice(tuple(options), probabilities, best, self.model, Usage())


@pytest.fixture
def fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model file for which temperatures were fitted."""
    path = tmp_path / "temperatures.json"
    path.write_text(json.dumps({"sha256:known": {"choice": 2.0, "yes_no": 4.0}}))
    monkeypatch.setattr(choices, "TEMPERATURES", path)
    return "sha256:known"


def test_a_temperature_is_known_for_the_file_it_was_fitted_on_alone(fitted: str) -> None:
    assert temperature_for(fitted) == 2.0
    assert temperature_for(fitted, "yes_no") == 4.0
    assert temperature_for("sha256:another") is None


async def test_yes_no_is_the_probability_of_yes() -> None:
    generator = Scored({"Yes": math.log(0.8), "No": math.log(0.2)})
    assert await yes_no(generator, ASK) == pytest.approx(0.8)
    assert await yes_no(Scored({"Yes": 0.0, "No": 9.0}), ASK) < 0.001


async def test_yes_no_uses_its_own_temperature(fitted: str) -> None:
    generator = Scored({"Yes": 4 * math.log(3.0), "No": 0.0}, fitted)
    assert await yes_no(generator, ASK) == pytest.approx(0.75)
    assert generator.temperatures == [4.0]


async def test_a_score_is_the_mean_of_its_levels() -> None:
    generator = Scored({"1": math.log(0.5), "2": math.log(0.2), "5": math.log(0.3)})
    found = await score(generator, ASK, [1, 2, 5])
    assert found.levels == (1, 2, 5)
    assert found.expected == pytest.approx(0.5 + 0.4 + 1.5)
    assert found.level == 1
    assert sum(found.probabilities) == pytest.approx(1.0)
    assert found.choice.options == ("1", "2", "5")


async def test_a_score_uses_the_temperature_of_choices(fitted: str) -> None:
    generator = Scored({"0": 0.0, "10": 2 * math.log(3.0)}, fitted)
    assert (await score(generator, ASK, range(0, 11, 10))).expected == pytest.approx(7.5)


@pytest.mark.parametrize("levels", [[], [3], [1, 2, 1]])
async def test_a_scale_needs_two_levels_or_more(levels: list[int]) -> None:
    with pytest.raises(UsageError, match="levels of a score"):
        await score(Scored({}), ASK, levels)


async def test_the_model_itself_answers(pool: Pool) -> None:
    """Whatever it thinks of the sky, the odds are divided by the temperature of its file."""
    generator = pool.generator()
    bare = await generator.choose(ASK, ("Yes", "No"), temperature=1.0)
    odds = math.log(bare.probabilities[0] / bare.probabilities[1])
    temperature = temperature_for(generator.model, "yes_no") or 1.0
    found = await yes_no(generator, ASK)
    assert math.log(found / (1 - found)) == pytest.approx(odds / temperature, abs=0.05)

    scale: list[Message] = [{"role": "user", "content": "How good is it, from 1 to 3?"}]
    scored = await score(generator, scale, [1, 2, 3])
    assert sum(scored.probabilities) == pytest.approx(1.0)
    assert 1 <= scored.expected <= 3


def test_the_default_model_has_its_temperatures(gguf: Path) -> None:
    """The store repacks the default model to the same bytes everywhere, so its digest is known."""
    entry = json.loads(TEMPERATURES.read_text(encoding="utf-8"))[file_digest(gguf)]
    for kind in ("choice", "yes_no"):
        assert 0.05 <= entry[kind] <= 20
        measured = entry["val"][kind]
        assert measured["temperature"] == entry[kind]
        assert measured["nll"]["after"] <= measured["nll"]["before"]
    assert temperature_for(file_digest(gguf)) == entry["choice"]
    assert (entry["licence"], entry["data"][:8]) == ("CC-BY-3.0", "CLINC150")


def test_the_card_says_what_was_measured() -> None:
    card = (TEMPERATURES.parent / "card.md").read_text(encoding="utf-8")
    for digest, entry in json.loads(TEMPERATURES.read_text(encoding="utf-8")).items():
        assert digest in card
        for kind in ("choice", "yes_no"):
            measured = entry["val"][kind]
            for figure in (
                entry[kind],
                measured["accuracy"],
                *measured["nll"].values(),
                *measured["ece"].values(),
            ):
                assert str(figure) in card, (kind, figure)
