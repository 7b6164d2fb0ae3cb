"""Orders that are stages of one change in an editor become one step again."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from runtime.roles.candidates import texts, typed, words
from runtime.roles.grounding import outermost, spans
from runtime.roles.picking import masked
from runtime.roles.segments import clauses, without_follow_up
from runtime.roles.stages import joined, stage
from runtime.roles.tool_user import disk_odds
from runtime.tools.gui.skills import BY_ID
from runtime.tools.recipe import Slot


def split(text: str) -> list[str]:
    def spans_of(part: str) -> tuple[object, ...]:
        return spans(part, now=datetime(2026, 1, 5), folder=Path("/nonexistent"))

    return [c.text for c in joined(text, clauses(text, spans_of(text)), spans_of)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "open mousepad, type 'a', and save it as x.txt",
        "Open /w/x.txt in the editor. Replace 'a' with 'b'. Save it.",
        "Start the text editor and type 'a'. Then save it to x.txt in /w",
    ],
)
def test_stages_of_one_change_of_one_file_are_one_step(text: str) -> None:
    assert split(text) == [text.removesuffix(".")] or split(text) == [text]


def test_a_file_that_is_only_told_of_takes_the_place_of_it() -> None:
    text = "There is a file /w/x.txt. Open it in mousepad, put 'a' at the end and save it"
    assert split(text) == ["Open /w/x.txt in mousepad, put 'a' at the end and save it"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("open mousepad, type 'a', press enter, type 'b', save it as x.txt", 5),
        ("open x.txt in mousepad, replace a with b, add 'c' at the end and save it", 3),
        ("make a folder, move x.txt into it", 2),
    ],
)
def test_several_edits_and_other_places_stay_apart(text: str, count: int) -> None:
    assert len(split(text)) == count


def test_first_verbs_tell_the_stage() -> None:
    wanted = {"launch mousepad": "open", "in the editor, save": "save", "swap a for b": "edit"}
    assert {text: stage(text) for text in wanted} == wanted


def test_a_sentence_that_only_asks_for_the_result_is_left_out() -> None:
    assert without_follow_up("Are files here empty? Which ones?") == "Are files here empty?"
    assert without_follow_up("Find the logs. How many?") == "Find the logs. How many?"
    assert without_follow_up("Which?") == "Which?"


def test_a_name_in_a_folder_is_one_path_beside_the_two() -> None:
    for text in ("save as x.txt in /w/a-b", "save in /w/a-b under the name x.txt"):
        found = [
            s for s in spans(text, now=datetime(2026, 1, 5), folder=Path("/")) if s.type == "path"
        ]
        assert {s.value for s in found} == {"x.txt", "/w/a-b", "/w/a-b/x.txt"}
        assert [s.value for s in outermost(found)] == ["/w/a-b/x.txt"]


def test_a_path_with_a_hyphen_is_not_read_twice() -> None:
    found = spans("open /tmp/a-b/c.txt", now=datetime(2026, 1, 5), folder=Path("/"))
    assert [s.value for s in found] == ["/tmp/a-b/c.txt"]


def test_polite_beginnings_and_kinds_of_places_do_not_move_the_pick() -> None:
    assert masked("Could you tell me which files here are big") == "which files here are big"
    assert masked("total size of /usr/share/doc") == "total size of a folder"
    assert masked("how big is /w/x.txt") == "how big is a file"


def test_files_that_exist_speak_for_changing_and_against_making(tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("")
    change, make = BY_ID["append_to_file"], BY_ID["write_file"]
    assert disk_odds(change, {"path": "there.txt"}, tmp_path) == 0
    assert disk_odds(change, {"path": "gone.txt"}, tmp_path) < 0
    assert disk_odds(make, {"path": "there.txt"}, tmp_path) < 0
    assert disk_odds(make, {"path": "gone.txt"}, tmp_path) == 0


def test_courtesies_at_the_end_are_no_part_of_a_text() -> None:
    tokens = words("some jazz, please")
    values = {c.value for c in texts("some jazz, please", tokens, [], frozenset(), frozenset())}
    assert "jazz" in values
    assert not any(v.endswith("please") for v in values if v != "please")


def test_announced_lines_end_where_the_next_order_begins() -> None:
    for text in (
        "write 2 lines: ham and eggs. save to /w/x.txt",
        "write two lines: ham and eggs and save as x.txt",
    ):
        values = [c.value for c in typed(Slot("lines", "lines", ""), [], text)]
        assert values == ["ham\neggs"]
