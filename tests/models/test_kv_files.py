"""Saved prefixes: what comes back, what is thrown away, and that nothing fails a call."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.kv_files import UNFINISHED_S, Saved, SavedPrefixes

KEY = "sha256:0123 adapter=None kv=f16 build=1"
ROOM = 10**9
TOKENS = (1, 2, 49151, 7)
BLOB = bytes(range(256)) * 20


@pytest.fixture
def saved(tmp_path: Path) -> SavedPrefixes:
    return SavedPrefixes(tmp_path / "kv", KEY, max_bytes=ROOM)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def only(saved: SavedPrefixes) -> Saved:
    (item,) = saved.index()
    return item


def used_at(item: Saved, seconds: int) -> None:
    os.utime(item.path, (seconds, seconds))


def test_a_saved_prefix_comes_back_in_another_process_life(saved: SavedPrefixes) -> None:
    saved.save(TOKENS, BLOB)
    again = SavedPrefixes(saved.folder, KEY, max_bytes=ROOM)
    item = only(again)
    assert (item.tokens, item.size) == (TOKENS, len(BLOB))
    assert again.load(item) == BLOB


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=50).map(tuple),
    st.binary(max_size=2000),
    st.text(max_size=50),
)
def test_any_tokens_state_and_key_come_back(
    tmp_path_factory: pytest.TempPathFactory, tokens: tuple[int, ...], blob: bytes, key: str
) -> None:
    saved = SavedPrefixes(tmp_path_factory.mktemp("kv"), key, max_bytes=ROOM)
    saved.save(tokens, blob)
    assert only(saved).tokens == tokens
    assert saved.load(only(saved)) == blob


def test_nothing_is_saved_at_first_and_nothing_is_made(saved: SavedPrefixes) -> None:
    assert saved.index() == []
    assert not saved.folder.exists()


def test_no_tokens_are_no_prefix(saved: SavedPrefixes) -> None:
    saved.save((), BLOB)
    assert saved.index() == []


def test_prompts_are_private(saved: SavedPrefixes) -> None:
    before = os.umask(0)
    try:
        saved.save(TOKENS, BLOB)
    finally:
        os.umask(before)
    assert stat.S_IMODE(saved.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(only(saved).path.stat().st_mode) == 0o600


def test_a_prefix_is_written_once(saved: SavedPrefixes) -> None:
    saved.save(TOKENS, BLOB)
    used_at(only(saved), 1000)
    inode = only(saved).path.stat().st_ino
    saved.save(TOKENS, BLOB)
    status = only(saved).path.stat()
    assert status.st_ino == inode
    assert status.st_mtime > 1000, "it counts as used"


def test_another_key_sees_nothing_of_it(saved: SavedPrefixes) -> None:
    saved.save(TOKENS, BLOB)
    other = SavedPrefixes(saved.folder, KEY + "!", max_bytes=ROOM)
    assert other.index() == []
    other.save(TOKENS, b"another state")
    assert saved.load(only(saved)) == BLOB
    assert other.load(only(other)) == b"another state"


def test_the_most_recently_used_comes_first(saved: SavedPrefixes) -> None:
    for token in (1, 2, 3):
        saved.save((token,), BLOB)
    by_token = {item.tokens[0]: item for item in saved.index()}
    for token, when in ((1, 3000), (2, 1000), (3, 2000)):
        used_at(by_token[token], when)
    assert [item.tokens for item in saved.index()] == [(1,), (3,), (2,)]
    saved.load(by_token[2])
    assert saved.index()[0].tokens == (2,)


def test_the_least_recently_used_goes_when_the_folder_is_full(tmp_path: Path) -> None:
    room = 3 * (len(BLOB) + 200)
    saved = SavedPrefixes(tmp_path, KEY, max_bytes=room)
    other = SavedPrefixes(tmp_path, "another model", max_bytes=room)
    other.save((1,), BLOB)
    used_at(only(other), 1000)
    for token, when in ((2, 2000), (3, 3000)):
        saved.save((token,), BLOB)
        used_at(next(i for i in saved.index() if i.tokens == (token,)), when)
    assert len(other.index()) == 1
    saved.save((4,), BLOB)
    assert other.index() == [], "the bound is for all keys together"
    saved.save((5,), BLOB)
    assert {item.tokens for item in saved.index()} == {(3,), (4,), (5,)}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= room


def test_a_state_larger_than_the_whole_folder_evicts_nothing(tmp_path: Path) -> None:
    saved = SavedPrefixes(tmp_path, KEY, max_bytes=1000)
    saved.save((1,), b"small")
    saved.save((2,), b"x" * 2000)
    assert [item.tokens for item in saved.index()] == [(1,)]


def damaged(data: bytes) -> dict[str, bytes]:
    middle = len(data) // 2
    return {
        "empty": b"",
        "cut in the header": data[:20],
        "cut in the tokens": data[: data.index(KEY.encode()) + len(KEY) + 5],
        "cut in the state": data[:-1],
        "longer": data + b"\0",
        "another format": b"AIDEKV\r\n" + b"\x02" + data[9:],
        "not ours": b"x" * len(data),
        "a bit of the state": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "a bit of the key": data.replace(b"kv=f16", b"kv=f17"),
        "a token": data.replace(b"\x01\0\0\0\x02\0\0\0", b"\x01\0\0\0\x03\0\0\0"),
        "a huge token count": data[:16] + b"\xff\xff\xff\xff" + data[20:],
        "a huge state": data[:20] + b"\xff" * 8 + data[28:],
    }


@pytest.mark.parametrize("case", damaged(KEY.encode() + b"\0" * 100))
def test_a_damaged_file_is_removed_with_a_warning(
    case: str, saved: SavedPrefixes, caplog: pytest.LogCaptureFixture
) -> None:
    saved.save(TOKENS, BLOB)
    item = only(saved)
    broken = damaged(item.path.read_bytes())[case]
    assert broken != item.path.read_bytes()
    item.path.write_bytes(broken)
    assert saved.load(item) is None
    assert not item.path.exists()
    (words,) = warnings(caplog)
    assert "damaged" in words and str(item.path) in words
    saved.save(TOKENS, BLOB)
    assert saved.load(only(saved)) == BLOB


def test_a_damaged_header_never_reaches_the_index(
    saved: SavedPrefixes, caplog: pytest.LogCaptureFixture
) -> None:
    saved.save(TOKENS, BLOB)
    saved.save((5,), BLOB)
    bad = next(item for item in saved.index() if item.tokens == TOKENS)
    bad.path.write_bytes(bad.path.read_bytes()[:50])
    assert only(saved).tokens == (5,)
    assert not bad.path.exists()
    assert len(warnings(caplog)) == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_gets_through(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is changed, what comes back is right or nothing."""
    saved = SavedPrefixes(tmp_path_factory.mktemp("kv"), KEY, max_bytes=ROOM)
    saved.save(TOKENS, BLOB[:200])
    path = only(saved).path
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    for item in saved.index():
        assert item.tokens == TOKENS
        assert saved.load(item) in (BLOB[:200], None)


