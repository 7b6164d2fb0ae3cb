"""Generals as the configuration names them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from models.errors import UsageError
from models.pool import Pool
from runtime.config import load_config
from runtime.policy import Policy
from runtime.roles.general import General
from runtime.team import build_general

TWO = """
record_sent = "body"
[general]
base_url = "http://127.0.0.1:1/v1"
model = "gpt-5.4"
[[generals]]
name = "spare"
base_url = "http://127.0.0.1:2/v1"
model = "little"
api_key = "key-of-the-spare"
timeout_s = 7.5
attempts = 1
[[generals]]
model = "has no URL, so it is none"
[prices.little]
input = 0.1
output = 0.2
as_of = "2026-11-01"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    with contextlib.suppress(KeyError):
        monkeypatch.delenv("OPENAI_API_KEY")
    yield tmp_path


def built(home: Path, toml: str) -> General:
    (home / "config.toml").write_text(toml, "utf-8")
    # Models are loaded when tokens are counted, and nothing is counted here.
    return build_general(load_config(), Policy(), cast(Pool, None))


def test_generals_stand_in_the_order_of_the_file_each_with_its_own_settings(home: Path) -> None:
    first, spare = built(home, TWO).seats
    assert (first.name, first.remote.base_url) == ("gpt-5.4", "http://127.0.0.1:1/v1")
    assert first.remote.timeout_s == Policy().general_timeout_s
    assert (spare.name, spare.remote.model) == ("spare", "little")
    assert (spare.remote.timeout_s, spare.remote.patience.attempts) == (7.5, 1)
    assert spare.price is not None
    assert (spare.price.as_of, spare.price.output) == ("2026-11-01", 0.2)


def test_a_list_alone_is_enough(home: Path) -> None:
    general = built(home, '[[generals]]\nbase_url = "http://127.0.0.1:2/v1"\nmodel = "little"')
    assert (general.model, len(general.seats)) == ("little", 1)


def test_no_url_is_no_general(home: Path) -> None:
    general = built(home, "")
    assert (general.seats, general.remote, general.model) == ((), None, "gpt-5.4")


def test_the_shared_key_of_one_vendor_is_shown_to_no_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.config import GeneralConfig, general_key

    monkeypatch.setenv("OPENAI_API_KEY", "key-of-openai")
    here = GeneralConfig(base_url="http://127.0.0.1:2/v1")
    openai = GeneralConfig(base_url="https://api.openai.com/v1")
    alike = GeneralConfig(base_url="https://api.openai.com.example.net/v1")
    assert general_key(here) == "key-of-openai"
    assert general_key(here, shared=False) == ""
    assert general_key(alike, shared=False) == ""
    assert general_key(openai, shared=False) == "key-of-openai"


@pytest.mark.parametrize("line", ["timeout_s = 0", "attempts = 0", 'first_token_timeout_s = "x"'])
def test_a_setting_that_cannot_be_is_named(home: Path, line: str) -> None:
    with pytest.raises(UsageError, match=r"generals\.0"):
        built(home, f'[[generals]]\nbase_url = "http://127.0.0.1:2/v1"\n{line}')
