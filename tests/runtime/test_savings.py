"""The savings: shares by kind and area, figures that say how they came about, one command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtime.core import Call
from runtime.ledger import Ledger, records
from runtime.report import Figure, all_general_usd, general_tokens
from runtime.savings import PAPER, Savings, savings, steps_of
from tests.runtime.ledger_events import Story, three_areas
from tests.runtime.test_cli import aidecamp

WATTS = Figure(10.0, "assumed", "a test")
PRICE = (2.0, 20.0)


def report(story: Story, price: tuple[float, float] | None = PRICE) -> Savings:
    return savings(
        story.events, model="big", price=price, price_source="list price of today", watts=WATTS
    )


def test_shares_are_counted_by_kind_and_by_area() -> None:
    made = report(three_areas())
    kinds = {row.name: (row.calls, row.local_calls) for row in made.kinds}
    assert kinds["gui"] == (4, 3)
    assert kinds["shell"] == (2, 1)
    assert kinds["plan"] == (1, 0)
    areas = {
        row.name: (row.calls, row.local_calls, row.steps, row.local_steps) for row in made.areas
    }
    # The GUI task's refining is one of its calls, and none of its steps.
    assert areas == {"gui": (5, 4, 2, 1), "shell": (2, 1, 2, 1), "parse": (3, 3, 3, 3)}
    assert made.unassigned_calls == 1
    assert made.totals.calls == 11


def test_the_paper_s_estimates_stand_beside_the_measured_shares() -> None:
    assert {area.workload: area.estimate for area in PAPER} == {
        "gui": 0.7,
        "shell": 0.5,
        "parse": 0.4,
    }
    rows = report(three_areas()).to_json()["areas"]
    assert [(r["name"], r["estimate"], r["share"]) for r in rows] == [
        ("gui", 0.7, 0.8),
        ("shell", 0.5, 0.5),
        ("parse", 0.4, 1.0),
    ]


def test_a_task_of_planning_alone_belongs_to_the_area_that_the_user_pinned() -> None:
    story = Story().task("t", surface="gui").step("t", "plan", local=0, general=1)
    (gui, *_) = report(story).areas
    assert (gui.calls, gui.local_calls) == (1, 0)


def test_a_step_s_answer_is_right_only_where_the_record_shows_it() -> None:
    right = {s.step_id: s.right for s in steps_of(three_areas().events)}
    assert right["step_2"] is True
    assert right["step_3"] is False  # tried here, not accepted
    assert right["step_5"] is None  # never tried here
    assert right["step_7"] is False  # its action failed
    assert right["step_1"] is None  # refining is never checked


def test_an_unsure_answer_counts_neither_as_right_nor_as_wrong() -> None:
    story = Story().task("t").step("t", "shell", probability=0.2, rule="no-general")
    assert steps_of(story.events)[0].right is None


@pytest.mark.parametrize("rule", ["rule:1", "out-of-scope", "kind:plan", "role:refiner"])
def test_what_a_rule_decides_is_moved_by_no_threshold(rule: str) -> None:
    story = Story().task("t").step("t", "shell", rule=rule).step("t", "shell")
    assert [s.movable for s in steps_of(story.events)] == [False, True]


def test_the_general_s_own_tokens_count_where_it_was_asked() -> None:
    story = Story().task("t").step("t", "shell", local=2, general=1)
    assert general_tokens(records(story.events, Call)) == (2000.0, 50.0)
    assert all_general_usd(story.events, 1.0, 1.0) == pytest.approx(2050 / 1e6)


def test_a_call_that_failed_before_it_was_answered_counts_as_the_local_tokens() -> None:
    story = Story().task("t").step("t", "shell", local=1, general=1, general_tokens=(0, 0))
    assert general_tokens(records(story.events, Call)) == (100.0, 10.0)


def test_cost_compares_what_was_paid_with_everything_by_the_general() -> None:
    made = report(three_areas())
    assert made.cost.actual.value == pytest.approx(0.03)
    local = 7 * 100 + 0  # tokens in of the calls of the six steps that stayed here
    usd = (3 * (2000 * 2 + 50 * 20) + local * 2 + 70 * 20) / 1e6
    assert made.cost.all_general.value == pytest.approx(usd)
    assert made.cost.all_general.how == "estimated"
    assert "list price of today" in made.cost.all_general.source


def test_without_a_price_the_cost_is_not_known_and_says_so() -> None:
    compared = report(three_areas(), price=None).cost
    assert (compared.all_general.value, compared.all_general.how) == (None, "not known")


def test_latency_is_measured_and_the_other_is_from_measured_calls_alone() -> None:
    made = report(three_areas())
    assert made.latency.actual.value == pytest.approx((6 * 0.2 + 0.4) + 3.0 - 0.0)
    assert made.latency.all_general.value == pytest.approx(9.0)
    none = report(Story().task("t").step("t", "shell"))
    assert (none.latency.all_general.value, none.latency.all_general.how) == (None, "not known")


def test_energy_names_its_watts_and_the_assumption_for_the_remote_side() -> None:
    story = Story().task("t").step("t", "shell", ms=3000.0)
    energy = report(story).energy
    assert energy.actual.value == pytest.approx(30.0)
    assert "10.0 W" in energy.actual.source
    assert energy.all_general.how == "assumed"
    assert "2508.15734" in energy.all_general.source


def test_every_figure_says_how_it_came_about() -> None:
    def figures(value: Any) -> list[dict[str, Any]]:
        if isinstance(value, dict):
            own = [value] if "how" in value else []
            return own + [f for v in value.values() for f in figures(v)]
        return []

    found = figures(report(three_areas()).to_json())
    assert len(found) == 6
    assert all(f["source"] and f["how"] in ("measured", "estimated", "assumed") for f in found)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder whose ledger holds the three areas."""
    ledger = Ledger(tmp_path / "ledger.db")
    for event in three_areas().events:
        ledger.append(event)
    ledger.close()
    return tmp_path