def test_files_of_others_are_left_alone(
    saved: SavedPrefixes, caplog: pytest.LogCaptureFixture
) -> None:
    saved.save(TOKENS, BLOB)
    item = only(saved)
    notes = saved.folder / "notes.txt"
    notes.write_text("mine")
    link = saved.folder / (item.path.name[:17] + "0" * 40 + ".kv")
    link.symlink_to(item.path)
    (saved.folder / ("a" * 16 + "-" + "b" * 40 + ".kv")).mkdir()
    full = SavedPrefixes(saved.folder, KEY, max_bytes=len(BLOB) + 300)
    full.save((9,), BLOB)
    assert only(full).tokens == (9,)
    assert notes.read_text() == "mine"
    assert link.is_symlink()
    assert warnings(caplog) == []


def test_what_another_process_evicted_is_gone_without_a_word(
    saved: SavedPrefixes, caplog: pytest.LogCaptureFixture
) -> None:
    saved.save(TOKENS, BLOB)
    item = only(saved)
    item.path.unlink()
    assert saved.load(item) is None
    assert warnings(caplog) == []


def test_a_folder_that_cannot_be_made_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    saved = SavedPrefixes(tmp_path / "file" / "kv", KEY, max_bytes=ROOM)
    saved.save(TOKENS, BLOB)
    assert saved.index() == []
    assert any("could not be saved" in words for words in warnings(caplog))


