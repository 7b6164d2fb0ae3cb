"""The configuration: which Generals are asked, and with whose key."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import UsageError
from runtime.config import Config, GeneralConfig, general_key, load_config
from runtime.policy import RISK_ALPHA

CONFIGURED = Config(
    general=GeneralConfig(base_url="https://one.example/v1", api_key="for one"),
    generals=[GeneralConfig(base_url="https://two.example/v1", api_key="for two")],
)


def test_a_general_given_by_hand_is_the_only_one_and_gets_no_other_ones_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    [asked] = CONFIGURED.asking("http://127.0.0.1:9/v1").line_up()
    assert asked.base_url == "http://127.0.0.1:9/v1"
    assert asked.api_key == ""
    assert CONFIGURED.general.api_key == "for one", "the configuration itself is as it was"


def test_the_key_stays_where_the_general_is_the_same_or_was_not_named() -> None:
    [same] = CONFIGURED.asking("https://one.example/other/v1").line_up()
    assert general_key(same) == "for one"
    unnamed = Config(general=GeneralConfig(api_key="set for the flag"))
    [given] = unnamed.asking("https://three.example/v1").line_up()
    assert general_key(given) == "set for the flag"


def test_generals_are_asked_in_their_order() -> None:
    assert [g.base_url for g in CONFIGURED.line_up()] == [
        "https://one.example/v1",
        "https://two.example/v1",
    ]


def test_users_get_a_promise_unless_they_say_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    assert load_config().make_policy().risk_alpha == RISK_ALPHA
    (tmp_path / "policy.toml").write_text("risk_alpha = 0.02\n", "utf-8")
    assert load_config().make_policy().risk_alpha == 0.02
    (tmp_path / "policy.toml").write_text("risk_alpha = 5\n", "utf-8")
    with pytest.raises(UsageError, match="share below 1"):
        load_config().make_policy()