def test_the_command_shows_shares_figures_and_how_they_came_about(home: Path) -> None:
    done = aidecamp("savings", home=home)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "GUI agent (Cradle)" in text
    assert "80%" in text
    assert "70%" in text
    assert "estimated" in text
    assert "measured" in text


def test_the_command_simulates_in_json(home: Path) -> None:
    done = aidecamp(
        *("savings", "--json", "--what-if", "price=gpt-5.4-mini"),
        *("--what-if", "local-share=0.5"),
        home=home,
    )
    assert done.returncode == 0, done.stdout
    body = json.loads(done.stdout)
    assert body["what_if"]["local_share"] == pytest.approx(0.5)
    assert body["price"]["model"] == "gpt-5.4"
    assert body["local_share"] == pytest.approx(8 / 11)


def test_the_command_says_in_words_what_was_simulated(home: Path) -> None:
    done = aidecamp("savings", "--what-if", "threshold=0.99", home=home)
    assert done.returncode == 0, done.stderr
    assert "What if threshold=0.99" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_an_empty_ledger_says_what_to_do(tmp_path: Path, arguments: list[str]) -> None:
    done = aidecamp("savings", *arguments, home=tmp_path)
    assert done.returncode == 0, done.stderr
    if arguments:
        assert json.loads(done.stdout)["local_share"] is None
    else:
        assert "aidecamp run" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--what-if", "threshold=0.5"],
        ["--plot", "x.png"],
        ["--plot", "x.pdf"],
        ["--what-if", "nonsense"],
    ],
)
def test_what_an_empty_ledger_cannot_show_is_an_error_with_a_hint(
    tmp_path: Path, arguments: list[str]
) -> None:
    done = aidecamp("savings", "--json", *arguments, home=tmp_path)
    assert done.returncode == 2
    body = json.loads(done.stdout)
    assert body["error"] == "UsageError"
    assert body["hint"]


def test_a_general_without_a_price_is_no_error(home: Path) -> None:
    (home / "config.toml").write_text('[general]\nmodel = "my-own-vllm"\n')
    done = aidecamp("savings", "--json", home=home)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["all_general_usd_estimated"] is None


def test_the_command_loads_no_plotting_library_until_a_figure_is_asked_for() -> None:
    program = (
        "import sys, runtime.commands.savings, runtime.savings, runtime.whatif, runtime.plots;"
        " print('matplotlib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
