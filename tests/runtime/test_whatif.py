"""What-if: other prices, models, thresholds and shares over a record of known numbers."""

from __future__ import annotations

import pytest

from models.errors import UsageError
from runtime.report import Figure
from runtime.savings import steps_of
from runtime.whatif import Price, Scenario, Simulated, read, simulate
from tests.runtime.ledger_events import Story, three_areas

WATTS = Figure(10.0, "assumed", "a test")
PRICES: dict[str, Price] = {"big": (2.0, 20.0), "small": (0.2, 2.0)}


def play(story: Story, *wishes: str, price: Price | None = PRICES["big"]) -> Simulated:
    scenario = read(wishes, PRICES.get)
    return simulate(steps_of(story.events), scenario, price=price, price_name="big", watts=WATTS)


def test_nothing_changed_is_the_record_itself() -> None:
    same = play(three_areas())
    assert same.local_share == pytest.approx(8 / 11)
    assert (same.calls, same.escalated, same.moved) == (11, 3, 0)
    assert same.cost.value == pytest.approx(0.03)


def test_another_price_changes_the_cost_and_nothing_else() -> None:
    cheap, dear = (play(three_areas(), f"price={name}") for name in ("small", "big"))
    assert dear.cost.value == pytest.approx(3 * (2000 * 2 + 50 * 20) / 1e6)
    assert dear.cost.value == pytest.approx(10 * (cheap.cost.value or 0))
    assert cheap.local_share == dear.local_share
    assert play(three_areas(), "price=0.2/2").cost.value == cheap.cost.value


def test_a_threshold_moves_what_a_threshold_decides() -> None:
    high = play(three_areas(), "threshold=0.85")
    # shell 0.8, tool 0.6 and format 0.7 go out; refining stays, and so do 0.95 and 0.9.
    assert (high.moved, high.escalated) == (3, 6)
    assert high.latency.value == pytest.approx(0.2 * 3 + 0.4 + 6.0)
    assert (high.cost.value or 0) > 0.03


def test_a_low_threshold_brings_home_what_was_routed_out_but_no_plan() -> None:
    low = play(three_areas(), "threshold=0")
    # The shell step of 0.3 comes home. The plan stays out, and so does the GUI step that was
    # tried here and not accepted: a threshold does not mend its answer.
    assert (low.moved, low.escalated) == (1, 2)
    assert low.local_share == pytest.approx(9 / 11)
    assert low.cost.value == pytest.approx(0.02)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.7, 1.0])
def test_a_local_share_is_met_exactly(share: float) -> None:
    assert play(three_areas(), f"local-share={share}").local_share == pytest.approx(share, abs=1e-6)


def test_the_likeliest_steps_stay_first() -> None:
    story = Story().task("t")
    for probability in (0.2, 0.9):
        story.step("t", "shell", probability=probability)
    half = play(story, "local-share=0.5")
    assert half.risk.value == 0.0
    assert half.escalated == pytest.approx(1.0)
    assert half.moved == pytest.approx(1.0)


def test_all_by_the_general_costs_what_the_report_says() -> None:
    from runtime.savings import savings

    story = three_areas()
    everything = savings(
        story.events, model="big", price=PRICES["big"], price_source="", watts=WATTS
    ).cost.all_general
    none_here = play(story, "local-share=0", "price=big")
    assert none_here.cost.value == pytest.approx(everything.value)


def test_everything_here_costs_nothing() -> None:
    assert play(three_areas(), "local-share=100%").cost.value == pytest.approx(0.0)


def test_another_model_takes_its_own_measured_latency() -> None:
    story = three_areas()
    story.task("fast").step("fast", "shell", local=0, general=1, model="small", general_ms=100.0)
    fast = play(story, "model=small")
    assert fast.latency.value == pytest.approx(7 * 0.2 + 0.4 - 0.2 + 4 * 0.1)


def test_a_model_that_was_never_called_has_no_latency() -> None:
    figure = play(three_areas(), "model=small").latency
    assert (figure.value, figure.how) == (None, "not known")
    assert "small" in figure.source


def test_a_model_without_a_price_has_no_cost() -> None:
    figure = play(three_areas(), "model=nobody-knows").cost
    assert (figure.value, figure.how) == (None, "not known")


def test_alpha_gives_the_threshold_that_the_record_certifies() -> None:
    story = Story().task("t")
    for number in range(300):
        good = number % 3 > 0
        probability = 0.9 + number / 10_000 if good else 0.3 + number / 10_000
        story.step("t", "shell", probability=probability, outcome="done" if good else "failed")
    kept = play(story, "alpha=0.05")
    assert kept.threshold is not None
    assert 0.4 < (kept.threshold.value or 0) <= 0.91
    assert (kept.risk.value or 0) <= 0.05
    assert kept.escalated == pytest.approx(100, abs=10)
    assert "Learn-then-Test" in kept.threshold.source


def test_alpha_that_a_short_record_cannot_certify_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="cannot certify"):
        play(three_areas(), "alpha=0.01")


def test_watts_change_the_energy() -> None:
    story = Story().task("t").step("t", "shell", ms=2000.0)
    assert play(story, "watts=50").energy.value == pytest.approx(100.0)
    assert play(story).energy.value == pytest.approx(20.0)


def test_the_risk_is_what_the_record_shows_of_the_kept() -> None:
    # Of the kept: gui, shell, parse and format held, and one tool call failed.
    assert play(three_areas()).risk.value == pytest.approx(1 / 5)
    assert play(three_areas(), "threshold=0.65").risk.value == 0.0


def test_keeping_all_here_where_nothing_ran_here_has_no_time() -> None:
    story = Story().task("t").step("t", "shell", local=0, general=1)
    made = play(story, "local-share=1")
    assert made.latency.value is None
    assert made.energy.value is None
    assert made.cost.value == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        (["speed=9"], "no key 'speed'"),
        (["threshold"], "not KEY=VALUE"),
        (["threshold="], "not KEY=VALUE"),
        (["threshold=high"], "a share from 0 to 1"),
        (["threshold=1.5"], "a share from 0 to 1"),
        (["threshold=nan"], "a share from 0 to 1"),
        (["local-share=-0.1"], "a share from 0 to 1"),
        (["local-share=70"], "a share from 0 to 1"),
        (["alpha=0"], "a share between 0 and 1"),
        (["watts=-4"], "a number of at least 0"),
        (["watts=inf"], "a number of at least 0"),
        (["price=unheard-of"], "no price is known"),
        (["price=-1/2"], "a number of at least 0"),
        (["threshold=0.5", "threshold=0.6"], "given twice"),
        (["threshold=0.5", "alpha=0.1"], "contradict"),
        (["local-share=0.5", "alpha=0.1"], "contradict"),
    ],
)
def test_nonsense_is_refused_and_named(wishes: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(wishes, PRICES.get)


def test_a_scenario_is_read_whole() -> None:
    scenario = read(["price=small", "local-share=70%", "watts=12"], PRICES.get)
    assert scenario == Scenario(price=(0.2, 2.0), price_name="small", local_share=0.7, watts=12.0)


def test_an_empty_record_says_what_to_do() -> None:
    with pytest.raises(UsageError) as caught:
        simulate([], Scenario(), price=None, price_name="big", watts=WATTS)
    assert "aidecamp run" in caught.value.hint
