"""The service files: what systemd, launchd and the Task Scheduler would read."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from models.errors import UsageError
from runtime.daemon import units
from runtime.daemon.server import GRACE_S
from runtime.daemon.units import Service

SERVICE = Service((sys.executable, "-P", "-m", "runtime.daemon", "--log"))
ODD = Service(
    (sys.executable, "-m", "a b", 'say "hi"', "100%t", "$HOME", "back\\slash", "üñí"),
    {"AIDECAMP_HOME": '/tmp/with space/50%"q"\\x'},
)
SPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def verified(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    """What systemd itself says about the units."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here")
    for name, text in files.items():
        (folder / f"aidecamp.{name}").write_text(text)
    return subprocess.run(
        [program, "--user", "verify", *(str(folder / f"aidecamp.{name}") for name in files)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
    )


def test_systemd_finds_nothing_wrong_with_the_service(tmp_path: Path) -> None:
    done = verified(tmp_path, service=units.systemd_service(SERVICE))
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_finds_nothing_wrong_with_socket_activation(tmp_path: Path) -> None:
    done = verified(
        tmp_path,
        service=units.systemd_service(SERVICE, socket_activation=True),
        socket=units.systemd_socket(None, "127.0.0.1:24332"),
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_reads_odd_paths_as_they_are(tmp_path: Path) -> None:
    done = verified(
        tmp_path,
        service=units.systemd_service(ODD),
        socket=units.systemd_socket("/tmp/50% off/d.sock", "[::1]:24332"),
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_would_have_told_of_a_mistake(tmp_path: Path) -> None:
    text = units.systemd_service(SERVICE).replace("UMask=0077", "UMask=wide\nNoSuch=1")
    assert "NoSuch" in verified(tmp_path, service=text).stderr


def test_specifiers_and_variables_are_escaped() -> None:
    text = units.systemd_service(ODD)
    assert '"100%%t"' in text and '"$$HOME"' in text and '"say \\"hi\\""' in text
    assert 'Environment="AIDECAMP_HOME=/tmp/with space/50%%\\"q\\"\\\\x"' in text


def test_the_service_lets_sandboxes_and_displays_work() -> None:
    text = units.systemd_service(SERVICE)
    for breaks in ("PrivateTmp", "RestrictNamespaces", "ProtectHome", "PrivateUsers", "ProtectSys"):
        assert breaks not in text
    assert "NoNewPrivileges=yes" in text
    setuid = Service(SERVICE.command, new_privileges=True)
    assert "NoNewPrivileges" not in units.systemd_service(setuid)


def test_nobody_kills_what_the_daemon_still_lets_finish() -> None:
    assert units.STOP_S > GRACE_S
    assert f"TimeoutStopSec={units.STOP_S}\n" in units.systemd_service(SERVICE)


def test_with_socket_activation_only_the_socket_starts_at_login() -> None:
    service = units.systemd_service(SERVICE, socket_activation=True)
    assert "WantedBy" not in service and "Requires=aidecamp.socket" in service
    assert "WantedBy=sockets.target" in units.systemd_socket(None, None)


def test_a_socket_unit_listens_where_the_daemon_would() -> None:
    lines = units.systemd_socket(None, "127.0.0.1:24332").splitlines()
    streams = [line for line in lines if line.startswith("ListenStream=")]
    assert streams == [
        "ListenStream=%t/aidecamp/daemon.sock",
        "ListenStream=127.0.0.1:24332",
    ]
    assert "SocketMode=0600" in lines


def test_launchd_reads_the_command_and_the_environment() -> None:
    text = units.launchd_plist(ODD, "/tmp/a & b.log")
    body = plistlib.loads(text.encode())
    assert body["ProgramArguments"] == list(ODD.command)
    assert body["EnvironmentVariables"] == dict(ODD.environment)
    assert body["StandardErrorPath"] == "/tmp/a & b.log"
    assert body["KeepAlive"] == {"SuccessfulExit": False}
    assert body["Umask"] == 0o077


def test_the_task_scheduler_reads_the_command() -> None:
    service = Service(("C:\\Program Files\\py & co\\python.exe", "-m", "runtime.daemon", "a b"))
    task = ET.fromstring(units.windows_task(service, "PC\\Zoë").encode("utf-16"))
    assert task.findtext(f".//{SPACE}Command") == service.command[0]
    assert task.findtext(f".//{SPACE}Arguments") == '-m runtime.daemon "a b"'
    assert {one.text for one in task.iter(f"{SPACE}UserId")} == {"PC\\Zoë"}
    assert task.findtext(f".//{SPACE}RunLevel") == "LeastPrivilege"
    assert task.findtext(f".//{SPACE}ExecutionTimeLimit") == "PT0S"


def test_a_windows_task_sets_its_variables_on_the_command_line() -> None:
    service = Service(("C:\\py.exe", "-m", "runtime.daemon"), {"AIDECAMP_HOME": "D:\\my data"})
    task = ET.fromstring(units.windows_task(service, "me").encode("utf-16"))
    assert task.findtext(f".//{SPACE}Command") == "cmd.exe"
    assert task.findtext(f".//{SPACE}Arguments") == (
        '/d /c "set "AIDECAMP_HOME=D:\\my data" && C:\\py.exe -m runtime.daemon"'
    )
    unsafe = Service(("C:\\py.exe",), {"AIDECAMP_HOME": 'D:\\" & calc.exe & "'})
    with pytest.raises(UsageError, match="cannot be written"):
        units.windows_task(unsafe, "me")


@pytest.mark.parametrize("text", ["/tmp/a\nExecStartPre=/bin/rm", "a\0b", "a\x1bb"])
def test_a_path_that_would_end_its_line_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="control character"):
        units.systemd_service(Service((text,)))
    with pytest.raises(UsageError, match="control character"):
        units.systemd_service(Service(("a",), {"AIDECAMP_HOME": text}))
    with pytest.raises(UsageError, match="control character"):
        units.systemd_socket(text, None)
    with pytest.raises(UsageError, match="control character"):
        units.launchd_plist(Service((text,)), "/tmp/log")
    with pytest.raises(UsageError, match="control character"):
        units.windows_task(Service((text,)), "me")


def test_every_file_says_who_wrote_it() -> None:
    for text in (
        units.systemd_service(SERVICE),
        units.systemd_socket(None, None),
        units.launchd_plist(SERVICE, "/tmp/log"),
        units.windows_task(SERVICE, "me"),
    ):
        assert units.MARK in text
