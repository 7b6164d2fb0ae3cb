"""Spans are found by type, with the right value, at the right place, and nowhere else."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from runtime.roles.grounding import Span, nested_numbers, spans

NOW = datetime(2026, 11, 22, 15, 23)  # a Sunday


def found(text: str, type_: str, folder: Path = Path("/")) -> list[Any]:
    return [s.value for s in spans(text, now=NOW, folder=folder) if s.type == type_]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tomorrow at nine", "2026-11-23T09:00:00"),
        ("tomorrow at 9", "2026-11-23T09:00:00"),
        ("at nine tomorrow", "2026-11-23T09:00:00"),
        ("on Friday at 3:30 pm", "2026-11-27T15:30:00"),
        ("Friday afternoon at 2", "2026-11-27T14:00:00"),
        ("in 20 minutes", "2026-11-22T15:43:00"),
        ("in twenty minutes", "2026-11-22T15:43:00"),
        ("in half an hour", "2026-11-22T15:53:00"),
        ("in an hour and a half", "2026-11-22T16:53:00"),
        ("in 3 months", "2027-02-22T15:23:00"),
        ("next Monday morning", "2026-11-23T09:00:00"),
        ("tonight at 8", "2026-11-22T20:00:00"),
        ("at 9 pm tonight", "2026-11-22T21:00:00"),
        ("at noon", "2026-11-23T12:00:00"),
        ("tomorrow at midnight", "2026-11-23T00:00:00"),
        ("December 3rd at 10", "2026-12-03T10:00:00"),
        ("on the third of December at half past four", "2026-12-03T16:30:00"),
        ("on January 5 at 8:15", "2027-01-05T08:15:00"),
        ("the day after tomorrow at 5pm", "2026-11-24T17:00:00"),
        ("quarter past seven tomorrow", "2026-11-23T07:15:00"),
        ("ten to nine tomorrow", "2026-11-23T08:50:00"),
        ("half past six", "2026-11-22T18:30:00"),
        ("at 18:30", "2026-11-22T18:30:00"),
        ("at 8 in the morning", "2026-11-23T08:00:00"),
        ("on 2026-12-01 at 14:00", "2026-12-01T14:00:00"),
        ("two weeks from now", "2026-12-06T15:23:00"),
        ("a week from Friday at noon", "2026-12-04T12:00:00"),
        ("on Wednesday the 25th at 10", "2026-11-25T10:00:00"),
        ("on Sunday", "2026-11-29T09:00:00"),
    ],
)
def test_a_moment_is_resolved_against_now_and_spans_the_whole_phrase(
    words: str, expected: str
) -> None:
    text = f"remind me {words} to call Sam"
    (span,) = [s for s in spans(text, now=NOW, folder=Path("/")) if s.type == "datetime"]
    assert (span.value, span.text) == (expected, words)


def test_a_day_without_a_time_says_that_a_convention_filled_it() -> None:
    given, assumed = (
        next(s for s in spans(t, now=NOW, folder=Path("/")) if s.type == "datetime")
        for t in ("call on Friday at 10:30", "call on Friday")
    )
    assert given.exact and not assumed.exact


@pytest.mark.parametrize(
    "text",
    [
        "9ish would be fine",
        "the score was 3 to 2",
        "version 3.50 is out",
        "sat down in the sun",
        "the 31st of February",
        "set a timer for 20 minutes",
        "12/24 of them",
    ],
)
def test_what_only_looks_like_a_moment_is_none(text: str) -> None:
    assert found(text, "datetime") == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("modified in the last 7 days", 604800),
        ("during the past week", 604800),
        ("wait half an hour", 1800),
        ("a timer for 90 minutes", 5400),
        ("1 hour 30 minutes", 5400),
        ("an hour and a half", 5400),
        ("two and a half hours", 9000),
        ("a 25-minute timer", 1500),
        ("older than two weeks", 1209600),
        ("for 45 min", 2700),
        ("sleep 30s", 30),
    ],
)
def test_durations_are_seconds(text: str, seconds: int) -> None:
    assert found(text, "duration") == [seconds]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("bigger than 100 MB", 100 * 1024**2),
        ("over 2 gigabytes", 2 * 1024**3),
        ("half a gigabyte", 512 * 1024**2),
        ("at least 10 KiB", 10240),
        ("larger than 5k", 5120),
        ("exactly 300 bytes", 300),
        ("ten megabytes", 10 * 1024**2),
    ],
)
def test_sizes_are_bytes(text: str, size: int) -> None:
    assert found(text, "size") == [size]
    assert found(text, "integer") == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("the top ten files", 10),
        ("a dozen eggs", 12),
        ("half a dozen rolls", 6),
        ("a couple of lines", 2),
        ("twenty-five lines", 25),
        ("one hundred and fifty", 150),
        ("two thousand", 2000),
        ("1,000 rows", 1000),
        ("minus -3", -3),
    ],
)
def test_integers_are_read_from_digits_and_words(text: str, value: int) -> None:
    assert found(text, "integer") == [value]


@pytest.mark.parametrize("text", ["which one is it", "the one", "v1.2.3", "file2", "someone"])
def test_what_is_no_number_is_not_read_as_one(text: str) -> None:
    assert found(text, "integer") == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('type "a < b" now', "a < b"),
        ("type 'it's five' now", "it's five"),
        ("type “curly é” now", "curly é"),
        ("type ‘it’s fine’ now", "it’s fine"),
        ("type «guillemets» now", "guillemets"),
        ("type `code x` now", "code x"),
        ('type "two\nlines" now', "two\nlines"),
    ],
)
def test_every_kind_of_quotation_is_text_kept_exactly(text: str, value: str) -> None:
    assert found(text, "text") == [value]


def test_apostrophes_inside_words_are_not_quotes() -> None:
    assert found("don't open the dog's bowl, it's Bob's", "text") == []


def test_nothing_is_read_inside_a_quotation() -> None:
    (span,) = spans('type "see /etc at 5 pm, 3 GB, Sam"', now=NOW, folder=Path("/"))
    assert span.value == "see /etc at 5 pm, 3 GB, Sam" and span.quoted


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("which files under /usr/share are largest?", ["/usr/share"]),
        ("save it as notes.txt.", ["notes.txt"]),
        ("look in ~/x, please", ["~/x"]),
        ("copy a/b/c.txt to ../d", ["a/b/c.txt", "../d"]),
        ("unpack report-v2.3.tar.gz here", ["report-v2.3.tar.gz", "."]),
        ("create a folder called reports", ["reports"]),
        ("compress the folder my-data", ["my-data"]),
        ("in my home directory", ["~"]),
        ("what is in /", ["/"]),
        ("edit .bashrc", [".bashrc"]),
        ("true and/or false at 5 km/h, i.e. 1/2", []),
        ("Done.Then stop, at 3.5", []),
        ("see https://example.com/a/b.html", []),
    ],
)
def test_paths_and_file_names(text: str, paths: list[str]) -> None:
    assert found(text, "path") == paths


def test_a_named_folder_resolves_to_the_one_that_exists(tmp_path: Path) -> None:
    (tmp_path / "Documents").mkdir()
    assert found("list my documents folder", "path", tmp_path) == ["Documents"]
    assert found("count files in Documents", "path", tmp_path) == ["Documents"]


def test_a_bare_word_is_a_path_where_such_a_file_exists(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw").mkdir()
    assert found("list data/raw", "path", tmp_path) == ["data/raw"]
    assert found("list data/raw", "path", tmp_path / "data") == []


@pytest.mark.parametrize(
    ("text", "extension"),
    [
        ("list the python files", "py"),
        ("delete *.log", "log"),
        ("how many pdfs are there", "pdf"),
        ("all JPEG images", "jpg"),
        ("files ending in .cfg", "cfg"),
        (".txt files", "txt"),
        ("markdown documents", "md"),
        ("every *.tar.gz", "tar.gz"),
    ],
)
def test_extensions(text: str, extension: str) -> None:
    assert found(text, "extension") == [extension]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("press ctrl+s", ["ctrl+s"]),
        ("press Shift-Alt-F4 now", ["shift+alt+f4"]),
        ("hit Control + Return", ["ctrl+enter"]),
        ("press Enter", ["enter"]),
        ("press the Escape key", ["esc"]),
        ("the alternative key", []),
    ],
)
def test_key_shortcuts_are_canonical(text: str, keys: list[str]) -> None:
    assert found(text, "keys") == keys


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Text Ana María and Dr. Smith", ["Ana María", "Dr. Smith"]),
        ("Call Sam on Monday in March", ["Sam"]),
        ("tell my boss I'm late", ["boss"]),
        ("Sam said hi. Then Bob left", ["Bob"]),
        ("give Anna's book back", ["Anna"]),
    ],
)
def test_names(text: str, names: list[str]) -> None:
    assert found(text, "name") == names


def test_links_and_addresses_are_text_without_their_full_stop() -> None:
    text = "email bob@example.com about https://x.org/a?b=1."
    assert found(text, "text") == ["bob@example.com", "https://x.org/a?b=1"]


def test_numbers_inside_a_size_can_be_asked_for() -> None:
    text = "over 5 GB"
    (size,) = spans(text, now=NOW, folder=Path("/"))
    assert nested_numbers(text, size) == (Span("integer", 5, "5", 5, 6),)


@pytest.mark.parametrize("text", ["", " ", "'", '"', "''", "“", "/", "~", "\x00\n", "é" * 5000])
def test_odd_texts_do_no_harm(text: str) -> None:
    for span in spans(text, now=NOW, folder=Path("/nowhere")):
        assert text[span.start : span.end] == span.text


def test_every_span_stands_where_it_says() -> None:
    text = 'Move "b c.txt" and a.log over 3 MB to ~/old by Friday at 5 pm, or tell Ana in 2 days'
    for span in spans(text, now=NOW, folder=Path("/")):
        assert text[span.start : span.end] == span.text
