"""`aidecamp daemon install` writes what it showed, and uninstall removes that and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runtime.config import DaemonConfig
from runtime.daemon import install, place, units
from runtime.daemon.cli import app
from runtime.daemon.errors import Conflict

SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/asked"
if [ -e "$(dirname "$0")/broken" ]; then echo "no bus" >&2; exit 1; fi
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own, with a systemctl that notes what it is asked."""
    for name in ("AIDECAMP_SOCKET", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("AIDECAMP_DAEMON__PORT", "4711")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr("sys.platform", "linux")
    return tmp_path


def daemon(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def folder(home: Path) -> Path:
    return home / "config" / "systemd" / "user"


def asked(home: Path) -> list[str]:
    """What systemctl was asked since the last time."""
    file = home / "bin" / "asked"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def test_print_shows_every_file_and_command_and_writes_nothing(home: Path) -> None:
    text = daemon("install", "--print", "--socket-activation")
    assert "ExecStart=" in text and "ListenStream=127.0.0.1:4711" in text
    assert "run systemctl --user enable --now aidecamp.socket" in text
    assert not folder(home).exists()
    assert asked(home) == []
    body = json.loads(daemon("install", "--print", "--json"))
    assert [Path(file["path"]).name for file in body["files"]] == ["aidecamp.service"]


def test_what_install_writes_is_what_it_showed_and_uninstall_takes_it_back(home: Path) -> None:
    text = daemon("install")
    unit = folder(home) / "aidecamp.service"
    assert unit.read_text() in text
    assert asked(home) == ["--user daemon-reload", "--user enable --now aidecamp.service"]
    dropin = folder(home) / "aidecamp.service.d" / "mine.conf"
    dropin.parent.mkdir()
    dropin.touch()
    body = json.loads(daemon("uninstall", "--json"))
    assert body["removed"] == [str(unit)]
    assert asked(home) == ["--user disable --now aidecamp.service", "--user daemon-reload"]
    assert not unit.exists()
    assert dropin.exists()
    assert "Nothing was installed" in daemon("uninstall")
    assert asked(home) == []


def test_the_unit_says_where_things_lie_and_holds_no_key(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("AIDECAMP_GENERAL__API_KEY", "sk-secret")
    text = daemon("install", "--print", "--socket-activation")
    assert f'Environment="AIDECAMP_HOME={home / "data"}"' in text
    assert f"ListenStream={place.socket_path()}\n" in text
    assert "sk-secret" not in text


def test_the_usual_place_is_left_to_systemd(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIDECAMP_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "share"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    text = daemon("install", "--print", "--socket-activation")
    assert "Environment=" not in text
    assert "ListenStream=%t/aidecamp/daemon.sock" in text


def test_installing_without_socket_activation_takes_an_earlier_socket_away(home: Path) -> None:
    daemon("install", "--socket-activation")
    assert {path.name for path in folder(home).iterdir()} == {"aidecamp.service", "aidecamp.socket"}
    assert asked(home)[-1] == "--user enable --now aidecamp.socket"
    daemon("install")
    assert {path.name for path in folder(home).iterdir()} == {"aidecamp.service"}
    assert asked(home)[0] == "--user disable --now aidecamp.socket"


def test_a_unit_that_someone_else_wrote_is_neither_replaced_nor_removed(home: Path) -> None:
    folder(home).mkdir(parents=True)
    unit = folder(home) / "aidecamp.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    plan = install.to_install("linux", install.service(), DaemonConfig())
    with pytest.raises(Conflict, match="was not written by"):
        install.carry_out(plan)
    assert f"left {unit}" in daemon("uninstall")
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    assert asked(home) == []


def test_a_systemctl_that_fails_is_told_with_its_words(home: Path) -> None:
    (home / "bin" / "broken").touch()
    text = daemon("install")
    assert "failed: systemctl --user enable --now aidecamp.service: no bus" in text
    assert (folder(home) / "aidecamp.service").exists()


def test_without_systemctl_it_says_what_to_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home / "none"))
    text = daemon("install")
    assert "run this yourself, where systemctl is: systemctl --user daemon-reload" in text


def test_a_daemon_that_runs_is_not_started_a_second_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.daemon.server import claim

    with claim(place.socket_path()):
        text = daemon("install")
    assert asked(home)[-1] == "--user enable aidecamp.service"
    assert "started by hand" in text


@pytest.mark.parametrize("platform", ["macos", "windows"])
def test_other_platforms_get_a_file_the_command_and_an_honest_word(
    home: Path, platform: str
) -> None:
    text = daemon("install", "--platform", platform)
    assert "never tried" in text
    (file,) = [
        path
        for path in (*home.glob("Library/LaunchAgents/*"), *home.glob("data/*.xml"))
        if path.is_file()
    ]
    program = {"macos": "launchctl", "windows": "schtasks"}[platform]
    assert f"run this yourself, where {program} is: {program} " in text
    if platform == "windows":
        assert file.read_bytes().startswith(b"\xff\xfe")
        assert units.MARK in file.read_text("utf-16")
    daemon("install", "--platform", platform)  # Its own may be replaced.
    assert f"removed {file}" in daemon("uninstall", "--platform", platform)
    assert not file.exists()
    assert asked(home) == []


def test_a_host_that_systemd_cannot_name_is_left_to_the_daemon() -> None:
    service = install.service({"AIDECAMP_HOME": "/tmp/x"})
    for settings, expected in (
        (DaemonConfig(host="localhost", port=4711), ["ListenStream=127.0.0.1:4711"]),
        (DaemonConfig(host="::1", port=4711), ["ListenStream=[::1]:4711"]),
        (DaemonConfig(host="my.name", port=4711), []),
        (DaemonConfig(port=0), []),
        (DaemonConfig(tcp=False), []),
    ):
        plan = install.to_install("linux", service, settings, socket_activation=True)
        lines = plan.files[1].text.splitlines()
        assert [one for one in lines if one.startswith("ListenStream=")][1:] == expected
