"""A package index in a folder, and the wheels in it: what pip reads over ``file://``."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path


def add_wheel(index: Path, name: str, version: str, files: Mapping[str, bytes | Path]) -> Path:
    """Put a pure-Python wheel with ``files`` into the simple index at ``index``."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    stem = name.replace("-", "_")
    wheel = folder / f"{stem}-{version}-py3-none-any.whl"
    info = f"{stem}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, body in files.items():
            if isinstance(body, Path):
                archive.write(body, path)
            else:
                archive.writestr(path, body)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    links = "".join(f'<a href="{w.name}">{w.name}</a>\n' for w in sorted(folder.glob("*.whl")))
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{links}</body></html>\n")
    return wheel
