"""What commands find, beside what Python finds in the same tree."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from .conftest import Do


def _files(root: Path, suffix: str = "") -> list[Path]:
    found = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
    return [p for p in found if p.name.endswith(suffix)]


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root))


def _by_size(root: Path, suffix: str = "") -> list[dict[str, Any]]:
    rows = [{"bytes": p.stat().st_size, "path": _name(p, root)} for p in _files(root, suffix)]
    return sorted(rows, key=lambda r: (-r["bytes"], r["path"]))


def _by_time(root: Path) -> list[dict[str, Any]]:
    rows = [
        {
            "modified": datetime.fromtimestamp(p.stat().st_mtime).isoformat(),
            "path": _name(p, root),
        }
        for p in _files(root)
    ]
    return sorted(rows, key=lambda r: r["modified"], reverse=True)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize(
    ("request_", "arguments", "count"),
    [
        ("the largest file", {}, 1),
        ("the largest files", {}, 10),
        ("the largest files", {"count": 3}, 3),
    ],
)
def test_largest_files(
    do: Do, work: Path, request_: str, arguments: dict[str, Any], count: int
) -> None:
    assert do("largest_files", request_, arguments).data == _by_size(work)[:count]


def test_files_by_size_type_and_time(do: Do, work: Path) -> None:
    assert do("largest_files", "files", {"extension": "pdf"}).data == _by_size(work, ".pdf")
    smallest = sorted(_by_size(work), key=lambda r: (r["bytes"], r["path"]))
    assert do("smallest_files", "", {"count": 4}).data == smallest[:4]
    big = [r for r in _by_size(work) if r["bytes"] > 300]
    assert do("files_bigger_than", "", {"size": 300}).data == big
    small = [r for r in smallest if r["bytes"] < 300]
    assert do("files_smaller_than", "", {"size": 300}).data == small
    assert do("newest_files", "", {"count": 3}).data == _by_time(work)[:3]
    assert do("oldest_files", "", {"count": 2}).data == _by_time(work)[::-1][:2]


def test_files_by_age(do: Do, work: Path) -> None:
    fresh = work / "src" / "util.py"
    os.utime(fresh)
    assert [r["path"] for r in do("files_changed_within", "", {"age": 60}).data] == ["src/util.py"]
    old = {r["path"] for r in do("files_older_than", "", {"age": 60}).data}
    assert old == {_name(p, work) for p in _files(work)} - {"src/util.py"}


def test_files_by_name_and_kind(do: Do, work: Path) -> None:
    def paths(recipe: str, arguments: dict[str, Any] | None = None) -> list[str]:
        return [r["path"] for r in do(recipe, "", arguments).data]

    pdfs = sorted(_name(p, work) for p in _files(work, ".pdf"))
    assert paths("files_by_extension", {"extension": ".PDF"}) == pdfs
    assert paths("files_by_name", {"name": "READ"}) == ["docs/readme.md"]
    assert paths("empty_files") == ["empty.txt"]
    assert paths("empty_folders") == ["vacant"]
    assert paths("duplicate_files") == ["docs/copy.md", "docs/readme.md"]
    assert paths("hidden_files") == [".hidden"]
    assert paths("executable_files") == ["src/run.sh"]
    assert paths("broken_links") == ["dangling"]


def test_folder_listings(do: Do, work: Path) -> None:
    assert [r["name"] for r in do("list_folder").data] == sorted(os.listdir(work))  # noqa: PTH208
    kinds = {r["name"]: r["type"] for r in do("list_folder").data}
    assert (kinds["docs"], kinds["notes.txt"], kinds["dangling"]) == ("folder", "file", "link")
    folders = sorted(p.name for p in work.iterdir() if p.is_dir())
    assert [r["name"] for r in do("list_subfolders").data] == folders
    everything = sorted(_name(p, work) for p in work.rglob("*"))
    assert [r["path"] for r in do("list_everything").data] == everything


def test_counts_and_totals(do: Do, work: Path) -> None:
    assert do("count_files").data == len(_files(work))
    assert do("count_files", "", {"folder": "src", "extension": "py"}).data == 2
    assert do("count_folders").data == sum(p.is_dir() for p in work.rglob("*"))
    assert do("folder_size").data == sum(p.stat().st_size for p in _files(work))
    tally = Counter(p.name.rsplit(".", 1)[1] for p in _files(work) if "." in p.name)
    rows = do("count_by_extension").data
    assert {r["extension"]: r["count"] for r in rows} == tally
    code = sum(len(_lines(p)) for p in _files(work, ".py"))
    assert do("count_all_lines", "", {"extension": "py"}).data == code
    assert do("folders_with_most_files", "the folder").data[0]["files"] == 6
    folders = do("biggest_subfolders", "each folder").data
    assert (folders[0]["path"], len(folders)) == ("docs", 4)
    assert do("files_with_most_lines", "the file").data == [{"lines": 6, "path": "notes.txt"}]


def test_searching_text(do: Do, work: Path) -> None:
    error = {"pattern": "ERROR"}
    assert do("files_containing", "", error).data == [{"path": "app.log"}]
    assert do("files_containing", "", {"pattern": "ERROR", "extension": "txt"}).data == []
    log = {"file": "app.log", **error}
    matching = [
        {"line": i, "text": t} for i, t in enumerate(_lines(work / "app.log"), 1) if "ERROR" in t
    ]
    assert do("matching_lines", "", log).data == matching
    assert do("search_lines", "", error).data == [{"path": "app.log", **m} for m in matching]
    assert do("count_matching_lines", "", log).data == 2
    assert do("count_occurrences", "", log).data == 3
    assert [r["line"] for r in do("lines_without", "", log).data] == [1, 3]
    eggs = {"file": "notes.txt", "pattern": "eggs", "ignore_case": True}
    assert [r["line"] for r in do("matching_lines", "", eggs).data] == [2, 5]


def test_nothing_found_is_done_with_nothing(do: Do) -> None:
    outcome = do("matching_lines", "", {"file": "notes.txt", "pattern": "zebra"})
    assert (outcome.status, outcome.data) == ("done", [])
    assert do("count_matching_lines", "", {"file": "notes.txt", "pattern": "zebra"}).data == 0
    assert do("count_occurrences", "", {"file": "notes.txt", "pattern": "zebra"}).data == 0
    assert do("files_by_name", "", {"name": "zebra"}).data == []


def test_reading_files(do: Do, work: Path) -> None:
    notes = {"file": "notes.txt"}
    text = (work / "notes.txt").read_text()
    lines = text.splitlines()
    assert do("show_file", "", notes).data == text.removesuffix("\n")
    assert do("first_lines", "", {**notes, "count": 2}).data == lines[:2]
    assert do("first_lines", "the first line", notes).data == lines[:1]
    assert do("last_lines", "how does it end", notes).data == lines
    assert do("line_number", "", {**notes, "line": 4}).data == "bread"
    assert do("line_range", "", {**notes, "first": 2, "last": 3}).data == lines[1:3]
    assert do("count_lines", "", notes).data == len(lines)
    assert do("count_words", "", {"file": "docs/readme.md"}).data == 3
    assert do("count_characters", "", {"file": "café/naïve.txt"}).data == 4
    assert do("sort_lines", "", notes).data == sorted(lines)
    assert do("sort_lines", "", {**notes, "reverse": True}).data == sorted(lines, reverse=True)
    assert do("unique_lines", "", notes).data == sorted(set(lines))
    assert do("count_unique_lines", "", notes).data == len(set(lines))
    assert do("reverse_lines", "", notes).data == lines[::-1]
    assert do("number_lines", "", notes).data[2] == {"line": 3, "text": "milk"}
    top = do("line_frequency", "which line", notes).data
    assert top == [{"count": 3, "text": "milk"}]
    assert len(do("line_frequency", "how often each", notes).data) == len(set(lines))
    words = do("word_frequency", "the words", notes).data
    assert words[:2] == [{"count": 3, "word": "milk"}, {"count": 2, "word": "eggs"}]


def test_tables(do: Do, work: Path) -> None:
    people = {"file": "people.csv"}
    assert do("show_column", "", {**people, "column": 3}).data == ["city", "Bern", "Paris", "Bern"]
    assert do("sum_column", "", {**people, "column": 2}).data == 31 + 42 + 27
    (work / "t.tsv").write_text("1\t2.5\n3\t4.25\n")
    total = do("sum_column", "", {"file": "t.tsv", "column": 2, "delimiter": "tab"})
    assert total.data == 6.75


def test_comparing(do: Do) -> None:
    two = {"first": "notes.txt", "second": "other.txt"}
    assert "+tea" in do("compare_files", "", two).data.splitlines()
    assert do("same_files", "", two).data == "different"
    twins = {"first": "docs/readme.md", "second": "docs/copy.md"}
    assert do("same_files", "", twins).data == "identical"
    assert do("compare_files", "", twins).data == ""
    assert do("common_lines", "", two).data == ["bread", "milk"]
    assert do("lines_only_in_first", "", two).data == ["Eggs", "eggs"]


def test_facts_of_a_file(do: Do, work: Path) -> None:
    report = {"file": "docs/report.pdf"}
    path = work / "docs/report.pdf"
    assert do("file_size", "", report).data == 5000
    when = datetime.fromtimestamp(path.stat().st_mtime).isoformat()
    assert do("file_modified", "", report).data == when
    (row,) = do("file_permissions", "", {"file": "src/run.sh"}).data
    assert (row["mode"], row["symbolic"], row["owner"]) == ("755", "-rwxr-xr-x", path.owner())
    (row,) = do("file_details", "", report).data
    assert (row["type"], row["bytes"], row["modified"]) == ("regular file", 5000, when)
    for algorithm in ("sha256", "md5"):
        digest = hashlib.new(algorithm, path.read_bytes()).hexdigest()
        assert do("checksum", "", {**report, "algorithm": algorithm}).data == digest
    assert do("absolute_path", "", report).data == str(path.resolve())


def test_the_owner_of_a_file_of_another_user(do: Do) -> None:
    (row,) = do("file_permissions", "", {"file": "/etc/passwd"}).data
    assert row["owner"] == Path("/etc/passwd").owner()


def test_the_machine(do: Do) -> None:
    assert do("cpu_count").data == len(os.sched_getaffinity(0))
    assert do("kernel").data == os.uname().release
    assert do("host_name").data == socket.gethostname()
    assert do("architecture").data == os.uname().machine
    assert do("date_time").data[0]["date"] == datetime.now().date().isoformat()
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert abs(do("memory").data[0]["total_bytes"] - total) < 1 << 20
    disk = os.statvfs("/")
    assert do("disk_free").data[0]["bytes"] == disk.f_blocks * disk.f_frsize
    users = [line.split(":")[0] for line in Path("/etc/passwd").read_text().splitlines()]
    assert do("users").data == users
    assert do("which_program", "", {"name": "bash"}).data.endswith("/bash")
    assert do("which_program", "", {"name": "no-such-program"}).data == ""


def test_the_real_process_table_is_seen_where_it_is_asked_for(do: Do) -> None:
    assert do("count_processes").data > 10
    rows = do("processes_by_memory", "processes", {"count": 100_000}).data
    assert os.getpid() in {r["pid"] for r in rows}
    sizes = [r["bytes"] for r in rows]
    assert sizes == sorted(sizes, reverse=True)
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert os.getpid() in {r["pid"] for r in do("process_by_name", "", {"name": name}).data}


def test_environment_variables(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIDE_COLOUR", "blue")
    assert do("environment_variable", "", {"name": "AIDE_COLOUR"}).data == "blue"
    assert do("environment_variable", "", {"name": "AIDE_NOTHING"}).data == ""


def test_dates_ahead(do: Do) -> None:
    (row,) = do("date_in_days", "", {"days": 30}).data
    ahead = datetime.fromisoformat(row["date"]) - datetime.now()
    assert 28 < ahead.days + 1 < 32
    assert re.fullmatch(r"\w+day", row["weekday"])
