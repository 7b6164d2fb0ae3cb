"""What the tools need of the system: sandbox, private display, editor, keyring."""

from __future__ import annotations

import os
import platform
import select
import shutil
import subprocess
import sys

from models.checks.base import Check, run

_APT = "sudo apt-get install -y --no-install-recommends"


def sandbox() -> Check:
    """Try bubblewrap as the shell tool uses it."""
    if not shutil.which("bwrap"):
        fix = f"{_APT} bubblewrap"
        return Check("sandbox", "fail", "bubblewrap is not installed: no command can run", fix)
    code, out, err = run(
        ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", "echo", "inside"],
        timeout_s=10,
    )
    if code == 0 and out.strip() == "inside":
        return Check("sandbox", "ok", "bubblewrap isolates a command (no network, read-only files)")
    reason = (err.strip().splitlines() or [f"exit code {code}"])[-1]
    return Check(
        "sandbox",
        "fail",
        f"bubblewrap is installed and does not work: {reason}",
        "allow unprivileged user namespaces (kernel.unprivileged_userns_clone=1, and on Ubuntu "
        "an AppArmor profile for bwrap), or run outside the container that forbids them",
    )


def display() -> Check:
    """Start a private X server on a free display number, and stop it."""
    if platform.system() != "Linux":
        return Check("private display", "warn", "only Linux has one; GUI tasks use the desktop")
    if not shutil.which("Xvfb"):
        fix = f"{_APT} xvfb openbox xauth"
        return Check("private display", "fail", "Xvfb is not installed: no GUI task can run", fix)
    number, reason = _start_and_stop_xvfb()
    if number is None:
        return Check("private display", "fail", f"Xvfb does not start: {reason}", f"{_APT} xvfb")
    if not shutil.which("openbox"):
        detail = "Xvfb starts, with no window manager (openbox is not installed)"
        return Check("private display", "warn", detail, f"{_APT} openbox")
    return Check("private display", "ok", "Xvfb starts, and openbox is here")


def desktop() -> Check:
    """The user's own display: only for tasks that ask for it."""
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not shown:
        return Check("own display", "ok", "none (DISPLAY is not set); GUI tasks use a private one")
    if os.environ.get("WAYLAND_DISPLAY") and not os.environ.get("DISPLAY"):
        return Check("own display", "warn", "Wayland only: input works on X11 alone")
    return Check("own display", "ok", f"{shown}, used only when a task asks for it")


def programs() -> Check:
    """Programs that GUI tasks and the demonstration use."""
    needs = {
        "mousepad": "mousepad",
        "xdotool": "xdotool",
        "xclip": "xclip",
        "xauth": "xauth",
        "dbus-run-session": "dbus-daemon",
    }
    missing = [package for program, package in needs.items() if not shutil.which(program)]
    code, _, _ = run([sys.executable, "-c", "import tkinter"], timeout_s=30)
    if code:
        missing.append("python3-tk")
    if missing:
        detail = f"not installed: {', '.join(missing)}"
        return Check("gui programs", "warn", detail, f"{_APT} {' '.join(missing)}")
    return Check("gui programs", "ok", f"{', '.join(needs)} and tkinter are here")


def keyring() -> Check:
    """Whether the General's key can be kept in the system's keyring. Nothing is read or stored."""
    code, out, _ = run(
        [
            sys.executable,
            "-c",
            "import keyring; k = keyring.get_keyring(); print(type(k).__module__, k.priority)",
        ],
        timeout_s=30,
    )
    name, _, priority = out.strip().rpartition(" ")
    if code == 0 and name and float(priority) > 0:
        return Check("keyring", "ok", name)
    fix = "give the General's key in the environment or config.toml, or set a keyring up"
    return Check("keyring", "warn", "no system keyring answers", fix)


def _start_and_stop_xvfb() -> tuple[int | None, str]:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writer), "-screen", "0", "64x64x24", "-nolisten", "tcp"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(writer,),
    )
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], 15)
        number = os.read(reader, 16).strip() if ready else b""
        if number:
            return int(number), ""
    finally:
        os.close(reader)
        process.terminate()
        _, err = process.communicate()
    words = err.decode(errors="replace").strip().splitlines()
    return None, words[-1] if words else "it named no display within 15 s"
