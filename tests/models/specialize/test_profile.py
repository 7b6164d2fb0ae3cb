"""What agents repeat is counted, and what looks replaceable is told with its reasons."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.specialize.findings import MIN_CALLS, Finding, form_of
from models.specialize.profile import profile
from models.specialize.rows import Row

DAY_S = 86_400.0
CITIES = ("Bern", "Paris", "Oslo", "Rome", "Cairo", "Lima")


def row(index: int, **changes: Any) -> Row:
    """One call to the General, each an hour after the one before."""
    values: dict[str, Any] = {
        "at": 1_700_000_000 + index * 3600.0,
        "request": f"step_{index}",
        "client": "shop",
        "session": f"ses_{index % 4}",
        "kind": "parse",
        "role": "general",
        "model": "gpt",
        "local": False,
        "tokens_in": 400,
        "tokens_out": 14,
        "cost_usd": 0.01,
        "latency_ms": 900.0,
        "prompt": f"weather in {CITIES[index % len(CITIES)]}",
        "answer": json.dumps([{"name": "weather", "arguments": "{}"}]),
        "offered": ("weather", "time", "book"),
        "called": ("weather",),
    }
    return Row(**(values | changes))


def parsing(n: int = 60, **changes: Any) -> list[Row]:
    """A client that asks three kinds of question, answered by one function each."""
    return [
        row(
            i,
            **{
                "prompt": (
                    f"weather in {CITIES[i % 6]}",
                    f"what time is it in {CITIES[i % 6]} now",
                    f"book a table for {i} at {i % 24}:30",
                )[i % 3],
                "called": (("weather", "time", "book")[i % 3],),
            }
            | changes,
        )
        for i in range(n)
    ]


def essays(n: int = 60, **changes: Any) -> list[Row]:
    """A client whose every request is another, answered at length."""
    return [
        row(
            i,
            **{
                "client": "writer",
                "kind": "dialogue",
                "prompt": f"{chr(97 + i % 26)}{chr(97 + i // 26)} {'word ' * (i % 40)} end",
                "answer": f"Long words number {i}.",
                "called": (),
                "offered": (),
                "tokens_out": 600,
            }
            | changes,
        )
        for i in range(n)
    ]


def only(rows: list[Row]) -> Finding:
    (finding,) = profile(rows).findings
    return finding


def test_calls_are_grouped_by_client_and_kind() -> None:
    rows = [*parsing(60), *essays(20), *parsing(20, client="till", local=True, latency_ms=50.0)]
    found = profile(rows)
    groups = {(one.client, one.kind): one for one in found.groups}
    assert {key: one.calls for key, one in groups.items()} == {
        ("shop", "parse"): 60,
        ("till", "parse"): 20,
        ("writer", "dialogue"): 20,
    }
    assert {one.kind: one.calls for one in found.kinds} == {"parse": 80, "dialogue": 20}
    assert {one.client: one.calls for one in found.clients} == {
        "shop": 60,
        "till": 20,
        "writer": 20,
    }
    assert groups["shop", "parse"].share.value == 0.6
    assert groups["till", "parse"].local.value == 1.0
    assert (groups["till", "parse"].local_p50_ms, groups["till", "parse"].general_p50_ms) == (
        50.0,
        None,
    )
    assert groups["shop", "parse"].tokens_in == 60 * 400
    assert groups["shop", "parse"].cost_usd == pytest.approx(0.6)
    assert groups["shop", "parse"].sessions == 4
    assert (found.calls, found.local.hits, found.silent) == (100, 20, 0)


def test_requests_that_differ_in_values_alone_count_as_repeated() -> None:
    (group,) = profile(parsing(60)).groups
    assert (group.templates, group.templates_95) == (3, 3)
    assert group.repeated.value == 1.0
    (group,) = profile(essays(60)).groups
    assert group.repeated.value == 0.0
    assert group.templates == 60


def test_word_for_word_repeats_are_counted_apart_from_templates() -> None:
    (group,) = profile(
        [row(i, prompt="hi there  you" if i else "hi there you") for i in range(4)]
    ).groups
    assert (group.exact.hits, group.exact.n) == (3, 4)
    (group,) = profile([row(i) for i in range(6)]).groups
    assert group.exact.hits == 0
    assert group.repeated.hits == 6


def test_several_calls_for_one_request_are_no_repetition() -> None:
    (group,) = profile(
        [row(i, request="step_1", prompt="one question only") for i in range(6)]
    ).groups
    assert (group.calls, group.worded, group.exact.hits, group.repeated.hits) == (6, 1, 0, 0)


def test_top_templates_are_told_most_frequent_first() -> None:
    rows = [*parsing(30), *[row(100 + i, prompt="open the door please") for i in range(20)]]
    found = profile(rows, top=2)
    assert [(one.text, one.requests) for one in found.templates] == [
        ("open the door please", 20),
        ("book a table for <n> at <time>", 10),
    ]


def test_few_templates_and_few_short_forms_look_replaceable() -> None:
    finding = only(parsing(60))
    assert finding.verdict == "replaceable"
    assert "60 calls to the General by shop, kind parse" in finding.says
    assert "3 templates cover 95 %" in finding.says
    assert "of 3 forms (calls" in finding.says
    assert "3 of 3 tools on offer are called" in finding.says
    assert "median answer has 14 tokens" in finding.says
    assert finding.needs == 600
    assert finding.has == 24  # two cities in each of two templates, twenty tables


def test_open_long_answers_to_ever_new_questions_stay_with_the_general() -> None:
    finding = only(essays(60))
    assert finding.verdict == "keep"
    assert "leave it there" in finding.says
    assert not finding.why
    assert finding.needs == 5_800  # a hundred for each of 57 templates and for one form


def test_two_of_three_points_say_maybe() -> None:
    finding = only(parsing(60, tokens_out=500))
    assert finding.verdict == "maybe"
    assert any("500 tokens" in one for one in finding.but)


@pytest.mark.parametrize("kind", ["plan", "repair"])
def test_planning_and_repair_are_never_handed_over(kind: str) -> None:
    finding = only(parsing(60, kind=kind))
    assert finding.verdict == "keep"


def test_too_few_requests_are_not_judged() -> None:
    finding = only(parsing(MIN_CALLS - 1))
    assert finding.verdict == "too few"
    assert not finding.why
    assert f"{MIN_CALLS - 1} requests with words on record" in finding.says
    assert only(parsing(MIN_CALLS)).verdict != "too few"


def test_calls_without_words_are_counted_but_teach_nothing() -> None:
    rows = parsing(60, prompt="", answer="", called=())
    found = profile(rows)
    assert found.silent == 60
    assert found.groups[0].cost_usd == pytest.approx(0.6)
    assert found.groups[0].repeated.value is None
    assert found.findings[0].verdict == "too few"
    assert found.findings[0].has == 0


def test_a_general_that_is_mostly_wrong_is_no_teacher() -> None:
    finding = only(parsing(60, outcome="wrong"))
    assert finding.verdict == "keep"
    assert "the General itself was right in 0 %" in finding.says
    assert finding.has == 0
    assert only(parsing(60, outcome="right")).verdict == "replaceable"


def test_one_answer_in_words_does_not_open_a_closed_group() -> None:
    rows = parsing(60)
    rows[3] = row(3, prompt=rows[3].prompt, called=(), answer="I do not know that.")
    assert only(rows).verdict == "replaceable"


def test_what_a_month_costs_is_told_only_where_it_is_known() -> None:
    priced = only(parsing(48))  # 47 hours
    assert priced.usd_per_month == pytest.approx(0.48 / (47 / 24) * 30)
    assert only(parsing(60, cost_usd=0.0)).usd_per_month is None
    assert only([row(i, at=1_700_000_000.0 + i) for i in range(60)]).usd_per_month is None


def test_what_pays_most_comes_first_and_what_cannot_be_judged_last() -> None:
    rows = [
        *parsing(10, client="new"),
        *parsing(40, client="cheap", cost_usd=0.001),
        *essays(40),
        *parsing(40, client="dear", cost_usd=0.1),
    ]
    assert [one.client for one in profile(rows).findings] == ["dear", "cheap", "writer", "new"]


def test_calls_that_were_served_here_are_no_finding() -> None:
    assert profile(parsing(60, local=True)).findings == ()


@pytest.mark.parametrize(
    ("changes", "form"),
    [
        ({"called": ("b", "a", "a")}, "calls a, b"),
        ({"called": (), "answer": '{"y": 1, "x": 2}'}, "JSON with x, y"),
        ({"called": (), "answer": "{}"}, "JSON that is empty"),
        ({"called": (), "answer": "[1]"}, "a JSON list"),
        ({"called": (), "answer": " yes "}, "says yes"),
        ({"called": (), "answer": "42"}, "says 42"),
        ({"called": (), "answer": "Yes, of course."}, "words"),
        ({"called": (), "answer": ""}, "words"),
        ({"called": (), "answer": "[" * 100_000}, "words"),
    ],
)
def test_the_form_of_an_answer(changes: dict[str, Any], form: str) -> None:
    assert form_of(row(0, **changes)) == form


def test_an_empty_record_has_an_empty_profile() -> None:
    found = profile([])
    assert (found.calls, found.groups, found.findings, found.templates) == (0, (), (), ())
    json.dumps(found.to_json(), allow_nan=False)


def test_a_profile_is_plain_json_with_intervals() -> None:
    body = json.loads(json.dumps(profile([*parsing(60), *essays(40)]).to_json(), allow_nan=False))
    local = body["groups"][0]["local"]
    assert (local["hits"], local["n"]) == (0, 60)
    assert 0 < local["high"] < 0.1
    assert body["findings"][0]["verdict"] == "replaceable"
