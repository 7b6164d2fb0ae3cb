"""The daemon's tokens: made once, kept from others, and known to every process at once."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.backends.null
import pytest

from models.errors import StorageFailed, UsageError
from runtime.daemon.errors import Conflict, NotFound
from runtime.daemon.tokens import OWN, Caller, Scope, TokenStore


def known(store: TokenStore, secret: str) -> Caller | None:
    return store.check(secret.encode())


def test_the_own_token_is_made_once_and_may_everything(tmp_path: Path) -> None:
    own = TokenStore(tmp_path).own()
    assert own.startswith("adc_") and len(own) > 40
    again = TokenStore(tmp_path)
    assert again.own() == own
    assert known(again, own) == Caller(OWN, "admin")
    assert TokenStore(tmp_path / "another").own() != own


def test_the_file_is_0600(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        TokenStore(tmp_path / "new").own()
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new" / "tokens.json").stat().st_mode) == 0o600


def test_processes_that_need_the_first_token_at_once_agree_on_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from runtime.daemon.tokens import TokenStore;"
        "store = TokenStore(Path(sys.argv[1])); sys.stdin.readline(); print(store.own())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {process.communicate(timeout=60)[0] for process in processes}
    assert said == {TokenStore(tmp_path).own() + "\n"}


@pytest.mark.parametrize(
    ("scope", "may"),
    [
        ("infer", {"infer"}),
        ("act", {"infer", "act"}),
        ("admin", {"infer", "act", "admin"}),
    ],
)
def test_a_scope_implies_those_below_it(tmp_path: Path, scope: Scope, may: set[str]) -> None:
    store = TokenStore(tmp_path)
    caller = known(store, store.add("editor", scope))
    assert caller == Caller("editor", scope)
    assert {one for one in ("infer", "act", "admin") if caller.may(one)} == may


def test_of_an_added_token_only_a_digest_is_kept(tmp_path: Path) -> None:
    secret = TokenStore(tmp_path).add("editor", "infer")
    kept = (tmp_path / "tokens.json").read_text("utf-8")
    assert secret not in kept
    assert hashlib.sha256(secret.encode()).hexdigest() in kept


def test_a_running_store_sees_what_another_process_adds_and_removes(tmp_path: Path) -> None:
    running, other = TokenStore(tmp_path), TokenStore(tmp_path)
    own = running.own()
    secret = other.add("editor", "act")
    assert known(running, secret) == Caller("editor", "act")
    other.remove("editor")
    assert known(running, secret) is None
    other.remove(OWN)
    assert known(running, own) is None
    assert running.own() != own
    (tmp_path / "tokens.json").unlink()
    assert running.names() == ()


@pytest.mark.parametrize("presented", [b"", b"adc_", b"adc_wrong", b"\xff\xfe", b"x" * 5_000])
def test_what_is_no_token_is_not_known(tmp_path: Path, presented: bytes) -> None:
    store = TokenStore(tmp_path)
    assert store.check(presented) is None  # None was made yet.
    own = store.own().encode()
    assert store.check(presented) is None
    assert store.check(own[:-1]) is None
    assert store.check(own + b"x") is None


def test_every_token_is_compared_whichever_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TokenStore(tmp_path)
    secrets = [store.own(), *(store.add(f"client{n}", "infer") for n in range(3)), "wrong"]
    compared: list[int] = []

    def counting(a: bytes, b: bytes) -> bool:
        compared.append(1)
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for secret in secrets:
        compared.clear()
        assert (known(store, secret) is not None) == (secret != "wrong")
        assert len(compared) == 4


def test_a_file_that_others_can_read_is_refused_also_while_running(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    own = store.own()
    file = tmp_path / "tokens.json"
    for mode in (0o640, 0o604, 0o622):
        file.chmod(mode)
        for call in (store.own, store.names, lambda: known(store, own), TokenStore(tmp_path).own):
            with pytest.raises(StorageFailed, match="Other users") as caught:
                call()
        assert "chmod 600" in caught.value.hint
    file.chmod(0o600)
    assert store.own() == own


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TokenStore(tmp_path).own()
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    with pytest.raises(StorageFailed, match="another user"):
        TokenStore(tmp_path).own()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"own": 5, "own_made": "", "tokens": []}',
        '{"own": "", "own_made": "", "tokens": [{"name": "x", "scope": "root", "made": "",'
        ' "sha256": "00"}]}',
        '{"own": "", "own_made": "", "tokens": [5]}',
    ],
)
def test_a_damaged_file_lets_nobody_in_and_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens.json"
    store = TokenStore(tmp_path)
    own = store.own()
    file.write_text(text, "utf-8")
    for _ in range(2):
        with pytest.raises(StorageFailed, match=r"tokens\.json"):
            known(store, own)


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed):
        TokenStore(tmp_path / "file" / "folder").own()


@pytest.mark.parametrize("name", ["", "a b", "-x", "é", "x" * 65, "../x", "a\n"])
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name"):
        TokenStore(tmp_path).add(name, "infer")


def test_a_name_is_given_once_and_an_unknown_one_is_not_found(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    first = store.add("editor", "infer")
    for name in ("editor", OWN):
        with pytest.raises(Conflict):
            store.add(name, "admin")
    with pytest.raises(UsageError, match="no scope"):
        store.add("other", "root")  # type: ignore[arg-type]
    for name in ("other", OWN):  # The own one was not made yet.
        with pytest.raises(NotFound):
            store.remove(name)
    assert known(store, first) == Caller("editor", "infer")


def test_tokens_are_listed_without_their_secrets(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    store.add("editor", "infer")
    store.own()
    assert [(one.name, one.scope) for one in store.names()] == [
        (OWN, "admin"),
        ("editor", "infer"),
    ]
    assert all(one.made.endswith("+00:00") for one in store.names())


class Remembering(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


@pytest.fixture
def rings() -> Iterator[None]:
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


@pytest.mark.usefixtures("rings")
def test_in_the_keyring_no_file_holds_a_token(tmp_path: Path) -> None:
    ring = Remembering()
    keyring.set_keyring(ring)
    running, other = (TokenStore(tmp_path, "keyring") for _ in range(2))
    own = running.own()
    assert other.own() == own
    secret = other.add("editor", "act")
    assert known(running, secret) == Caller("editor", "act")
    other.remove("editor")
    assert known(running, secret) is None
    assert json.loads(ring.kept["aidecamp", "daemon tokens"])["own"] == own
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(own.encode() in file.read_bytes() for file in files)
    assert not (tmp_path / "tokens.json").exists()


@pytest.mark.usefixtures("rings")
@pytest.mark.parametrize("ring", [keyring.backends.fail.Keyring, keyring.backends.null.Keyring])
def test_a_keyring_that_cannot_keep_it_is_an_error_that_names_the_setting(
    tmp_path: Path, ring: type[keyring.backend.KeyringBackend]
) -> None:
    keyring.set_keyring(ring())
    with pytest.raises(StorageFailed) as caught:
        TokenStore(tmp_path, "keyring").own()
    assert "daemon.tokens_in" in caught.value.hint
    assert not (tmp_path / "tokens.json").exists()