def child(code: str, folder: Path) -> subprocess.Popen[str]:
    head = (
        "import sys, logging, resource, os, signal; from pathlib import Path\n"
        "from models.kv_files import SavedPrefixes\n"
        "logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format='%(message)s')\n"
        f"saved = SavedPrefixes(Path(sys.argv[1]), {KEY!r}, max_bytes={ROOM})\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + code, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def output(process: subprocess.Popen[str]) -> str:
    words, _ = process.communicate(timeout=60)
    assert process.returncode == 0, words
    return words


def test_a_folder_without_leave_to_write_still_serves_what_it_holds(
    saved: SavedPrefixes,
) -> None:
    """Root may write anywhere, so where the tests run as root, the child becomes nobody."""
    saved.save(TOKENS, BLOB)
    code = (
        "os.chdir(saved.folder); saved.folder = Path('.')\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "saved.save((5, 6), b'state')\n"
        "(item,) = saved.index()\n"
        f"assert saved.load(item) == {BLOB!r}\n"
        f"assert item.tokens == {TOKENS!r}\n"
    )
    if os.getuid() == 0:
        os.chown(only(saved).path, 65534, 65534)
        os.chown(saved.folder, 65534, 65534)
    saved.folder.chmod(0o500)
    try:
        words = output(child(code, saved.folder))
    finally:
        saved.folder.chmod(0o700)
    assert words.count("could not be saved") == 1


def test_a_full_disk_is_a_warning_and_leaves_no_half_file(tmp_path: Path) -> None:
    code = (
        "saved.save((1,), b'small')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "saved.save((2,), b'x' * 100_000)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "saved.save((3,), b'small too')\n"
        "print(sorted(i.tokens for i in saved.index()), len(os.listdir(sys.argv[1])))\n"
    )
    words = output(child(code, tmp_path))
    assert "could not be saved" in words
    assert words.endswith("[(1,), (3,)] 2\n")


def test_processes_that_write_at_once_leave_whole_files(tmp_path: Path) -> None:
    code = (
        "import hashlib\n"
        "for n in range(200):\n"
        "    tokens = (n % 20, 7)\n"
        "    state = hashlib.sha256(bytes(tokens)).digest() * 3000\n"
        "    saved.save(tokens, state)\n"
        "    for item in saved.index()[:3]:\n"
        "        found = saved.load(item)\n"
        "        right = hashlib.sha256(bytes(item.tokens)).digest() * 3000\n"
        "        assert found in (right, None), item\n"
        "    if n % 7 == 0:\n"
        "        for item in saved.index()[-1:]:  # none, where the others evicted the last\n"
        "            item.path.unlink(missing_ok=True)\n"
    )
    writers = [child(code, tmp_path) for _ in range(3)]
    assert [output(writer) for writer in writers] == ["", "", ""], "no warning"
    saved = SavedPrefixes(tmp_path, KEY, max_bytes=ROOM)
    for item in saved.index():
        assert saved.load(item) == hashlib.sha256(bytes(item.tokens)).digest() * 3000
    assert all(path.suffix == ".kv" for path in tmp_path.iterdir())


def test_processes_that_evict_at_once_stay_within_the_bound(tmp_path: Path) -> None:
    code = (
        "saved.max_bytes = 50_000\n"
        "for n in range(100):\n"
        "    saved.save((os.getpid(), n), bytes(10_000))\n"
    )
    assert [output(w) for w in [child(code, tmp_path) for _ in range(2)]] == ["", ""]
    saved = SavedPrefixes(tmp_path, KEY, max_bytes=50_000)
    saved.save((1,), bytes(10_000))
    assert 1 <= len(saved.index()) <= 4
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 50_000


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Path]:
    """A folder in which a process was killed in the middle of writing."""
    code = (
        "def stop(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.replace = stop\n"
        "saved.save((1, 2), bytes(5000))\n"
    )
    process = child(code, tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    yield tmp_path


def test_what_a_killed_process_left_is_not_read_and_is_removed_in_time(killed: Path) -> None:
    (left,) = killed.iterdir()
    assert left.stat().st_size > 5000
    saved = SavedPrefixes(killed, KEY, max_bytes=ROOM)
    assert saved.index() == []
    assert left.exists(), "its writer might still be at work"
    when = left.stat().st_mtime - UNFINISHED_S - 1
    os.utime(left, (when, when))
    saved.save(TOKENS, BLOB)
    assert not left.exists()
    assert saved.load(only(saved)) == BLOB
