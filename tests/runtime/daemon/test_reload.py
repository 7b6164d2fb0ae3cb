"""Changed settings are taken over while the daemon runs; invalid ones leave the old in force."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from models.errors import StorageFailed
from runtime.config import Config, load_config
from runtime.daemon import reload
from runtime.daemon.reload import Reloader
from runtime.policy import Policy


class Taken:
    """What was handed on, in order."""

    def __init__(self) -> None:
        self.configs: list[Config] = []
        self.policies: list[Policy] = []
        self.came = asyncio.Event()
        self.fault: Exception | None = None

    @property
    def privacy(self) -> str:
        return self.configs[-1].privacy

    def __call__(self, config: Config, policy: Policy) -> None:
        if self.fault is not None:
            raise self.fault
        self.configs.append(config)
        self.policies.append(policy)
        self.came.set()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("AIDECAMP_DAEMON__")]:
        monkeypatch.delenv(name)


async def test_a_changed_config_file_is_seen_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "WATCH_S", 0.01)
    taken = Taken()
    watching = asyncio.create_task(Reloader(taken, load_config()).watch())
    (tmp_path / "config.toml").write_text('privacy = "local"\n')
    async with asyncio.timeout(20):
        await taken.came.wait()
    assert taken.privacy == "local"
    taken.came.clear()
    (tmp_path / "policy.toml").write_text("risk_alpha = 0.07\n")
    async with asyncio.timeout(20):
        await taken.came.wait()
    assert taken.policies[-1].risk_alpha == 0.07
    taken.came.clear()
    (tmp_path / "config.toml").unlink()
    async with asyncio.timeout(20):
        await taken.came.wait()
    assert taken.privacy == "ask"
    watching.cancel()


async def test_what_did_not_change_is_read_again_when_asked_for() -> None:
    taken = Taken()
    reloader = Reloader(taken, load_config())
    watching = asyncio.create_task(reloader.watch())
    reloader.ask()
    async with asyncio.timeout(20):
        await taken.came.wait()
    assert len(taken.configs) == 1
    watching.cancel()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.toml", b'privacy = "loc'),
        ("config.toml", b'privacy = "everyone"\n'),
        ("config.toml", b"\xff\xfe\n"),
        ("policy.toml", b"alpha = 9\n"),
        ("policy.toml", b"\xff\xfe\n"),
    ],
)
async def test_an_invalid_file_is_logged_and_the_old_settings_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, text: bytes
) -> None:
    taken = Taken()
    first = load_config()
    reloader = Reloader(taken, first)
    (tmp_path / file).write_bytes(text)
    assert await reloader.reload() is False
    assert taken.configs == []
    assert reloader.config is first
    (said,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "in force stay" in said.getMessage()


@pytest.mark.parametrize("fault", [StorageFailed("no"), RuntimeError("a bug")])
async def test_settings_that_cannot_be_put_to_use_do_not_count_as_taken_over(
    tmp_path: Path, fault: Exception
) -> None:
    taken = Taken()
    reloader = Reloader(taken, load_config())
    (tmp_path / "config.toml").write_text('privacy = "local"\n')
    taken.fault = fault
    assert await reloader.reload() is False
    assert reloader.config.model_dump()["privacy"] == "ask"
    taken.fault = None
    assert await reloader.reload() is True
    assert reloader.config.privacy == "local"


async def test_settings_that_hold_from_a_restart_on_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reloader = Reloader(Taken(), load_config())
    (tmp_path / "config.toml").write_text(
        '[daemon]\nport = 4711\ntokens_in = "keyring"\nparallel = 3\n'
    )
    assert await reloader.reload() is True
    assert reloader.waiting() == ("port", "tokens_in")
    assert reloader.config.daemon.parallel == 3
    warned = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warned) == 2 and "aidecamp daemon restart" in warned[0]
    (tmp_path / "config.toml").unlink()
    await reloader.reload()
    assert reloader.waiting() == ()
