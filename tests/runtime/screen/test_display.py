"""A private display: real Xvfb, its isolation, and that nothing of it is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from models.errors import DisplayMissing
from runtime.screen.display import OwnDisplay, PrivateDisplay, python_environment

CHILD = """
import json, sys, time
from pathlib import Path
from runtime.screen.display import PrivateDisplay
display = PrivateDisplay()
display.launch(["mousepad"], Path("/"))
print(json.dumps([display.keeper_pid, str(display.folder)]), flush=True)
time.sleep(600)
"""


def _gone(pids: list[int], timeout_s: float = 20) -> bool:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if not any(psutil.pid_exists(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _tree(pid: int) -> list[int]:
    keeper = psutil.Process(pid)
    return [pid, *(p.pid for p in keeper.children(recursive=True))]


def test_only_the_cookie_opens_the_display_and_close_leaves_nothing() -> None:
    with PrivateDisplay(640, 480) as display:
        asked = ["xdotool", "getdisplaygeometry"]
        allowed = subprocess.run(
            asked, env=dict(display.environment), check=False, capture_output=True
        )
        bare = {"DISPLAY": display.name, "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        refused = subprocess.run(asked, env=bare, check=False, capture_output=True)
        assert allowed.stdout == b"640 480\n"
        assert refused.returncode != 0
        assert display.folder.stat().st_mode & 0o777 == 0o700
        assert display.environment["HOME"].startswith(str(display.folder))
        pids = _tree(display.keeper_pid)
        assert len(pids) == 4  # keeper, Xvfb, bus, openbox
    assert _gone(pids)
    assert not display.folder.exists()
    assert not Path(f"/tmp/.X11-unix/X{display.name[1:]}").exists()


def test_kill_dash_nine_of_the_parent_leaves_no_process_and_no_folder() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdout=subprocess.PIPE,
        env=python_environment(os.environ),
        start_new_session=True,
    )
    assert parent.stdout is not None
    keeper, folder = json.loads(parent.stdout.readline())
    pids = _tree(keeper)
    assert "mousepad" in {psutil.Process(p).name() for p in pids}
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert _gone(pids)
    assert not Path(folder).exists()


def test_kill_dash_nine_of_the_keeper_takes_its_programs_along() -> None:
    display = PrivateDisplay(320, 240)
    pids = _tree(display.keeper_pid)
    os.kill(display.keeper_pid, signal.SIGKILL)
    display._keeper.wait()
    assert _gone(pids)
    with pytest.raises(DisplayMissing):
        display.running(1)
    display.close()
    assert not display.folder.exists()


def test_no_xvfb_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DisplayMissing) as raised:
        PrivateDisplay()
    assert "Xvfb" in raised.value.message
    assert "xvfb" in raised.value.hint
    assert raised.value.exit_code == 5


def test_own_desktop_without_display_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(DisplayMissing, match="DISPLAY is not set"):
        OwnDisplay()
