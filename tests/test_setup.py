"""The set-up script where it must stop. That it succeeds, every run of these tests shows."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the script reads, in a folder of its own."""
    folder = tmp_path / "checkout"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "setup", folder / ".ci" / "setup")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run(checkout: Path, programs: dict[str, str], **environment: str) -> tuple[int, str]:
    bare = checkout.parent / "bin"
    bare.mkdir()
    for name, body in programs.items():
        (bare / name).write_text(f"#!/bin/sh\n{body}\n")
        (bare / name).chmod(0o755)
    done = subprocess.run(
        [checkout / ".ci" / "setup", "run"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PATH": f"{bare}:{os.environ['PATH']}", **environment},
        check=False,
    )
    return done.returncode, done.stdout


NO_PACKAGES = {"apt-get": "exit 1", "dpkg-query": "exit 1"}


def test_without_root_the_missing_packages_are_listed_and_nothing_is_made(checkout: Path) -> None:
    code, said = run(checkout, {**NO_PACKAGES, "id": "echo 1000", "sudo": "exit 1"})
    assert code == 1
    assert "apt-get install -y --no-install-recommends build-essential" in said
    assert "bubblewrap" in said and "xvfb" in said and "mousepad" in said
    assert not (checkout / ".venv").exists()


def test_failing_apt_shows_its_own_words(checkout: Path) -> None:
    programs = {**NO_PACKAGES, "id": "echo 0", "apt-get": "echo 'E: no such mirror' >&2; exit 100"}
    code, said = run(checkout, programs)
    assert code == 1 and "E: no such mirror" in said


def test_old_python_is_refused(checkout: Path) -> None:
    installed = {"apt-get": "exit 1", "dpkg-query": "printf installed", "old": "exit 1"}
    code, said = run(checkout, installed, PYTHON="old")
    assert code == 1 and "Python 3.11 or newer is needed" in said
