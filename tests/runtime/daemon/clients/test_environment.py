"""The clients are those that the lists name, exactly, wherever they are fetched from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.runtime.daemon.clients import running

PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[a-z]+\])?==[A-Za-z0-9.]+(; .*)?")


def test_every_python_package_has_one_exact_version() -> None:
    lines = (running.HERE / "requirements.txt").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in packages if not PINNED.fullmatch(line)] == []
    names = [re.split(r"[\[=]", line)[0].lower() for line in packages]
    assert len(set(names)) == len(names)
    assert {"openai", "llm", "langchain-openai", "smolagents", "mcp"} <= set(names)


def test_every_node_package_has_one_exact_version_and_digest_and_names_no_registry() -> None:
    wanted = json.loads((running.HERE / "package.json").read_text())["dependencies"]
    locked = json.loads((running.HERE / "package-lock.json").read_text())["packages"]
    top = locked.pop("")
    assert top["dependencies"] == wanted
    assert all(re.fullmatch(r"[0-9.]+", version) for version in wanted.values())
    for package in locked.values():
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package


def test_without_the_clients_of_now_the_tests_say_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "ENVIRONMENT", tmp_path)
    assert "run make test" in running.missing()
    (tmp_path / "stamp").write_text("of others\n")
    assert "run make test" in running.missing()
    (tmp_path / "stamp").write_text(f"{running.digest()}\n")
    assert running.missing() == ""
