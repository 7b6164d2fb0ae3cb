"""The tool: what it refuses, what it changes, how it reads exit codes, and after a crash."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import SandboxMissing, ToolFailed
from runtime.core import Action, Step, Task
from runtime.policy import Policy
from runtime.tools.recipe import Proposal
from runtime.tools.shell.command import build, complete
from runtime.tools.shell.recipes import load
from runtime.tools.shell.tool import ShellTool

from .conftest import Do

Prepare = Callable[..., Action]
NASTY = (
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "a b\tc",
    "new\nline",
    "-rf",
    "--help",
    "'quote\"",
    "* ?[x]",
    "{slot}",
    "é中✓",
    "!bang",
    "(paren",
    "~",
    "back\\slash",
)


def test_an_action_shows_the_exact_command_its_risk_and_its_isolation(
    prepare: Prepare, work: Path
) -> None:
    action = prepare("largest_files", "the largest files", {"folder": "docs", "extension": "pdf"})
    assert action.preview == (
        "find docs -type f -iname '*.'pdf -printf '%s\\t%p\\0' | sort -z -k1,1nr -k2 | "
        "head -z -n 10"
    )
    assert (action.risk, action.tool, action.recipe) == ("read", "shell", "largest_files")
    assert action.arguments == {"folder": "docs", "extension": "pdf", "count": 10}
    assert "no writes" in action.sandbox
    assert "no network" in action.sandbox
    write = prepare("make_folder", "", {"folder": "new"})
    assert write.risk == "write"
    assert f"writes only in {work}" in write.sandbox
    assert not (work / "new").exists()


@pytest.mark.parametrize("name", NASTY)
def test_a_file_name_is_never_read_as_a_command(do: Do, work: Path, name: str) -> None:
    folder = work / "nasty"
    folder.mkdir()
    (folder / name).write_text("milk\n")
    rows = do("list_folder", "", {"folder": "nasty"}).data
    assert [r["name"] for r in rows] == [name]
    rows = do("largest_files", "the file", {"folder": "nasty"}).data
    assert rows == [{"bytes": 5, "path": f"nasty/{name}"}]
    file = {"file": f"nasty/{name}"}
    assert do("count_lines", "", file).data == 1
    assert do("show_file", "", file).data == "milk"
    assert do("files_with_most_lines", "file", {"folder": "nasty"}).data[0]["lines"] == 1
    found = do("search_lines", "", {"folder": "nasty", "pattern": "milk"}).data
    assert found == [{"path": f"nasty/{name}", "line": 1, "text": "milk"}]
    assert do("replace_text", "", {**file, "old": "milk", "new": name}).status == "done"
    assert (folder / name).read_text() == f"{name}\n"
    assert not list(work.rglob("pwned"))


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_name_in_the_work_folder_itself(do: Do, work: Path, name: str) -> None:
    named = name if name != "~" else "./~"
    assert do("make_file", "", {"file": named}).status == "done"
    assert (work / name).exists()
    assert do("append_text", "", {"file": named, "text": "$(touch pwned) `x` $HOME"}).data is None
    assert (work / name).read_text() == "$(touch pwned) `x` $HOME\n"
    assert do("rename", "", {"source": named, "destination": "plain"}).status == "done"
    assert do("rename", "", {"source": "plain", "destination": named}).status == "done"
    assert do("copy", "", {"source": named, "destination": "docs"}).status == "done"
    assert (work / "docs" / name).exists()
    packed = do("create_archive", "", {"source": named, "archive": "a.tar.gz"})
    assert packed.status == "done", packed.error
    assert do("delete_file", "", {"file": named}).status == "done"
    assert not (work / name).exists()
    assert not list(work.rglob("pwned"))


@pytest.mark.parametrize("text", [*NASTY, "a/b&c\\1", "^.*$", "x\ny"])
def test_text_is_found_and_replaced_exactly(do: Do, work: Path, text: str) -> None:
    (work / "f.txt").write_text(f"<{text}>\n")
    if "\n" not in text:
        assert do("count_matching_lines", "", {"file": "f.txt", "pattern": text}).data == 1
        do("replace_text", "", {"file": "f.txt", "old": text, "new": "plain"})
        assert (work / "f.txt").read_text() == "<plain>\n"
        do("replace_text", "", {"file": "f.txt", "old": "plain", "new": text})
        assert (work / "f.txt").read_text() == f"<{text}>\n"
    do("write_text", "", {"file": "g.txt", "text": text})
    assert (work / "g.txt").read_text() == f"{text}\n"


def test_a_folder_whose_name_looks_like_an_expression(do: Do, work: Path) -> None:
    for name in ("-delete", "(", "!"):
        (work / name).mkdir()
        (work / name / "kept").write_text("x")
        assert do("count_files", "", {"folder": name}).data == 1
        assert (work / name / "kept").exists()


def test_names_that_are_no_text_come_out_readable(do: Do, work: Path) -> None:
    (work / "vacant" / os.fsdecode(b"bad\xff")).write_text("x")
    assert do("list_folder", "", {"folder": "vacant"}).data[0]["name"] == "bad\\xff"


@pytest.mark.parametrize(
    ("recipe", "arguments"),
    [
        ("make_folder", {"folder": "../outside"}),
        ("make_folder", {"folder": "/outside"}),
        ("make_file", {"file": "~/x"}),
        ("copy", {"source": "notes.txt", "destination": "/etc"}),
        ("move", {"source": "/etc/hosts", "destination": "."}),
        ("write_text", {"text": "x", "file": "docs/../../x"}),
        ("append_text", {"text": "x", "file": "door/x"}),
        ("delete_file", {"file": "/etc/hosts"}),
        ("replace_text", {"file": "/etc/hosts", "old": "a", "new": "b"}),
        ("extract_archive", {"archive": "notes.txt", "folder": "/outside"}),
        ("delete_by_extension", {"folder": "/etc", "extension": "conf"}),
        ("delete_folder", {"folder": "door"}),
    ],
)
def test_writes_outside_the_work_folder_are_refused(
    prepare: Prepare, work: Path, recipe: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (work / "door").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ToolFailed, match="outside the work folder"):
        prepare(recipe, "", arguments)


@pytest.mark.parametrize(
    ("recipe", "arguments", "complaint"),
    [
        ("count_lines", {"file": "note.txt"}, "no file or folder .*Close: notes.txt"),
        ("count_lines", {"file": "docs"}, "is a folder, not a file"),
        ("count_files", {"folder": "notes.txt"}, "is a file, not a folder"),
        ("count_lines", {}, "needs file"),
        ("count_lines", {"file": "a\0b"}, "cannot be looked at|NUL|no file"),
        ("count_lines", {"file": "notes.txt", "x": 1}, "takes no x"),
        ("largest_files", {"count": 0}, "at least 1"),
        ("largest_files", {"count": "many"}, "must be a number"),
        ("largest_files", {"count": 2.5}, "whole number"),
        ("checksum", {"file": "notes.txt", "algorithm": "rot13"}, "cannot be 'rot13'"),
        ("process_by_name", {"name": "-x"}, "is no name"),
        ("make_file", {"file": "nowhere/x"}, "There is no folder"),
        ("delete_folder", {"folder": "."}, "never moved or deleted"),
        ("show_file", {"file": "~/.ssh/id_ed25519"}, "which no command may read"),
        ("environment_variable", {"name": "OPENAI_API_KEY"}, "looks like a secret"),
    ],
)
def test_arguments_that_cannot_be_acted_out_are_refused(
    prepare: Prepare, recipe: str, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ToolFailed, match=complaint):
        prepare(recipe, "", arguments)


def test_the_ledger_is_hidden_without_being_asked_to(
    work: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIDECAMP_HOME", str(own))
    tool = ShellTool()
    recipe = next(r for r in tool.recipes if r.id == "show_file")
    proposal = Proposal(recipe, {"file": str(own / "ledger.db")}, 1.0)
    step = Step("s", "t", 0, "shell", "")
    with pytest.raises(ToolFailed, match="no command may read"):
        tool.prepare(Task("t", "", folder=str(work)), step, proposal)
    with pytest.raises(ToolFailed, match="no command may read"):
        tool.prepare(Task("t", "", folder=str(own)), step, proposal)


def test_a_work_folder_inside_the_data_folder_shows_only_itself(own: Path, tool: ShellTool) -> None:
    folder = own / "work"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    recipe = next(r for r in tool.recipes if r.id == "show_file")
    task, step = Task("t", "", folder=str(folder)), Step("s", "t", 0, "shell", "")
    seen = tool.run(task, tool.prepare(task, step, Proposal(recipe, {"file": "mine.txt"}, 1.0)))
    assert seen.data == "mine"
    with pytest.raises(ToolFailed, match="no command may read"):
        tool.prepare(task, step, Proposal(recipe, {"file": "../ledger.db"}, 1.0))


def test_a_link_to_a_secret_is_refused(prepare: Prepare, work: Path, home: Path) -> None:
    (work / "innocent").symlink_to(home / ".ssh" / "id_ed25519")
    with pytest.raises(ToolFailed, match="no command may read"):
        prepare("show_file", "", {"file": "innocent"})


def test_replacing_an_existing_file_is_sensitive(prepare: Prepare, work: Path) -> None:
    new = {"source": "notes.txt", "destination": "fresh.txt"}
    assert prepare("copy", "", new).risk == "write"
    for over in ({**new, "destination": "other.txt"}, {"source": "people.csv", "destination": "."}):
        assert prepare("copy", "", over).risk == "sensitive"
    assert prepare("write_text", "", {"text": "x", "file": "notes.txt"}).risk == "sensitive"
    assert prepare("delete_file", "", {"file": "notes.txt"}).risk == "sensitive"


def test_the_whole_file_system_is_no_place_to_write(tool: ShellTool) -> None:
    recipe = next(r for r in tool.recipes if r.id == "make_folder")
    proposal = Proposal(recipe, {"folder": "x"}, 1.0)
    with pytest.raises(ToolFailed, match="whole file system"):
        tool.prepare(Task("t", "", folder="/"), Step("s", "t", 0, "shell", ""), proposal)


def test_moving_into_a_folder_that_is_not_there_makes_it(do: Do, work: Path) -> None:
    assert do("move", "", {"source": "notes.txt", "destination": "archive"}).status == "done"
    assert (work / "archive" / "notes.txt").exists()
    assert do("copy", "", {"source": "other.txt", "destination": "vacant"}).status == "done"
    assert (work / "vacant" / "other.txt").exists()
    renamed = do("rename", "", {"source": "docs/readme.md", "destination": "intro.md"})
    assert renamed.status == "done"
    assert (work / "docs" / "intro.md").exists()


def test_archives_round_trip(do: Do, work: Path) -> None:
    for name in ("docs.tar.gz", "docs.zip", "odd:name.tar"):
        assert do("create_archive", "", {"source": "docs", "archive": name}).status == "done"
        inside = do("list_archive", "", {"archive": name}).data
        assert "docs/deep/guide.pdf" in inside
        out = f"out-{name}"
        assert do("extract_archive", "", {"archive": name, "folder": out}).status == "done"
        assert (work / out / "docs/readme.md").read_text() == "one two three\n"
    assert tarfile.is_tarfile(work / "docs.tar.gz")
    assert zipfile.is_zipfile(work / "docs.zip")
    again = do("extract_archive", "", {"archive": "docs.tar.gz", "folder": "out-docs.tar.gz"})
    assert again.status == "failed"
    assert "exists" in again.error


def test_files_of_one_kind_are_moved_copied_and_deleted(do: Do, work: Path) -> None:
    moved = do("move_by_extension", "", {"extension": "txt", "destination": "texts"})
    assert [r["path"] for r in sorted(moved.data, key=lambda r: r["path"])] == [
        "empty.txt",
        "notes.txt",
        "other.txt",
    ]
    assert sorted(p.name for p in (work / "texts").iterdir()) == [
        "empty.txt", "notes.txt", "other.txt",
    ]  # fmt: skip
    copied = do(
        "copy_by_extension", "", {"folder": "src", "extension": "py", "destination": "docs"}
    )
    assert len(copied.data) == 2
    assert (work / "src/main.py").exists()
    gone = do("delete_by_extension", "", {"folder": "src", "extension": "py"})
    assert sorted(r["path"] for r in gone.data) == ["src/main.py", "src/util.py"]
    assert [p.name for p in (work / "src").iterdir()] == ["run.sh"]


def test_small_changes(do: Do, work: Path) -> None:
    do("make_executable", "", {"file": "notes.txt"})
    assert (work / "notes.txt").stat().st_mode & 0o100
    do("set_permissions", "", {"file": "notes.txt", "mode": "600"})
    assert (work / "notes.txt").stat().st_mode & 0o777 == 0o600
    do("remove_lines", "", {"file": "notes.txt", "pattern": "milk"})
    assert (work / "notes.txt").read_text() == "eggs\nbread\nEggs\n"
    do("join_files", "", {"first": "notes.txt", "second": "other.txt", "file": "all.txt"})
    assert len((work / "all.txt").read_text().splitlines()) == 6
    do("make_link", "", {"link": "docs/latest", "target": "src"})
    assert (work / "docs/latest").resolve() == work / "src"
    do("compress_file", "", {"file": "people.csv"})
    (work / "people.csv").unlink()
    assert do("decompress_file", "", {"file": "people.csv.gz"}).status == "done"
    assert "Anna" in (work / "people.csv").read_text()
    do("delete_folder", "", {"folder": "docs"})
    assert not (work / "docs").exists()
    assert (work / "src").exists(), "the link was followed"


def test_a_failure_is_an_outcome_with_its_reason(do: Do, work: Path) -> None:
    (work / "broken.gz").write_text("no gzip at all")
    outcome = do("decompress_file", "", {"file": "broken.gz"})
    assert outcome.status == "failed"
    assert "not in gzip format" in outcome.error


def test_unreadable_folders_are_a_note_and_spoil_nothing(do: Do, work: Path, home: Path) -> None:
    if os.getuid() == 0:
        # Root without capabilities is refused what another user keeps to himself.
        os.chown(work / "vacant", 65534, 65534)
    (work / "vacant").chmod(0o000 if os.getuid() else 0o700)
    outcome = do("count_files")
    assert (outcome.status, outcome.data) == ("done", 14)
    assert "vacant" in outcome.error


def test_a_slow_command_is_stopped_and_says_so(work: Path) -> None:
    tool = ShellTool(Policy(command_timeout_s=0.3))
    os.mkfifo(work / "never")
    recipe = next(r for r in tool.recipes if r.id == "show_file")
    task = Task("t", "", folder=str(work))
    step = Step("s", "t", 0, "shell", "")
    action = tool.prepare(task, step, Proposal(recipe, {"file": "never"}, 1.0))
    outcome = tool.run(task, action)
    assert outcome.status == "failed"
    assert "longer than 0.3 s" in outcome.error


def test_output_is_kept_whole(do: Do, work: Path) -> None:
    text = "".join(f"line {i}\n" for i in range(400_000))
    (work / "long.txt").write_text(text)
    assert do("show_file", "", {"file": "long.txt"}).output == text
    with (work / "huge.txt").open("wb") as file:
        file.truncate((16 << 20) + 1)
    outcome = do("show_file", "", {"file": "huge.txt"})
    assert outcome.status == "failed"
    assert "the first 16 MB were kept" in outcome.error
    assert len(outcome.output) == 16 << 20


def test_a_missing_sandbox_raises_and_runs_nothing(
    tool: ShellTool, prepare: Prepare, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = prepare("make_file", "", {"file": "made"})
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxMissing):
        tool.run(Task("t", "", folder=str(work)), action)
    assert not (work / "made").exists()


def test_a_program_that_is_not_installed_is_named(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("runtime.tools.shell.verify.shutil.which", lambda *_, **__: None)
    with pytest.raises(ToolFailed, match="file is not installed") as caught:
        prepare("file_type", "", {"file": "notes.txt"})
    assert "apt install file" in caught.value.hint


@pytest.mark.parametrize(
    ("recipe", "arguments", "before", "after"),
    [
        ("make_folder", {"folder": "new"}, "failed", "done"),
        ("make_file", {"file": "new.txt"}, "failed", "done"),
        ("delete_file", {"file": "notes.txt"}, "failed", "done"),
        ("delete_folder", {"folder": "docs"}, "interrupted", "done"),
        ("move", {"source": "notes.txt", "destination": "docs"}, "failed", "done"),
        ("rename", {"source": "notes.txt", "destination": "n.txt"}, "failed", "done"),
        ("copy", {"source": "notes.txt", "destination": "n.txt"}, "failed", "interrupted"),
        ("append_text", {"file": "notes.txt", "text": "x"}, "interrupted", "interrupted"),
        ("count_lines", {"file": "notes.txt"}, "interrupted", "interrupted"),
    ],
)
def test_after_a_crash_it_looks_and_never_repeats(
    tool: ShellTool, prepare: Prepare, work: Path,
    recipe: str, arguments: dict[str, Any], before: str, after: str,
) -> None:  # fmt: skip
    task = Task("t", "", folder=str(work))
    action = prepare(recipe, "", arguments)
    shape = sorted(work.rglob("*"))
    assert tool.look(task, action).status == before
    assert sorted(work.rglob("*")) == shape
    assert tool.run(task, action).status == "done"
    shape = sorted(work.rglob("*"))
    assert tool.look(task, action).status == after
    assert sorted(work.rglob("*")) == shape


def test_a_value_is_never_taken_for_a_placeholder() -> None:
    recipe = next(r for r in load() if r.id == "replace_text")
    arguments = {"file": "f", "old": "{new}", "new": "[{old}]"}
    line = build(recipe, complete(recipe, arguments, ""), Path("/w"))
    assert line == "sed -i 's/''{new}''/''[{old}]''/g' -- f"
